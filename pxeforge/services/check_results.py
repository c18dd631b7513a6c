"""Health: what the checks of each role last said on each host, and since when they say so."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import SUCCEEDED, TaskState
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.store.tables import Assignment, CheckResult, DeployedRole, Host, Run

GOOD: Final = "good"
BAD: Final = "bad"
STATES: Final = (BAD, GOOD)
_LINES: Final = 3
_LONGEST: Final = 500


def note(
    session: Session, ctx: Context, run: Run, task: PlannedTask, status: TaskState, steps: list[dict[str, Any]]
) -> None:
    """Keeps the result of a check; a change is a line of the host's timeline."""
    if task.kind != "verify":
        return
    now, state = ctx.clock(), GOOD if status in SUCCEEDED else BAD
    row = session.get(CheckResult, (task.host_id, task.role, task.name))
    if row is None:
        row = CheckResult(host_id=task.host_id, role=task.role, name=task.name, state="", since=now)
        session.add(row)
    changed, before = row.state != state, (row.state, row.since)
    row.message = said(steps, bad=state == BAD)
    row.at, row.run_id, row.level = now, run.id, task.level
    if changed:
        row.state, row.since = state, now
        _tell(session, ctx, run, row, before)


def _tell(session: Session, ctx: Context, run: Run, row: CheckResult, before: tuple[str, float]) -> None:
    if row.state == GOOD and not before[0]:
        return  # the first time that a good one is looked at
    was = f", after {(ctx.clock() - before[1]) / 60:.0f} min of being {before[0]}" if before[0] else ""
    kind = "check_bad" if row.state == BAD else "check_good"
    record(
        session, ctx, host_id=row.host_id, run_id=run.id, source="engine", kind=kind,
        message=f"{row.role}: {row.name} is {row.state}{was}: {row.message or 'nothing was said'}",
        data={"role": row.role, "check": row.name},
    )  # fmt: skip


def said(steps: list[dict[str, Any]], *, bad: bool) -> str:
    """The end of what the last step (of a bad check: the one that failed) told."""
    told = [step for step in steps if not bad or step["status"] == "failed"]
    if not told:
        return ""
    text = told[-1].get("message") or told[-1].get("output") or ""
    return "\n".join(text.strip().splitlines()[-_LINES:])[-_LONGEST:]


def forget(session: Session, host_id: str, role: str) -> None:
    """The role is gone from the host, and so are its checks."""
    for row in session.scalars(select(CheckResult).where(CheckResult.host_id == host_id, CheckResult.role == role)):
        session.delete(row)


def show(ctx: Context, *, host_id: str | None = None, role: str | None = None) -> list[dict[str, Any]]:
    """A row per host and role: bad ones first, then by host and role; each with its checks."""
    query = select(CheckResult, Host.name).join(Host, Host.id == CheckResult.host_id)
    if host_id is not None:
        query = query.where(CheckResult.host_id == host_id)
    if role is not None:
        query = query.where(CheckResult.role == role)
    gathered: dict[tuple[str, str], dict[str, Any]] = {}
    with ctx.database.read() as session:
        for row, name in session.execute(query.order_by(Host.name, CheckResult.role, CheckResult.name)):
            one = gathered.setdefault(
                (row.host_id, row.role),
                {"host_id": row.host_id, "host_name": name or row.host_id, "role": row.role, "state": GOOD,
                 "since": row.since, "checked_at": row.at, "checks": []},
            )  # fmt: skip
            one["checks"].append({
                "name": row.name, "state": row.state, "since": row.since, "checked_at": row.at, "level": row.level,
                "message": row.message, "run_id": row.run_id,
            })  # fmt: skip
    rows = [_summed_up(one) for one in gathered.values()]
    return sorted(rows, key=lambda one: (one["state"] != BAD, one["host_name"], one["role"], one["host_id"]))


def _summed_up(one: dict[str, Any]) -> dict[str, Any]:
    """A role is bad since its first check that is bad now, and good since its last one became so."""
    bad = [check["since"] for check in one["checks"] if check["state"] == BAD]
    one["state"] = BAD if bad else GOOD
    one["since"] = min(bad) if bad else max(check["since"] for check in one["checks"])
    one["checked_at"] = min(check["checked_at"] for check in one["checks"])
    return one


def counts(session: Session) -> dict[str, int]:
    """How many roles on hosts are good, and how many have a check that is bad."""
    worst: dict[tuple[str, str], str] = {}
    for host_id, role, state in session.execute(select(CheckResult.host_id, CheckResult.role, CheckResult.state)):
        if worst.get((host_id, role)) != BAD:
            worst[host_id, role] = state
    return {state: sum(each == state for each in worst.values()) for state in STATES}


def tidy(ctx: Context) -> None:
    """Drops what is known of roles that hosts neither have nor had deployed."""
    with ctx.database.read() as session:
        kept = {tuple(row) for row in session.execute(select(Assignment.host_id, Assignment.role))}
        kept |= {tuple(row) for row in session.execute(select(DeployedRole.host_id, DeployedRole.role))}
        rows = session.execute(select(CheckResult.host_id, CheckResult.role).distinct()).all()
        gone = [tuple(row) for row in rows if tuple(row) not in kept]
    if gone:
        with ctx.database.write() as session:
            for host_id, role in gone:
                forget(session, host_id, role)
