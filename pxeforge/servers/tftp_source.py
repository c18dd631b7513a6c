"""The bytes of a TFTP transfer: a rendered text in memory, or a file that is read as the client goes on."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_AHEAD: Final = 1 << 16
_LARGE: Final = _AHEAD // 4  # who reads as much at once gets nothing from our reading ahead


class Source:
    """Give it back with close()."""

    def __init__(self, content: bytes | Path) -> None:
        """Raises OSError."""
        self._file: int | None = None
        self._ahead_at = 0
        self._ahead = b""
        if isinstance(content, bytes):
            self._ahead, self.size = content, len(content)
        else:
            # O_NONBLOCK: opening a pipe must not stop the loop.
            self._file = os.open(content, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode):
                self.close()
                raise OSError(errno.EINVAL, "not a regular file")
            self.size = found.st_size

    @property
    def descriptor(self) -> int | None:
        """Of the open file; None where the text is in memory."""
        return self._file

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes, fewer only at the end. Files are read ahead: one system call for many small blocks."""
        if self._file is not None and length >= _LARGE:
            return os.pread(self._file, length, offset)
        start = offset - self._ahead_at
        if self._file is not None and not 0 <= start <= len(self._ahead) - length:
            self._ahead = os.pread(self._file, max(_AHEAD, length), offset)
            self._ahead_at, start = offset, 0
        return self._ahead[start : start + length]

    def forget(self) -> None:
        """Gives back what was read ahead: somebody else reads the file now."""
        if self._file is not None:
            self._ahead_at, self._ahead = 0, b""

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
