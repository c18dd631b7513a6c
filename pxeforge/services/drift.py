"""Drift: what a dry run of the timer would change on the hosts, although the last deploy made it so."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import TaskState
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.store.tables import Run, RunTask

_OF_TIMER: Final = (Run.origin == "timer", Run.kind == "deploy", Run.check)
_STEPS_TOLD: Final = 5


def show(ctx: Context) -> dict[str, Any]:
    """What the last dry run of the timer would have changed, by host and step; nothing was changed."""
    with ctx.database.read() as session:
        run = _last(session)
        if run is None:
            return {"run": None, "at": None, "differs": []}
        return {"run": run.id, "at": run.finished_at, "differs": differing_steps(session, ctx, run)}


def count(session: Session, ctx: Context) -> int:
    """Steps that differed when the timer last looked."""
    run = _last(session)
    return 0 if run is None else len(differing_steps(session, ctx, run))


def _last(session: Session, *, but: str | None = None) -> Run | None:
    """The newest one that ended by itself; `but`: another than this."""
    ended = select(Run).where(*_OF_TIMER, Run.id != (but or ""), Run.state.in_(("succeeded", "failed")))
    return session.scalars(ended.order_by(Run.created_at.desc()).limit(1)).first()


def differing_steps(session: Session, ctx: Context, run: Run) -> list[dict[str, Any]]:
    """Each step of a dry run that would change something, or could not be looked at."""
    plan = ctx.runs.plan(session, run.id)
    rows = session.execute(
        select(RunTask.planned_id, RunTask.result)
        .where(RunTask.run_id == run.id, RunTask.state.in_((TaskState.CHANGED.value, TaskState.FAILED.value)))
        .order_by(RunTask.position)
    )
    found = []
    for name, result in rows:
        task = plan.tasks[name]
        for step in (result or {}).get("steps", []):
            if step["status"] in ("changed", "failed"):
                found.append({
                    "host_id": task.host_id, "host_name": task.host_name, "role": task.role, "task": task.name,
                    "step": step["name"], "type": step["type"], "status": step["status"],
                    "message": step.get("message", ""), "diff": step.get("diff", ""),
                })  # fmt: skip
    return found


def note(session: Session, ctx: Context, run: Run) -> None:
    """At the end of such a run: a host's timeline tells what differs now and did not before, or no longer does."""
    if not (run.check and run.origin == "timer"):
        return
    session.flush()
    last = _last(session, but=run.id)
    before = _by_host(differing_steps(session, ctx, last)) if last is not None else {}
    now = _by_host(differing_steps(session, ctx, run))
    for host_id in dict.fromkeys([*now, *before]):
        steps, known = now.get(host_id, []), set(before.get(host_id, []))
        new = [step for step in steps if step not in known]
        if new:
            more = f" and {len(new) - _STEPS_TOLD} more" if len(new) > _STEPS_TOLD else ""
            said = f"differs from its last deploy: {', '.join(new[:_STEPS_TOLD])}{more}"
            record(session, ctx, host_id=host_id, run_id=run.id, source="engine", kind="drifted", message=said)
        elif known and not steps and host_id in ctx.runs.plan(session, run.id).of_host:
            said = "is again as its last deploy made it"
            record(session, ctx, host_id=host_id, run_id=run.id, source="engine", kind="drift_over", message=said)


def _by_host(differs: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in differs:
        found.setdefault(one["host_id"], []).append(f"{one['role']}.{one['task']}.{one['step']}")
    return found
