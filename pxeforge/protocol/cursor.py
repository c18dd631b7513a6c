"""Reads a datagram field by field and cannot run past its end."""

from __future__ import annotations


class Malformed(Exception):
    """The bytes are no message of this protocol; the text says why. It is the peer's fault: drop and count."""


class Cursor:
    """A read position in a byte string; every read that would pass the end raises Malformed."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; `what` names the field in the error."""
        if count > self.left:
            raise Malformed(f"{what} needs {count} bytes, {self.left} are left")
        start = self._position
        self._position += count
        return self._data[start : self._position]

    def number(self, size: int, what: str) -> int:
        """An unsigned number of `size` bytes in network order."""
        return int.from_bytes(self.take(size, what), "big")

    def text_until_nul(self, what: str) -> bytes:
        """The bytes before the next NUL, which is consumed."""
        end = self._data.find(b"\0", self._position)
        if end < 0:
            raise Malformed(f"{what} is not terminated")
        found = self.take(end - self._position, what)
        self.take(1, what)
        return found
