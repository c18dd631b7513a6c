"""A run after each change: what is blocked now, whether it is over, and what that means for its hosts."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.engine.graph import SUCCEEDED, TaskState
from pxeforge.services import drift, hosts
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.run_progress import Change
from pxeforge.store.tables import Host, RunTask

_LOSSES_TOLD: Final = 5


def advance(session: Session, ctx: Context, change: Change) -> None:
    """Marks what can never start, ends the run when nothing is left to do, and closes the change."""
    if change.lost:
        blocked = change.plan.graph.newly_blocked(change.states)
        change.mark(blocked, TaskState.BLOCKED, finished_at=ctx.clock())
    if change.open == 0:
        end(session, ctx, change, "succeeded" if change.plan.graph.succeeded(change.states) else "failed")
    else:
        change.close()


def end(session: Session, ctx: Context, change: Change, state: str) -> None:
    """The run is over in this state; its hosts are ready or failed."""
    run = change.run
    run.state, run.finished_at = state, ctx.clock()
    run.losses = _losses(session, change) if state == "succeeded" else []
    change.close()
    by_state = Counter(each.value for each in change.states.values())
    tally = ", ".join(f"{number} {name}" for name, number in sorted(by_state.items()))
    record(
        session, ctx, run_id=run.id, source="engine", kind="run_ended",
        message=f"{run.kind} {state}: {tally}{_told(run.losses)}", data={"losses": run.losses} if run.losses else None,
    )  # fmt: skip
    drift.note(session, ctx, run)
    if run.kind == "deploy" and not run.check:
        _end_hosts(session, ctx, change, state)


def _end_hosts(session: Session, ctx: Context, change: Change, state: str) -> None:
    for host_id, names in change.plan.of_host.items():
        host = session.get(Host, host_id)
        if host is None or host.state != HostState.CONFIGURING.value:
            continue
        good = all(change.states[name] in SUCCEEDED for name in names)
        how = "succeeded" if good else "failed" if state == "succeeded" else state
        hosts.move(
            session, ctx, host, Signal.RUN_SUCCEEDED if good else Signal.RUN_FAILED, source="engine",
            message=f"deploy {change.run.id} {how} here",
        )  # fmt: skip


def _losses(session: Session, change: Change) -> list[dict[str, Any]]:
    """The hosts that were lost, each with its first task that failed and why."""
    lost = []
    for host_id in change.plan.graph.lost_hosts(change.states):
        names = [name for name in change.plan.of_host[host_id] if change.states[name] not in SUCCEEDED]
        first = next((name for name in names if change.states[name] is TaskState.FAILED), names[0])
        result = session.scalar(select(RunTask.result).where(RunTask.id == change.plan.rows[first])) or {}
        why = failure(result.get("steps", [])) or f" is {change.states[first].value}"
        host_name = change.plan.tasks[first].host_name
        lost.append({"host_id": host_id, "host_name": host_name, "task": first, "why": f"{first}{why}"})
    return lost


def _told(losses: list[dict[str, Any]]) -> str:
    if not losses:
        return ""
    some = "; ".join(f"{loss['host_name']} ({loss['why']})" for loss in losses[:_LOSSES_TOLD])
    more = f" and {len(losses) - _LOSSES_TOLD} more" if len(losses) > _LOSSES_TOLD else ""
    return f"; without {some}{more}"


def failure(steps: list[dict[str, Any]]) -> str:
    """Where and why a task failed, as the end of a sentence; empty where no step did."""
    failed = next((step for step in steps if step["status"] == "failed"), None)
    if failed is None:
        return ""
    lines = (failed.get("message") or failed.get("output", "")).strip().splitlines()
    return f" at {failed['name']}: {lines[-1][:300] if lines else 'no output'}"
