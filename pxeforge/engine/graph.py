"""What may run now: ready tasks, blocked tasks and the reason why a task waits. Pure.

A **barrier** is a point on no host that many tasks wait for: a task names the barriers that it `opens`, and others
have their ids in `after`. So a thousand hosts that wait for a thousand hosts are two thousand edges, not a million.
The id of a barrier is the selector that made it, and says when it opens:

- `role:x`, `role:x.task`: when on every host all that opens it is over, and no more hosts are lost than may be;
- `all(…)`: when it has succeeded on every host;
- `quorum(2, …)`: as soon as it has succeeded on two hosts.

How many hosts may be lost is said by their tasks: `may_lose` of a task holds (group, number) for each group of its
host; at most that number of hosts of the group may be lost. A host without groups may not be lost.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
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
_DONE = tuple(SUCCEEDED)  # to look into a tuple of members of an enum is several times faster than into a set
_GONE = tuple(OVER - SUCCEEDED)
_ENDED = tuple(OVER)
States = Mapping[str, TaskState]  # a task that is not in it is pending
_BARRIER = re.compile(r"^(?:role:|all\(|quorum\((?P<need>\d+), )")


class GraphTask(Protocol):
    """All that the graph needs to know of a task (PlannedTask has it)."""

    @property
    def id(self) -> str: ...
    @property
    def host_id(self) -> str: ...
    @property
    def after(self) -> tuple[str, ...]: ...
    @property
    def opens(self) -> Sequence[str]: ...
    @property
    def may_lose(self) -> Sequence[Sequence[str | int]]: ...
    @property
    def resource(self) -> str | None: ...


class GraphProblem(Exception):
    """The tasks form no graph that can end: a cycle or an unknown predecessor; the message names the tasks."""


class Standing(enum.Enum):
    """How a barrier stands."""

    OPEN = "open"
    WAITING = "waiting"
    SHUT = "shut"  # it will never open in this run


class _Barrier:
    """Who opens a barrier, by host, and how many of them may be lost."""

    def __init__(self, barrier_id: str) -> None:
        match = _BARRIER.match(barrier_id)
        self.need = int(match["need"]) if match and match["need"] else None
        self.strict = barrier_id.startswith("all(")
        self.members: dict[str, list[str]] = {}
        self.losses = _Losses()

    def add(self, task: GraphTask) -> None:
        self.members.setdefault(task.host_id, []).append(task.id)
        self.losses.add(task.host_id, () if self.strict else task.may_lose)

    @property
    def tasks(self) -> list[str]:
        return [task_id for tasks in self.members.values() for task_id in tasks]

    def standing(self, states: States, lost: Collection[str]) -> Standing:
        """`lost`: what is or will be blocked, beside what `states` say."""
        gone: set[str] = set()
        done = 0
        for host_id, tasks in self.members.items():
            ended = True
            for task_id in tasks:
                state = states.get(task_id)
                if state in _GONE or task_id in lost:
                    gone.add(host_id)
                    break
                ended = ended and state in _DONE
            else:
                done += ended
        if self.need is not None:
            need = min(self.need, len(self.members))
            if done >= need:
                return Standing.OPEN
            return Standing.SHUT if len(self.members) - len(gone) < need else Standing.WAITING
        if not self.losses.bearable(gone):
            return Standing.SHUT
        return Standing.OPEN if done + len(gone) == len(self.members) else Standing.WAITING


class _Losses:
    """Groups of hosts, and how many of each may be lost."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[tuple[str, int], ...]] = {}

    def add(self, host_id: str, may_lose: Sequence[Sequence[str | int]]) -> None:
        self._groups[host_id] = tuple((str(group), int(number)) for group, number in may_lose)

    def bearable(self, gone: Collection[str]) -> bool:
        """Whether these hosts may all be lost at once."""
        lost = Counter(group for host_id in gone for group in self._groups[host_id])
        return all(self._groups[host_id] for host_id in gone) and all(
            count <= number for (_, number), count in lost.items()
        )


class TaskGraph:
    """Tasks and what comes before them; the order of `tasks` is kept in every answer.

    A barrier in `after` that no task opens (its tasks were left out) holds nobody up.
    """

    def __init__(self, tasks: Iterable[GraphTask]) -> None:
        self._tasks: dict[str, GraphTask] = {}
        self._barriers: dict[str, _Barrier] = {}
        self._losses = _Losses()
        for task in tasks:
            if task.id in self._tasks:
                raise GraphProblem(f"task {task.id} is there twice: give one of them another name")
            self._tasks[task.id] = task
            self._losses.add(task.host_id, task.may_lose)
            for barrier_id in task.opens:
                self._barriers.setdefault(barrier_id, _Barrier(barrier_id)).add(task)
        self._before = {task.id: self._known(task) for task in self._tasks.values()}
        self._before.update({barrier_id: tuple(barrier.tasks) for barrier_id, barrier in self._barriers.items()})
        self._successors: dict[str, list[str]] = {node: [] for node in self._before}
        for node, before in self._before.items():
            for each in before:
                self._successors[each].append(node)
        self._walk = self._topological_order()
        self.order = tuple(node for node in self._walk if node in self._tasks)

    def _known(self, task: GraphTask) -> tuple[str, ...]:
        found = []
        for before in dict.fromkeys(task.after):
            if before in self._tasks or before in self._barriers:
                found.append(before)
            elif not _BARRIER.match(before):
                raise GraphProblem(f"task {task.id} waits for {before}, which does not exist")
        return tuple(found)

    def _topological_order(self) -> tuple[str, ...]:
        missing = {node: len(before) for node, before in self._before.items()}
        queue = [node for node, count in missing.items() if count == 0]
        for node in queue:  # grows while it is walked
            for successor in self._successors[node]:
                missing[successor] -= 1
                if missing[successor] == 0:
                    queue.append(successor)
        if len(queue) < len(self._before):
            cycle = self._cycle({node for node, count in missing.items() if count > 0})
            raise GraphProblem(f"tasks wait for each other: {' → '.join(cycle)}: remove one of these dependencies")
        return tuple(queue)

    def _cycle(self, left: set[str]) -> list[str]:
        """Walks backwards among what could not be ordered; each has a predecessor there, so a walk must close."""
        walk = [min(left & self._tasks.keys())]
        while True:
            before = next(node for node in self._before[walk[-1]] if node in left)
            if before in walk:
                return [*walk[walk.index(before) :], before][::-1]
            walk.append(before)

    def before(self, task_id: str) -> tuple[str, ...]:
        """The tasks that this one waits for, those behind barriers too."""
        found: dict[str, None] = {}
        for node in self._before[task_id]:
            found.update(dict.fromkeys(self._before[node] if node in self._barriers else (node,)))
        return tuple(found)

    def ready(
        self, states: States, limits: Mapping[str, int] | None = None, among: Iterable[str] | None = None
    ) -> tuple[str, ...]:
        """Pending tasks whose predecessors all succeeded; `limits` caps how many may run per resource.

        `among`: only these tasks are looked at, in this order (one host's, when its agent asks).
        """
        room: dict[str, int] | None = None
        opened: dict[str, bool] = {}
        result = []
        for task_id in self._tasks if among is None else among:
            task = self._tasks[task_id]
            if not self._may_start(task_id, states, opened):
                continue
            if task.resource is not None and limits and task.resource in limits:
                room = self._room(states, limits) if room is None else room
                if room[task.resource] <= 0:
                    continue
                room[task.resource] -= 1
            result.append(task_id)
        return tuple(result)

    def _room(self, states: States, limits: Mapping[str, int]) -> dict[str, int]:
        running = Counter(
            self._tasks[task_id].resource
            for task_id, state in states.items()
            if state is TaskState.RUNNING and task_id in self._tasks
        )
        return {resource: limit - running[resource] for resource, limit in limits.items()}

    def _may_start(self, task_id: str, states: States, opened: dict[str, bool]) -> bool:
        """`opened` keeps what was found out of barriers, for the next tasks."""
        if states.get(task_id, TaskState.PENDING) is not TaskState.PENDING:
            return False
        for before in self._before[task_id]:
            if before not in self._barriers:
                if states.get(before) not in _DONE:
                    return False
                continue
            if before not in opened:
                opened[before] = self._is_open(self._barriers[before], states)
            if not opened[before]:
                return False
        return True

    def _is_open(self, barrier: _Barrier, states: States) -> bool:
        standing = barrier.standing(states, ())
        if standing is Standing.WAITING:  # perhaps for tasks that are blocked and not marked yet
            standing = barrier.standing(states, self._lost(states))
        return standing is Standing.OPEN

    def _lost(self, states: States) -> set[str]:
        """All tasks that are lost or will be, and all barriers that will never open.

        Goes on from what is lost, as that is little; the more is lost, the more barriers are shut, so the order in
        which they are looked at does not matter.
        """
        fresh = [task_id for task_id, state in states.items() if state in _GONE and task_id in self._tasks]
        lost = set(fresh)
        doubtful: set[str] = set()  # barriers that some of their tasks are lost for
        while fresh:
            for successor in self._successors[fresh.pop()]:
                if successor in self._barriers:
                    doubtful.add(successor)
                elif successor not in lost and states.get(successor, TaskState.PENDING) is TaskState.PENDING:
                    lost.add(successor)
                    fresh.append(successor)
            if not fresh:
                shut = {one for one in doubtful if self._barriers[one].standing(states, lost) is Standing.SHUT}
                fresh = list(shut - lost)
                lost |= shut
                doubtful.clear()
        return lost

    def newly_blocked(self, states: States) -> tuple[str, ...]:
        """Pending tasks that can never start because something before them failed, was blocked or cancelled."""
        lost = self._lost(states)
        return tuple(
            task_id
            for task_id in self.order
            if task_id in lost and states.get(task_id, TaskState.PENDING) is TaskState.PENDING
        )

    def finished(self, states: States) -> bool:
        """Whether nothing runs and nothing can ever start (blocked tasks may still be marked pending)."""
        open_tasks = [task_id for task_id in self._tasks if states.get(task_id) not in _ENDED]
        return not open_tasks or set(open_tasks) <= self._lost(states)

    def succeeded(self, states: States) -> bool:
        """Whether all is done, on all hosts but those that may be lost."""
        return self.finished(states) and self._losses.bearable(self.lost_hosts(states))

    def lost_hosts(self, states: States) -> tuple[str, ...]:
        """The hosts (ids) with a task that did not succeed and never will in this run."""
        lost = self._lost(states)
        return tuple(dict.fromkeys(task.host_id for task in self._tasks.values() if task.id in lost))

    def descendants(self, task_id: str) -> tuple[str, ...]:
        """Every task that directly or indirectly waits for this one (for a re-run with its dependants)."""
        found = {task_id}
        for node in self._walk:
            if any(before in found for before in self._before[node]):
                found.add(node)
        return tuple(candidate for candidate in self.order if candidate in found and candidate != task_id)

    def ancestors(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Every task that directly or indirectly stands before one of these."""
        return self._reached(task_ids, self._before)

    def followers(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Every task that directly or indirectly waits for one of these."""
        return self._reached(task_ids, self._successors)

    def _reached(self, task_ids: Iterable[str], edges: Mapping[str, Sequence[str]]) -> frozenset[str]:
        fresh, found = list(task_ids), set[str]()
        while fresh:
            further = [node for node in edges[fresh.pop()] if node not in found]
            found.update(further)
            fresh += further
        return frozenset(found & self._tasks.keys())

    def lost(self, states: States) -> frozenset[str]:
        """All that is lost or will be; for many questions about the same states."""
        return frozenset(self._lost(states))

    def why_waiting(
        self, task_id: str, states: States, limits: Mapping[str, int] | None = None,
        lost: Collection[str] | None = None,
    ) -> str:  # fmt: skip
        """One sentence, by name: what this task waits for. Raises KeyError for an unknown task."""
        task = self._tasks[task_id]
        state = states.get(task_id, TaskState.PENDING)
        if state is not TaskState.PENDING and state is not TaskState.BLOCKED:
            return f"{task_id} does not wait: it is {state.value}"
        never, open_tasks = self._in_the_way(task_id, states, self._lost(states) if lost is None else lost)
        if never:
            return f"{task_id} will not start: {_some(never, states)}"
        if open_tasks:
            return f"{task_id} waits for {_some(open_tasks, states)}"
        room = self._room(states, limits or {})
        if task.resource is not None and room.get(task.resource, 1) <= 0:
            return f"{task_id} waits for a free place at {task.resource} (limit {(limits or {})[task.resource]})"
        return f"{task_id} is ready: it waits for its host to ask for work"

    def _in_the_way(self, task_id: str, states: States, all_lost: Collection[str]) -> tuple[list[str], list[str]]:
        """What this task waits for: tasks that are lost and will not be had without, and tasks that are not done."""
        lost: dict[str, None] = {}
        open_tasks: dict[str, None] = {}
        for before in self._before[task_id]:
            barrier = self._barriers.get(before)
            standing = None if barrier is None else barrier.standing(states, all_lost)
            tasks = [before] if barrier is None else barrier.tasks
            if standing is Standing.OPEN:
                continue
            if standing in (None, Standing.SHUT):
                lost.update(dict.fromkeys(one for one in tasks if one in all_lost))
            open_tasks.update(
                dict.fromkeys(one for one in tasks if states.get(one) not in _DONE and one not in all_lost)
            )
        return list(lost), list(open_tasks)


def _some(task_ids: list[str], states: States) -> str:
    """The first three by name and state, running ones first, and how many more."""
    ordered = sorted(task_ids, key=lambda task_id: states.get(task_id) is not TaskState.RUNNING)
    shown = ", ".join(f"{task_id} ({states.get(task_id, TaskState.PENDING).value})" for task_id in ordered[:3])
    return shown if len(ordered) <= 3 else f"{shown} and {len(ordered) - 3} more"
