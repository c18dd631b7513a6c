"""An Identity v3 service that keeps what it is told, over HTTP; it can be away, slow to start, or forget its tokens."""

from __future__ import annotations

import http.server
import itertools
import json
import re
import threading
import urllib.parse
from typing import Any

_KINDS = ("domain", "project", "role", "user", "service", "endpoint", "region")


class FakeKeystone:
    """`rows` by kind and id; `writes` are the requests that changed something."""

    def __init__(self, admin_password: str = "admin-password") -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _KINDS}
        self.grants: set[str] = set()
        self.writes: list[str] = []
        self.away_for = 0  # so many requests get 503
        self.tokens: set[str] = set()
        self.expires_after = 10**9
        self.logins = 0
        self._served = 0
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self.rows["domain"]["default"] = {"id": "default", "name": "Default", "enabled": True, "description": ""}
        self.make("project", {"name": "admin", "domain_id": "default", "enabled": True, "description": ""})
        self.make("role", {"name": "admin"})
        self.make("user", {"name": "admin", "domain_id": "default", "password": admin_password, "enabled": True})

    def make(self, kind: str, row: dict[str, Any]) -> dict[str, Any]:
        identity = str(row.get("id") or f"{kind}-{next(self._numbers)}")
        self.rows[kind][identity] = {**row, "id": identity}
        return self.rows[kind][identity]

    def start(self) -> str:
        """Returns its address."""
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = fake.read_body(self.rfile.read(length)) if length else {}
                with fake._lock:
                    status, answer, headers = fake.answer(self.command, self.path, body, dict(self.headers.items()))
                content = json.dumps(answer).encode() if answer is not None and self.command != "HEAD" else b""
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = _serve  # noqa: N815 (the names http.server asks for)
            do_POST = do_PATCH = do_PUT = do_HEAD = do_DELETE = _serve  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/v3"

    def read_body(self, raw: bytes) -> Any:
        return json.loads(raw)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(
        self, method: str, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        if self.away_for > 0:
            self.away_for -= 1
            return 503, "starting", {}
        parts = urllib.parse.urlsplit(path)
        place, query = parts.path.removeprefix("/v3"), dict(urllib.parse.parse_qsl(parts.query))
        if place == "/auth/tokens":
            return self._log_in(body["auth"])
        self._served += 1
        if self._served % self.expires_after == 0:
            self.tokens.clear()
        if headers.get("X-Auth-Token") not in self.tokens:
            return 401, {"error": {"message": "The request you have made requires authentication."}}, {}
        if method in ("POST", "PATCH", "PUT"):
            self.writes.append(f"{method} {place}")
        if "/roles/" in place:
            return self._grant(method, place)
        return self._row(method, place, query, body)

    def _log_in(self, auth: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        given = auth["identity"]["password"]["user"]
        domain = given["domain"].get("id") or self._named("domain", given["domain"]["name"])
        for user in self.rows["user"].values():
            if (user["name"], user["domain_id"], user.get("password")) == (given["name"], domain, given["password"]):
                self.logins += 1
                token = f"token-{self.logins}"
                self.tokens.add(token)
                return 201, {"token": {"catalog": [], "user": {"id": user["id"]}}}, {"X-Subject-Token": token}
        return 401, {"error": {"message": "The request you have made requires authentication."}}, {}

    def _named(self, kind: str, name: str) -> str:
        return next((row["id"] for row in self.rows[kind].values() if row["name"] == name), "")

    def _grant(self, method: str, place: str) -> tuple[int, Any, dict[str, str]]:
        match = re.fullmatch(r"/(?:system|(project|domain)s/([^/]+))/users/([^/]+)/roles/([^/]+)", place)
        assert match is not None, place
        known = [match[3] in self.rows["user"], match[4] in self.rows["role"]]
        if match[1]:
            known.append(match[2] in self.rows[match[1]])
        if not all(known):
            return 404, {"error": {"message": "Could not find it"}}, {}
        if method == "PUT":
            self.grants.add(place)
        return (204 if place in self.grants else 404), None, {}

    def _row(
        self, method: str, place: str, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, Any, dict[str, str]]:
        _, plural, *rest = place.split("/")
        kind = plural[:-1]
        if method == "GET" and not rest:
            found = [
                row for row in self.rows[kind].values() if all(row.get(key) == value for key, value in query.items())
            ]
            return 200, {plural: [{key: row[key] for key in row if key != "password"} for row in found]}, {}
        if method == "GET":
            row = self.rows[kind].get(rest[0])
            return (200, {kind: row}, {}) if row else (404, {"error": {"message": "no such row"}}, {})
        if method == "POST":
            return 201, {kind: self.make(kind, body[kind])}, {}
        self.rows[kind][rest[0]].update(body[kind])
        return 200, {kind: self.rows[kind][rest[0]]}, {}
