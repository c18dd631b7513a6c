"""Where a deploy begins: what stands before a task or role that was named counts as done, and is told."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Any, TypedDict

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import SUCCEEDED
from pxeforge.engine.plan import Plan
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import Host, Run, RunTask

_NEAREST = 3


class LeftOut(TypedDict):
    """A task that counts as done. `done_at`: when a deploy last did it there; None where none did since the install."""

    task: str
    done_at: float | None


def begun(plan: Plan, named: str) -> tuple[Plan, list[PlannedTask]]:
    """The plan without what stands before `named` (a role, `role.task` or `role.task@host`), and that.

    What waits for nothing of it is done all the same, as is what lies between several tasks that were named. Raises
    NotFound with the names that are nearest.
    """
    chosen = [task.id for task in plan.tasks if task.kind != "verify" and named in _names(task)]
    if not chosen:
        raise NotFound(f"nothing in the plan is called {named!r}: {_nearest(plan.tasks, named)}")
    graph = plan.graph()
    gone = graph.ancestors(chosen) - graph.followers(chosen) - set(chosen)
    return plan.only(lambda task: task.id not in gone), [task for task in plan.tasks if task.id in gone]


def told(session: Session, left_out: Sequence[PlannedTask]) -> list[LeftOut]:
    """In the order of the plan."""
    done = _done(session, {task.host_id for task in left_out}) if left_out else {}
    return [{"task": task.id, "done_at": done.get((task.host_id, task.role, task.name))} for task in left_out]


def _names(task: PlannedTask) -> tuple[str, ...]:
    return (task.role, f"{task.role}.{task.name}", task.id)


def _nearest(tasks: Sequence[PlannedTask], named: str) -> str:
    known = list(dict.fromkeys(name for task in tasks if task.kind != "verify" for name in _names(task)))
    near = difflib.get_close_matches(named, known, n=_NEAREST, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return (
        f"its roles are {', '.join(sorted({task.role for task in tasks}))}, and its tasks are told by `pxeforge plan`"
    )


def _done(session: Session, host_ids: Collection[str]) -> dict[tuple[str, str, str], Any]:
    """By host, role and task: when a deploy last did it, on the system that the host has now."""
    query = (
        select(RunTask.host_id, RunTask.role, RunTask.name, func.max(RunTask.finished_at))
        .join(Run, Run.id == RunTask.run_id)
        .join(Host, Host.id == RunTask.host_id)
        .where(
            RunTask.host_id.in_(host_ids),
            Run.kind == "deploy",
            Run.check.is_(False),
            RunTask.state.in_([state.value for state in SUCCEEDED]),
            (Host.registered_at.is_(None)) | (RunTask.finished_at >= Host.registered_at),
        )
        .group_by(RunTask.host_id, RunTask.role, RunTask.name)
    )
    return {(host, role, name): at for host, role, name, at in session.execute(query)}
