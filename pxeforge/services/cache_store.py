"""Files of the package cache on disk, shared by several processes without a server between them.

    <mirror>/<path>         whole files, dated as upstream dates them; when they were last asked for is their atime
    .fetching/<key>.part    what has come so far of a file; locked (flock) by the one process that writes it
    .fetching/<key>.json    what upstream said of it: how long it will be, and by what it is known again
    .about/<key>.json       what is known of an index: upstream's ETag, its SHA256, when upstream last vouched for it
    .counters/, .missing    numbers (cache_counters.py); what was asked for in vain while upstream was away

A file becomes whole by one rename of a part that has its full length and is on the disk. A note of `.fetching` or
`.about` names the inode that it speaks of and counts for no other, so that the two never have to change together.
Whoever reads a whole file holds a shared lock on it, and what is locked is not evicted.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from pxeforge.services.cache_counters import CacheCounters

_FETCHING: Final = ".fetching"
_ABOUT: Final = ".about"
_MISSING: Final = ".missing"
_ASKED_AGAIN_S: Final = 60  # an atime younger than this is not written again
_ABANDONED_S: Final = 86400  # a part that nobody has gone on with for so long
_MOST_MISSING: Final = 1000
_MOST_MISSING_BYTES: Final = 1 << 20
_SPARE_SHARE: Final = 20  # an eviction frees a twentieth more than was needed, so that the next one is not due at once


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time that processes of one computer can compare; of another boot it is always past."""

    boot: str
    at_s: float

    @classmethod
    def now(cls) -> Moment:
        return cls(_boot_id(), time.monotonic())

    def reaches(self, other: Moment) -> bool:
        return self.boot == other.boot and self.at_s >= other.at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What upstream said of a file that is coming. `modified`: unix seconds, our own clock's where it is not dated."""

    total: int
    modified: int
    dated: bool
    etag: str | None
    asked: Moment

    @property
    def validator(self) -> str | None:
        """For If-Range: a strong ETag or the date."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return _http_date(self.modified) if self.dated else None

    def is_same_file(self, other: Head) -> bool:
        mine = (self.total, self.etag, self.modified if self.dated else None)
        return self.validator is not None and mine == (
            other.total, other.etag, other.modified if other.dated else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a whole index."""

    etag: str | None
    modified: int
    dated: bool
    sha256: str
    checked: Moment
    beside: str | None = None  # of a detached signature: the SHA256 of the file it was fetched beside

    @property
    def conditions(self) -> dict[str, str]:
        """Headers by which upstream may answer that nothing has changed."""
        if self.etag is not None:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": _http_date(self.modified)} if self.dated else {}


@dataclass(slots=True)
class Whole:
    """An open whole file; whoever holds it closes the stream."""

    stream: IO[bytes]
    size: int
    modified: int


class Store:
    """The folder of the cache. Names are `<mirror>/<path>`, checked by the caller."""

    def __init__(
        self,
        root: Path,
        counters: CacheCounters,
        *,
        max_bytes: int,
        reserve_bytes: int,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """`max_bytes`: what all files together may have. `reserve_bytes`: what is left free on the disk."""
        self.root, self.counters = root, counters
        self._max, self._reserve, self._free = max_bytes, reserve_bytes, free_bytes
        self._noted: set[str] = set()
        for folder in (_FETCHING, _ABOUT):
            (root / folder).mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------ whole files

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def open_whole(self, name: str) -> Whole | None:
        try:
            descriptor = os.open(self.root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):  # only its writer holds it, for a moment more
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        now = time.time()
        if found.st_atime < now - _ASKED_AGAIN_S:
            with contextlib.suppress(OSError):
                os.utime(descriptor, ns=(int(now * 1e9), found.st_mtime_ns))
        return Whole(os.fdopen(descriptor, "rb", buffering=0), found.st_size, int(found.st_mtime))

    def forget(self, name: str) -> bool:
        """Whether there was such a file."""
        path = self.root / name
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            self.counters.add(used_bytes=-size)
            self._about_path(name).unlink(missing_ok=True)
            return True
        return False

    # ------------------------------------------------------------------ what is known of indexes

    def about(self, name: str) -> About | None:
        note = _read_note(self._about_path(name))
        try:
            found = (self.root / name).stat()
            if note is None or [found.st_ino, found.st_size] != [note["inode"], note["size"]]:
                return None
            return About(
                etag=note["etag"], modified=note["modified"], dated=note["dated"], sha256=note["sha256"],
                checked=Moment(*note["checked"]), beside=note["beside"],
            )  # fmt: skip
        except (OSError, KeyError, TypeError):
            return None

    def write_about(self, name: str, about: About) -> None:
        """Speaks of the file that is there now: called by whoever holds its part."""
        found = (self.root / name).stat()
        note = {
            "name": name, "inode": found.st_ino, "size": found.st_size, "etag": about.etag,
            "modified": about.modified, "dated": about.dated, "sha256": about.sha256,
            "checked": [about.checked.boot, about.checked.at_s], "beside": about.beside,
        }  # fmt: skip
        _write_note(self._about_path(name), note)

    def sha256(self, name: str) -> str | None:
        """Of a whole file: as it is known, else read."""
        about = self.about(name)
        if about is not None:
            return about.sha256
        with contextlib.suppress(OSError), (self.root / name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        return None

    # ------------------------------------------------------------------ parts

    def claim(self, name: str) -> Part | None:
        """The part of a file, to write; None while another one writes it."""
        path = self.part_path(name)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            if _is_at(descriptor, path):
                return Part(self, name, descriptor)
            os.close(descriptor)  # it became whole, or was begun anew, in between

    def adopt(self, name: str) -> bool:
        """Makes a file that never changes whole when all its bytes are here and its process has died; else False."""
        if not self._head_path(name).exists() or (part := self.claim(name)) is None:
            return False
        try:
            return part.head is not None and part.size == part.head.total and part.finish(part.head.modified)
        except OSError:
            return False
        finally:
            part.release()

    def open_part(self, name: str) -> tuple[IO[bytes], Head] | None:
        """What is coming of a file, to read while it grows; None until upstream has said how long it will be."""
        note = _read_note(self._head_path(name))
        head = _head_of(note)
        if note is None or head is None or note.get("gave_up"):
            return None
        try:
            stream = self.part_path(name).open("rb", buffering=0)
        except OSError:
            return None
        if os.fstat(stream.fileno()).st_ino != note["inode"]:
            stream.close()
            return None
        return stream, head

    def was_given_up(self, name: str, descriptor: int) -> bool:
        """Whether nobody is going to finish the part that is open here."""
        note = _read_note(self._head_path(name))
        return note is None or bool(note.get("gave_up")) or not _is_at(descriptor, self.part_path(name))

    def part_path(self, name: str) -> Path:
        return self.root / _FETCHING / f"{_key(name)}.part"

    def _head_path(self, name: str) -> Path:
        return self.root / _FETCHING / f"{_key(name)}.json"

    def _about_path(self, name: str) -> Path:
        return self.root / _ABOUT / f"{_key(name)}.json"

    # ------------------------------------------------------------------ room

    def make_room(self, wanted: int) -> bool:
        """Evicts what was not asked for the longest, where that is needed. False: a file of this size is not kept."""
        if wanted > self._max:
            return False
        if self._missing_bytes(wanted) <= 0:
            return True
        with self._evicting():
            missing = self._missing_bytes(wanted)
            if missing > 0:
                self._evict(wanted)
        return self._missing_bytes(wanted) <= 0

    def _missing_bytes(self, wanted: int) -> int:
        """How much must go before `wanted` bytes may come; zero or less: nothing."""
        promised, outstanding = self._coming()
        over = self.counters.total("used_bytes") + promised + wanted - self._max
        return max(over, self._reserve + outstanding + wanted - self._free(self.root))

    def _coming(self) -> tuple[int, int]:
        """Of all parts: the bytes they will have, and those of them that are not on the disk yet."""
        promised = outstanding = 0
        for note in (self.root / _FETCHING).glob("*.json"):
            head = _head_of(_read_note(note))
            with contextlib.suppress(OSError):
                there = note.with_suffix(".part").stat().st_size
                promised += head.total if head else there
                outstanding += max(0, head.total - there) if head else 0
        return promised, outstanding

    @contextlib.contextmanager
    def _evicting(self) -> Iterator[None]:
        """One at a time."""
        descriptor = os.open(self.root / ".evicting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _evict(self, wanted: int) -> None:
        self.sweep(older_than_s=0 if self._missing_bytes(wanted) > 0 else _ABANDONED_S)
        files = sorted(self._whole_files())
        self._correct_use(sum(size for _, size, _ in files))
        spare = self._max // _SPARE_SHARE
        missing = self._missing_bytes(wanted)
        if missing > 0:
            missing += min(spare, self._max - wanted)
        for _, size, path in files:
            if missing <= 0:
                break
            if _unlink_unread(path):
                missing -= size
                self.counters.add(used_bytes=-size, evicted_files=1, evicted_bytes=size)
                with contextlib.suppress(OSError):
                    self._about_path(str(path.relative_to(self.root))).unlink(missing_ok=True)
                    path.parent.rmdir()

    def _whole_files(self) -> Iterator[tuple[float, int, Path]]:
        """(last asked for, bytes, path) of each."""
        for mirror in self.root.iterdir():
            if mirror.name.startswith(".") or not mirror.is_dir():
                continue
            for folder, _, names in os.walk(mirror):
                for name in names:
                    path = Path(folder, name)
                    with contextlib.suppress(OSError):
                        found = path.lstat()
                        yield found.st_atime, found.st_size, path

    def recount(self) -> int:
        """Counts the bytes of all files anew (somebody may have put or removed some); returns them."""
        used = sum(size for _, size, _ in self._whole_files())
        self._correct_use(used)
        return used

    def _correct_use(self, used: int) -> None:
        self.counters.add(used_bytes=used - self.counters.total("used_bytes"))

    def sweep(self, *, older_than_s: float = _ABANDONED_S) -> int:
        """Removes parts that nobody writes and nobody has gone on with for so long; returns how many."""
        removed = 0
        for path in (self.root / _FETCHING).glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime >= older_than_s and _unlink_unread(path):
                    path.with_suffix(".json").unlink(missing_ok=True)
                    removed += 1
        for folder in (_FETCHING, _ABOUT):
            for path in (self.root / folder).glob("*.new"):  # a note that was being written
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime >= _ABANDONED_S:
                        path.unlink()
        return removed

    # ------------------------------------------------------------------ what was asked for in vain

    def note_missing(self, name: str) -> bool:
        """Whether that is news; anybody may ask for anything, so that only so many are noted."""
        if name in self._noted or len(self._noted) >= _MOST_MISSING:
            return False
        self._noted.add(name)
        with contextlib.suppress(OSError), (self.root / _MISSING).open("a") as stream:
            if stream.tell() < _MOST_MISSING_BYTES:
                stream.write(f"{name}\n")
        return True


def missing_files(root: Path) -> list[str]:
    """What was asked for while upstream was away and was not here, and still is not."""
    try:
        names = (root / _MISSING).read_text().splitlines()
    except OSError:
        return []
    return sorted(name for name in set(names) if not (root / name).is_file())


def forget_missing(root: Path) -> None:
    (root / _MISSING).unlink(missing_ok=True)


class Part:
    """The part of a file in the hands of the one who writes it. Ends with finish(), give_up() or release()."""

    def __init__(self, store: Store, name: str, descriptor: int) -> None:
        self._store, self.name, self._descriptor = store, name, descriptor
        self._path, self._note = store.part_path(name), store._head_path(name)
        self.size = os.fstat(descriptor).st_size
        note = _read_note(self._note)
        fits = note is not None and note.get("inode") == os.fstat(descriptor).st_ino
        self.head = _head_of(note) if fits else None
        if self.head is not None and self.head.asked.boot != _boot_id():
            self.head = None  # a computer that lost its power may have kept a length without the bytes

    def begin(self, head: Head) -> None:
        """From now on others may read what comes."""
        self.head = head
        self._write_head()

    def _write_head(self, **more: Any) -> None:
        assert self.head is not None
        head, inode = self.head, os.fstat(self._descriptor).st_ino
        asked = [head.asked.boot, head.asked.at_s]
        note = {
            "name": self.name, "inode": inode, "total": head.total, "modified": head.modified, "dated": head.dated,
            "etag": head.etag, "asked": asked, **more,
        }  # fmt: skip
        _write_note(self._note, note)

    def start_over(self) -> None:
        """Another file in its place, empty: who reads the old one must not see another's bytes."""
        if not self.size and self.head is None:
            return
        self._note.unlink(missing_ok=True)
        aside = self._path.with_suffix(".new")
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        aside.replace(self._path)
        os.close(self._descriptor)
        self._descriptor, self.size, self.head = descriptor, 0, None

    def append(self, piece: bytes) -> None:
        """Raises OSError when the disk is full."""
        view = memoryview(piece)
        while view:
            written = os.pwrite(self._descriptor, view, self.size)
            self.size += written
            view = view[written:]

    def digest(self) -> str:
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def finish(self, modified: int) -> bool:
        """Makes it the whole file. False where a folder is in its place: then it is not kept."""
        os.utime(self._descriptor, ns=(time.time_ns(), modified * 10**9))
        os.fsync(self._descriptor)
        target = self._store.root / self.name
        before = 0
        with contextlib.suppress(OSError):
            before = target.stat().st_size
        try:
            self._move(target)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        finally:
            self._note.unlink(missing_ok=True)
        self._store.counters.add(used_bytes=self.size - before, kept_files=1)
        return True

    def _move(self, target: Path) -> None:
        for last in (False, True):  # an eviction may have removed the empty folder in between
            try:
                _clear_way(self._store.root, target)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._path.replace(target)
            except FileNotFoundError:
                if last:
                    raise
            else:
                return

    def give_up(self) -> None:
        """What has come stays for the next try; whoever reads it is told that no more will come."""
        if self.head is not None and _is_at(self._descriptor, self._path):
            self._write_head(gave_up=True)

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def release(self) -> None:
        """Ends the claim. What holds nothing is removed."""
        if _is_at(self._descriptor, self._path) and (not self.size or self.head is None):
            self.discard()
        os.close(self._descriptor)


def is_written(descriptor: int) -> bool:
    """Whether somebody still writes the part that is open here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _unlink_unread(path: Path) -> bool:
    """Removes a file that nobody has locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(descriptor, path):
            return False
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _clear_way(root: Path, target: Path) -> None:
    """A file where the path needs a folder is an upstream's list of that folder, kept by mistake."""
    for folder in target.relative_to(root).parents:
        if (root / folder).is_file():
            (root / folder).unlink()


def _is_at(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _write_note(path: Path, note: dict[str, Any]) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    aside.write_text(json.dumps(note))
    aside.replace(path)


def _head_of(note: dict[str, Any] | None) -> Head | None:
    if note is None:
        return None
    try:
        return Head(
            total=int(note["total"]), modified=int(note["modified"]), dated=bool(note["dated"]), etag=note["etag"],
            asked=Moment(*note["asked"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None


def _http_date(seconds: int) -> str:
    from email.utils import formatdate

    return formatdate(seconds, usegmt=True)


@functools.cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
