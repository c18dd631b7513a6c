"""Roles of a few tasks for tests of runs, in the operator's folder; and agents that do what they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pxeforge.services import claims, hosts, role_catalogue, task_results
from pxeforge.services.context import Context
from pxeforge.store.tables import AgentCredential, Host

# One with everything that runs know of, and one that stands on it.
DATABASE = """\
name: tdatabase
summary: a database for tests
variables:
  tdb_admin: {secret: true, help: its password}
tasks:
  - name: install
    resource: mirror
    retries: 2
    steps:
      - packages: {names: [tdb-server]}
  - name: configure
    steps:
      - name: config
        file: {path: /etc/tdb.conf, content: "password = {{ secrets.tdb_admin }}\\n", mode: "0600"}
verify:
  - name: round-trip
    level: 3
    steps:
      - probe: {shell: "tdb check", expect: good}
remove:
  - name: purge
    steps:
      - packages: {names: [tdb-server], state: absent}
"""
SERVICE = """\
name: tservice
summary: a service that needs the database
tasks:
  - name: install
    after: ["role:tdatabase"]
    steps:
      - packages: {names: [tservice]}
"""


def give_roles(ctx: Context, *texts: str) -> None:
    for text in texts or (DATABASE, SERVICE):
        name = text.partition("\n")[0].removeprefix("name: ")
        folder = ctx.operator_dir / "roles" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "role.yaml").write_text(text)


def add_host(ctx: Context, number: int, *roles: str) -> str:
    """A registered host with an agent that was just seen."""
    with ctx.database.write() as session:
        host = Host(
            id=f"{number:012x}", name=f"n{number}", state="registered", created_at=ctx.clock(),
            address=f"192.0.2.{number}", registered_at=ctx.clock(), tags=[], settings={},
            facts={"os": {"id": "debian", "version": "12"}},
        )  # fmt: skip
        session.add(host)
        session.flush()
        session.add(
            AgentCredential(host_id=host.id, digest=f"{number:064x}", issued_at=ctx.clock(), seen_at=ctx.clock())
        )
    if roles:
        known = [role["name"] for role in role_catalogue.known_roles(ctx)]
        hosts.assign(ctx, [f"n{number}"], list(roles), who="test", known_roles=known)
    return f"{number:012x}"


def seen(ctx: Context, *host_ids: str) -> None:
    with ctx.database.write() as session:
        for host_id in host_ids:
            session.get_one(AgentCredential, host_id).seen_at = ctx.clock()


def step(status: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "config", "type": "file", "status": status, "message": message, "duration_s": 1.0, **more}


def do_next(
    ctx: Context, host_id: str, status: str = "changed", message: str = "", **more: Any
) -> dict[str, Any] | None:
    """One task of this host, claimed and ended; None when there is none."""
    task = claims.claim(ctx, host_id)
    if task is not None:
        result = {"status": status, "steps": [step(status, message, **more)]}
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], result)
    return task


def work(ctx: Context, *host_ids: str, how: Callable[[Mapping[str, Any]], str] = lambda _task: "changed") -> list[str]:
    """All that these hosts have to do, in turn; titles in the order in which they were done."""
    done: list[str] = []
    idle = 0
    while idle < len(host_ids):
        for host_id in host_ids:
            task = claims.claim(ctx, host_id)
            idle = idle + 1 if task is None else 0
            if task is not None:
                status = how(task)
                result = {"status": status, "steps": [step(status, "no such package" if status == "failed" else "")]}
                task_results.finish(ctx, host_id, task["task_id"], task["fence"], result)
                done.append(f"{task['title']}@{host_id[-1]}")
    return done
