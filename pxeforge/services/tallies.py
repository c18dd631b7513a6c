"""What each process of `serve` has counted, in a file of its own that outlives it; whoever asks reads them all.

A process that is started again goes on from the numbers of the one before: sums over all processes only grow. Files
are written whole or not at all, and not synced: a power cut may cost what was counted last.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "metrics"  # in the data directory
_MOST: Final = 64  # processes of one name


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one process told last. `counts` only grow; `levels` go up and down and are those of a living process."""

    process: str
    pid: int
    alive: bool
    starts: int
    counts: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)


class Tally:
    """The file of this process. Not thread-safe."""

    def __init__(self, folder: Path, name: str) -> None:
        """Takes the first place of this name that no living process has: `name`, or `name-0`, `name-1` … for boot."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.process, self._lock = _take_place(folder, name)
        self._path = folder / f"{self.process}.json"
        before = _read(self._path) or {}
        self._base = _numbers(before.get("counts"))
        self._starts = int(before.get("starts", 0)) + 1
        self._written = b""

    def tell(self, counts: Mapping[str, float], levels: Mapping[str, float]) -> None:
        """`counts`: since this process began. Raises OSError where the file cannot be written; the old one stays."""
        sums = {**self._base, **{name: self._base.get(name, 0) + value for name, value in counts.items()}}
        plain = {
            "pid": os.getpid(), "began": began(os.getpid()), "starts": self._starts, "counts": sums,
            "levels": dict(levels),
        }  # fmt: skip
        content = json.dumps(plain).encode()
        if content != self._written:
            aside = self._path.with_suffix(".new")
            aside.write_bytes(content)
            aside.replace(self._path)
            self._written = content

    def close(self) -> None:
        """Gives the place free."""
        os.close(self._lock)


def read_all(folder: Path) -> list[Told]:
    """What all processes told, of those that have ended too."""
    found = []
    for path in sorted(folder.glob("*.json")):
        plain = _read(path)
        if plain is None or not isinstance(plain.get("pid"), int):
            continue
        alive = began(plain["pid"]) == plain.get("began") is not None
        told = Told(
            process=path.stem, pid=plain["pid"], alive=alive, starts=int(plain.get("starts", 0)),
            counts=_numbers(plain.get("counts")), levels=_numbers(plain.get("levels")) if alive else {},
        )  # fmt: skip
        found.append(told)
    return found


def is_alive(folder: Path, process: str) -> bool:
    return any(one.alive and one.process == process for one in read_all(folder))


def began(pid: int) -> int | None:
    """When the process began, in the kernel's ticks: the same number later is the same process. None: it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] == "Z" else int(words[19])


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        plain = json.loads(path.read_bytes())
        return plain if isinstance(plain, dict) else None
    return None


def _numbers(plain: object) -> dict[str, float]:
    if not isinstance(plain, dict):
        return {}
    return {str(name): value for name, value in plain.items() if isinstance(value, int | float)}


def _take_place(folder: Path, name: str) -> tuple[str, int]:
    """The lock is held as long as we live: `boot` has several places, all others one."""
    for number in range(_MOST):
        process = f"{name}-{number}" if name == "boot" else name if number == 0 else f"{name}-{number}"
        descriptor = os.open(folder / f"{process}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return process, descriptor
    raise OSError(f"more than {_MOST} processes named {name} count into {folder}")
