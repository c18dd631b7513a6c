"""The planes behind TLS and the unix socket: Flask applications under uvicorn, each in a thread of this process."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from a2wsgi import WSGIMiddleware

_KEPT_OPEN_S: Final = 75  # between two requests; agents ask every two seconds
_STOP_LIMIT_S: Final = 8.0


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
    tls: Path | None = None  # the folder of server.crt and server.key


def serve(planes: list[Plane], ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT; `ready` is called when every plane takes requests."""
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
    while not stop.wait(0.5):
        if not all(thread.is_alive() for thread in threads):
            sys.exit("a web server ended unexpectedly; see the log")
    for server in servers:
        server.should_exit = True
    for thread in threads:
        thread.join(_STOP_LIMIT_S)


def _server(plane: Plane) -> uvicorn.Server:
    application = WSGIMiddleware(cast(Any, plane.app), workers=plane.threads)
    return uvicorn.Server(
        uvicorn.Config(
            application, http="h11", ws="none", loop="asyncio", lifespan="off", interface="asgi3", log_level="error",
            log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_keep_alive=_KEPT_OPEN_S, timeout_graceful_shutdown=int(_STOP_LIMIT_S) - 2,
            ssl_certfile=plane.tls / "server.crt" if plane.tls else None,
            ssl_keyfile=plane.tls / "server.key" if plane.tls else None,
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
