"""Where a run stands, kept in memory between the questions of agents: its graph once, its states by version.

Every change of a task's state goes through `Change`, which makes the run's next version in the same transaction. What
is kept is good as long as the database names the same version, whichever process made it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from pxeforge.engine.graph import OVER, SUCCEEDED, TaskGraph, TaskState
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.store.tables import Run, RunTask

_KEPT: Final = 4  # runs: the one that goes on, and what somebody looks at
_AT_ONCE: Final = 500
_OPEN: Final = frozenset(TaskState) - OVER
_LOST: Final = OVER - SUCCEEDED
UNSYNCHRONIZED: Final = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What never changes of a run: its tasks (without their steps) by name, and what waits for what."""

    graph: TaskGraph
    tasks: Mapping[str, PlannedTask]
    rows: Mapping[str, str]  # the id of each task's row
    of_host: Mapping[str, tuple[str, ...]]  # in the order of the plan


@dataclass(frozen=True, slots=True)
class Progress:
    """One version of a run; never changed, but for what it remembers of itself."""

    version: int
    states: Mapping[str, TaskState]
    later: Mapping[str, float]  # pending ones that are tried again, and when
    open: int  # tasks that are not over
    lost: int  # tasks that are over and did not succeed
    busy: Mapping[str, int]  # tasks under way, by the resource that they use
    idle: set[str] = field(default_factory=set)  # hosts that have nothing to do before the next version
    waiting: set[str] = field(default_factory=set)  # those of them whose tasks wait for others


class KnownRuns:
    """The runs that were asked for last; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[str, RunPlan] = {}
        self._progress: dict[str, Progress] = {}

    def plan(self, session: Session, run_id: str) -> RunPlan:
        with self._lock:
            known = self._plans.get(run_id)
        if known is None:
            known = _read_plan(session, run_id)
            self._keep(self._plans, run_id, known)
        return known

    def progress(self, session: Session, run_id: str, version: int) -> Progress:
        """`version`: the one that the run has in this transaction."""
        with self._lock:
            known = self._progress.get(run_id)
        if known is None or known.version != version:
            known = _read_progress(session, run_id, version, self.plan(session, run_id))
            self._keep(self._progress, run_id, known)
        return known

    def is_idle(self, run_id: str, version: int, host_id: str) -> bool:
        """Whether it is known already that the host has nothing to do in this version."""
        with self._lock:
            known = self._progress.get(run_id)
            return known is not None and known.version == version and host_id in known.idle

    def waits_among(self, run_id: str, version: int, host_id: str) -> int | None:
        """How many hosts the run has, if tasks of this one wait in this version for those of others; else None."""
        with self._lock:
            known, plan = self._progress.get(run_id), self._plans.get(run_id)
            is_so = known is not None and known.version == version and host_id in known.waiting
            return len(plan.of_host) if is_so and plan is not None else None

    def keep(self, run_id: str, progress: Progress) -> None:
        self._keep(self._progress, run_id, progress)

    def forget(self, run_id: str) -> None:
        with self._lock:
            self._plans.pop(run_id, None)
            self._progress.pop(run_id, None)

    def _keep(self, where: dict[str, Any], run_id: str, what: Any) -> None:
        with self._lock:
            where.pop(run_id, None)
            where[run_id] = what
            while len(where) > _KEPT:
                where.pop(next(iter(where)))


def planned_task(values: Mapping[str, Any], *, steps: bool = True) -> PlannedTask:
    """A planned task from its JSON."""
    return PlannedTask.from_json(values if steps else {**values, "steps": []})


def _read_plan(session: Session, run_id: str) -> RunPlan:
    query = select(RunTask.id, RunTask.planned).where(RunTask.run_id == run_id).order_by(RunTask.position)
    tasks: dict[str, PlannedTask] = {}
    rows: dict[str, str] = {}
    of_host: dict[str, list[str]] = {}
    for row_id, values in session.execute(query.execution_options(yield_per=_AT_ONCE)):
        task = planned_task(values, steps=False)
        tasks[task.id], rows[task.id] = task, row_id
        of_host.setdefault(task.host_id, []).append(task.id)
    return RunPlan(TaskGraph(tasks.values()), tasks, rows, {host: tuple(names) for host, names in of_host.items()})


def _read_progress(session: Session, run_id: str, version: int, plan: RunPlan) -> Progress:
    columns = select(RunTask.planned_id, RunTask.state, RunTask.not_before).where(RunTask.run_id == run_id)
    states: dict[str, TaskState] = {}
    later: dict[str, float] = {}
    for name, state, not_before in session.execute(columns):
        states[name] = TaskState(state)
        if not_before is not None and states[name] is TaskState.PENDING:
            later[name] = not_before
    unended, lost = (sum(state in some for state in states.values()) for some in (_OPEN, _LOST))
    running = [plan.tasks[name].resource for name, state in states.items() if state is TaskState.RUNNING]
    return Progress(version, states, later, unended, lost, Counter(one for one in running if one))


class Change:
    """What one transaction changes in a run. `close` it: other transactions then see another version."""

    def __init__(self, session: Session, known: KnownRuns, run: Run) -> None:
        self.run, self._session, self._known = run, session, known
        self.plan = known.plan(session, run.id)
        before = known.progress(session, run.id, run.version)
        self.states, self.later = dict(before.states), dict(before.later)
        self.open, self.lost, self.busy = before.open, before.lost, Counter(before.busy)

    def mark(self, names: Iterable[str], state: TaskState, **values: Any) -> None:
        """These tasks are in this state from now on; `values` for other columns of theirs."""
        names = list(names)
        rows = [self.plan.rows[name] for name in names]
        for start in range(0, len(rows), _AT_ONCE):
            of_these = update(RunTask).where(RunTask.id.in_(rows[start : start + _AT_ONCE]))
            self._session.execute(of_these.values(state=state.value, **values), execution_options=UNSYNCHRONIZED)
        for name in names:
            self.open += (state in _OPEN) - (self.states[name] in _OPEN)
            self.lost += (state in _LOST) - (self.states[name] in _LOST)
            self.busy[self.plan.tasks[name].resource or ""] += (state is TaskState.RUNNING) - (
                self.states[name] is TaskState.RUNNING
            )
            self.states[name] = state
            self.later.pop(name, None)
            if state is TaskState.PENDING and values.get("not_before") is not None:
                self.later[name] = values["not_before"]

    def close(self) -> None:
        """The next version is kept once it is on the disk."""
        self.run.version += 1
        progress = Progress(self.run.version, self.states, self.later, self.open, self.lost, self.busy)
        run_id, known = self.run.id, self._known
        event.listen(self._session, "after_commit", lambda _: known.keep(run_id, progress), once=True)

    def hosts_of(self, names: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(self.plan.tasks[name].host_id for name in names))
