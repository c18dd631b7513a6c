"""Who may fetch a large file now and who waits: a bounded number of places, given out fairly by host."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

_HOST_SHARE: Final = 4  # one host gets a quarter of the places at most


class Turn(enum.Enum):
    """The answer to who asks for a place."""

    NOW = "now"
    WAIT = "wait"
    BUSY = "busy"  # the queue is full too


Who = TypeVar("Who", bound=Hashable)


class Admission(Generic[Who]):
    """Pure bookkeeping; time is the caller's. `who` is any hashable name of a transfer, `host` of its receiver."""

    def __init__(self, places: int, *, longest_queue: int = 2000) -> None:
        self._places, self._longest_queue = places, longest_queue
        self._per_host = max(2, places // _HOST_SHARE)
        self._running: dict[Who, str] = {}
        self._waiting: dict[Who, str] = {}  # in the order of arrival
        self._by_host: Counter[str] = Counter()  # running ones

    def ask(self, who: Who, host: str) -> Turn:
        """WAIT: `who` comes back from a later leave()."""
        if len(self._running) < self._places and self._by_host[host] < self._per_host:
            self._start(who, host)
            return Turn.NOW
        if len(self._waiting) >= self._longest_queue:
            return Turn.BUSY
        self._waiting[who] = host
        return Turn.WAIT

    def leave(self, who: Who) -> list[Who]:
        """`who` has ended, given its place up, or waits no more. Returns those whose turn it is now."""
        self._waiting.pop(who, None)
        host = self._running.pop(who, None)
        if host is None:
            return []
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
        admitted = []
        while len(self._running) < self._places and (following := self._following()) is not None:
            self._start(following, self._waiting.pop(following))
            admitted.append(following)
        return admitted

    def _start(self, who: Who, host: str) -> None:
        self._running[who] = host
        self._by_host[host] += 1

    def _following(self) -> Who | None:
        """Of the hosts with the fewest transfers the one that waits longest."""
        best: Who | None = None
        fewest = self._per_host
        for who, host in self._waiting.items():
            if self._by_host[host] < fewest:
                best, fewest = who, self._by_host[host]
                if not fewest:
                    break
        return best

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def has_place(self, who: Who) -> bool:
        return who in self._running

    def counts(self) -> dict[str, int]:
        """For whoever watches the server."""
        return {"sending": len(self._running), "waiting": len(self._waiting)}
