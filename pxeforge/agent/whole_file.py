"""Writes files whole or not at all: temporary file, fsync, rename."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes, mode: int, uid: int = -1, gid: int = -1, *, durable: bool = True) -> None:
    """Replaces the file (or symbolic link) at path; raises OSError and then leaves the old one as it was.

    What is not durable outlives us, but not a power cut: then it may be the old one, or damaged.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if (uid, gid) != (-1, -1):
                os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)  # after chown, which drops the set-id bits
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def write_json(path: Path, value: Any, mode: int = 0o600, *, durable: bool = True) -> None:
    """JSON that only its owner can read, unless mode says otherwise."""
    write_whole(path, json.dumps(value, sort_keys=True).encode(), mode, durable=durable)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
