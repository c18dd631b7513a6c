"""The processes of a running `serve`: by name, with what they cost."""

from __future__ import annotations

import os
from pathlib import Path


def children_of(supervisor: int) -> dict[str, list[int]]:
    """The processes of a running `serve` by their names."""
    found: dict[str, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        if parent == supervisor and b"pxeforge.app.processes" in words:
            found.setdefault(words[-2].decode(), []).append(int(folder.name))
    return found


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
