"""What was deployed where: remembered when a deploy works on a host, forgotten when the role was removed from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import SUCCEEDED, TaskState
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.services import check_results
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.run_progress import Change
from pxeforge.store.tables import DeployedRole, Host, Run


def note(session: Session, ctx: Context, change: Change, task: PlannedTask, status: TaskState) -> None:
    """After a task of a deploy: its role is on the host, wholly or in part, or gone from it."""
    if change.run.check:
        return
    if task.kind == "deploy":
        _remember(session, ctx, change.run.id, task)
    elif task.kind == "remove" and status in SUCCEEDED and _all_removed(change, task):
        _forget(session, ctx, change.run.id, task)


def _remember(session: Session, ctx: Context, run_id: str, task: PlannedTask) -> None:
    row, now = session.get(DeployedRole, (task.host_id, task.role)), ctx.clock()
    if row is None:
        row = DeployedRole(host_id=task.host_id, role=task.role, since=now)
        session.add(row)
    if row.run_id != run_id:
        row.at, row.run_id = now, run_id


def _all_removed(change: Change, task: PlannedTask) -> bool:
    names = change.plan.of_host[task.host_id]
    of_role = [name for name in names if (one := change.plan.tasks[name]).role == task.role and one.kind == "remove"]
    return all(change.states[name] in SUCCEEDED for name in of_role)


def _forget(session: Session, ctx: Context, run_id: str, task: PlannedTask) -> None:
    row = session.get(DeployedRole, (task.host_id, task.role))
    if row is not None:
        session.delete(row)
    check_results.forget(session, task.host_id, task.role)
    record(
        session, ctx, host_id=task.host_id, run_id=run_id, source="engine", kind="role_removed",
        message=f"the role {task.role} was removed from here",
    )  # fmt: skip


def by_host(session: Session) -> dict[str, list[str]]:
    """The roles that are on hosts because of a deploy, by the host's id, in the order in which they came."""
    rows = session.execute(select(DeployedRole.host_id, DeployedRole.role).order_by(DeployedRole.since))
    found: dict[str, list[str]] = {}
    for host_id, role in rows:
        found.setdefault(host_id, []).append(role)
    return found


def of_blueprint(session: Session, blueprint: str) -> dict[str, set[str]]:
    """Of the roles on hosts, those that a deploy of this blueprint did last, by the host's id."""
    of_it = select(DeployedRole.host_id, DeployedRole.role).join(Run, Run.id == DeployedRole.run_id)
    found: dict[str, set[str]] = {}
    for host_id, role in session.execute(of_it.where(Run.blueprint == blueprint)):
        found.setdefault(host_id, set()).add(role)
    return found


def leftover(session: Session, wanted: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Roles on hosts that no longer want them, with those that others need: `wanted` has all of these."""
    found = {}
    for host_id, roles in by_host(session).items():
        gone = [role for role in roles if role not in wanted.get(host_id, set())]
        if gone:
            found[host_id] = gone
    return found


def show(ctx: Context, host_id: str | None = None) -> list[dict[str, Any]]:
    """What is where, by host and role."""
    query = select(DeployedRole, Host.name).join(Host, Host.id == DeployedRole.host_id)
    if host_id is not None:
        query = query.where(DeployedRole.host_id == host_id)
    with ctx.database.read() as session:
        rows = [
            {"host_id": row.host_id, "host_name": name or row.host_id, "role": row.role, "since": row.since,
             "at": row.at, "run_id": row.run_id}
            for row, name in session.execute(query)
        ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["host_name"], row["role"], row["host_id"]))
