"""One selector, one thread: calls the handler of each readable socket and a regular tick, until stop()."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)
_NO_TICK_S: Final = 60.0
_AFTER_FAILURE_S: Final = 0.5
_MOST_PER_ROUND: Final = 256
_GLANCES: Final = 30


def look_again(epoll: select.epoll, most: int) -> list[tuple[int, int]]:
    """What becomes ready within a few glances, the processor left to others between them; empty: sleep now.

    Between packets that come every few microseconds, falling asleep and being woken costs more than the packets do. It
    is some 30 microseconds of processor time before each sleep, for those who had something to do a moment ago.
    """
    for _ in range(_GLANCES):
        if events := epoll.poll(0, most):
            return events
        os.sched_yield()
    return []


class Loop:
    """A handler that raises is logged and has lost its packet; the loop goes on. stop() may come from any thread."""

    def __init__(self, name: str, *, tick: Callable[[], float | None] | None = None, is_eager: bool = False) -> None:
        """`tick` is called at least once per round and returns in how many seconds it wants to be called again.
        `is_eager`: after a round that brought something, looks again a few times before it sleeps (see look_again()).
        """
        self._name, self._tick, self._is_eager = name, tick, is_eager
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._handlers: dict[int, Callable[[], None]] = {}  # by file descriptor
        self._stopping = threading.Event()
        self._closing = threading.RLock()  # a signal handler may call stop() inside close()
        self._closed = False

    def add(self, udp: socket.socket, handler: Callable[[], None]) -> None:
        """The socket must be non-blocking: a handler may be called although nothing is there to read."""
        self._epoll.register(udp.fileno(), select.EPOLLIN)
        self._handlers[udp.fileno()] = handler

    def remove(self, udp: socket.socket) -> None:
        """Before the socket is closed."""
        self._epoll.unregister(udp.fileno())
        del self._handlers[udp.fileno()]

    def change(self, udp: socket.socket, handler: Callable[[], None], *, for_room: bool = False) -> None:
        """From now on `handler` is called when something is there to read, or `for_room` when there is room to send."""
        self._epoll.modify(udp.fileno(), select.EPOLLOUT if for_room else select.EPOLLIN)
        self._handlers[udp.fileno()] = handler

    def run(self) -> None:
        """Returns after stop()."""
        is_busy = False
        while not self._stopping.is_set():
            pause_s = self._pause_s()
            events = look_again(self._epoll, _MOST_PER_ROUND) if is_busy else []
            events = events or self._epoll.poll(pause_s, _MOST_PER_ROUND)
            is_busy = self._is_eager and bool(events)
            for descriptor, _ in events:
                # A handler may have removed a socket that was readable in the same round; if a new one has its number
                # already, that one is asked for nothing.
                handler = self._handlers.get(descriptor)
                if handler is None:
                    continue
                try:
                    handler()
                except Exception:
                    log.exception("a packet was dropped", server=self._name)

    def stop(self) -> None:
        """Ends run() at once; may be called twice."""
        self._stopping.set()
        with self._closing:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Gives the selector back; after run() has returned."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._epoll.close()
                os.close(self._wake)

    def _pause_s(self) -> float:
        try:
            pause_s = self._tick() if self._tick else None
        except Exception:
            log.exception("the regular work of a server failed", server=self._name)
            return _AFTER_FAILURE_S
        return pause_s if pause_s is not None else _NO_TICK_S
