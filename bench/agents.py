"""A thousand agents on one server: they ask, are given tasks and say that these are done, as real ones do, over TLS."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert

from bench.children import children_of, cpu_s, resident_mb
from bench.compiled import CannotBench
from bench.scale import AdminPlane
from bench.year import id_of, name_of
from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.services.context import digest
from pxeforge.store.tables import AgentCredential, Assignment, Host

ROLE: Final = "bench"
PORT: Final = 8442
_JITTER: Final = (0.5, 1.5)  # of the pause between two questions, as agent/loop.py has it
_RUN_LIMIT_S: Final = 1200.0


def make_site(folder: Path, operator: Path, agents: int, tasks: int, steps: int) -> None:
    """A data directory with so many registered hosts, and a role of `tasks` tasks with `steps` steps each."""
    role = operator / "roles" / ROLE
    role.mkdir(parents=True)
    files = "".join(f"      - file: {{path: /tmp/bench-{step}, content: x}}\n" for step in range(steps))
    body = "".join(f"  - name: t{number}\n    steps:\n{files}" for number in range(tasks))
    (role / "role.yaml").write_text(f"name: {ROLE}\nsummary: tasks that cost nothing\ntasks:\n{body}")
    ctx = open_context(Settings.model_validate({"data_dir": folder, "operator_dir": operator}), upgrade=True)
    now = ctx.clock()
    numbers = range(agents)
    try:
        with ctx.database.write() as session:
            session.execute(insert(Host), [_host(number, now) for number in numbers])
            roles = [{"host_id": id_of(n), "role": ROLE, "assigned_at": now, "assigned_by": "bench"} for n in numbers]
            session.execute(insert(Assignment), roles)
            credentials = [
                {"host_id": id_of(n), "digest": digest(credential_of(n)), "issued_at": now, "seen_at": now}
                for n in numbers
            ]
            session.execute(insert(AgentCredential), credentials)
    finally:
        ctx.database.close()


def _host(number: int, now: float) -> dict[str, Any]:
    return {
        "id": id_of(number), "name": name_of(number), "state": "registered", "created_at": now, "registered_at": now,
        "address": address_of(number), "tags": [], "settings": {}, "facts": {},
    }  # fmt: skip


def address_of(number: int) -> str:
    """Of 172.16.0.0/16, which is all ours (bench/scene.py)."""
    return f"172.16.{number // 250}.{number % 250 + 1}"


def credential_of(number: int) -> str:
    return f"bench-credential-{number:06d}"


@dataclass
class Seen:
    """What the agents saw: seconds per request."""

    idle: list[float] = field(default_factory=list)  # questions that found nothing
    claims: list[float] = field(default_factory=list)
    results: list[float] = field(default_factory=list)
    steps: int = 0
    odd: list[str] = field(default_factory=list)  # answers that no agent should get


class Plane:
    """One agent's connection, kept from request to request."""

    def __init__(self, server: str, number: int, tls: ssl.SSLContext) -> None:
        self._server, self._own, self._tls = server, address_of(number), tls
        bearer = f"Authorization: Bearer {credential_of(number)}"
        self._head = f"Host: {server}\r\n{bearer}\r\nContent-Type: application/json\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
        """Status, answer and seconds, without those of a handshake."""
        if self._streams is None:
            own = (self._own, 0)
            self._streams = await asyncio.open_connection(self._server, PORT, ssl=self._tls, local_addr=own)
        reader, writer = self._streams
        content = json.dumps(body).encode()
        began = time.perf_counter()
        writer.write(f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        answer = await reader.readexactly(length) if length else b""
        took = time.perf_counter() - began
        return int(head.split()[1]), json.loads(answer) if answer else {}, took

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Fleet:
    """`async with Fleet(…) as fleet:` so many agents that have said hello, and go on asking until it ends."""

    def __init__(self, server: str, agents: int) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._planes = [Plane(server, number, self._tls) for number in range(agents)]
        self._tasks: list[asyncio.Task[None]] = []
        self._greeted = 0
        self.seen = Seen()

    async def __aenter__(self) -> Fleet:
        self._tasks = [asyncio.create_task(self._live(plane)) for plane in self._planes]
        await self._wait(lambda: self._greeted == len(self._planes), 300)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for plane in self._planes:
            plane.close()

    async def _wait(self, condition: Callable[[], bool], limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end or any(task.done() for task in self._tasks):
                raised = next((task.exception() for task in self._tasks if task.done() and not task.cancelled()), None)
                raise CannotBench(f"the agents did not come to their end: {raised or self.seen.odd[:3]}")
            await asyncio.sleep(0.05)

    async def done(self, results: int) -> None:
        await self._wait(lambda: len(self.seen.results) >= results, _RUN_LIMIT_S)

    async def _live(self, plane: Plane) -> None:
        await asyncio.sleep(random.uniform(0, len(self._planes) / 100))  # a hundred handshakes a second
        _, told, _ = await plane.post("/v1/hello", {"version": "bench", "boot_id": "1", "facts": {}})
        self._greeted += 1
        poll_s = float(told.get("poll_s") or 2.0)
        while True:
            status, task, took = await plane.post("/v1/claim", {"wait_s": 25})
            if status == 200 and "task_id" in task:
                self.seen.claims.append(took)
                await self._do(plane, task)
                continue
            if status not in (200, 204):
                self.seen.odd.append(f"{status} {task}")
            self.seen.idle.append(took)
            await asyncio.sleep(random.uniform(*_JITTER) * float(task.get("poll_s") or poll_s))

    async def _do(self, plane: Plane, task: dict[str, Any]) -> None:
        steps = [
            {"id": step["id"], "name": step["name"], "type": step["type"], "status": "ok", "message": "",
             "duration_s": 0.001, "before": "0123456789abcdef", "after": "0123456789abcdef"}
            for step in task["steps"]
        ]  # fmt: skip
        body = {"fence": task["fence"], "status": "ok", "steps": steps}
        status, told, took = await plane.post(f"/v1/tasks/{task['task_id']}/result", body)
        if status != 200:
            self.seen.odd.append(f"{status} {told}")
        self.seen.results.append(took)
        self.seen.steps += len(steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one measurement; times in seconds, memory in MB."""

    agents: int
    idle_p50: float
    idle_p99: float
    idle_cpu: float  # of one processor, while nothing is to be done
    start_s: float  # until the deploy was answered
    run_s: float
    tasks_per_s: float
    steps_per_s: float
    busy_p99: float  # of questions that found nothing, during the run
    claim_p99: float
    result_p99: float
    rss: dict[str, float]


async def _measured(address: str, data_dir: Path, supervisor: int, agents: int, tasks: int, idle_s: float) -> Figures:
    async with Fleet(address, agents) as fleet:
        [agent] = children_of(supervisor)["agent"]
        await asyncio.sleep(3)
        quiet = fleet.seen = Seen()
        cpu = cpu_s(agent)
        await asyncio.sleep(idle_s)
        idle_cpu = (cpu_s(agent) - cpu) / idle_s
        busy = fleet.seen = Seen()
        plane = AdminPlane(data_dir)
        began = time.perf_counter()
        run = json.loads(await asyncio.to_thread(plane.ask, "POST", "/api/v1/deploy", {}))
        start_s = time.perf_counter() - began
        plane.close()  # the server ends a connection over which nothing comes for as long as the run may take
        await fleet.done(agents * tasks)
        run_s = time.perf_counter() - began - start_s
        ended = json.loads(await asyncio.to_thread(plane.ask, "GET", f"/api/v1/runs/{run['id']}"))
        plane.close()
    odd = [*quiet.odd, *busy.odd]
    if ended["state"] != "succeeded" or odd:
        raise CannotBench(f"the run {ended['state']}, agents were told {odd[:3]}")
    return Figures(
        agents=agents, idle_p50=statistics.median(quiet.idle), idle_p99=p99(quiet.idle), idle_cpu=idle_cpu,
        start_s=start_s, run_s=run_s, tasks_per_s=len(busy.results) / run_s, steps_per_s=busy.steps / run_s,
        busy_p99=p99(busy.idle), claim_p99=p99(busy.claims), result_p99=p99(busy.results),
        rss={name: sum(resident_mb(pid) for pid in pids) for name, pids in children_of(supervisor).items()},
    )  # fmt: skip


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1] if len(values) > 1 else max(values, default=0.0)


def measure_agents(address: str, data_dir: Path, supervisor: int, *, agents: int, tasks: int, idle_s: float) -> Figures:
    """Raises CannotBench when a task was lost or an agent was told what none should be."""

    return asyncio.run(_measured(address, data_dir, supervisor, agents, tasks, idle_s))
