"""Replaces several files of a folder as one: all old or all new, also when the process is killed half-way.

The new files lie staged in the same file system. Writing the marker is the commit: from then on whoever opens the
folder first (`finish`) moves the old ones aside and the new ones in, as often as it takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

MARKER: Final = ".swap.json"
RESTORED: Final = ".restored.db"  # rows that wait to be loaded into a database that is not a file of the folder


def commit(folder: Path, *, stage: str, aside: str, put: Sequence[str], drop: Sequence[str] = ()) -> None:
    """Promises that each of `put` is replaced by its namesake in `stage`, and that each of `drop` goes.

    `stage` and `aside` are names of folders in `folder`; the old files end in `aside`. Call `finish` next.
    """
    _sync_tree(folder / stage)
    text = json.dumps({"stage": stage, "aside": aside, "put": list(put), "drop": list(drop)})
    fresh = folder / f"{MARKER}.{secrets.token_hex(4)}"
    with fresh.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.rename(folder / MARKER)
    _sync(folder)


def finish(folder: Path) -> bool:
    """Ends a replacement that was promised; whether there was one. Safe to call from several processes."""
    marker = folder / MARKER
    if not marker.exists():
        return False
    with _alone(folder):
        if not marker.exists():
            return False
        order = json.loads(marker.read_text())
        stage, aside = folder / order["stage"], folder / order["aside"]
        aside.mkdir(mode=0o700, exist_ok=True)
        for name in order["drop"]:
            _drop(folder / name, aside / name)
        for name in order["put"]:
            _put(folder / name, stage / name, aside / name)
        _sync(aside)
        _sync(folder)
        marker.unlink()
        _sync(folder)
        shutil.rmtree(stage, ignore_errors=True)
    return True


def _drop(live: Path, old: Path) -> None:
    if live.exists() and not old.exists():
        live.rename(old)


def _put(live: Path, new: Path, old: Path) -> None:
    """While `new` is still staged, what is live is old: each state that a killed process leaves tells what is left."""
    if new.exists():
        if live.exists():
            live.rename(old)
        new.rename(live)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
