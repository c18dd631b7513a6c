"""What may run now: ready tasks, blocked tasks and the reason why a task waits. Pure."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol


class TaskState(enum.Enum):
    """Where a task of a run stands."""

    PENDING = "pending"
    RUNNING = "running"  # a host holds its lease
    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    BLOCKED = "blocked"  # a predecessor failed: it will never start in this run
    CANCELLED = "cancelled"


SUCCEEDED = frozenset({TaskState.OK, TaskState.CHANGED})
OVER = SUCCEEDED | {TaskState.FAILED, TaskState.BLOCKED, TaskState.CANCELLED}
_LOST = OVER - SUCCEEDED
States = Mapping[str, TaskState]  # a task that is not in it is pending


class GraphTask(Protocol):
    """All that the graph needs to know of a task (PlannedTask has it)."""

    @property
    def id(self) -> str: ...
    @property
    def after(self) -> tuple[str, ...]: ...
    @property
    def resource(self) -> str | None: ...


class GraphProblem(Exception):
    """The tasks form no graph that can end: a cycle or an unknown predecessor; the message names the tasks."""


class TaskGraph:
    """Tasks and what comes before them; the order of `tasks` is kept in every answer."""

    def __init__(self, tasks: Iterable[GraphTask]) -> None:
        self._tasks: dict[str, GraphTask] = {}
        for task in tasks:
            if task.id in self._tasks:
                raise GraphProblem(f"task {task.id} is there twice: give one of them another name")
            self._tasks[task.id] = task
        self._successors: dict[str, list[str]] = {task_id: [] for task_id in self._tasks}
        for task in self._tasks.values():
            for before in task.after:
                if before not in self._tasks:
                    raise GraphProblem(f"task {task.id} waits for {before}, which does not exist")
                self._successors[before].append(task.id)
        self.order = self._topological_order()

    def _topological_order(self) -> tuple[str, ...]:
        missing = {task.id: len(set(task.after)) for task in self._tasks.values()}
        queue = [task_id for task_id, count in missing.items() if count == 0]
        for task_id in queue:  # grows while it is walked
            for successor in dict.fromkeys(self._successors[task_id]):
                missing[successor] -= 1
                if missing[successor] == 0:
                    queue.append(successor)
        if len(queue) < len(self._tasks):
            cycle = self._cycle({task_id for task_id, count in missing.items() if count > 0})
            raise GraphProblem(f"tasks wait for each other: {' → '.join(cycle)}: remove one of these dependencies")
        return tuple(queue)

    def _cycle(self, left: set[str]) -> list[str]:
        """Walks backwards among tasks that could not be ordered; each has a predecessor there, so a walk must close."""
        walk = [min(left)]
        while True:
            before = next(task_id for task_id in self._tasks[walk[-1]].after if task_id in left)
            if before in walk:
                return [*walk[walk.index(before) :], before][::-1]
            walk.append(before)

    def ready(self, states: States, limits: Mapping[str, int] | None = None) -> tuple[str, ...]:
        """Pending tasks whose predecessors all succeeded; `limits` caps how many may run per resource."""
        room = self._room(states, limits or {})
        result = []
        for task_id, task in self._tasks.items():
            if not self._may_start(task, states):
                continue
            if task.resource is not None and task.resource in room:
                if room[task.resource] <= 0:
                    continue
                room[task.resource] -= 1
            result.append(task_id)
        return tuple(result)

    def _room(self, states: States, limits: Mapping[str, int]) -> dict[str, int]:
        running = Counter(
            task.resource for task in self._tasks.values() if states.get(task.id) is TaskState.RUNNING and task.resource
        )
        return {resource: limit - running[resource] for resource, limit in limits.items()}

    def _may_start(self, task: GraphTask, states: States) -> bool:
        if states.get(task.id, TaskState.PENDING) is not TaskState.PENDING:
            return False
        return all(states.get(before) in SUCCEEDED for before in task.after)

    def newly_blocked(self, states: States) -> tuple[str, ...]:
        """Pending tasks that can never start because something before them failed, was blocked or cancelled."""
        lost = {task_id for task_id in self._tasks if states.get(task_id) in _LOST}
        blocked = []
        for task_id in self.order:
            if states.get(task_id, TaskState.PENDING) is not TaskState.PENDING:
                continue
            if any(before in lost for before in self._tasks[task_id].after):
                lost.add(task_id)
                blocked.append(task_id)
        return tuple(blocked)

    def finished(self, states: States) -> bool:
        """Whether nothing runs and nothing can ever start (blocked tasks may still be marked pending)."""
        blocked = set(self.newly_blocked(states))
        return all(states.get(task_id) in OVER or task_id in blocked for task_id in self._tasks)

    def succeeded(self, states: States) -> bool:
        return all(states.get(task_id) in SUCCEEDED for task_id in self._tasks)

    def descendants(self, task_id: str) -> tuple[str, ...]:
        """Every task that directly or indirectly waits for this one (for a re-run with its dependants)."""
        found = {task_id}
        for candidate in self.order:
            if any(before in found for before in self._tasks[candidate].after):
                found.add(candidate)
        return tuple(candidate for candidate in self.order if candidate in found and candidate != task_id)

    def why_waiting(self, task_id: str, states: States, limits: Mapping[str, int] | None = None) -> str:
        """One sentence, by name: what this task waits for. Raises KeyError for an unknown task."""
        task = self._tasks[task_id]
        state = states.get(task_id, TaskState.PENDING)
        if state is not TaskState.PENDING and state is not TaskState.BLOCKED:
            return f"{task_id} does not wait: it is {state.value}"
        lost = [before for before in task.after if states.get(before) in _LOST]
        if lost:
            return f"{task_id} will not start: {_some(lost, states)}"
        open_tasks = [before for before in task.after if states.get(before) not in SUCCEEDED]
        if open_tasks:
            return f"{task_id} waits for {_some(open_tasks, states)}"
        room = self._room(states, limits or {})
        if task.resource is not None and room.get(task.resource, 1) <= 0:
            return f"{task_id} waits for a free place at {task.resource} (limit {(limits or {})[task.resource]})"
        return f"{task_id} is ready: it waits for its host to ask for work"


def _some(task_ids: list[str], states: States) -> str:
    """The first three by name and state, running ones first, and how many more."""
    ordered = sorted(task_ids, key=lambda task_id: states.get(task_id) is not TaskState.RUNNING)
    shown = ", ".join(f"{task_id} ({states.get(task_id, TaskState.PENDING).value})" for task_id in ordered[:3])
    return shown if len(ordered) <= 3 else f"{shown} and {len(ordered) - 3} more"
