"""Compute, networking and image services beside a fake keystone: they keep what they are told, as rows by path."""

from __future__ import annotations

import hashlib
import itertools
import json
import urllib.parse
from typing import Any

from .fake_keystone import FakeKeystone

PROJECT = "project-1"
_SERVICES = {"compute": "/compute", "network": "/network", "image": "/image", "volumev3": "/volume"}
# The list's key and the row's key, by the path of a list.
_LISTS = {
    "/compute/flavors": ("flavors", "flavor"),
    "/compute/os-keypairs": ("keypairs", "keypair"),
    "/compute/os-aggregates": ("aggregates", "aggregate"),
    "/compute/os-services": ("services", "service"),
    "/network/v2.0/agents": ("agents", "agent"),
    "/network/v2.0/networks": ("networks", "network"),
    "/network/v2.0/subnets": ("subnets", "subnet"),
    "/network/v2.0/routers": ("routers", "router"),
    "/network/v2.0/ports": ("ports", "port"),
    "/network/v2.0/security-groups": ("security_groups", "security_group"),
    "/network/v2.0/security-group-rules": ("security_group_rules", "security_group_rule"),
    "/image/v2/images": ("images", "image"),
    "/volume/types": ("volume_types", "volume_type"),
    "/volume/volumes": ("volumes", "volume"),
}


class FakeCloud(FakeKeystone):
    """`things` are the rows by the path of their list; `writes` has every request that changes something."""

    def __init__(self) -> None:
        super().__init__()
        self.things: dict[str, dict[str, dict[str, Any]]] = {path: {} for path in _LISTS}
        self.specs: dict[str, dict[str, str]] = {}
        self.quotas = {
            "compute": {"instances": 10, "cores": 20}, "network": {"floatingip": 50, "network": 100},
            "volume": {"volumes": 10, "gigabytes": 1000},
        }  # fmt: skip
        self.volume_states: list[str] = []  # what each look at a volume tells, before it is available
        self.garbage: Any = None  # what every list answers instead of its rows
        self._made = itertools.count(1)
        self.root = ""

    def start(self) -> str:
        url = super().start()
        self.root = url.removesuffix("/v3")
        return url

    def _log_in(self, auth: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        status, answer, headers = super()._log_in(auth)
        if status == 201:
            answer["token"]["project"] = {"id": PROJECT}
            answer["token"]["catalog"] = [
                {
                    "type": kind,
                    "endpoints": [{"interface": "public", "region_id": "RegionOne", "url": self.root + prefix}],
                }
                for kind, prefix in _SERVICES.items()
            ]
        return status, answer, headers

    def answer(
        self, method: str, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        parts = urllib.parse.urlsplit(path)
        if not any(parts.path.startswith(prefix + "/") for prefix in _SERVICES.values()):
            return super().answer(method, path, body, headers)
        if headers.get("X-Auth-Token") not in self.tokens:
            return 401, {"error": {"message": "log in"}}, {}
        if method != "GET":
            self.writes.append(f"{method} {parts.path}")
        status, answer = self._thing(method, parts.path, dict(urllib.parse.parse_qsl(parts.query)), body)
        return status, answer, {}

    def _thing(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if "/os-quota-sets/" in path or "/quotas/" in path:
            return self._quota(method, path, body)
        place = path.removesuffix("/detail")
        base = next(
            base for base in sorted(_LISTS, key=len, reverse=True) if place == base or place.startswith(base + "/")
        )
        plural, singular = _LISTS[base]
        rows, rest = self.things[base], [part for part in place.removeprefix(base).split("/") if part]
        if not rest:
            return self._list(method, base, plural, singular, query, body)
        if len(rest) == 1 and rest[0] in rows:
            if method == "DELETE":
                del rows[rest[0]]
                return 204, None
            if method == "PUT":
                rows[rest[0]].update(body[singular])
            row = rows[rest[0]]
            if singular == "volume":
                row["status"] = self.volume_states.pop(0) if self.volume_states else "available"
            return 200, row if base.startswith("/image") else {singular: self._whole(base, row)}
        return self._part(method, rows, rest, body)

    def _list(
        self, method: str, base: str, plural: str, singular: str, query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        if method == "GET":
            if self.garbage is not None:
                return 200, self.garbage
            wanted = {key: value for key, value in query.items() if key in ("name", "device_id", "host", "binary")}
            rows = [row for row in self.things[base].values() if all(row.get(k) == v for k, v in wanted.items())]
            return 200, {plural: [{"keypair": row} if singular == "keypair" else row for row in rows]}
        given = body if base.startswith("/image") else body[singular]
        identity = given["name"] if singular == "keypair" else f"{singular}-{next(self._made)}"
        row = {"project_id": PROJECT, **given, "id": identity}
        if base.startswith("/image"):
            row["status"] = "queued"
        self.things[base][identity] = row
        return 201, row if base.startswith("/image") else {singular: row}

    def _whole(self, base: str, row: dict[str, Any]) -> dict[str, Any]:
        if base != "/network/v2.0/security-groups":
            return row
        rules = self.things["/network/v2.0/security-group-rules"].values()
        return {**row, "security_group_rules": [rule for rule in rules if rule["security_group_id"] == row["id"]]}

    def _part(self, method: str, rows: dict[str, dict[str, Any]], rest: list[str], body: Any) -> tuple[int, Any]:
        if rest[0] not in rows:
            return 404, {"error": {"message": "no such thing"}}
        row, what = rows[rest[0]], rest[1]
        if what == "action" and "os-extend" in body:
            row["size"] = body["os-extend"]["new_size"]
        elif what == "action":
            row.setdefault("hosts", []).append(body["add_host"]["host"])
        elif what in ("os-extra_specs", "extra_specs"):
            if method == "GET":
                return 200, {"extra_specs": self.specs.get(rest[0], {})}
            self.specs.setdefault(rest[0], {}).update(body["extra_specs"])
        elif what == "file":
            content = bytes.fromhex(body["hex"])
            row.update(status="active", os_hash_algo="sha512", os_hash_value=hashlib.sha512(content).hexdigest())
        elif what == "add_router_interface":
            port = f"port-{next(self._made)}"
            fixed = [{"subnet_id": body["subnet_id"]}]
            self.things["/network/v2.0/ports"][port] = {"id": port, "device_id": rest[0], "fixed_ips": fixed}
        elif what == "remove_router_interface":
            ports = self.things["/network/v2.0/ports"]
            for port in [key for key, one in ports.items() if one["fixed_ips"][0]["subnet_id"] == body["subnet_id"]]:
                del ports[port]
        return 200, {}

    def _quota(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        service = path.split("/")[1]
        key = "quota" if service == "network" else "quota_set"
        if method == "PUT":
            self.quotas[service].update(body[key])
        return 200, {key: self.quotas[service]}

    def read_body(self, raw: bytes) -> Any:
        """JSON, or the bytes of an image in a form that JSON has."""
        try:
            return json.loads(raw)
        except ValueError:
            return {"hex": raw.hex()}
