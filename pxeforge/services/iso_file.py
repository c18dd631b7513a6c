"""An ISO file whose names were checked: none leads out of a folder, each file lies within the ISO."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from pxeforge.services.image_store import ImageFile, ImportProblem
from pxeforge.services.iso_index import RawEntry, RawIndex, index_of

_CHUNK: Final = 1 << 20
_LONGEST_PATH: Final = 1024
_LONGEST_NAME: Final = 255
_MOST_LINKS: Final = 40  # as many links as Linux follows


@dataclass(frozen=True, slots=True)
class IsoEntry:
    """A file: where its bytes lie in the ISO, as (offset, length)."""

    extents: tuple[tuple[int, int], ...]

    @property
    def size_bytes(self) -> int:
        return sum(length for _, length in self.extents)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoFile:
    """An open ISO. `files` by name; `links` name files as well, by the name they lead to."""

    path: Path
    stream: IO[bytes]
    created: str  # YYYYMMDD, or ""
    modified_ns: int  # when it was opened
    files: Mapping[str, IsoEntry]
    links: Mapping[str, str]

    def check_unchanged(self) -> None:
        """Raises ImportProblem where the file at this path is not the one that was opened, as it was then."""
        opened, there = os.fstat(self.stream.fileno()), self.path.stat()
        if (opened.st_ino, opened.st_size) != (there.st_ino, there.st_size) or there.st_mtime_ns != self.modified_ns:
            raise ImportProblem(f"{self.path.name} changed while it was read: nothing was imported")

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(entry.size_bytes for entry in self.files.values())

    def has(self, name: str) -> bool:
        return name in self.files or name in self.links

    def text(self, name: str, most_bytes: int = 1 << 20) -> str:
        """A small text file; raises ImportProblem for one that is not small."""
        entry = self.files[self.links.get(name, name)]
        if entry.size_bytes > most_bytes:
            raise ImportProblem(f"{name} in {self.path.name} is too large for what it is: nothing was imported")
        return b"".join(self.chunks(name)).decode("utf-8", "replace")

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file; raises ImportProblem when the ISO ends before them or its disk cannot read them."""
        for offset, length in self.files[self.links.get(name, name)].extents:
            self.stream.seek(offset)
            left = length
            while left:
                try:
                    chunk = self.stream.read(min(left, _CHUNK))
                except OSError as error:
                    raise unreadable(self.path, error) from None
                if not chunk:
                    raise ImportProblem(f"{self.path.name} ended early while it was read: nothing was imported")
                left -= len(chunk)
                yield chunk

    def copy(self, name: str, target: Path) -> ImageFile:
        """A new file with the bytes of `name`. Not synced: who copies ten thousand files syncs once."""
        target.parent.mkdir(parents=True, exist_ok=True)
        hasher: Any = hashlib.sha256()
        size = 0
        with target.open("xb") as out:
            for chunk in self.chunks(name):
                hasher.update(chunk)
                out.write(chunk)
                size += len(chunk)
        return ImageFile(size=size, sha256=hasher.hexdigest())


@contextmanager
def open_iso(path: Path) -> Iterator[IsoFile]:
    """Reads and checks the list of names; raises ImportProblem for an ISO that is damaged, short or hostile."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ImportProblem(f"{path} cannot be read ({error.strerror}): name an ISO file") from None
    with stream:
        if not path.is_file():
            raise ImportProblem(f"{path} is no file: name an ISO file")
        index = index_of(path)
        found = os.fstat(stream.fileno())
        size = found.st_size
        if index.size_bytes > size:
            raise ImportProblem(
                f"{path.name} has {size} bytes instead of {index.size_bytes}: it was cut short, download it again"
            )
        files, links = checked(index, size, path.name)
        yield IsoFile(
            path=path, stream=stream, created=index.created, modified_ns=found.st_mtime_ns, files=files, links=links
        )  # fmt: skip


def unreadable(path: Path, error: OSError) -> ImportProblem:
    """Not to be taken for an error of the disk that is written."""
    return ImportProblem(f"{path.name} cannot be read ({error.strerror or error}): copy it anew; nothing was imported")


def checked(index: RawIndex, size_bytes: int, iso: str) -> tuple[dict[str, IsoEntry], dict[str, str]]:
    """The files and the links that lead to files, by name; raises ImportProblem for anything that is hostile.

    Links to folders and to nothing are left out: HTTP has no use for them.
    """
    files: dict[str, IsoEntry] = {}
    targets: dict[str, str] = {}
    for raw in index.entries:
        _check_name(raw.path, iso)
        if raw.path in files or raw.path in targets:
            raise ImportProblem(f"{iso} holds {raw.path} twice: nothing was imported")
        if raw.kind == "file":
            files[raw.path] = _entry(raw, size_bytes, iso)
        elif raw.kind == "link":
            targets[raw.path] = _link_target(raw, iso)
        else:
            raise ImportProblem(f"{raw.path} in {iso} is a device or a pipe: nothing was imported")
    _check_folders([*files, *targets], iso)
    links = {name: found for name in targets if (found := _followed(name, targets)) in files}
    return files, links


def _check_name(path: str, iso: str) -> None:
    parts = path.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts)
    if bad or len(path) > _LONGEST_PATH or "\\" in path or not path.isprintable():
        raise ImportProblem(f"{iso} holds the unsafe name {path[:200]!r}: nothing was imported")


def _entry(raw: RawEntry, size_bytes: int, iso: str) -> IsoEntry:
    for offset, length in raw.extents:
        if offset < 0 or length < 0 or offset + length > size_bytes:
            raise ImportProblem(
                f"{raw.path} lies beyond the end of {iso}: it was cut short or damaged, download it again"
            )
    return IsoEntry(raw.extents)


def _link_target(raw: RawEntry, iso: str) -> str:
    """Where a link leads, from the top; raises ImportProblem for a link that leads out of the ISO."""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(raw.path), raw.target))
    if raw.target.startswith("/") or found == ".." or found.startswith("../") or "\0" in found:
        raise ImportProblem(
            f"the link {raw.path} in {iso} leads out of it, to {raw.target[:200]!r}: nothing was imported"
        )
    return found


def _followed(name: str, targets: Mapping[str, str]) -> str | None:
    """The name that a link of links ends at; None where it goes round in circles."""
    for _ in range(_MOST_LINKS):
        if name not in targets:
            return name
        name = targets[name]
    return None


def _check_folders(names: Iterable[str], iso: str) -> None:
    """No file has the name of a folder."""
    known = set(names)
    for name in known:
        parent = posixpath.dirname(name)
        while parent:
            if parent in known:
                raise ImportProblem(f"{iso} holds {parent} as a file and as a folder: nothing was imported")
            parent = posixpath.dirname(parent)
