"""A cloud with volumes for checks: keystone, cinder, nova, neutron and glance in one server, which keeps what it made.

VMs speak as the guest of roles/guest-image does: they tell of each disk that comes and goes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_SERVICES = {"volumev3": "/volume", "compute": "/compute", "network": "", "image": ""}
_PLURALS = ("volumes", "snapshots", "backups", "servers", "networks", "subnets", "ports", "images", "flavors")


class FakeVolumeCloud:
    """`things` by kind and id; the other attributes are what can go wrong."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, dict[str, Any]]] = {plural: {} for plural in _PLURALS}
        self.things["images"]["i"] = {"id": "i", "name": "pxeforge-guest"}
        self.things["flavors"]["f"] = {"id": "f", "name": "pxeforge-guest"}
        self.services: list[dict[str, str]] = []
        self.places: dict[str, str] = {}  # where volumes of a type land, if not on the back end of that name
        self.loses_data = False
        self.fails: set[str] = set()  # kinds that end in error
        self.lacks: set[str] = set()  # services that it does not have
        self.made = itertools.count(1)
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeVolumeCloud:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def left(self) -> dict[str, list[str]]:
        """What there is beside image and flavor."""
        found = {kind: [str(row["name"]) for row in rows.values()] for kind, rows in self.things.items()}
        return {kind: names for kind, names in found.items() if names and kind not in ("images", "flavors")}

    def answer(self, method: str, address: str, body: Any) -> tuple[int, Any]:
        parts = urllib.parse.urlsplit(address)
        self.requests.append(f"{method} {parts.path}")
        if parts.path == "/v3/auth/tokens":
            return 201, {"token": self._token()}
        words = [word for word in parts.path.split("/") if word and word not in ("volume", "compute", "v2.0", "v2")]
        words = words[1:] if words[0] == "p" else words
        if words[0] == "os-services":
            return 200, {"services": self.services}
        if words[0] == "os-hypervisors":
            return 200, {"hypervisors": []}
        if words[0] == "messages":
            return 200, {"messages": [{"user_message": "no room is left"}]}
        rows = self.things[words[0]]
        if words[1:] in ([], ["detail"]):
            return self._list(method, words[0], rows, dict(urllib.parse.parse_qsl(parts.query)), body)
        if words[1] not in rows:
            return 404, {"error": "it is not there"}
        return self._one(method, words[0], rows[words[1]], words[2:], body)

    def _token(self) -> dict[str, Any]:
        endpoints = {
            kind: [{"interface": "internal", "region": "R", "url": self.url + at}] for kind, at in _SERVICES.items()
        }
        catalog = [{"type": kind, "endpoints": found} for kind, found in endpoints.items() if kind not in self.lacks]
        return {"project": {"id": "p"}, "user": {"id": "u"}, "roles": [{"name": "admin"}], "catalog": catalog}

    def _list(
        self, method: str, kind: str, rows: dict[str, dict[str, Any]], query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        if method == "POST":
            return 202, {kind[:-1]: self._make(kind, body[kind[:-1]])}
        name, host = query.get("name", "").strip("^$"), query.get("host")
        found = [row for row in rows.values() if name in ("", row["name"]) and host in (None, row.get("host"))]
        if "marker" in query:
            found = found[[row["id"] for row in found].index(query["marker"]) + 1 :]
        return 200, {kind: found[: int(query.get("limit", 1000))]}

    def _make(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        identity = f"{kind[:-1]}-{next(self.made)}"
        row = {**given, "id": identity, "status": "error" if kind[:-1] in self.fails else "available"}
        if kind == "volumes":
            wanted = given.get("volume_type", "lvm")
            row["os-vol-host-attr:host"] = f"b1@{self.places.get(wanted, wanted)}#pool"
        elif kind == "servers":
            row.update(status="ACTIVE", said=[f"instance {identity}", "ready 7.0"], turn=0)
        self.things[kind][identity] = row
        return row

    def _one(self, method: str, kind: str, row: dict[str, Any], rest: list[str], body: Any) -> tuple[int, Any]:
        if rest == ["restore"]:
            made = self._make("volumes", {"name": body["restore"]["name"], "size": 1})
            return 202, {"restore": {"volume_id": made["id"]}}
        if rest[:1] == ["os-volume_attachments"]:
            return self._attach(row, method, rest, body)
        if rest == ["action"] and "os-getConsoleOutput" in body:
            return 200, {"output": "\n".join(f"pxeforge-guest: {line}\r" for line in row["said"])}
        if rest == ["action"]:
            row.update(body["os-reset_status"])
            return 202, None
        if method == "DELETE":
            if kind == "volumes" and row["status"] == "in-use":
                return 400, {"badRequest": "it is in use"}
            self._forget(kind, row)
            return 202, None
        return 200, {kind[:-1]: row}

    def _attach(self, server: dict[str, Any], method: str, rest: list[str], body: Any) -> tuple[int, Any]:
        if method == "DELETE":
            self.things["volumes"][rest[1]]["status"] = "available"
            server["said"].append(f"disk {server['turn']} gone")
            return 202, None
        volume = self.things["volumes"][body["volumeAttachment"]["volumeId"]]
        server["turn"] += 1
        word = "found" if "data" in volume else "written"
        if word == "written" or self.loses_data:
            volume["data"] = hashlib.sha256(f"{volume['id']} {server['turn']}".encode()).hexdigest()
        volume.update(status="in-use", server=server["id"])
        server["said"].append(f"disk {server['turn']} {word} 1024 {volume['data']}")
        return 200, {"volumeAttachment": {"device": "/dev/vdb"}}

    def _forget(self, kind: str, row: dict[str, Any]) -> None:
        del self.things[kind][row["id"]]
        if kind == "servers":
            for volume in self.things["volumes"].values():
                if volume.get("server") == row["id"]:
                    volume["status"] = "available"
        elif kind == "networks":
            for identity, subnet in list(self.things["subnets"].items()):
                if subnet["network_id"] == row["id"]:
                    del self.things["subnets"][identity]


def _handler_of(cloud: FakeVolumeCloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = 401, None
            if self.path.startswith("/v3/auth") or self.headers.get("X-Auth-Token") == "token":
                status, answer = cloud.answer(self.command, self.path, json.loads(raw) if raw else None)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Subject-Token", "token")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = respond  # noqa: N815 (the names that http.server asks for)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler
