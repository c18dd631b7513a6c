"""Runs to look at: the list, one with all its tasks, and why a task waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import TaskState
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from pxeforge.services.run_waiting import Held, Waiting
from pxeforge.store.tables import Run, RunTask

_COLUMNS: Final = (
    *(RunTask.id, RunTask.planned_id, RunTask.host_id, RunTask.role, RunTask.name, RunTask.state, RunTask.result),
    *(RunTask.started_at, RunTask.finished_at, RunTask.lease_until, RunTask.said, RunTask.tries, RunTask.not_before),
)
_SHORTEST: Final = 3  # letters of an id that may stand for it


def list_runs(
    ctx: Context, *, limit: int = 100, after: Sequence[Any] | None = None, kind: str | None = None,
    state: str | None = None, blueprint: str | None = None, origin: str | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Newest first, without tasks; only those behind the run that began at `after[0]` and has the id `after[1]`."""
    wanted = {Run.kind: kind, Run.state: state, Run.blueprint: blueprint, Run.origin: origin}
    query = select(Run).where(*(column == value for column, value in wanted.items() if value is not None))
    if after is not None:
        at, last = after
        query = query.where((Run.created_at < at) | ((Run.created_at == at) & (Run.id < last)))
    with ctx.database.read() as session:
        runs = session.scalars(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit)).all()
        counted = select(RunTask.run_id, RunTask.state, func.count()).group_by(RunTask.run_id, RunTask.state)
        counts: dict[str, dict[str, int]] = {}
        for run_id, task_state, number in session.execute(counted.where(RunTask.run_id.in_([run.id for run in runs]))):
            counts.setdefault(run_id, {})[task_state] = number
        return [{**summary(run), "counts": counts.get(run.id, {})} for run in runs]


def show_run(ctx: Context, run_id: str) -> dict[str, Any]:
    """One run (id or its beginning) with every task, its result and what it waits for."""
    with ctx.database.read() as session:
        return run_view(session, ctx, find_run(session, run_id))


def plan_of(ctx: Context, run_id: str) -> dict[str, list[str]]:
    """What each task of a run waits for, by the names that both have in the plan."""
    with ctx.database.read() as session:
        plan = ctx.runs.plan(session, find_run(session, run_id).id)
        return {name: list(plan.graph.before(name)) for name in plan.tasks}


def why(ctx: Context, run_id: str, task: str | None = None) -> dict[str, Any]:
    """Why a run, or one task of it (its id or its name in the plan), is not over yet. Raises NotFound."""
    with ctx.database.read() as session:
        run = find_run(session, run_id)
        rows = _rows(session, run)
        waiting, held = _waiting(session, ctx, run, rows)
        name = None if task is None else _named(run, rows, task)
        if name is not None:
            sentence = waiting.sentence(name, nearest=False) or _does_not_wait(name, waiting, held)
            before = [name] if name in held else waiting.running_before(name)
        else:
            sentence, before = _of_run(run, rows, waiting, held), list(held)
        return {
            "run": run.id, "task": name, "sentence": sentence, "left_s": waiting.left_s(),
            "held_by": [waiting.holder(each) for each in before],
            "usual_s": (waiting.expected(name) or {}).get("usual_s") if name is not None else None,
        }  # fmt: skip


def _named(run: Run, rows: Sequence[Any], task: str) -> str:
    row = next((row for row in rows if task in (row.id, row.planned_id)), None)
    if row is None:
        raise NotFound(f"the run {run.id} has no task {task!r}: see `pxeforge run show {run.id}`")
    return str(row.planned_id)


def _does_not_wait(name: str, waiting: Waiting, held: dict[str, Held]) -> str:
    if name not in held:
        return f"{name} does not wait: it is {waiting.state(name)}"
    told = waiting.holder(name)
    usual = f"usually {told['usual_s']:.0f} s" if told["usual_s"] is not None else "it was never done here before"
    return f"{name} is under way on {told['host_name']} for {told['running_s']:.0f} s ({usual})"


def _of_run(run: Run, rows: Sequence[Any], waiting: Waiting, held: dict[str, Held]) -> str:
    """In one sentence: what is under way, else why nothing is."""
    if run.state != "running":
        return f"the {run.kind} {run.id} does not wait: it is {run.state}"
    if held:
        return f"the {run.kind} {run.id} waits for {len(held)} task(s) under way"
    reasons = [said for row in rows if (said := waiting.sentence(row.planned_id)) and "waits for the agent" in said]
    if not reasons:
        reasons = [said for row in rows if (said := waiting.sentence(row.planned_id)) and row.state == "pending"][:1]
    return f"nothing is under way: {'; '.join(reasons[:3])}" if reasons else "nothing is under way"


def find_run(session: Session, text: str) -> Run:
    """By its id or the beginning of it; raises NotFound."""
    run = session.get(Run, text)
    if run is None:
        begin = select(Run).where(Run.id.startswith(text, autoescape=True))
        near = session.scalars(begin).all() if len(text) >= _SHORTEST else []
        if len(near) != 1:
            raise NotFound(f"there is no run {text!r}: see `pxeforge run list`")
        run = near[0]
    return run


def summary(run: Run) -> dict[str, Any]:
    return {
        "id": run.id, "kind": run.kind, "state": run.state, "check": run.check, "blueprint": run.blueprint,
        "started_by": run.started_by, "origin": run.origin, "created_at": run.created_at,
        "finished_at": run.finished_at, "losses": run.losses,
    }  # fmt: skip


def run_view(session: Session, ctx: Context, run: Run) -> dict[str, Any]:
    """With every task: its result, what it waits for, and how long it usually takes."""
    rows = _rows(session, run)
    plan = ctx.runs.plan(session, run.id)
    waiting, _ = _waiting(session, ctx, run, rows)
    return {
        **summary(run),
        "counts": dict(Counter(row.state for row in rows)),
        "left_s": waiting.left_s(),
        "tasks": [_task_view(row, plan.tasks[row.planned_id], waiting) for row in rows],
    }


def _task_view(row: Any, task: PlannedTask, waiting: Waiting) -> dict[str, Any]:
    return {
        "id": row.id, "planned_id": row.planned_id, "host_id": row.host_id, "host_name": task.host_name,
        "role": row.role, "name": row.name, "kind": task.kind, "state": row.state, "started_at": row.started_at,
        "finished_at": row.finished_at, "tries": row.tries,
        "said": row.said if row.state == TaskState.RUNNING.value else None,
        "usual_s": _usual_s(waiting, row), "result": row.result, "waiting_for": waiting.sentence(row.planned_id),
    }  # fmt: skip


def _usual_s(waiting: Waiting, row: Any) -> float | None:
    """Of what is not over yet: the rest has its own duration."""
    if row.state not in (TaskState.PENDING.value, TaskState.RUNNING.value):
        return None
    expected = waiting.expected(row.planned_id)
    return expected["usual_s"] if expected else None


def _rows(session: Session, run: Run) -> Sequence[Any]:
    return session.execute(select(*_COLUMNS).where(RunTask.run_id == run.id).order_by(RunTask.position)).all()


def _waiting(session: Session, ctx: Context, run: Run, rows: Sequence[Any]) -> tuple[Waiting, dict[str, Held]]:
    plan = ctx.runs.plan(session, run.id)
    states = {row.planned_id: TaskState(row.state) for row in rows}
    held = {
        row.planned_id: Held(
            host_name=plan.tasks[row.planned_id].host_name, started_at=row.started_at, lease_until=row.lease_until,
            said=row.said,
        )
        for row in rows if row.state == TaskState.RUNNING.value
    }  # fmt: skip
    later = {row.planned_id: row.not_before for row in rows if row.not_before and row.state == TaskState.PENDING.value}
    return Waiting(session, ctx, run, states, held, later), held
