"""Brings one file from upstream into the cache, in a thread of its own, at upstream's speed and whoever waits for it.

What breaks off goes on where it broke (Range with If-Range) as long as upstream still has the same file; what changed
in between is begun anew, and whoever read the old beginning is cut off.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from pxeforge.services.cache_store import About, Head, Moment, Part, Store
from pxeforge.services.cache_upstream import BrokeOff, MirrorDown, Upstream, UpstreamAnswer
from pxeforge.services.problems import Problem

log = structlog.get_logger(__name__)
TRIES: Final = 4
_PAUSE_S: Final = 0.3  # between two tries; it doubles
_SLOW_AFTER_S: Final = 60.0
_SLOW_BYTES_S: Final = 512.0
_BESIDE: Final = {"Release.gpg": "Release", "repomd.xml.asc": "repomd.xml", "repomd.xml.key": "repomd.xml"}


class NoRoom(Problem):
    """The file is not kept: it has to be handed through."""


class Fetch:
    """One download, or the question whether an index is still the same. `asked`: when upstream was asked."""

    def __init__(self, store: Store, upstream: Upstream, name: str, path: str, part: Part, *, fixed: bool) -> None:
        """`name` is `<mirror>/<path>`; `part` is claimed already, and released at the end."""
        self._store, self._upstream, self._name, self._path = store, upstream, name, path
        self._part, self._fixed = part, fixed
        self._changed, self._news = threading.Condition(), 0
        self.asked = Moment.now()
        self.ended = False
        self.arrived = False  # every byte is here, though perhaps not on the disk yet
        self.brought = False  # bytes came, the file was not just found unchanged
        self.problem: Problem | None = None

    def start(self, at_end: Callable[[], None]) -> None:
        """Raises RuntimeError when there can be no more threads; the part is released then."""
        thread = threading.Thread(target=self._guarded, args=(at_end,), name="cache-fetch", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._part.release()
            raise

    def wait(self, seen: int, timeout_s: float) -> int:
        """Until there is more news than `seen` (it can be read, it has ended), or so long; returns how much."""
        with self._changed:
            self._changed.wait_for(lambda: self._news > seen, timeout_s)
            return self._news

    def _tell(self) -> None:
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def _guarded(self, at_end: Callable[[], None]) -> None:
        try:
            self.run()
        except Problem as problem:
            self.problem = problem
        except OSError as problem:  # our own disk
            log.warning("a file was not kept", file=self._name, reason=str(problem))
            self._part.discard()
            self.problem = NoRoom(f"{self._name} cannot be written into the cache: {problem}")
        except Exception:
            log.exception("a download failed", file=self._name)
            self._part.discard()
            self.problem = MirrorDown(f"fetching {self._path} failed: see the server's log")
        finally:
            with contextlib.suppress(OSError):
                self._part.release()
            self.ended = True
            at_end()
            self._tell()

    def run(self) -> None:
        """In the thread. Raises NotFound, MirrorDown, NoRoom and OSError of our own disk."""
        for tried in range(1, TRIES + 1):
            before = self._part.size
            try:
                return self._try()
            except BrokeOff as problem:
                self._store.counters.add(broken=1)
                log.info("upstream broke off", file=self._name, at=self._part.size, reason=str(problem))
                if tried == TRIES:
                    self._part.give_up()
                    raise MirrorDown(
                        f"{self._upstream.shown} broke off {self._path} {TRIES} times: try again, it goes on from there"
                    ) from None
            except MirrorDown:
                if not before or tried == TRIES:
                    self._part.give_up()
                    raise
            time.sleep(_PAUSE_S * 2 ** (tried - 1))
        return None

    def _try(self) -> None:
        part = self._part
        if part.head is not None and part.size == part.head.total:  # who fetched it died a moment too early
            self.asked = part.head.asked
            return self._finish(None)
        validator = part.head.validator if part.head is not None and part.size else None
        known = None if self._fixed or validator else self._store.about(self._name)
        if validator is not None:
            headers = {"Range": f"bytes={part.size}-", "If-Range": validator}
        else:
            headers = known.conditions if known is not None else {}
        self.asked = Moment.now()
        self._store.counters.add(upstream_requests=1)
        with self._upstream.ask(self._path, headers) as answer:
            if answer.status == 304 and known is not None and headers:
                self._vouched(known)
            elif answer.status in (200, 206):
                self._take(answer)
            else:  # a range or condition that upstream did not understand
                part.start_over()
                raise BrokeOff(f"answered {answer.status}")
        return None

    def _vouched(self, known: About) -> None:
        """Upstream says that the index is still the same."""
        self._store.write_about(self._name, About(
            etag=known.etag, modified=known.modified, dated=known.dated, sha256=known.sha256, checked=self.asked,
            beside=self._beside(),
        ))  # fmt: skip
        self._store.counters.add(revalidated=1)

    def _take(self, answer: UpstreamAnswer) -> None:
        part, skip = self._part, 0
        if answer.status == 206:
            if part.head is None or answer.start != part.size or answer.total != part.head.total:
                part.start_over()
                raise BrokeOff("another part than was asked for")
            self._store.counters.add(resumed=1)
            part.begin(part.head)
        elif answer.total is None:
            part.start_over()  # nobody can be told its length before it is whole
        else:
            skip = self._begin(answer, answer.total)
        self._copy(answer, skip)
        self._finish(answer)

    def _begin(self, answer: UpstreamAnswer, total: int) -> int:
        """Returns how many bytes of the body are here already."""
        part, head = self._part, self._head(answer, total)
        if part.head is None or not part.head.is_same_file(head):
            part.start_over()
        elif part.size:
            part.begin(part.head)
            return part.size
        if not self._store.make_room(total):
            raise NoRoom(f"{self._name} has {total} bytes, for which the cache has no room")
        part.begin(head)
        return 0

    def _copy(self, answer: UpstreamAnswer, skip: int) -> None:
        part, head = self._part, self._part.head
        began, came = time.monotonic(), 0
        self._tell()
        for piece in answer.pieces():
            self.brought = True
            self._store.counters.add(upstream_bytes=len(piece))
            fresh = piece[skip:]
            skip -= len(piece) - len(fresh)
            if head is not None and part.size + len(fresh) > head.total:
                part.start_over()
                raise MirrorDown(f"{self._upstream.shown} sends more of {self._path} than it said: choose another")
            part.append(fresh)
            came += len(piece)
            if (passed := time.monotonic() - began) >= _SLOW_AFTER_S:
                if came < _SLOW_BYTES_S * passed:
                    raise BrokeOff("too slow")
                began, came = time.monotonic(), 0
        if head is not None and part.size < head.total:
            raise BrokeOff(f"{head.total - part.size} bytes too early")

    def _finish(self, answer: UpstreamAnswer | None) -> None:
        part = self._part
        self.arrived = True
        head = part.head if part.head is not None or answer is None else self._head(answer, part.size)
        assert head is not None
        sha256 = None if self._fixed else part.digest()
        if not part.finish(head.modified):
            raise NoRoom(f"a folder is in the place of {self._name}")
        if sha256 is not None:
            about = About(
                etag=head.etag, modified=head.modified, dated=head.dated, sha256=sha256, checked=self.asked,
                beside=self._beside(),
            )  # fmt: skip
            self._store.write_about(self._name, about)

    def _head(self, answer: UpstreamAnswer, total: int) -> Head:
        return Head(
            total=total, modified=answer.modified if answer.modified is not None else int(time.time()),
            dated=answer.modified is not None, etag=answer.etag, asked=self.asked,
        )  # fmt: skip

    def _beside(self) -> str | None:
        """For a detached signature: the file that it signs, as we have it now."""
        folder, _, name = self._name.rpartition("/")
        return self._store.sha256(f"{folder}/{_BESIDE[name]}") if name in _BESIDE else None
