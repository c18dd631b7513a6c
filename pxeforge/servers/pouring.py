"""Files that flow to many sockets at once: the way of pour.c in Python, for where that could not be compiled."""

from __future__ import annotations

import math
import os
import select
import time
from typing import Final

_EVENTS: Final = 256


class Pour:
    """By socket, which part of which open file is left to send; run() sends while sockets take more.

    `epoll`: descriptor of the loop's epoll, on which the sockets are registered for EPOLLOUT. `most`: bytes of one
    socket before the next one has its turn.
    """

    def __init__(self, epoll: int, most: int) -> None:
        if most <= 0:
            raise ValueError("most must be above 0")
        self._epoll = select.epoll.fromfd(os.dup(epoll))
        self._most = most
        self._parts: dict[int, tuple[int, int, int]] = {}  # by socket: file, offset, length

    def add(self, socket: int, file: int, offset: int, length: int, /) -> None:
        """Bytes of an open file go to a socket; raises ValueError."""
        if socket < 0 or file < 0 or offset < 0 or length <= 0:
            raise ValueError("no such part of a file, or no such socket")
        self._parts[socket] = file, offset, length

    def left(self, socket: int, /) -> tuple[int, int]:
        """(offset, length) of what is not sent yet; raises KeyError."""
        return self._parts[socket][1:]

    def take(self, socket: int, /) -> tuple[int, int]:
        """Like left(), and nothing more is sent."""
        return self._parts.pop(socket)[1:]

    def run(self, limit_s: float, /) -> list[tuple[int, int]]:
        """Sends for so many seconds at most. Returns what else happened (other sockets, errors, parts that are sent),
        as epoll does; empty: the time is over.
        """
        end = time.monotonic() + limit_s
        while (left_s := end - time.monotonic()) > 0:
            events = self._epoll.poll(math.ceil(left_s * 1000) / 1000, _EVENTS)
            if others := [pair for pair in events if pair[1] != select.EPOLLOUT or not self._pour(pair[0])]:
                return others
        return []

    def _pour(self, socket: int) -> bool:
        """The next piece; False: whatever it was, it is not for us."""
        if socket not in self._parts:
            return False
        file, offset, length = self._parts[socket]
        try:
            sent = os.sendfile(socket, file, offset, min(length, self._most))
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._parts[socket] = file, offset + sent, length - sent
        return sent > 0 and length > sent
