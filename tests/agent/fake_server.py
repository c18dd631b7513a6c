"""A server that keeps the agent protocol, over real TLS: leases, fences, events, results."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import re
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "agent-token-1"


def make_certificate(folder: Path, name: str = "server", *, starts_in_days: int = 0) -> tuple[Path, Path, str]:
    """A self-signed certificate: (key file, certificate file, certificate as PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pxeforge")])
    start = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=starts_in_days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_file, certificate_file = folder / f"{name}.key", folder / f"{name}.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(pem)
    return key_file, certificate_file, pem.decode()


class FakeServer:
    """Hands out tasks one by one; what it knows survives stop() and start(), as the database of the real one does."""

    def __init__(self, folder: Path, *, lease_s: float = 3.0, address: str = "127.0.0.1") -> None:
        self.key_file, self.certificate_file, self.pem = make_certificate(folder)
        self.poll_s = 0.05
        self.soon_s: float | None = None  # what an agent without a task is told
        self.address, self.port, self.lease_s = address, 0, lease_s
        self.waiting: list[dict[str, Any]] = []
        self.leased: dict[str, tuple[dict[str, Any], float]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.hellos: list[dict[str, Any]] = []
        self.cancelled: set[str] = set()
        self.requests: list[str] = []
        self.connections = 0  # that were made so far
        self._open: set[socket.socket] = set()
        self.refused: list[tuple[str, int]] = []
        self.lock = threading.RLock()
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    def config(self) -> dict[str, str]:
        return {
            "agent_url": self.url,
            "agent_token": TOKEN,
            "certificate_pem": self.pem,
            "host_id": "1",
            "host_name": "db1",
        }

    def start(self) -> None:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with fake.lock:
                    fake.connections += 1
                    fake._open.add(self.connection)

            def finish(self) -> None:
                with fake.lock:
                    fake._open.discard(self.connection)
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def do_POST(self) -> None:  # the name http.server asks for
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    status: int = 401
                    answer: dict[str, Any] | None = {"error": "unknown credential"}
                else:
                    status, answer = fake.answer(self.path, body)
                content = json.dumps(answer).encode() if answer is not None else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file, self.key_file)
        server = http.server.ThreadingHTTPServer((self.address, self.port), Handler)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self.hang_up()

    def hang_up(self) -> None:
        """Ends the connections that agents keep, as a server does that was restarted or has waited long enough."""
        with self.lock:
            kept = list(self._open)
        for connection in kept:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def add(self, task_id: str, steps: list[dict[str, Any]], **more: Any) -> None:
        with self.lock:
            self.waiting.append(
                {
                    "task_id": task_id,
                    "run_id": "run-1",
                    "fence": 1,
                    "lease_s": self.lease_s,
                    "timeout_s": 60,
                    "kind": "deploy",
                    "title": task_id,
                    "steps": steps,
                    "check": False,
                    "restart_hints": [],
                    **more,
                }
            )

    def take_away(self, task_id: str) -> None:
        """What an expired lease does: the task waits again, under a new fence."""
        with self.lock:
            task, _ = self.leased.pop(task_id)
            self.waiting.append({**task, "fence": task["fence"] + 1})

    def next_task(self) -> dict[str, Any] | None:
        return self.waiting.pop(0) if self.waiting else None

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        with self.lock:
            self.requests.append(path)
            if path == "/v1/hello":
                self.hellos.append(body)
                return 200, {"server_time": time.time(), "poll_s": self.poll_s}
            if path == "/v1/claim":
                return self._claim()
            match = re.fullmatch(r"/v1/tasks/([^/]+)/(events|result)", path)
            if match is None:
                return 404, {"error": "no such route"}
            return self._task_call(match[1].replace("%40", "@"), match[2], body)

    def _claim(self) -> tuple[int, dict[str, Any] | None]:
        for task_id, (_, until) in list(self.leased.items()):
            if time.monotonic() > until:
                self.take_away(task_id)
        task = self.next_task()
        if task is None:
            return (204, None) if self.soon_s is None else (200, {"poll_s": self.soon_s})
        self.leased[task["task_id"]] = (task, time.monotonic() + self.lease_s)
        return 200, task

    def _task_call(self, task_id: str, what: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        held = self.leased.get(task_id)
        if held is None or held[0]["fence"] != body["fence"]:
            self.refused.append((task_id, body["fence"]))
            return 409, {"error": "stale fence"}
        if what == "events":
            self.events += [(task_id, event) for event in body["events"]]
            self.leased[task_id] = (held[0], time.monotonic() + self.lease_s)
            return 200, {"cancel": task_id in self.cancelled, "lease_s": self.lease_s}
        self.results[task_id] = body
        del self.leased[task_id]
        self.task_done(task_id, body)
        return 200, {}

    def task_done(self, task_id: str, result: dict[str, Any]) -> None:
        """For servers that choose the next task by the result of this one."""

    def wait_for(self, condition: Any, timeout_s: float = 20.0) -> None:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with self.lock:
                if condition(self):
                    return
            time.sleep(0.02)
        raise AssertionError(f"not in {timeout_s} s; results {self.results}, events {self.events[-5:]}")
