"""Simulated machines: they netboot, install, register and carry out tasks, and stop half-way now and then."""

from __future__ import annotations

import http.client
import json
import random
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Final

from tests.soak.model import Model
from tests.soak.wire import ACK, DISCOVER, OFFER, RELEASE, REQUEST, Relay, Reply, TransferLost, fetch, pause
from tests.soak.world import AGENT_PORT, WIRE, ServerGone, World

_ANSWERS: Final = re.compile(r"/answers/([0-9a-f]{32})")
_INSTALLER: Final = re.compile(r"/installer/([0-9a-f]{32})/")
_GIVES_UP: Final = 0.08  # at each stage of an install
_TRIES: Final = 6


class Refused(Exception):
    """The server said no, or the machine lost its power: this boot is over."""


@dataclass
class Machine:
    """One host: who it is, and what it holds. Used by one thread."""

    number: int
    world: World
    model: Model
    relay: Relay
    chance: random.Random
    host_id: str = ""
    credential: str = ""
    address: str = ""
    _boots: int = field(default=0)

    @property
    def mac(self) -> str:
        return f"52:54:02:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def source(self) -> str:
        """Where its HTTP and TFTP come from: behind the router, as the server sees it."""
        return f"172.16.{self.number >> 8}.{self.number % 250 + 1}"

    def live(self) -> None:
        """One thing that a machine does."""
        if self.credential and self.chance.random() < 0.6:
            self.work()
        else:
            self.boot()

    # ------------------------------------------------------------------ firmware, loader, installer

    def boot(self) -> None:
        self._boots += 1
        self.model.count("netboots")
        try:
            rom = self._lease({})
            if rom.boot_file and self.chance.random() < 0.15:
                self._load(rom.boot_file)
            ipxe = self._lease({77: b"iPXE"})
            token = self._menu()
            if token is None:
                return
            if "menu.ipxe" not in ipxe.boot_file and self.chance.random() < 0.5:
                return  # most firmware would not have come this far: the arming came between
            self._install(token)
        except Refused:
            return

    def _lease(self, more: dict[int, bytes]) -> Reply:
        offer = self.relay.ask(self.mac, DISCOVER, more, chance=self.chance)
        if offer is None or offer.type != OFFER:
            raise Refused
        wanted = {50: _packed(offer.address), 54: _packed(offer.server), **more}
        ack = self.relay.ask(self.mac, REQUEST, wanted, chance=self.chance)
        if ack is None or ack.type != ACK:
            raise Refused
        self.model.leased(self.mac, ack.address, ack.lease_s, self.world.now())
        self.model.count("leases")
        self.address = ack.address
        if self.chance.random() < 0.05:
            self.model.released(self.mac, ack.address)
            # A released address is free: the machine has it no more, and boots on as one that never asked.
            self.relay.ask(self.mac, RELEASE, {54: _packed(ack.server)}, chance=self.chance)
        return ack

    def _load(self, name: str) -> None:
        began = time.monotonic()
        try:
            content = fetch(name, self.source, self.chance)
        except TransferLost as problem:
            if self.world.was_calm(began - 10):
                self.model.count(f"TFTP transfers lost: {str(problem)[:60]}")
            return
        self.model.count("files by TFTP")
        if not content:
            self.model.wrong(f"{name} came empty by TFTP")

    def _menu(self) -> str | None:
        status, content = self._http("GET", f"/boot/{self.mac}/menu.ipxe")
        if status != 200:
            raise Refused
        found = _ANSWERS.search(content.decode())
        if found is None:
            return None
        self.model.token_seen(self.mac, found[1])
        self.model.count("menus that install")
        return found[1]

    def _install(self, token: str) -> None:
        self._or_die()
        name = self.chance.choice(("linux", "initrd.gz"))
        status, content = self._http("GET", f"/images/bench/1/{name}")
        if status == 200 and content != (self.world.image / name).read_bytes():
            self.model.wrong(f"{name} came with other bytes than it has")
        self._or_die()
        answers = self._answers(token)
        if self.chance.random() < 0.3:  # installers read them again
            answers = self._answers(token)
        installer = _INSTALLER.search(answers)
        if installer is None:
            self.model.wrong(f"the answers of {self.mac} name no way back")
            raise Refused
        way = f"/installer/{installer[1]}"
        for path in ("early", "disks", "late"):
            self._or_die()
            self._get(f"{way}/{path}")
            if self.chance.random() < 0.3:
                self._http("POST", f"{way}/progress", b"partman")
            pause(self.chance, 0.2)
        if self.chance.random() < 0.05:
            self._http("POST", f"{way}/failed?stage=partman", b"no disk")
            return
        self._or_die()
        self._register(way, token)

    def _answers(self, token: str) -> str:
        asked_at, host_id = time.monotonic(), self.model.ids.get(self.mac)
        status, content = self._http("GET", f"/answers/{token}")
        if status != 200:
            raise Refused
        self.model.answers_given(self.mac, token, asked_at)
        self.model.count("answers")
        if host_id and self.model.ids.get(self.mac) == host_id:  # nobody forgot the host meanwhile
            self.model.promised(host_id, "answers_fetched")
        return content.decode()

    def _get(self, path: str) -> None:
        status, _ = self._http("GET", path)
        if status != 200:
            raise Refused

    def _register(self, way: str, token: str) -> None:
        facts = {
            "hostname": f"soak-{self.number}", "serial": f"S{self.number}", "ram_bytes": 1 << 33,
            "cpu": {"model": "soak", "count": 4}, "disks": [{"name": "vda", "size_bytes": 1 << 36}],
            "nics": [{"name": "ens3", "mac": self.mac, "addresses": [f"{self.source}/16"]}],
            "registration_nonce": f"{self.chance.getrandbits(256):064x}",
        }  # fmt: skip
        body = json.dumps(facts).encode()
        status, content = self._http("POST", f"{way}/register", body)
        if status == 200 and self.chance.random() < 0.1:  # the answer got lost: asked again
            again, repeated = self._http("POST", f"{way}/register", body)
            if again == 200 and json.loads(repeated)["agent_token"] != json.loads(content)["agent_token"]:
                self.model.wrong(f"{self.mac} registered twice with one nonce and got two credentials")
        if status != 200:
            raise Refused
        self.model.tokens_ended(frozenset({token}))
        told = json.loads(content)
        self.credential, self.host_id = told["agent_token"], told["host_id"]
        self.model.promised(self.host_id, "register")
        self.model.count("registrations")
        if self.chance.random() < 0.2 and self._http("GET", f"/answers/{token}")[0] == 200:
            self.model.wrong(f"{self.mac} got answers after it was registered")

    def _or_die(self) -> None:
        if self.chance.random() < _GIVES_UP:
            self.model.count("machines that lost power")
            raise Refused
        pause(self.chance, 0.3)

    def _http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Tries again as installers do; raises Refused when the server stays away."""
        for _ in range(_TRIES):
            began = time.monotonic()
            try:
                status, content = self.world.boot(method, path, self.source, body)
            except ServerGone as problem:
                if self.world.was_calm(began):
                    self.model.wrong(f"boot plane: {method} {path.split('?')[0][:24]} had no answer: {problem}")
                pause(self.chance, 2)
                continue
            if status == 503:
                self.model.count("boot plane: 503")
                pause(self.chance, 2)
                continue
            if status >= 500:
                self.model.wrong(f"boot plane: {method} {path[:24]} was answered with {status}: {content[:120]!r}")
            return status, content
        raise Refused

    # ------------------------------------------------------------------ the agent

    def work(self) -> None:
        """Greets now and then, and carries out one task if there is one."""
        try:
            if self.chance.random() < 0.2:
                self._agent("/v1/hello", {"version": "0", "boot_id": f"{self.number}-{self._boots}", "facts": {}})
            task = self._agent("/v1/claim", {})
            if not task or "task_id" not in task:  # told to ask again soon
                return
            self._or_die()  # with the task in hand: its lease runs out
            path, fence = f"/v1/tasks/{task['task_id']}", {"fence": task["fence"]}
            if self.chance.random() < 0.5:
                self._agent(f"{path}/events", {**fence, "events": [{"step": "x", "status": "running"}]})
            status = self.chance.choices(("ok", "changed", "failed"), (45, 50, 5))[0]
            done = self._agent(f"{path}/result", {**fence, "status": status, "steps": []})
            if done is not None:
                self.model.promised(self.host_id, f"task_{status}")
                self.model.count("tasks done")
                if self._agent(f"{path}/result", {**fence, "status": status, "steps": []}) is not None:
                    self.model.wrong(f"the result of task {task['task_id']} was taken twice")
        except Refused:
            return

    def _agent(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; {} for none, None for a task that is another's by now. Raises Refused."""
        began = time.monotonic()
        connection = http.client.HTTPSConnection(
            WIRE.server, AGENT_PORT, timeout=30, context=_any_certificate(), source_address=(self.source, 0)
        )  # fmt: skip
        try:
            headers = {"Authorization": f"Bearer {self.credential}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            if self.world.was_calm(began):
                self.model.wrong(f"agent plane: {path[:12]} had no answer: {type(problem).__name__}: {problem}")
            raise Refused from None
        finally:
            connection.close()
        if status in (401, 403):
            self.credential = ""  # forgotten, or registered anew
            raise Refused
        if status == 409:
            return None
        if status >= 500:
            if status != 503:
                self.model.wrong(f"agent plane: {path[:12]} was answered with {status}: {content[:120]!r}")
            raise Refused
        return dict(json.loads(content)) if content else {}


def _any_certificate() -> ssl.SSLContext:
    # Pinning is proved elsewhere; this agent only has to get through.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _packed(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))
