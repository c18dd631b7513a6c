"""What agents say that became of their tasks: kept without secrets, tried again where that may help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import TaskState
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.engine.secrets import redact
from pxeforge.services import check_results, deployed_roles, run_ends, secrets
from pxeforge.services.claims import held
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import Problem
from pxeforge.services.run_progress import Change
from pxeforge.store.tables import Run, RunTask

_STEP_TEXTS: Final = ("message", "output", "diff")
_STEP_WORDS: Final = ("id", "name", "type", "status", "before", "after")
_KEPT_CHARACTERS: Final = 8000
_ENDS: Final = {TaskState.OK: "nothing to change", TaskState.CHANGED: "changed", TaskState.FAILED: "FAILED"}
_FIRST_PAUSE_S: Final = 10.0  # before another try; twice as long before the next one
_LONGEST_PAUSE_S: Final = 300.0


def finish(ctx: Context, host_id: str, task_id: str, fence: int, result: dict[str, Any]) -> None:
    """Takes a task's result and moves the run on. Raises Conflict for a stale fence, Problem for a bad result."""
    status = next((state for state in _ENDS if state.value == result.get("status")), None)
    if status is None:
        raise Problem("a result has the status ok, changed or failed")
    with ctx.database.write() as session:
        run_id, name = held(session, host_id, task_id, fence)
        change = Change(session, ctx.runs, session.get_one(Run, run_id))
        task = change.plan.tasks[name]
        values = [secrets.reveal(session, ctx, secret) for secret in task.secrets]
        kept = {"steps": _clean(result.get("steps", []), values)}
        if status is TaskState.FAILED and _tried_again(session, ctx, change, task, kept):
            change.close()
            return
        change.mark([name], status, finished_at=ctx.clock(), lease_until=None, result=kept)
        _tell(session, ctx, change, task, status, kept["steps"])
        check_results.note(session, ctx, change.run, task, status, kept["steps"])
        deployed_roles.note(session, ctx, change, task, status)
        run_ends.advance(session, ctx, change)


def _tried_again(
    session: Session, ctx: Context, change: Change, task: PlannedTask, kept: dict[str, Any]
) -> bool:  # fmt: skip
    """Whether the task has tries left: it is pending again then, after a pause."""
    row_id = change.plan.rows[task.id]
    tries = session.scalars(select(RunTask.tries).where(RunTask.id == row_id)).one() + 1
    if tries > task.retries:
        return False
    pause_s = min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S)
    change.mark(
        [task.id], TaskState.PENDING, tries=tries, not_before=ctx.clock() + pause_s, lease_until=None, result=kept
    )
    record(
        session, ctx, host_id=task.host_id, run_id=change.run.id, source="engine", kind="task_again",
        message=f"{task.role}: {task.name}: failed{run_ends.failure(kept['steps'])}; "
        f"tried again in {pause_s:.0f} s ({tries} of {task.retries})", data={"task": task.id},
    )  # fmt: skip
    return True


def _tell(
    session: Session, ctx: Context, change: Change, task: PlannedTask, status: TaskState, steps: list[dict[str, Any]]
) -> None:
    if change.run.origin == "timer":  # what the timer finds is told where it differs from before
        return
    tail = run_ends.failure(steps) if status is TaskState.FAILED else ""
    record(
        session, ctx, host_id=task.host_id, run_id=change.run.id, source="engine", kind=f"task_{status.value}",
        message=f"{task.role}: {task.name}: {_ENDS[status]}{tail}", data={"task": task.id},
    )  # fmt: skip


def _clean(steps: Any, values: Sequence[str]) -> list[dict[str, Any]]:
    """Step results as they may be stored: known keys, cut, without the values of secrets."""
    cleaned = []
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict):
            texts = {key: redact(_storable(step[key]), values) for key in _STEP_TEXTS if step.get(key)}
            # Of what was printed the end counts, of a difference the beginning, which names the file.
            texts = {
                key: text[:_KEPT_CHARACTERS] if key == "diff" else text[-_KEPT_CHARACTERS:]
                for key, text in texts.items()
            }
            plain = {key: _storable(step.get(key, ""))[:200] for key in _STEP_WORDS}
            duration = step.get("duration_s", 0)
            cleaned.append({**plain, **texts, "duration_s": duration if isinstance(duration, int | float) else 0.0})
    return cleaned


def _storable(value: Any) -> str:
    """Without what no database takes: NUL, and halves of surrogate pairs, which are no characters."""
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
