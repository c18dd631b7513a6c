"""Names of files in package repositories: which are let through, and which never change under their name."""

from __future__ import annotations

import re
from typing import Final

from pxeforge.services.problems import NotFound

LONGEST_PATH: Final = 1024
# No %: upstream would decode it, and `%2e%2e` is `..`. Letters, digits and what Debian, Ubuntu and RPM use besides.
_PATH: Final = re.compile(r"[A-Za-z0-9._+~=:@^,-]{1,255}(/[A-Za-z0-9._+~=:@^,-]{1,255})*")
_PACKAGE: Final = re.compile(r".*\.(deb|udeb|ddeb|rpm|drpm)")
_HASHED: Final = re.compile(r"[0-9a-f]{32,128}-[^/]+")  # repodata/<checksum>-primary.xml.gz


def checked_path(path: str) -> str:
    """The path itself; raises NotFound for one that leads anywhere else than down from the repository's root."""
    parts = path.split("/")
    if len(path) > LONGEST_PATH or not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(parts):
        raise NotFound(f"no such file in the mirror: {path[:200]}")
    return path


def is_fixed(path: str) -> bool:
    """Whether a file is the same for ever: packages, what is named by its checksum, everything below `pool/`.

    All others are indexes: asked for again each time.
    """
    *folders, name = path.split("/")
    if "pool" in folders or "by-hash" in folders or _PACKAGE.fullmatch(name):
        return True
    return folders[-1:] == ["repodata"] and _HASHED.fullmatch(name) is not None
