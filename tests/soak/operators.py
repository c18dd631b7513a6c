"""Simulated operators: they edit, arm, disarm, assign, import, deploy and look, several at once."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import Any, Final

from tests.soak.model import Model
from tests.soak.world import ServerGone, World

ACCOUNT: Final = {"name": "ops", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ soak"], "sudo": True}
PROFILE: Final = "soak"
_LOOKS: Final = (
    "/", "/hosts", "/hosts?q=soak-1", "/hosts?state=failed", "/events", "/audit", "/roles", "/runs", "/profiles",
    "/api/v1/hosts", "/api/v1/events", "/api/v1/audit", "/api/v1/runs", "/api/v1/inventory", "/api/v1/images",
    "/api/v1/hosts/export", "/metrics", "/readyz",
)  # fmt: skip


class NoAnswer(Exception):
    """What became of the request is not known."""


@dataclass
class Operator:
    """Used by one thread; `macs` are the machines of the rack."""

    name: str
    world: World
    model: Model
    chance: random.Random
    macs: list[str]

    def act(self) -> None:
        """One thing that an operator does."""
        acts = {
            self.edit: 20, self.arm: 22, self.disarm: 6, self.assign: 6, self.unassign: 4, self.import_table: 4,
            self.forget: 2, self.deploy: 4, self.cancel: 1, self.look: 15, self.look_at_host: 8,
        }  # fmt: skip
        [act] = self.chance.choices(list(acts), list(acts.values()))
        try:
            act()
        except NoAnswer:
            self.model.count("operators' requests without an answer")

    # ------------------------------------------------------------------ what they do

    def add(self, mac: str) -> None:
        status, told = self._api("POST", "/hosts", {"macs": [mac], "name": f"soak-{int(mac[-2:], 16)}-{mac[12:14]}"})
        if status in (200, 201):
            self.model.ids[mac] = told["id"]
            self._api("PATCH", f"/hosts/{mac}", {"loader": "ipxe"})  # it is the only one on this server

    def edit(self) -> None:
        mac, tag = self._mac(), f"edit-{self.chance.getrandbits(48):012x}"
        status, told = self._api("PATCH", f"/hosts/{mac}", {"tags": [tag]})
        if status == 200:
            self.model.promised(told["id"], "changed", tag)
            self.model.count("edits")
        elif status == 404:
            self.add(mac)

    def arm(self) -> None:
        mac = self._mac()
        before = self.model.tokens_of(mac)
        for_s = self.chance.choice((60, 300, 7200))
        status, told = self._api("POST", f"/hosts/{mac}/arm", {"profile": PROFILE, "for_s": for_s})
        if status == 200:
            self.model.tokens_ended(before)
            self.model.promised(told["id"], "arm")
            self.model.count("armings")
        elif status == 404:
            self.add(mac)

    def disarm(self) -> None:
        mac = self._mac()
        before = self.model.tokens_of(mac)
        status, told = self._api("POST", f"/hosts/{mac}/disarm", {})
        if status == 200:
            self.model.tokens_ended(before)
            self.model.promised(told["id"], "disarm")
            self.model.count("disarmings")

    def assign(self) -> None:
        macs = [self._mac() for _ in range(self.chance.randint(1, 4))]
        self._api("POST", "/hosts/assign", {"hosts": macs, "roles": ["base"]})

    def unassign(self) -> None:
        self._api("POST", f"/hosts/{self._mac()}/unassign", {"roles": ["base"]})

    def import_table(self) -> None:
        """A table of several hosts: all of its lines or none."""
        macs = self.chance.sample(self.macs, 4)
        tag = f"table-{self.chance.getrandbits(48):012x}"
        lines = ["mac,tags", *(f"{mac},{tag}" for mac in macs)]
        is_bad = self.chance.random() < 0.3
        if is_bad:
            lines.append("not-a-mac,x")
        status, _ = self._api("POST", "/hosts/import", {"csv": "\n".join(lines)})
        if is_bad and status == 200:
            self.model.wrong("a table with a line that is wrong was imported")
        if status != 200:
            return
        self.model.count("tables imported")
        for mac in macs:
            found, host = self._api("GET", f"/hosts/{mac}")
            if found == 200:
                self.model.promised(host["id"], "changed", tag)

    def forget(self) -> None:
        mac = self._mac()
        before = self.model.tokens_of(mac)
        known = self.model.ids.pop(mac, None)
        status, _ = self._api("DELETE", f"/hosts/{mac}")
        if status == 409 and known is not None:  # it is armed, or something runs on it
            self.model.ids[mac] = known
        if status in (200, 204):
            self.model.tokens_ended(before)
            self.model.count("hosts forgotten")
            self.add(mac)

    def deploy(self) -> None:
        limit = [self._mac() for _ in range(3)] if self.chance.random() < 0.6 else []
        status, _ = self._api("POST", "/deploy", {"limit": limit, "check": self.chance.random() < 0.2})
        if status in (200, 202):
            self.model.count("deploys")

    def cancel(self) -> None:
        status, runs = self._api("GET", "/runs")
        for run in runs if status == 200 and isinstance(runs, list) else ():
            if run["state"] == "running":
                self._api("POST", f"/runs/{run['id']}/cancel", {})

    def look(self) -> None:
        self._ask("GET", self.chance.choice(_LOOKS), None)

    def look_at_host(self) -> None:
        mac = self._mac()
        path = self.chance.choice((f"/hosts/{mac}", f"/api/v1/hosts/{mac}/timeline", f"/api/v1/hosts/{mac}/explain"))
        self._ask("GET", path, None)

    def _mac(self) -> str:
        return self.chance.choice(self.macs)

    # ------------------------------------------------------------------ requests

    def _api(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        status, content = self._ask(method, f"/api/v1{path}", body)
        try:
            return status, json.loads(content) if content else {}
        except ValueError:
            return status, {}  # an error that is none of the API's own was told as wrong already

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        """Raises NoAnswer. Whoever asks a server that runs gets an answer, and never one that is our own fault."""
        began = time.monotonic()
        try:
            status, content = self.world.admin(method, path, body)
        except ServerGone as problem:
            if self.world.was_calm(began):
                self.model.wrong(f"admin plane: {method} {path} had no answer: {problem}")
            time.sleep(0.5)
            raise NoAnswer from None
        self.model.count(f"admin plane: {status // 100}xx")
        if status == 503 and (path == "/readyz" or _has_reason(content)):
            self.model.count("admin plane: 503 with a reason")
        elif status >= 500:
            during = " (disk full)" if self.world.disk_is_full else ""
            self.model.wrong(f"admin plane: {method} {path} was answered with {status}{during}: {content[:200]!r}")
        return status, content


def _has_reason(content: bytes) -> bool:
    try:
        return bool(json.loads(content).get("detail"))
    except (ValueError, AttributeError):
        return b"<h1" in content  # a page says it in words
