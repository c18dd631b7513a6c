"""One selector, one thread: calls the handler of each readable socket and a regular tick, until stop()."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)
_NO_TICK_S: Final = 60.0
_AFTER_FAILURE_S: Final = 0.5


class Loop:
    """A handler that raises is logged and has lost its packet; the loop goes on. stop() may come from any thread."""

    def __init__(self, name: str, *, tick: Callable[[], float | None] | None = None) -> None:
        """`tick` is called at least once per round and returns in how many seconds it wants to be called again."""
        self._name, self._tick = name, tick
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._handlers: dict[socket.socket, Callable[[], None]] = {}
        self._stopping = threading.Event()
        self._closing = threading.RLock()  # a signal handler may call stop() inside close()
        self._closed = False

    def add(self, udp: socket.socket, handler: Callable[[], None]) -> None:
        self._selector.register(udp, selectors.EVENT_READ, udp)
        self._handlers[udp] = handler

    def remove(self, udp: socket.socket) -> None:
        """Before the socket is closed."""
        self._selector.unregister(udp)
        del self._handlers[udp]

    def run(self) -> None:
        """Returns after stop()."""
        while not self._stopping.is_set():
            for key, _ in self._selector.select(self._pause_s()):
                # A handler may have removed a socket that was readable in the same round.
                handler = self._handlers.get(key.data)
                if handler is not None:
                    self._guarded(handler)

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
                self._selector.close()
                os.close(self._wake)

    def _pause_s(self) -> float:
        try:
            pause_s = self._tick() if self._tick else None
        except Exception:
            log.exception("the regular work of a server failed", server=self._name)
            return _AFTER_FAILURE_S
        return pause_s if pause_s is not None else _NO_TICK_S

    def _guarded(self, handler: Callable[[], None]) -> None:
        try:
            handler()
        except Exception:
            log.exception("a packet was dropped", server=self._name)
