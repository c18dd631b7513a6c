"""Tasks handed to agents by lease: claimed, renewed, and given out again when an agent falls silent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pxeforge.engine.graph import TaskState
from pxeforge.engine.secrets import redact, substitute
from pxeforge.services import run_ends, secrets
from pxeforge.services.agents import POLL_S, QUESTIONS_PER_S, poll_s
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import Conflict, NotFound
from pxeforge.services.run_progress import UNSYNCHRONIZED, Change, Progress, RunPlan, planned_task
from pxeforge.store.tables import Run, RunTask

LEASE_S: Final = 60.0
RETURN_S: Final = 60.0  # agents that could not reach us try again within so long (agent/loop.py)
_SOONEST_S: Final = 0.2
MAX_LEASES: Final = 5  # a task whose agent vanished so often is failed, not tried for ever
REBOOT_S: Final = 900.0  # a host that said that it reboots keeps its task for so long
_REBOOTS: Final = "the host reboots"  # how an agent begins to say so (agent/loop.py)
_SAID_CHARACTERS: Final = 300
_READ_CHARACTERS: Final = 5000  # a secret at the cut of what is shown is still whole there
_RUNNING: Final = select(Run.id, Run.version).where(Run.state == "running").order_by(Run.created_at)
_RUNNING_NOW: Final = "SELECT id, version FROM runs WHERE state = 'running'"


def claim(ctx: Context, host_id: str) -> dict[str, Any] | None:
    """The next task for this host, leased for LEASE_S; None when there is nothing it may start now."""
    if not _has_something(ctx, host_id):
        return None
    with ctx.database.write() as session:
        for run in session.scalars(select(Run).where(Run.state == "running").order_by(Run.created_at)):
            plan = ctx.runs.plan(session, run.id)
            name = _next_task(ctx, plan, ctx.runs.progress(session, run.id, run.version), host_id)
            if name is not None:
                return _lease(session, ctx, run, name)
    return None


def ask_again_s(ctx: Context, host_id: str) -> float | None:
    """In how many seconds a host that got no task should ask again; None: in POLL_S, as ever.

    When its tasks wait for those of others it is sooner, and all hosts of the run together ask QUESTIONS_PER_S times a
    second.
    """
    usual = poll_s(ctx)
    runs = ctx.database.look_up(_RUNNING_NOW)
    waits = [ctx.runs.waits_among(run_id, version, host_id) for run_id, version in runs]
    hosts = max((one for one in waits if one is not None), default=None)
    if hosts is not None:
        return min(usual, max(_SOONEST_S, hosts / QUESTIONS_PER_S))
    return usual if usual > POLL_S else None


def _has_something(ctx: Context, host_id: str) -> bool:
    # Every agent asks every few seconds: the common "no" must not take the write lock, and costs one small question.
    if all(ctx.runs.is_idle(run_id, version, host_id) for run_id, version in ctx.database.look_up(_RUNNING_NOW)):
        return False
    with ctx.database.read() as session:
        for run_id, version in session.execute(_RUNNING):
            if ctx.runs.is_idle(run_id, version, host_id):
                continue
            progress = ctx.runs.progress(session, run_id, version)
            if _next_task(ctx, ctx.runs.plan(session, run_id), progress, host_id) is not None:
                return True
    return False


def _next_task(ctx: Context, plan: RunPlan, progress: Progress, host_id: str) -> str | None:
    """Remembers a host that has nothing to do in this version."""
    mine = plan.of_host.get(host_id, ())
    # One task at a time on a host: apt and service restarts do not mix.
    if any(progress.states[name] is TaskState.RUNNING for name in mine):
        found: tuple[str, ...] = ()
    else:
        waiting = [name for name in mine if progress.states[name] is TaskState.PENDING]
        ready = plan.graph.ready(progress.states, None, waiting) if waiting else ()
        found = tuple(name for name in ready if _has_room(ctx, progress, plan.tasks[name].resource))
    if not found:
        progress.idle.add(host_id)
        if any(progress.states[name] is TaskState.PENDING for name in mine):
            progress.waiting.add(host_id)
        return None
    return next((name for name in found if progress.later.get(name, 0.0) <= ctx.clock()), None)


def _has_room(ctx: Context, progress: Progress, resource: str | None) -> bool:
    limit = ctx.limits.get(resource or "")
    return limit is None or progress.busy.get(resource or "", 0) < limit


def _lease(session: Session, ctx: Context, run: Run, name: str) -> dict[str, Any]:
    now = ctx.clock()
    change = Change(session, ctx.runs, run)
    task = session.get_one(RunTask, change.plan.rows[name])
    change.mark(
        [name], TaskState.RUNNING, fence=task.fence + 1, lease_until=now + LEASE_S, started_at=task.started_at or now,
        said=None,
    )  # fmt: skip
    change.close()
    planned = planned_task(task.planned)
    values = {secret: secrets.reveal(session, ctx, secret) for secret in planned.secrets}
    return {
        "task_id": task.id,
        "run_id": run.id,
        "fence": task.fence + 1,
        "lease_s": LEASE_S,
        "timeout_s": planned.timeout_s,
        "kind": planned.kind,
        "title": planned.title,
        "check": run.check,
        "steps": substitute(planned.steps, values),
        "secrets": sorted(values.values()),
        "restart_hints": [],
    }


def renew(ctx: Context, host_id: str, task_id: str, fence: int, said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The agent lives and works: its lease is renewed and its progress noted. Raises Conflict for a stale fence."""
    reboots = bool(said) and str(said[-1].get("message") or "").startswith(_REBOOTS)
    with ctx.database.write() as session:
        told = {"said": _told(session, ctx, held(session, host_id, task_id, fence), said[-1])} if said else {}
        mine = update(RunTask).where(
            RunTask.id == task_id, RunTask.host_id == host_id, RunTask.fence == fence,
            RunTask.state == TaskState.RUNNING.value,
        )  # fmt: skip
        done: Any = session.execute(
            mine.values(lease_until=ctx.clock() + (REBOOT_S if reboots else LEASE_S), **told),
            execution_options=UNSYNCHRONIZED,
        )
        if done.rowcount == 0:
            held(session, host_id, task_id, fence)
    return {"cancel": False, "lease_s": LEASE_S}


def _told(session: Session, ctx: Context, task: tuple[str, str], entry: Mapping[str, Any]) -> str:
    """The line as it may be shown: agents cut secrets out, and so do we."""
    run_id, name = task
    values = [secrets.reveal(session, ctx, one) for one in ctx.runs.plan(session, run_id).tasks[name].secrets]
    return redact(_line(entry), values)[:_SAID_CHARACTERS]


def _line(entry: Mapping[str, Any]) -> str:
    """What an agent says of its work, in one line."""
    words = str(entry.get("message") or "").strip() or str(entry.get("status", ""))
    text = f"{entry.get('step', '')}: {words}"
    return "".join(c if c.isprintable() else " " for c in text[:_READ_CHARACTERS])


def held(session: Session, host_id: str, task_id: str, fence: int) -> tuple[str, str]:
    """The run and the name of the task, if this host holds its lease under this fence; a late worker is harmless.

    Raises NotFound, Conflict.
    """
    columns = select(RunTask.run_id, RunTask.planned_id, RunTask.host_id, RunTask.state, RunTask.fence)
    row = session.execute(columns.where(RunTask.id == task_id)).first()
    if row is None or row.host_id != host_id:
        raise NotFound("there is no such task for this host")
    if row.state != TaskState.RUNNING.value or row.fence != fence:
        raise Conflict("this lease is over: drop the task")
    return row.run_id, row.planned_id


def grant_again(ctx: Context) -> None:
    """At a start of ours: agents could not renew while we were away, so their leases begin anew."""
    with ctx.database.write() as session:
        running = update(RunTask).where(RunTask.state == TaskState.RUNNING.value)
        session.execute(running.values(lease_until=ctx.clock() + LEASE_S))


def expire_leases(ctx: Context, *, up_for_s: float = math.inf) -> int:
    """Tasks whose agent fell silent are pending again (or failed, after MAX_LEASES); returns how many.

    `up_for_s`: since our start. Until every agent has had the time to find us again, none of them is silent.
    """
    if up_for_s < LEASE_S + RETURN_S:
        return 0
    overdue = (RunTask.state == TaskState.RUNNING.value, RunTask.lease_until < ctx.clock())
    with ctx.database.read() as session:
        if session.scalars(select(RunTask.id).where(*overdue).limit(1)).first() is None:
            return 0
    ended = 0
    with ctx.database.write() as session:
        for run in session.scalars(select(Run).where(Run.state == "running").order_by(Run.created_at)):
            columns = select(RunTask.planned_id, RunTask.result)
            rows = session.execute(columns.where(RunTask.run_id == run.id, *overdue)).all()
            if not rows:
                continue
            change = Change(session, ctx.runs, run)
            for name, result in rows:
                _expire(session, ctx, change, name, result)
            run_ends.advance(session, ctx, change)
            ended += len(rows)
    return ended


def _expire(session: Session, ctx: Context, change: Change, name: str, result: dict[str, Any]) -> None:
    silences = int(result.get("silences", 0)) + 1
    lost = silences >= MAX_LEASES
    change.mark(
        [name], TaskState.FAILED if lost else TaskState.PENDING, finished_at=ctx.clock() if lost else None,
        result={**result, "silences": silences}, lease_until=None,
    )  # fmt: skip
    task = change.plan.tasks[name]
    record(
        session, ctx, host_id=task.host_id, run_id=change.run.id, source="engine", kind="lease_lost",
        message=f"{task.role}: {task.name}: its agent fell silent"
        + (f" {silences} times: given up" if lost else ", it will be tried again"),
    )  # fmt: skip
