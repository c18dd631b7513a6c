from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.engine.graph import OVER, SUCCEEDED, GraphProblem, TaskGraph, TaskState


@dataclass(frozen=True)
class Task:
    id: str
    after: tuple[str, ...] = ()
    resource: str | None = None


@st.composite
def acyclic_tasks(draw: st.DrawFn) -> list[Task]:
    count = draw(st.integers(1, 20))
    tasks = []
    for number in range(count):
        before = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        resource = draw(st.sampled_from([None, "mirror"]))
        tasks.append(Task(f"t{number}", tuple(f"t{item}" for item in sorted(before)), resource))
    return draw(st.permutations(tasks))


@settings(deadline=None)  # a busy machine is no failure
@given(acyclic_tasks(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_no_task_starts_before_its_predecessors_and_all_finish_when_all_succeed(
    tasks: list[Task], limit: int, chance: random.Random
) -> None:
    graph, by_id = TaskGraph(tasks), {task.id: task for task in tasks}
    states: dict[str, TaskState] = {}
    while not graph.finished(states):
        for task_id in graph.ready(states, {"mirror": limit}):
            assert all(states[before] in SUCCEEDED for before in by_id[task_id].after)
            if chance.random() < 0.7:
                states[task_id] = TaskState.RUNNING
        running = [task_id for task_id, state in states.items() if state is TaskState.RUNNING]
        assert sum(by_id[task_id].resource == "mirror" for task_id in running) <= limit
        if running:
            states[chance.choice(running)] = chance.choice([TaskState.OK, TaskState.CHANGED])
    assert graph.succeeded(states)
    assert set(states) == set(by_id)


@settings(deadline=None)  # a busy machine is no failure
@given(acyclic_tasks(), st.data())
def test_a_failure_blocks_exactly_its_descendants(tasks: list[Task], data: st.DataObject) -> None:
    graph = TaskGraph(tasks)
    victim = data.draw(st.sampled_from([task.id for task in tasks]))
    states: dict[str, TaskState] = {}
    while not graph.finished(states):
        for task_id in graph.ready(states):
            states[task_id] = TaskState.FAILED if task_id == victim else TaskState.OK
    blocked = graph.newly_blocked(states)
    assert blocked == graph.descendants(victim)
    states.update(dict.fromkeys(blocked, TaskState.BLOCKED))
    assert graph.newly_blocked(states) == ()
    assert all(states[task.id] in OVER for task in tasks)
    assert [task_id for task_id in states if states[task_id] is TaskState.FAILED] == [victim]


@settings(deadline=None)  # a busy machine is no failure
@given(acyclic_tasks(), st.data())
def test_an_added_way_back_is_reported_as_a_cycle_by_name(tasks: list[Task], data: st.DataObject) -> None:
    order = TaskGraph(tasks).order
    first = data.draw(st.integers(0, len(order) - 1))
    last = data.draw(st.integers(first, len(order) - 1))
    low, high = order[first], order[last]
    ring = [
        Task(task.id, (*task.after, *([high] if task.id == low else []), *([low] if task.id == high else [])))
        for task in tasks
    ]
    with pytest.raises(GraphProblem, match=r"wait for each other: .* → ") as caught:
        TaskGraph(ring)
    names = str(caught.value).split(": ")[1].split(" → ")
    assert names[0] == names[-1]
    after = {task.id: task.after for task in ring}
    assert all(names[i] in after[names[i + 1]] for i in range(len(names) - 1))


def test_a_task_says_by_name_why_it_waits() -> None:
    tasks = [Task("a"), Task("b"), Task("c", ("a", "b")), Task("d", ("c",)), Task("e", resource="mirror")]
    graph = TaskGraph(tasks)
    assert graph.why_waiting("c", {"a": TaskState.OK, "b": TaskState.RUNNING}) == "c waits for b (running)"
    assert graph.why_waiting("c", {"a": TaskState.FAILED}) == "c will not start: a (failed)"
    assert graph.why_waiting("d", {"c": TaskState.BLOCKED}) == "d will not start: c (blocked)"
    assert "is ready" in graph.why_waiting("a", {})
    assert graph.why_waiting("a", {"a": TaskState.OK}) == "a does not wait: it is ok"
    assert graph.why_waiting("e", {}, {"mirror": 0}) == "e waits for a free place at mirror (limit 0)"


def test_a_long_list_of_predecessors_is_cut() -> None:
    tasks = [*(Task(f"a{number}") for number in range(9)), Task("z", tuple(f"a{number}" for number in range(9)))]
    assert (
        TaskGraph(tasks)
        .why_waiting("z", {"a7": TaskState.RUNNING})
        .endswith("a7 (running), a0 (pending), a1 (pending) and 6 more")
    )


def test_an_unknown_predecessor_and_a_double_name_are_refused() -> None:
    with pytest.raises(GraphProblem, match="b, which does not exist"):
        TaskGraph([Task("a", ("b",))])
    with pytest.raises(GraphProblem, match="twice"):
        TaskGraph([Task("a"), Task("a")])
