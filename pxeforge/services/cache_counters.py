"""Counters of the package cache, shared by the processes that use it: each counts in a file of its own.

A file is a row of 64-bit numbers in memory that survives its process, so that sums only ever grow (but `used_bytes`,
which goes up and down). Whoever starts takes a file that nobody holds and goes on from its numbers.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import threading
from pathlib import Path
from typing import Final

# New names are added at the end: the place in the file is the place in this table.
NAMES: Final = (
    "requests",  # for a file, in whatever way it ended
    "hits",  # answered from the disk
    "joined",  # answered by a download that somebody else had begun
    "misses",  # answered by a download of their own
    "stale",  # hits that could not be checked: offline, or upstream down
    "missing",  # offline or upstream down, and the file is not here
    "not_found",  # upstream does not have it
    "failed",  # upstream failed or was too slow, and there was nothing to give instead
    "passed",  # handed through without being kept: no room
    "served_bytes",  # the length of what was answered, whole or part
    "upstream_requests",
    "upstream_bytes",
    "revalidated",  # indexes that upstream said are still the same
    "resumed",  # downloads that went on where they had broken off
    "broken",  # times that upstream broke off
    "kept_files",
    "evicted_files",
    "evicted_bytes",
    "used_bytes",  # on the disk now
)
_PLACE: Final = {name: number * 8 for number, name in enumerate(NAMES)}
_SIZE: Final = 8 * 64
_MOST_FILES: Final = 64
_NO_FILE: Final = -1  # memory of the process alone


class CacheCounters:
    """Numbers of one process in `folder`; thread-safe."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._lock = folder, threading.Lock()
        self._descriptor = _take_file(folder)
        self._row = mmap.mmap(self._descriptor if _has_room(self._descriptor) else _NO_FILE, _SIZE)

    def add(self, **amounts: int) -> None:
        with self._lock:
            for name, amount in amounts.items():
                place = _PLACE[name]
                (before,) = struct.unpack_from("<q", self._row, place)
                struct.pack_into("<q", self._row, place, before + amount)

    def sums(self) -> dict[str, int]:
        """Over all processes."""
        return read_counters(self._folder)

    def total(self, name: str) -> int:
        return self.sums()[name]

    def close(self) -> None:
        self._row.close()
        os.close(self._descriptor)


def read_counters(folder: Path) -> dict[str, int]:
    """The sums; zeros where nothing was counted yet."""
    sums = dict.fromkeys(NAMES, 0)
    for path in folder.glob("[0-9]*"):
        with contextlib.suppress(OSError, struct.error):
            row = path.read_bytes()[:_SIZE].ljust(_SIZE, b"\0")
            for name in NAMES:
                sums[name] += struct.unpack_from("<q", row, _PLACE[name])[0]
    return sums


def _has_room(descriptor: int) -> bool:
    """Whether the row is on the disk: one that had no room there would end the process when it is written (SIGBUS)."""
    try:
        os.posix_fallocate(descriptor, 0, _SIZE)
    except OSError:
        return False
    return True


def _take_file(folder: Path) -> int:
    """A file that nobody holds; held as long as it stays open."""
    for number in range(_MOST_FILES):
        descriptor = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return descriptor
    raise OSError(f"more than {_MOST_FILES} processes use the package cache: what they count has no place in {folder}")
