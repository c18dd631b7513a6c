"""HTTP relay on a unix socket: the one way from a rack to the Debian mirror that apt is configured with."""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import hashlib
import http.server
import os
import re
import signal
import socketserver
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPResponse
from pathlib import Path
from types import FrameType
from typing import IO

from pxeforge.lab.mirror import apt_mirrors

_CHUNK = 128 * 1024
_PASSED_UP = ("Range", "If-Modified-Since", "If-None-Match", "If-Range")
_PASSED_DOWN = ("Content-Length", "Content-Range", "Content-Type", "Last-Modified", "ETag", "Accept-Ranges")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Relay(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves `/<root>/...` for every root of `mirrors`: from the overlay, then the cache, then the mirror.

    The overlay stands in front of the root `debian` only. Files below pool/ never change: they are cached by URL.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        socket_path: Path,
        mirrors: Mapping[str, str],
        *,
        overlay: Path | None = None,
        cache: Path | None = None,
        log: Path | None = None,
    ) -> None:
        self.mirrors, self.overlay, self.cache = dict(mirrors), overlay, cache
        self._log, self._log_lock = log, threading.Lock()
        if cache:
            cache.mkdir(parents=True, exist_ok=True)
        socket_path.unlink(missing_ok=True)
        super().__init__(str(socket_path), _Handler)
        socket_path.chmod(0o600)

    def record(self, line: str) -> None:
        if self._log:
            with self._log_lock, self._log.open("a") as file:
                file.write(line + "\n")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def do_GET(self) -> None:
        self._relay(with_body=True)

    def do_HEAD(self) -> None:
        self._relay(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are recorded by _relay."""

    def address_string(self) -> str:
        return "relay"  # a unix socket has no peer address

    def _relay(self, *, with_body: bool) -> None:
        began, self._status, self._sent, origin = time.time(), 0, 0, "-"
        try:
            origin = self._answer(with_body)
        except (BrokenPipeError, ConnectionResetError):
            origin, self.close_connection = "client-gone", True
        took = time.time() - began
        self.server.record(f"{began:.3f} {took:.3f} {self._status} {self._sent} {origin} {self.command} {self.path}")

    def _answer(self, with_body: bool) -> str:
        """Answers and says where the answer came from."""
        path = urllib.parse.unquote(self.path.split("?", 1)[0])
        root, _, rest = path.lstrip("/").partition("/")
        base = self.server.mirrors.get(root)
        if base is None or "\0" in rest or ".." in rest.split("/"):
            self._fail(404, f"{self.path}: the relay serves only {', '.join(sorted(self.server.mirrors))}")
            return "refused"
        if root == "debian" and self.server.overlay and (self.server.overlay / rest).is_file():
            self._send_file(self.server.overlay / rest, with_body)
            return "overlay"
        url = f"{base}/{urllib.parse.quote(rest, safe='/+~:@!$&()*,;=')}"
        kept = self._kept(url, rest)
        if kept and kept.is_file():
            self._send_file(kept, with_body)
            return "cache"
        return self._pass_on(url, kept, with_body)

    def _kept(self, url: str, rest: str) -> Path | None:
        if self.server.cache is None or not rest.startswith("pool/"):
            return None
        return self.server.cache / hashlib.sha256(url.encode()).hexdigest()

    def _send_file(self, path: Path, with_body: bool) -> None:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            wanted = byte_range(self.headers.get("Range"), info.st_size)
            if wanted is None:
                self._start(416, {"Content-Range": f"bytes */{info.st_size}", "Content-Length": "0"})
                return
            first, end = wanted
            headers = {
                "Content-Length": str(end - first),
                "Content-Type": "application/octet-stream",
                "Last-Modified": email.utils.formatdate(info.st_mtime, usegmt=True),
                "Accept-Ranges": "bytes",
            }
            partial = end - first != info.st_size
            if partial:
                headers["Content-Range"] = f"bytes {first}-{end - 1}/{info.st_size}"
            self._start(206 if partial else 200, headers)
            if with_body:
                file.seek(first)
                self._copy(file, end - first)

    def _pass_on(self, url: str, kept: Path | None, with_body: bool) -> str:
        headers = {name: self.headers[name] for name in _PASSED_UP if name in self.headers}
        request = urllib.request.Request(url, headers={"User-Agent": "pxeforge-lab", **headers})
        # A HEAD is asked as GET as well, and its body left alone: mirrors answer HEAD in odd ways.
        try:
            with _open(request) as answer:
                length = answer.headers.get("Content-Length")
                if length is None:
                    self.close_connection = True  # the end of the connection is the end of the body
                passed = {name: answer.headers[name] for name in _PASSED_DOWN if name in answer.headers}
                self._start(answer.status, passed)
                if with_body and answer.status not in (204, 304):
                    keep = kept if answer.status == 200 and length else None
                    self._stream(answer, int(length) if length else None, keep)
        except (OSError, urllib.error.URLError) as error:
            if isinstance(error, BrokenPipeError | ConnectionResetError) and self._status:
                raise
            if self._status:
                self.close_connection = True  # cut short: the client must see that bytes are missing
            else:
                self._fail(502, f"the mirror cannot be reached: {error}")
            return "mirror-failed"
        return "mirror"

    def _stream(self, answer: HTTPResponse, length: int | None, keep: Path | None) -> None:
        """Sends the body on and, when it was whole, keeps it under its final name."""
        if keep is None:
            self._copy(answer, length)
            return
        with tempfile.NamedTemporaryFile(dir=keep.parent, prefix=".part-", delete=False) as part:

            def whole() -> None:
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).rename(keep)

            try:
                self._copy(answer, length, part, whole)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise

    def _copy(
        self,
        source: IO[bytes] | HTTPResponse,
        length: int | None,
        part: IO[bytes] | None = None,
        whole: Callable[[], None] | None = None,
    ) -> None:
        """Sends `length` bytes (None: until the end), also to part; calls whole before the last bytes are sent.

        So a client that has the whole file finds it in the cache. Raises OSError when the source ends early.
        """
        left = length
        while left is None or left > 0:
            block = source.read(_CHUNK if left is None else min(_CHUNK, left))
            if not block:
                break
            left = None if left is None else left - len(block)
            if part:
                part.write(block)
            if left == 0 and whole:
                whole()
            self.wfile.write(block)
            self._sent += len(block)
        if left:
            self.close_connection = True
            raise OSError(f"the body ended {left} bytes early")

    def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self._status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _fail(self, status: int, message: str) -> None:
        body = (message + "\n").encode()
        self._start(status, {"Content-Length": str(len(body)), "Content-Type": "text/plain; charset=utf-8"})
        if self.command != "HEAD":
            self.wfile.write(body)
            self._sent += len(body)


def _open(request: urllib.request.Request) -> HTTPResponse:
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error  # type: ignore[return-value]  # it is a response too: status, headers, read()
    assert isinstance(answer, HTTPResponse)
    return answer


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end (one past the last) of a Range header (RFC 9110 section 14); None: not satisfiable.

    Several ranges or another unit are ignored, as section 14.2 allows: the whole file is sent.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    if last and int(last) < int(first):
        return 0, size
    if int(first) >= size:
        return None
    return int(first), min(int(last) + 1, size) if last else size


@contextlib.contextmanager
def serving(relay: Relay) -> Iterator[Relay]:
    """Serves in a thread while the block runs."""
    thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05}, name="relay", daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.shutdown()
        relay.server_close()
        thread.join()


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pxeforge.lab.relay", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="unix socket to serve on (mode 0600)")
    parser.add_argument("--overlay", type=Path, help="files that win over the mirror's (below /debian/)")
    parser.add_argument("--cache", type=Path, help="where files of pool/ are kept")
    parser.add_argument("--log", type=Path, help="one line per request: began took status bytes origin method path")
    options = parser.parse_args(arguments)
    relay = Relay(options.socket, apt_mirrors(), overlay=options.overlay, cache=options.cache, log=options.log)

    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            print(f"relay: serving {', '.join(sorted(relay.mirrors))} on {options.socket}", flush=True)
            relay.serve_forever()
        finally:
            options.socket.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
