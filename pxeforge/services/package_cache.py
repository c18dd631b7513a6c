"""The package cache of the boot plane: repositories of Debian, Ubuntu and RPM, pulled through and kept on disk.

What never changes under its name (packages, by-hash, what is named by its checksum) is fetched once and then served
from the disk. Everything else is an index, and each request for one is answered with what upstream vouched for after
the request had come in: by a conditional request that all who wait share, or by a download that began later. So who
got today's Release never gets yesterday's Packages, whatever others have asked for before.

Upstream away (or `mirror_offline`): what is on the disk is served, indexes only as far as they belong together. Of
InRelease and Release the one with the later Date counts; an index that it lists must have the SHA256 that stands in
it, as those in repodata/ must have the one of repomd.xml; a detached signature must have been fetched beside the very
file that is here. By-hash files cannot be wrong. What is refused so is named like what is missing. Clients that got
an old index this way and go on when upstream is back see what they would see on any mirror that changes under them;
apt mends that itself by by-hash.

That something is not there is never remembered. Integrity is the client's business (signatures, checksums), wholeness
ours: an answer has the length that upstream told, or the connection breaks.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import structlog

from pxeforge.services.cache_counters import CacheCounters, read_counters
from pxeforge.services.cache_fetch import Fetch, NoRoom
from pxeforge.services.cache_store import Moment, Store, Whole, is_written, missing_files
from pxeforge.services.cache_upstream import MirrorDown, Upstream
from pxeforge.services.problems import NotFound, Problem
from pxeforge.services.repository_index import MOST_BYTES, release_date, release_sums, repomd_sums
from pxeforge.services.repository_paths import checked_path, is_fixed

log = structlog.get_logger(__name__)
DEFAULT_MAX_BYTES: Final = 100 << 30
DEFAULT_RESERVE_BYTES: Final = 2 << 30  # anybody on the boot network can ask for files
_LOOK_S: Final = 0.02  # how often is looked whether another process has got further
_ALIVE_S: Final = 1.0  # after so long without a byte it is checked that somebody still writes
_MOST_FETCHES: Final = 32
_MOST_KEPT_WAITING: Final = 256  # those included whose bytes are here and are being written to the disk
_REVIVALS: Final = 3
_SIGNATURES: Final = ("Release.gpg", "repomd.xml.asc", "repomd.xml.key")
_UPSTREAMS: Final = ".upstreams.json"


class Unavailable(NotFound):
    """Not in the cache, and upstream is not to be asked. For the client it is not there: it may do without."""


class Busy(Problem):
    """Upstream is too slow, or too many files are being fetched."""

    status = 503


class CutOff(OSError):
    """A file that was being sent will not become whole: the connection must break."""


@dataclass(slots=True)
class Passed:
    """An answer of upstream's that is handed through; `body` is read to its end or closed."""

    status: int
    headers: Mapping[str, str]
    body: Iterator[bytes]


class Growing:
    """A file that is being fetched, open for reading. A server asks arrived() and never has to wait in read()."""

    def __init__(self, stream: IO[bytes], total: int, modified: int, revive: Callable[[], bool]) -> None:
        """`revive`: makes somebody go on with it when its writer has died; False: nobody will."""
        self.stream, self.size, self.modified = stream, total, modified
        self._revive = revive
        self._seen, self._look_at, self._revivals = -1, 0.0, 0

    def arrived(self) -> int:
        """How many of its bytes are there. Raises CutOff when the others will not come."""
        import os

        size = os.fstat(self.stream.fileno()).st_size
        now = time.monotonic()
        if size > self._seen:
            self._seen, self._look_at = size, now + _ALIVE_S
        elif size < self.size and now >= self._look_at:
            self._look_at = now + _ALIVE_S
            if not is_written(self.stream.fileno()):
                size = os.fstat(self.stream.fileno()).st_size
                if size < self.size and (self._revivals >= _REVIVALS or not self._revive()):
                    raise CutOff(f"{size} of {self.size} bytes came")
                self._revivals += 1
        return min(size, self.size)

    def read(self, most: int = -1) -> bytes:
        """For a server that cannot wait otherwise: waits until there is something."""
        while (there := self.arrived() - self.tell()) <= 0:
            if self.tell() >= self.size:
                return b""
            time.sleep(_LOOK_S)
        return self.stream.read(there if most < 0 else min(there, most))

    def tell(self) -> int:
        return self.stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.stream.seek(offset, whence)

    def fileno(self) -> int:
        return self.stream.fileno()

    def close(self) -> None:
        self.stream.close()


Found = Whole | Growing | Passed


class PackageCache:
    """The repositories by name and their common folder. Processes and threads may share the folder."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        folder: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        reserve_bytes: int = DEFAULT_RESERVE_BYTES,
        offline: bool = False,
        for_hosts: bool = True,
        patience_s: float = 25.0,
        **store_words: Any,
    ) -> None:
        """`patience_s`: how long somebody waits for upstream's first word (apt itself gives up after 30).

        `for_hosts`: what is asked for counts in the hit rate.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._upstreams, self._offline, self._patience_s = folder, dict(upstreams), offline, patience_s
        if "pool" not in self._upstreams:
            _adopt_old_layout(folder)
        self.counters = CacheCounters(folder / ".counters")
        self.store = Store(folder, self.counters, max_bytes=max_bytes, reserve_bytes=reserve_bytes, **store_words)
        self._fetches: dict[str, Fetch] = {}
        self._lock = threading.Lock()
        self._for_hosts = for_hosts
        self._max_bytes = max_bytes

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._upstreams)

    # ------------------------------------------------------------------ what needs nobody else

    def warm(self, mirror: str, path: str) -> Whole | None:
        """A file that never changes, when it is here: no waiting. None for all others, bad names as well."""
        try:
            if mirror not in self._upstreams or not is_fixed(checked_path(path)):
                return None
        except NotFound:
            return None
        whole = self.store.open_whole(f"{mirror}/{path}")
        if whole is not None:
            self.counters.add(requests=1, hits=1, served_bytes=whole.size)
        return whole

    def is_warm(self, mirror: str, path: str) -> bool:
        """Whether the answer need not wait for upstream."""
        try:
            return mirror in self._upstreams and is_fixed(checked_path(path)) and self.store.has(f"{mirror}/{path}")
        except NotFound:
            return True  # refused at once

    # ------------------------------------------------------------------ any file

    @property
    def offline(self) -> bool:
        return self._offline

    def get(self, mirror: str, path: str) -> Found:
        """The file, whole or coming. Raises NotFound, MirrorDown, Unavailable, Busy."""
        upstream, name = self._known(mirror), f"{mirror}/{checked_path(path)}"
        self._count(requests=1)
        try:
            found = self._get(upstream, name, path)
        except Unavailable:
            raise
        except NotFound:
            self._count(not_found=1)
            raise
        except (MirrorDown, Busy):
            self._count(failed=1)
            raise
        if not isinstance(found, Passed):
            self._count(served_bytes=found.size)
        return found

    def head(self, mirror: str, path: str) -> Found:
        """As get(), but nothing is fetched for it: upstream is asked the same."""
        upstream, name = self._known(mirror), f"{mirror}/{checked_path(path)}"
        if self._offline or is_fixed(path):
            whole = self.store.open_whole(name)
            if whole is not None or self._offline:
                return whole or self._stale(name, path, "mirror_offline is set")
        with upstream.ask(path, {}, head=True) as answer:
            return Passed(answer.status, answer.headers, iter(()))

    def _count(self, **amounts: int) -> None:
        if self._for_hosts:
            self.counters.add(**amounts)

    def _known(self, mirror: str) -> Upstream:
        upstream = self._upstreams.get(mirror)
        if upstream is None and mirror == "debian":
            raise NotFound("no package mirror is configured: set `mirror`")
        if upstream is None:
            known = ", ".join(sorted(self._upstreams)) or "none"
            raise NotFound(f"there is no mirror {mirror[:100]!r} (known: {known}): set `url` in [mirrors.NAME]")
        return upstream

    def _get(self, upstream: Upstream, name: str, path: str) -> Found:
        fixed, arrival = is_fixed(path), Moment.now()
        if self._offline:
            return self._stale(name, path, "mirror_offline is set")
        if fixed and (whole := self.store.open_whole(name)) is not None:
            self._count(hits=1)
            return whole
        try:
            if upstream.is_stalled:
                raise Busy(f"{upstream.shown} keeps many others waiting: try again in a while")
            with upstream.waited_for():
                return self._fetched(upstream, name, path, fixed, arrival)
        except NoRoom:
            self._count(passed=1)
            return self._pass(upstream, path)
        except (MirrorDown, Busy) as problem:
            return self._stale(name, path, str(problem), problem)

    def _fetched(self, upstream: Upstream, name: str, path: str, fixed: bool, arrival: Moment) -> Found:
        """From upstream, or from who fetches it already. Raises what a Fetch raises, and Busy."""
        until = time.monotonic() + self._patience_s
        mine: Fetch | None = None
        last, seen = None, 0
        while True:
            found = self._ready(upstream, name, path, fixed, arrival)
            if found is not None:
                self._count_fetched(mine)
                return found
            fetch, begun = self._join(upstream, name, path, fixed)
            mine = fetch if begun else mine
            if fetch is None:
                time.sleep(_LOOK_S)
            else:
                seen = fetch.wait(seen if fetch is last else 0, max(0.0, until - time.monotonic()))
                if fetch.ended and fetch.problem is not None and (fixed or fetch.asked.reaches(arrival)):
                    raise fetch.problem
            last = fetch
            if time.monotonic() >= until:
                raise Busy(f"{upstream.shown} takes too long for {path}: try again in a while")

    def _count_fetched(self, mine: Fetch | None) -> None:
        if mine is None:
            self._count(joined=1)
        elif mine.brought or not mine.ended:
            self._count(misses=1)
        else:
            self._count(hits=1)

    def _ready(self, upstream: Upstream, name: str, path: str, fixed: bool, arrival: Moment) -> Whole | Growing | None:
        """What may be answered now: see above why an index must be asked for after the request came in."""
        about = None if fixed else self.store.about(name)
        if fixed or (about is not None and about.checked.reaches(arrival)):
            whole = self.store.open_whole(name)
            if whole is not None:
                return whole
        coming = self.store.open_part(name)
        if coming is None:
            return None
        stream, head = coming
        if not is_written(stream.fileno()) or not (fixed or head.asked.reaches(arrival)):
            stream.close()
            return None
        return Growing(stream, head.total, head.modified, lambda: self._revive(upstream, name, path, fixed, stream))

    def _join(self, upstream: Upstream, name: str, path: str, fixed: bool) -> tuple[Fetch | None, bool]:
        """The download of this process and whether we have begun it. None: another process does it, or too many."""
        with self._lock:
            fetch = self._fetches.get(name)
            if fetch is not None:
                return fetch, False
            part = self.store.claim(name) if self._may_begin() else None
            if part is None:
                return None, False
            if fixed and self.store.has(name):  # it became whole a moment ago
                part.release()
                return None, False
            fetch = Fetch(self.store, upstream, name, path, part, fixed=fixed)
            self._fetches[name] = fetch
            try:
                fetch.start(lambda: self._forget(name))
            except RuntimeError:
                del self._fetches[name]
                return None, False
            return fetch, True

    def _may_begin(self) -> bool:
        """A disk that takes long to keep what has come (fsync) must not hold up what is still to come."""
        coming = sum(not fetch.arrived for fetch in self._fetches.values())
        return coming < _MOST_FETCHES and len(self._fetches) < _MOST_KEPT_WAITING

    def _forget(self, name: str) -> None:
        with self._lock:
            self._fetches.pop(name, None)

    def _revive(self, upstream: Upstream, name: str, path: str, fixed: bool, stream: IO[bytes]) -> bool:
        """The process that fetched it has died: we go on."""
        if stream.closed or self.store.was_given_up(name, stream.fileno()):
            return False
        fetch, _ = self._join(upstream, name, path, fixed)
        return fetch is not None or is_written(stream.fileno())

    def _pass(self, upstream: Upstream, path: str) -> Passed:
        """Handed through whole: a part of it would be the client's next request."""
        answer = upstream.open(path, {})

        def body() -> Iterator[bytes]:
            with contextlib.closing(answer):
                yield from answer.pieces()

        if answer.status != 200 or answer.total is None:
            answer.close()
            raise MirrorDown(f"{upstream.shown} does not say how long {path} is, and the cache has no room for it")
        return Passed(200, answer.headers, body())

    # ------------------------------------------------------------------ without upstream

    def _stale(self, name: str, path: str, why: str, problem: Problem | None = None) -> Whole:
        whole = self.store.open_whole(name)
        if whole is None and is_fixed(path) and self.store.adopt(name):
            whole = self.store.open_whole(name)
        if whole is not None and (is_fixed(path) or self._belongs(name)):
            self._count(hits=1, stale=0 if is_fixed(path) else 1)
            return whole
        self._count(missing=1)
        lack = "is not in the cache" if whole is None else "does not belong to the Release or repomd.xml in the cache"
        if whole is not None:
            whole.stream.close()
        if self.store.note_missing(name):
            log.info("missing in the package cache", file=name, reason=why)
        if problem is not None:  # the same one is in the hands of others who wait
            raise type(problem)(f"{why}; {name} {lack}")
        raise Unavailable(
            f"{name} {lack}, and upstream cannot be asked: {why}; `pxeforge mirror prefetch` fetches what is needed "
            "beforehand"
        )

    def _belongs(self, name: str) -> bool:
        """Whether an index fits what vouches for it; one that nothing vouches for does."""
        folder, _, last = name.rpartition("/")
        if last in _SIGNATURES:
            about = self.store.about(name)
            signed = self.store.sha256(f"{folder}/{'Release' if last == 'Release.gpg' else 'repomd.xml'}")
            return about is not None and about.beside is not None and about.beside == signed
        if last in ("InRelease", "Release") and self._release(folder) is not None:
            return self._release(folder) == name or (last == "Release" and self._same_release(folder))
        if folder.endswith("/repodata"):
            sums = repomd_sums(self._text(f"{folder}/repomd.xml") or "")
            return sums.get(f"repodata/{last}") in (None, self.store.sha256(name))
        return self._is_listed(name)

    def _is_listed(self, name: str) -> bool:
        folder = name
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            head = self._release(folder)
            if head is not None:
                sums = release_sums(self._text(head) or "")
                return sums.get(name.removeprefix(f"{folder}/")) in (None, self.store.sha256(name))
        return True

    def _release(self, folder: str) -> str | None:
        """The head of the suite in this folder that counts: the later of InRelease and Release, if they list files."""
        dated = []
        for rank, last in enumerate(("Release", "InRelease")):
            text = self._text(f"{folder}/{last}")
            if text is not None and release_sums(text):
                dated.append((release_date(text) or 0.0, rank, f"{folder}/{last}"))
        return max(dated)[2] if dated else None

    def _same_release(self, folder: str) -> bool:
        """Release and InRelease of one date are one text."""
        old, new = self._text(f"{folder}/Release"), self._text(f"{folder}/InRelease")
        return old is not None and new is not None and release_date(old) == release_date(new)

    def _text(self, name: str) -> str | None:
        try:
            with (self._folder / name).open("rb") as stream:
                return stream.read(MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    # ------------------------------------------------------------------ for people

    def tell_upstreams(self) -> None:
        """Leaves word for cache_status() which mirrors the boot plane serves."""
        from pxeforge.services.context import write_news

        mirrors = {name: upstream.shown for name, upstream in sorted(self._upstreams.items())}
        note = {"mirrors": mirrors, "offline": self._offline, "max_bytes": self._max_bytes}
        write_news(self._folder / _UPSTREAMS, json.dumps(note).encode())


def cache_status(folder: Path) -> dict[str, Any]:
    """Counters, the share of hits, what is missing, and the mirrors the boot plane was started with."""
    counters = read_counters(folder / ".counters")
    answered = sum(counters[name] for name in ("hits", "joined", "misses", "passed"))
    told: dict[str, Any] = {"mirrors": {}, "offline": False, "max_bytes": None}
    with contextlib.suppress(OSError, ValueError):
        told |= json.loads((folder / _UPSTREAMS).read_text())
    rate = (counters["hits"] + counters["joined"]) / answered if answered else None
    return {**told, "hit_rate": rate, "counters": counters, "missing": missing_files(folder)}


def tidy_cache(folder: Path) -> int:
    """At the start: removes what killed downloads left long ago, and counts the bytes anew; returns how many went."""
    counters = CacheCounters(folder / ".counters")
    try:
        store = Store(folder, counters, max_bytes=DEFAULT_MAX_BYTES, reserve_bytes=DEFAULT_RESERVE_BYTES)
        store.recount()
        return store.sweep()
    finally:
        counters.close()


def _adopt_old_layout(folder: Path) -> None:
    """Before there were several mirrors, Debian's `pool/` lay here itself."""
    with contextlib.suppress(OSError):
        if (folder / "pool").is_dir():
            (folder / "debian").mkdir(exist_ok=True)
            (folder / "pool").rename(folder / "debian" / "pool")
