"""What was made from a file, remembered as long as the file stays the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

T = TypeVar("T")
LOOK_EVERY_S: Final = 1.0  # each look is a system call, which a storm of hosts would make thousands of times a second


class Remembered(Generic[T]):
    """`make(path)` again only when the file has changed, which is noticed within LOOK_EVERY_S. Any thread may call."""

    def __init__(self, make: Callable[[Path], T]) -> None:
        self._make = make
        self._kept: dict[Path, tuple[float, tuple[int, int, int] | None, T]] = {}

    def __call__(self, path: Path) -> T:
        """Raises what `make` raises, and remembers nothing then."""
        now = time.monotonic()
        kept = self._kept.get(path)
        if kept is not None and now - kept[0] < LOOK_EVERY_S:
            return kept[2]
        stamp = _stamp(path)
        value = kept[2] if kept is not None and kept[1] == stamp else self._make(path)
        self._kept[path] = (now, stamp, value)
        return value


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
