"""Lists what an ISO file holds, in a process of its own: whatever is in it, that process ends in bounded time and room.

The library that reads ISO 9660 (Rock Ridge, Joliet) and UDF raises anything on damaged files. The list tells where
in the file the bytes lie; whoever copies them needs no library.
"""

from __future__ import annotations

import json
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from pxeforge.services.image_store import ImportProblem

CPU_LIMIT_S: Final = 120  # ten thousand files take half a second
WALL_LIMIT_S: Final = 600  # reading the folders from a slow disk
MEMORY_LIMIT_BYTES: Final = 2 << 30
MOST_ENTRIES: Final = 500_000
_ODD: Final = 4  # exit code: this is no ISO file that can be read


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntry:
    """A name in an ISO as the ISO tells it: nothing is checked yet. `extents` are (offset, length) in bytes."""

    path: str
    kind: str  # file, link, other
    extents: tuple[tuple[int, int], ...] = ()
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawIndex:
    """Everything in an ISO."""

    created: str  # YYYYMMDD of the volume, or ""
    size_bytes: int  # of the volume, as it tells
    entries: tuple[RawEntry, ...]


def index_of(path: Path) -> RawIndex:
    """Asks the process of its own; raises ImportProblem for what it cannot read."""
    command = [sys.executable, "-m", "pxeforge.services.iso_index", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=WALL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ImportProblem(f"{path.name} cannot be read as an ISO file: its folders have no end") from None
    if done.returncode == _ODD:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["unknown"]
        raise ImportProblem(f"{path.name} cannot be read as an ISO file ({reason[0][:200]}): download it again")
    if done.returncode != 0:
        raise ImportProblem(f"{path.name} cannot be read as an ISO file: its folders need too much time or memory")
    raw = json.loads(done.stdout)
    entries = tuple(
        RawEntry(path=one[0], kind=one[1], extents=tuple((at, length) for at, length in one[2]), target=one[3])
        for one in raw["entries"]
    )
    return RawIndex(created=raw["created"], size_bytes=raw["size_bytes"], entries=entries)


# ---------------------------------------------------------------------------------- in the process of its own


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Unreadable(Exception):
    """The file is no ISO, or a damaged one."""


def read_index(stream: BinaryIO) -> RawIndex:
    """Reads all folders; raises Unreadable, whatever the library raises. It may take long: see `index_of`."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    try:
        iso.open_fp(stream)
        try:
            date = iso.pvd.volume_creation_date
            created = f"{date.year:04}{date.month:02}{date.dayofmonth:02}" if date.year else ""
            size = int(iso.pvd.space_size) * int(iso.pvd.logical_block_size())
            return RawIndex(created=created, size_bytes=size, entries=tuple(_entries(iso)))
        finally:
            iso.close()
    except (MemoryError, Unreadable):
        raise
    except Exception as error:
        raise Unreadable(str(error) or type(error).__name__) from error


def _entries(iso: Any) -> Iterator[RawEntry]:
    block = int(iso.pvd.logical_block_size())
    if iso.rock_ridge:
        found = _records(iso.get_record(rr_path="/"), block, _rock_ridge_name)
    elif iso.has_joliet():
        found = _records(iso.get_record(joliet_path="/"), block, lambda one: one.file_identifier().decode("utf-16_be"))
    elif iso.has_udf():
        found = _udf_records(iso.get_record(udf_path="/"))
    else:
        found = _records(iso.get_record(iso_path="/"), block, _plain_name)
    for number, entry in enumerate(found):
        if number >= MOST_ENTRIES:
            raise Unreadable(f"more than {MOST_ENTRIES} names")
        yield entry


def _rock_ridge_name(record: Any) -> str:
    if record.rock_ridge is None:
        return _plain_name(record)
    return str(record.rock_ridge.name().decode("utf-8", "surrogateescape"))


def _plain_name(record: Any) -> str:
    return str(record.file_identifier().decode("latin-1").partition(";")[0].rstrip(".").lower())


def _records(root: Any, block: int, name_of: Any) -> Iterator[RawEntry]:
    """Every file below an ISO 9660 folder. A folder that Rock Ridge moved away counts where it belongs, and once."""
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        prefix, folder = waiting.pop()
        further: set[int] = set()  # parts of a file in several extents
        for record in folder.children:
            if record.is_dot() or record.is_dotdot() or id(record) in further:
                continue
            rock_ridge = record.rock_ridge
            path = f"{prefix}{name_of(record)}"
            moved = rock_ridge is not None and rock_ridge.child_link_record_exists()
            if moved or record.is_dir():
                inner = rock_ridge.cl_to_moved_dr if moved else record
                if not moved and rock_ridge is not None and rock_ridge.relocated_record():
                    continue
                if inner is None or id(inner) in seen:
                    raise Unreadable(f"the folder {path!r} lies inside itself")
                seen.add(id(inner))
                waiting.append((f"{path}/", inner))
            elif not record.is_associated_file():
                parts = list(_chain(record))
                further.update(id(part) for part in parts)
                yield _file(path, parts, block)


def _chain(record: Any) -> Iterator[Any]:
    seen: set[int] = set()
    while record is not None and id(record) not in seen:
        seen.add(id(record))
        yield record
        record = record.data_continuation


def _file(path: str, parts: list[Any], block: int) -> RawEntry:
    rock_ridge = parts[0].rock_ridge
    if rock_ridge is not None:
        if rock_ridge.is_symlink():
            target = rock_ridge.symlink_path().decode("utf-8", "surrogateescape")
            return RawEntry(path=path, kind="link", target=target)
        mode = stat.S_IFMT(rock_ridge.get_file_mode())
        if mode not in (0, stat.S_IFREG):
            return RawEntry(path=path, kind="other")
    extents = tuple((int(one.extent_location()) * block, int(one.get_data_length())) for one in parts)
    return RawEntry(path=path, kind="file", extents=tuple(one for one in extents if one[1]))


def _udf_records(root: Any) -> Iterator[RawEntry]:
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        prefix, folder = waiting.pop()
        for ident in folder.fi_descs.values():
            entry = ident.file_entry
            if entry is None or ident.is_parent():
                continue
            path = f"{prefix}{ident.fi.decode(ident.encoding)}"
            if entry.is_dir():
                if id(entry) in seen:
                    raise Unreadable(f"the folder {path!r} lies inside itself")
                seen.add(id(entry))
                waiting.append((f"{path}/", entry))
            elif not entry.is_file():
                yield RawEntry(path=path, kind="other")
            else:
                length = int(entry.get_data_length())
                extents = ((int(entry.inode.fp_offset), length),) if length and entry.inode is not None else ()
                yield RawEntry(path=path, kind="file", extents=extents)


def main(path: str) -> int:
    """Writes the list as JSON; the kernel ends us where a limit is reached."""
    _limit()
    try:
        with Path(path).open("rb") as stream:
            index = read_index(stream)
    except (Unreadable, OSError) as problem:
        sys.stderr.write(f"{problem}\n".encode("ascii", "backslashreplace").decode())
        return _ODD
    entries = [(one.path, one.kind, one.extents, one.target) for one in index.entries]
    json.dump({"created": index.created, "size_bytes": index.size_bytes, "entries": entries}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
