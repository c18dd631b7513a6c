"""Log lines that packets cause: so many a second and no more, for a line costs more than the packet."""

from __future__ import annotations

from typing import Any, Final

LINES_PER_S: Final = 20


class PacedLog:
    """A quiet wire is told line by line; in a storm the next line says how many were left out."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._second, self._told, self._left_out = 0, 0, 0

    def tell(self, level: str, event: str, now: float, **facts: object) -> None:
        """`level` is debug, info or warning; `now` in seconds."""
        if int(now) != self._second:
            self._second, self._told = int(now), 0
        if self._told >= LINES_PER_S:
            self._left_out += 1
            return
        self._told += 1
        if self._left_out:
            facts["left_out_before"], self._left_out = self._left_out, 0
        getattr(self._log, level)(event, **facts)

    def has_room(self, now: float) -> bool:
        """Whether a line would be told now; asks for nothing to be made that is not."""
        if int(now) != self._second or self._told < LINES_PER_S:
            return True
        self._left_out += 1
        return False
