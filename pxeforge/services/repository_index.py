"""What the signed heads of package repositories (Release, repomd.xml) say about the other indexes beside them.

Only to keep together what belongs together when upstream cannot be asked; the signatures are the client's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final

MOST_BYTES: Final = 16 << 20  # of a head that is read; those of Debian have 0.2 MB
_LISTED: Final = re.compile(r" ([0-9a-f]{64}) +([0-9]{1,15}) +(\S+)")
_DATA: Final = re.compile(r"<data\b[^>]*>(.*?)</data>", re.DOTALL)
_CHECKSUM: Final = re.compile(r"<checksum\b[^>]*\btype=[\"']sha256[\"'][^>]*>\s*([0-9a-f]{64})\s*</checksum>")
_LOCATION: Final = re.compile(r"<location\b[^>]*\bhref=[\"']([^\"']+)[\"']")


def release_sums(text: str) -> dict[str, str]:
    """SHA256 by path, relative to the folder of this Release or InRelease; empty where it lists none."""
    return {found[3]: found[1] for found in _listed(text)}


def release_sizes(text: str) -> dict[str, int]:
    """Bytes by path, as release_sums()."""
    return {found[3]: int(found[2]) for found in _listed(text)}


def _listed(text: str) -> Iterator[re.Match[str]]:
    inside = False
    for line in text.splitlines():
        if not line.startswith(" "):
            inside = line.rstrip() == "SHA256:"
        elif inside and (found := _LISTED.fullmatch(line.rstrip())):
            yield found


def release_date(text: str) -> float | None:
    """Unix seconds of the field Date."""
    for line in text.splitlines():
        if line.startswith("Date:"):
            try:
                return parsedate_to_datetime(line.removeprefix("Date:").strip()).timestamp()
            except (ValueError, OverflowError, TypeError):
                return None
    return None


def repomd_sums(text: str) -> dict[str, str]:
    """SHA256 by path, relative to the repository's root (the folder above `repodata/`)."""
    sums: dict[str, str] = {}
    for entry in _DATA.findall(text):
        checksum, location = _CHECKSUM.search(entry), _LOCATION.search(entry)
        if checksum and location:
            sums[location[1]] = checksum[1]
    return sums
