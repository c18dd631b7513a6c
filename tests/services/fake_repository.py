"""A package repository on loopback that behaves as real ones do, and misbehaves when it is told to."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime


@dataclass
class Stored:
    """One file. `etag` None and `modified` None: nothing to know it again by."""

    content: bytes
    modified: int | None = 1_700_000_000
    etag: str | None = None


@dataclass
class Repository:
    """What is told to the server, and what it saw."""

    files: dict[str, Stored] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)  # per path: after how many bytes of a body it breaks off
    status: dict[str, int] = field(default_factory=dict)  # per path: answered instead
    redirects: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    lengthless: bool = False
    ranges: bool = True
    gate: threading.Event | None = None  # bodies stop at their half until it is set
    stall: threading.Event | None = None  # no answer at all until it is set
    extra_headers: dict[str, str] = field(default_factory=dict)
    status_of_parts: int | None = None  # of a whole body too
    proxied: int = 0

    def put(self, path: str, content: bytes, modified: int | None = 1_700_000_000, etag: str | None = None) -> None:
        self.files[path] = Stored(content, modified, etag)

    def requests_for(self, path: str) -> list[dict[str, str]]:
        return [headers for asked, headers in self.asked if asked == path]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        repository: Repository = self.server.repository  # type: ignore[attr-defined]
        path = self.path
        if path.startswith("http://"):  # as to a proxy
            repository.proxied += 1
            path = "/" + path.split("/", 3)[3]
        repository.asked.append((path, {key.lower(): value for key, value in self.headers.items()}))
        if repository.stall is not None:
            repository.stall.wait(20)
        if path in repository.redirects:
            return self._plain(302, {"Location": repository.redirects[path]})
        stored = repository.files.get(path)
        status = repository.status.get(path, 200 if stored is not None else 404)
        if status != 200 or stored is None:
            return self._plain(status, {})
        return self._serve(repository, path, stored)

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, repository: Repository, path: str, stored: Stored) -> None:
        start = 0
        if stored.etag is not None and self.headers.get("If-None-Match") == stored.etag:
            return self._plain(304, {})
        since = self.headers.get("If-Modified-Since")
        if since and stored.modified is not None and parsedate_to_datetime(since).timestamp() >= stored.modified:
            return self._plain(304, {})
        wanted = self.headers.get("Range")
        validators = {stored.etag, formatdate(stored.modified or 0, usegmt=True) if stored.modified else None}
        if wanted and repository.ranges and self.headers.get("If-Range", stored.etag) in validators:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(stored.content):
                return self._plain(416, {"Content-Range": f"bytes */{len(stored.content)}"})
        body = stored.content[start:]
        self.send_response(repository.status_of_parts or (206 if start else 200))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(stored.content) - 1}/{len(stored.content)}")
        if stored.modified is not None:
            self.send_header("Last-Modified", formatdate(stored.modified, usegmt=True))
        if stored.etag is not None:
            self.send_header("ETag", stored.etag)
        for key, value in repository.extra_headers.items():
            self.send_header(key, value)
        if repository.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif not repository.lengthless:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return None
        if repository.cuts.get(path):
            body = body[: repository.cuts[path].pop(0)]
            self.close_connection = True
        half = len(body) // 2
        self._write(repository, body[:half])
        if repository.gate is not None:
            self.wfile.flush()
            repository.gate.wait(20)
        self._write(repository, body[half:])
        if repository.chunked and not self.close_connection:
            self.wfile.write(b"0\r\n\r\n")
        return None

    def _write(self, repository: Repository, piece: bytes) -> None:
        if repository.chunked and piece:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        else:
            self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up


@contextlib.contextmanager
def serve_repository() -> Iterator[tuple[str, Repository]]:
    """The URL of its root and what it is told."""
    repository = Repository()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.repository = repository  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", repository
    finally:
        for event in (repository.gate, repository.stall):
            if event is not None:
                event.set()
        server.shutdown()
        server.server_close()
        thread.join()


def until(condition: object, limit_s: float = 10.0) -> None:
    """Waits for a condition that other threads bring about."""
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
