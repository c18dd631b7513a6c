"""Writes an initrd: a packed cpio archive (newc), the same bytes for the same files."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

_TRAILER: Final = "TRAILER!!!"
_LEVEL: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, a symbolic link (`target`) or, with neither, a folder. `name` is relative to /."""

    name: str
    content: bytes | None = None
    target: str | None = None
    executable: bool = False

    @property
    def mode(self) -> int:
        if self.target is not None:
            return stat.S_IFLNK | 0o777
        if self.content is None:
            return stat.S_IFDIR | 0o755
        return stat.S_IFREG | (0o755 if self.executable else 0o644)


def write_initrd(entries: Iterable[Entry], file: Path) -> None:
    """A new file; folders that lead to the entries are added."""
    whole = {entry.name: entry for entry in entries}
    folders = {str(parent) for name in whole for parent in Path(name).parents if str(parent) != "."}
    for folder in folders - set(whole):
        whole[folder] = Entry(name=folder)
    with file.open("xb") as raw, gzip.GzipFile("", fileobj=raw, mode="wb", compresslevel=_LEVEL, mtime=0) as packed:
        for number, name in enumerate(sorted(whole), start=1):
            _write(packed, whole[name], number)
        _write(packed, Entry(name=_TRAILER, content=b""), 0)


def _write(out: IO[bytes] | gzip.GzipFile, entry: Entry, number: int) -> None:
    body = entry.target.encode() if entry.target is not None else entry.content or b""
    name = entry.name.encode() + b"\0"
    mode = 0 if entry.name == _TRAILER else entry.mode
    fields = (number, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    out.write(head + name + bytes(-(len(head) + len(name)) % 4))
    out.write(body + bytes(-len(body) % 4))
