"""A WSGI application's answer to one request: bytes, a part of a file, or a stream (PEP 3333)."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from pxeforge.protocol.http import Request

SMALL_BYTES: Final = 256 * 1024  # up to here a body is kept in memory
_FEED_BYTES: Final = 1 << 20  # of a stream, what may wait for a slow receiver
# In the environment of a request: the application may call it with a Future. Its answer then leaves when that is True;
# else the application is asked anew (at most MOST_TRIES times). No thread waits meanwhile.
DEFER: Final = "pxeforge.defer"
MOST_TRIES: Final = 3
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class FileBody:
    """`wsgi.file_wrapper`: what is left of an open file. The server sends it without reading it."""

    def __init__(self, stream: IO[bytes], block_size: int = 64 * 1024) -> None:
        self.stream, self._block_size = stream, block_size

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.stream.read(self._block_size):
            yield piece

    def close(self) -> None:
        self.stream.close()


class Feed:
    """A stream on its way from the thread that makes it to the loop that sends it, with a bounded store between."""

    def __init__(self, source: Iterable[bytes], length: int | None) -> None:
        """`length`: what was promised; more or less of it is a failure."""
        self._source, self._missing = source, length
        self._pieces: deque[bytes] = deque()
        self._stored = 0
        self._changed = threading.Condition()
        self._closed = False
        self.ended = False  # nothing more will come
        self.failed = False

    def pump(self, tell: Callable[[], None]) -> None:
        """The making side: runs until the source is empty or the receiver is gone; `tell` after each piece."""
        try:
            for piece in self._source:
                if piece and not self._put(piece):
                    break
                tell()
            self.failed = bool(self._missing)
        except Exception:
            self.failed = True  # upstream broke off: the receiver must see a short answer, not a whole one
        finally:
            with contextlib.suppress(Exception):
                getattr(self._source, "close", lambda: None)()
            self.ended = True
            tell()

    def _put(self, piece: bytes) -> bool:
        if self._missing is not None:
            self._missing -= len(piece)
            if self._missing < 0:
                raise ValueError("the stream is longer than was promised")
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._stored < _FEED_BYTES)
            self._pieces.append(piece)
            self._stored += len(piece)
            return not self._closed

    def take(self) -> bytes | None:
        """The sending side: the next piece, None where none is there yet."""
        with self._changed:
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            self._stored -= len(piece)
            self._changed.notify()
            return piece

    def close(self) -> None:
        """The receiver is gone."""
        with self._changed:
            self._closed = True
            self._changed.notify()


@dataclass(slots=True)
class FilePart:
    """`length` bytes of an open file from `offset`. Whoever holds it closes it.

    `arrived`: of a file that is still being fetched, says how many bytes it has by now; raises OSError when the others
    will not come.
    """

    stream: IO[bytes]
    offset: int
    length: int
    arrived: Callable[[], int] | None = None

    def close(self) -> None:
        self.stream.close()


@dataclass(slots=True)
class Reply:
    """What goes out. `length` None: the body ends with the connection."""

    status: str
    headers: list[tuple[str, str]]
    length: int | None
    body: bytes | FilePart | Feed

    def close(self) -> None:
        if not isinstance(self.body, bytes):
            self.body.close()


def environment(request: Request, body: bytes, peer: str, host: str, port: int) -> dict[str, Any]:
    """The request as PEP 3333 wants it."""
    found: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": request.query,
        "CONTENT_LENGTH": str(request.length),
        "REMOTE_ADDR": peer,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/1.{request.minor_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileBody,
    }
    for name, value in request.headers.items():
        if "_" not in name:  # it would be taken for the same name with a dash
            found[f"HTTP_{name.upper().replace('-', '_')}"] = value
    found["CONTENT_TYPE"] = found.pop("HTTP_CONTENT_TYPE", "")
    found.pop("HTTP_CONTENT_LENGTH", None)
    return found


def ask(app: Application, environ: dict[str, Any]) -> Reply:
    """Calls the application. Whatever it raises is raised."""
    said: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info and said:
            raise exc_info[1].with_traceback(exc_info[2])
        said[:] = (status, headers)
        return _no_write

    result = app(environ, start_response)
    try:
        status, headers = said
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
        bodiless = environ["REQUEST_METHOD"] == "HEAD" or status[:3] in ("204", "304") or status[0] == "1"
        if isinstance(result, FileBody) and not bodiless:  # whoever sends it closes it
            part = _part(result, length)
            headers = headers if length is not None else [*headers, ("Content-Length", str(part.length))]
            return Reply(status, headers, part.length, part)
        if not bodiless and not isinstance(result, (list, tuple)) and (length is None or length > SMALL_BYTES):
            return Reply(status, headers, length, Feed(result, length))
        body = b"" if bodiless else b"".join(result)
    except BaseException:
        _close(result)
        raise
    _close(result)
    if not bodiless and length is None:
        headers = [*headers, ("Content-Length", str(len(body)))]
    elif not bodiless and length != len(body):
        raise ValueError(f"the application promised {length} bytes and gave {len(body)}")
    return Reply(status, headers, len(body), body)


def _part(result: FileBody, length: int | None) -> FilePart:
    offset = result.stream.tell()
    arrived: Callable[[], int] | None = getattr(result.stream, "arrived", None)
    if arrived is not None and length is not None:
        return FilePart(result.stream, offset, length, arrived)
    there = os.fstat(result.stream.fileno()).st_size - offset
    if length is not None and length > there:
        raise ValueError(f"the application promised {length} bytes of a file that has {there}")
    return FilePart(result.stream, offset, there if length is None else length)


def _no_write(_: bytes) -> None:
    raise TypeError("write() of start_response is not offered: return the body")


def _close(result: Iterable[bytes]) -> None:
    getattr(result, "close", lambda: None)()
