"""A Redfish BMC over TLS on the loopback that a test can bend: a table of what it answers, and what it was asked."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pxeforge.app.certificate import ensure_certificate, fingerprint

USER, PASSWORD = "ops", "s3cret-BMC"
SYSTEM = "/redfish/v1/Systems/1"
RESET = f"{SYSTEM}/Actions/ComputerSystem.Reset"
Answer = tuple[int, dict[str, str], Any]  # status, headers, body: bytes or what becomes JSON


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeBmc:
    """`system` is its one machine; `answers` come before everything else: (method, path) → answer."""

    system: dict[str, Any] = field(default_factory=lambda: machine())
    sessions: bool = True
    answers: dict[tuple[str, str], Callable[[Asked], Answer | None]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    open_sessions: set[str] = field(default_factory=set)
    port: int = 0
    fingerprint: str = ""

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        special = self.answers.get((asked.method, asked.path))
        if special is not None and (given := special(asked)) is not None:
            return given
        if asked.path == "/redfish/v1/":
            return 200, {}, {"Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}}
        if asked.path == "/redfish/v1/SessionService/Sessions" and self.sessions:
            return self._log_in(asked)
        if not self._known(asked):
            return 401, {}, error("who are you")
        if asked.method == "DELETE":
            self.open_sessions.discard(asked.headers["x-auth-token"])
            return 204, {}, b""
        return self._machine(asked)

    def _log_in(self, asked: Asked) -> Answer:
        if asked.body != {"UserName": USER, "Password": PASSWORD}:
            return 401, {}, error("wrong")
        token = f"t{len(self.asked)}"
        self.open_sessions.add(token)
        return 201, {"X-Auth-Token": token, "Location": f"/redfish/v1/SessionService/Sessions/{token}"}, {}

    def _known(self, asked: Asked) -> bool:
        basic = asked.headers.get("authorization") == "Basic b3BzOnMzY3JldC1CTUM="
        return basic or asked.headers.get("x-auth-token") in self.open_sessions

    def _machine(self, asked: Asked) -> Answer:
        if asked.path == "/redfish/v1/Systems":
            return 200, {}, {"Members": [{"@odata.id": SYSTEM}]}
        if (asked.method, asked.path) == ("GET", SYSTEM):
            return 200, {"ETag": 'W/"1"'}, self.system
        if (asked.method, asked.path) == ("PATCH", SYSTEM):
            self.system["Boot"].update(asked.body["Boot"])
            return 200, {}, self.system
        if (asked.method, asked.path) == ("POST", RESET):
            self.system["PowerState"] = "Off" if "Off" in asked.body["ResetType"] else "On"
            return 204, {}, b""
        return 404, {}, error("no such thing")

    def seen(self, method: str) -> list[Any]:
        """The bodies of all requests of this method but logins."""
        return [one.body for one in self.asked if one.method == method and "Session" not in one.path]


def machine(**more: Any) -> dict[str, Any]:
    return {
        "PowerState": "Off",
        "Boot": {"BootSourceOverrideMode": "Legacy", "BootSourceOverrideTarget": "None"},
        "Actions": {"#ComputerSystem.Reset": {"target": RESET}},
        **more,
    }


def error(message: str) -> dict[str, Any]:
    return {"error": {"@Message.ExtendedInfo": [{"Message": message}]}}


@contextlib.contextmanager
def serving(bmc: FakeBmc, folder: Path) -> Iterator[FakeBmc]:
    certificate, context = _tls(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, body = bmc.answer(
                Asked(self.command, self.path, headers, json.loads(content) if content else None)
            )
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(sent)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815 - the library's names

        def log_message(self, *_words: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            connection, peer = super().get_request()
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

        def handle_error(self, *_words: Any) -> None: ...  # a client that goes away is part of the tests

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        bmc.port, bmc.fingerprint = server.server_address[1], fingerprint(certificate).replace(":", "").lower()
        try:
            yield bmc
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def saying(said: Callable[[ssl.SSLSocket], None], folder: Path) -> Iterator[tuple[int, str]]:
    """A TLS server that says something of its own to whoever says something: its port and fingerprint."""
    certificate, context = _tls(folder)
    over = threading.Event()

    def talk(plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            secured.settimeout(5)
            if secured.recv(65536):
                said(secured)

    def work(listener: socket.socket) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _peer = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=work, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1], fingerprint(certificate).replace(":", "").lower()
        finally:
            over.set()
            thread.join()


def _tls(folder: Path) -> tuple[Path, ssl.SSLContext]:
    (folder / "tls").mkdir(parents=True, exist_ok=True)
    certificate, key = ensure_certificate(folder, ["127.0.0.1"], datetime.datetime.now(datetime.UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
