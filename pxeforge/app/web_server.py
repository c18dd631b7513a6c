"""The planes behind TLS and the unix socket: Flask applications under uvicorn, each in a thread of this process."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import structlog
import uvicorn
from a2wsgi import WSGIMiddleware

_KEPT_OPEN_S: Final = 75  # between two requests; agents ask every two seconds
_STOP_LIMIT_S: Final = 8.0
log = structlog.get_logger(__name__)


class Counted:
    """An application whose answers are counted by the first digit of their status."""

    def __init__(self, app: Any) -> None:
        self._app, self._lock = app, threading.Lock()
        self.counters: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def counted(status: str, *more: Any) -> Any:
            with self._lock:
                self.counters[status[0]] += 1
            return start_response(status, *more)

        return self._app(environ, counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One application on one listening socket; without `tls` it speaks plain HTTP."""

    name: str
    app: Callable[..., Any]
    listener: socket.socket
    threads: int
    tls: tuple[Path, Path] | None = None  # certificate with its chain, and key


def serve(planes: list[Plane], ready: Callable[[], None], stopping: Callable[[], None] = lambda: None) -> None:
    """Serves until SIGTERM or SIGINT; `ready` is called when every plane takes requests, `stopping` when answers that
    go on and on have to end.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    servers = [_server(plane) for plane in planes]
    # Only in the main thread would uvicorn take the signals for itself.
    threads = [
        threading.Thread(target=server.run, args=([plane.listener],), name=plane.name, daemon=True)
        for server, plane in zip(servers, planes, strict=True)
    ]
    for thread in threads:
        thread.start()
    while not all(server.started for server in servers) and all(thread.is_alive() for thread in threads):
        time.sleep(0.02)
    ready()
    renewals = [Renewal(server, plane.tls) for server, plane in zip(servers, planes, strict=True) if plane.tls]
    while not stop.wait(0.5):
        if not all(thread.is_alive() for thread in threads):
            sys.exit("a web server ended unexpectedly; see the log")
        for renewal in renewals:
            renewal.look()
    stopping()
    for server in servers:
        server.should_exit = True
    for thread in threads:
        thread.join(_STOP_LIMIT_S)


class Renewal:
    """A certificate that was written anew is shown to whoever connects from then on; no restart."""

    def __init__(self, server: uvicorn.Server, tls: tuple[Path, Path]) -> None:
        self._server, self._tls, self._seen = server, tls, _written(tls)

    def look(self) -> None:
        written = _written(self._tls)
        if written == self._seen or not written or self._server.config.ssl is None:
            return
        self._seen = written
        try:
            # First elsewhere: a pair that does not fit together leaves a context that can shake no hands.
            for context in (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), self._server.config.ssl):
                context.load_cert_chain(*self._tls, password=lambda: "")
        except (OSError, ssl.SSLError) as problem:  # half of the pair is written: the other half brings us here again
            log.warning("the new certificate cannot be used", file=str(self._tls[0]), reason=str(problem))
        else:
            log.info("the certificate was renewed", file=str(self._tls[0]))


def _written(tls: tuple[Path, Path]) -> tuple[int, ...]:
    try:
        return tuple(path.stat().st_mtime_ns for path in tls)
    except OSError:
        return ()


def _server(plane: Plane) -> uvicorn.Server:
    if plane.listener.family != socket.AF_UNIX:
        # asyncio asks for it only where the socket names its protocol, and what a listener accepts names none: each
        # answer's body waited for the ACK of its head, 40 ms. On Linux connections have it from their listener.
        plane.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    application = WSGIMiddleware(cast(Any, plane.app), workers=plane.threads)
    return uvicorn.Server(
        uvicorn.Config(
            application, http="httptools", ws="none", loop="asyncio", lifespan="off", interface="asgi3",
            log_level="error", log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_keep_alive=_KEPT_OPEN_S, timeout_graceful_shutdown=int(_STOP_LIMIT_S) - 2,
            ssl_certfile=plane.tls[0] if plane.tls else None, ssl_keyfile=plane.tls[1] if plane.tls else None,
        )
    )  # fmt: skip


def listen_unix(path: Path) -> socket.socket:
    """A listening socket in the file system that only our own user can open; it replaces what is there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(128)
    return listener
