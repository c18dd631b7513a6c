"""Work that can wait gives way to people: pages and work of one process share one interpreter."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_REST: Final = 4.0  # idle for so many times as long as was worked
_QUIET_S: Final = 0.1  # who asks once often asks again at once


class Courtesy:
    """Who is being answered now; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answering = 0
        self._ended = float("-inf")

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around whatever somebody waits for."""
        with self._lock:
            self._answering += 1
        try:
            yield
        finally:
            with self._lock:
                self._answering -= 1
                self._ended = time.monotonic()

    def give_way(self, worked_s: float, longest_s: float) -> None:
        """Between two pieces of work, the last of which took `worked_s` of processor time.

        Idles four times as long, and then until nobody has waited for an answer for a tenth of a second, but
        `longest_s` at most.
        """
        time.sleep(_REST * worked_s)
        until = time.monotonic() + longest_s
        while self._is_busy() and (left := until - time.monotonic()) > 0:
            time.sleep(min(_QUIET_S / 2, left))

    def _is_busy(self) -> bool:
        with self._lock:
            return self._answering > 0 or time.monotonic() - self._ended < _QUIET_S
