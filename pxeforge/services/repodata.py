"""Makes the index of an RPM repository anew, after packages of further discs were laid into it."""

from __future__ import annotations

import posixpath
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pxeforge.services.image_store import ImportProblem

PROGRAM: Final = "createrepo_c"
_LIMIT_S: Final = 4 * 3600  # it reads every package
INDEX: Final = "repodata/repomd.xml"


def repositories_of(names: Iterable[str], added: Iterable[str]) -> list[str]:
    """The folders of the repositories among `names` that the packages `added` came into ("": the top)."""
    folders = {posixpath.dirname(posixpath.dirname(name)) for name in names if f"/{name}".endswith(f"/{INDEX}")}
    found = set()
    for name in added:
        folder = posixpath.dirname(name)
        while folder and folder not in folders:
            folder = posixpath.dirname(folder)
        if folder in folders and name.endswith(".rpm"):
            found.add(folder)
    return sorted(found)


def rebuild(repository: Path) -> None:
    """Indexes all packages; groups and modules stay as they were. Raises ImportProblem."""
    # gzip: what the installers of all releases can read. The old index goes, nothing names it any more.
    command = [
        PROGRAM, "--quiet", "--update", "--keep-all-metadata", "--retain-old-md=0", "--no-database",
        "--general-compress-type=gz", "--error-exit-val", str(repository),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False)
    except FileNotFoundError:
        raise ImportProblem(
            f"several discs need a new package index, and {PROGRAM} is not installed: apt-get install createrepo-c"
        ) from None
    except subprocess.TimeoutExpired:
        raise ImportProblem(f"{PROGRAM} did not end: try again; nothing was imported") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason"]
        raise ImportProblem(f"{PROGRAM} cannot index the packages ({said[0][:200]}): nothing was imported")
