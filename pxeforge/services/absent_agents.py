"""A run does not wait for ever: a host whose agent stays silent while there is work for it has failed it."""

from __future__ import annotations

import math
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import TaskState
from pxeforge.services import run_ends
from pxeforge.services.budgets import effective
from pxeforge.services.claims import RETURN_S
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.run_progress import Change
from pxeforge.store.tables import AgentCredential, Run, RunTask

BUDGET: Final = "silence"


def give_up(ctx: Context, *, up_for_s: float = math.inf) -> int:
    """Fails the tasks that silent hosts could do now; what stands on them is blocked. Returns how many hosts.

    `up_for_s`: since our start. What was not heard while we were away counts for nobody.
    """
    heard_since = ctx.clock() - up_for_s + RETURN_S
    with ctx.database.read() as session:
        due = [run.id for run in _going(session) if _silent(session, ctx, run, heard_since)]
    if not due:
        return 0
    ended = 0
    with ctx.database.write() as session:
        for run in _going(session):
            silent = _silent(session, ctx, run, heard_since)
            if silent:
                change = Change(session, ctx.runs, run)
                for host_id, (name, quiet_s) in silent.items():
                    _fail(session, ctx, change, host_id, name, quiet_s)
                run_ends.advance(session, ctx, change)
                ended += len(silent)
    return ended


def _going(session: Session) -> list[Run]:
    return list(session.scalars(select(Run).where(Run.state == "running").order_by(Run.created_at)))


def _silent(session: Session, ctx: Context, run: Run, heard_since: float) -> dict[str, tuple[str, float]]:
    """By host: the first task that it could do now, and for how many seconds its agent has been silent in this run."""
    limit_s, now = effective(ctx.budgets, {})[BUDGET], ctx.clock()
    began = max(run.going_since or run.created_at, heard_since)
    if now - began <= limit_s:
        return {}
    plan, progress = ctx.runs.plan(session, run.id), ctx.runs.progress(session, run.id, run.version)
    seen = {row.host_id: row.seen_at for row in session.scalars(select(AgentCredential))}
    found = {}
    for host_id, names in plan.of_host.items():
        quiet_s = now - max(began, seen.get(host_id) or 0.0)
        if quiet_s <= limit_s or any(progress.states[name] is TaskState.RUNNING for name in names):
            continue
        ready = plan.graph.ready(progress.states, None, names)
        if ready:
            found[host_id] = (ready[0], quiet_s)
    return found


def _fail(session: Session, ctx: Context, change: Change, host_id: str, name: str, quiet_s: float) -> None:
    """All that the host could do now, so that nothing waits for a second budget."""
    task = change.plan.tasks[name]
    message = (
        f"nothing was heard of the agent of {task.host_name} for {quiet_s / 60:.0f} min: look whether the host is up "
        f"and reaches us, or `pxeforge host rearm {task.host_name}`; then resume the run"
    )
    step = {"name": "agent", "id": "agent", "type": "agent", "status": "failed", "message": message, "duration_s": 0.0,
            "before": "", "after": ""}  # fmt: skip
    ready = change.plan.graph.ready(change.states, None, change.plan.of_host[host_id])
    change.mark(ready, TaskState.FAILED, finished_at=ctx.clock(), result={"steps": [step]}, fence=RunTask.fence + 1)
    record(
        session, ctx, host_id=host_id, run_id=change.run.id, source="engine", kind="agent_absent",
        message=f"{task.role}: {task.name}: given up: {message}", data={"task": name},
    )  # fmt: skip
