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
    opens: tuple[str, ...] = ()
    may_lose: tuple[tuple[str, int], ...] = ()
    host: str = ""

    @property
    def host_id(self) -> str:
        return self.host or self.id.rpartition("@")[2]


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


def hosts_of(count: int, may_lose: tuple[tuple[str, int], ...] = (), barrier: str = "role:x") -> list[Task]:
    """A task on each host that opens the barrier, and one behind it."""
    tasks = [Task(f"x.a@h{number}", opens=(barrier,), may_lose=may_lose) for number in range(count)]
    return [*tasks, Task("y.b@first", after=(barrier,))]


def states_of(*words: str) -> dict[str, TaskState]:
    return {f"x.a@h{number}": TaskState(word) for number, word in enumerate(words)}


@pytest.mark.parametrize(
    ("barrier", "may_lose", "words", "expected"),
    [
        ("role:x", 0, ["ok", "ok", "changed"], "ready"),
        ("role:x", 0, ["ok", "ok", "running"], "waits"),
        ("role:x", 0, ["ok", "ok", "failed"], "blocked"),
        ("role:x", 1, ["ok", "ok", "failed"], "ready"),
        ("role:x", 1, ["ok", "running", "failed"], "waits"),  # the slow one is not forgotten
        ("role:x", 1, ["ok", "cancelled", "failed"], "blocked"),
        ("all(role:x)", 1, ["ok", "ok", "failed"], "blocked"),
        ("quorum(2, role:x)", 0, ["ok", "ok", "pending"], "ready"),
        ("quorum(2, role:x)", 0, ["ok", "pending", "failed"], "waits"),
        ("quorum(2, role:x)", 0, ["ok", "blocked", "failed"], "blocked"),
    ],
)
def test_a_barrier_opens_as_its_selector_says(barrier: str, may_lose: int, words: list[str], expected: str) -> None:
    graph = TaskGraph(hosts_of(3, (("x", may_lose),) if may_lose else (), barrier))
    states = states_of(*words)
    assert ("y.b@first" in graph.ready(states)) == (expected == "ready")
    assert ("y.b@first" in graph.newly_blocked(states)) == (expected == "blocked")
    assert graph.why_waiting("y.b@first", states).startswith(
        {
            "ready": "y.b@first is ready",
            "waits": "y.b@first waits for x.a@h",
            "blocked": "y.b@first will not start: x.a",
        }[expected]
    )


def test_a_run_succeeds_without_the_hosts_that_may_be_lost_and_names_them() -> None:
    graph = TaskGraph(hosts_of(3, (("x", 1),)))
    states = {**states_of("ok", "failed", "ok"), "y.b@first": TaskState.OK}
    assert graph.succeeded(states)
    assert graph.lost_hosts(states) == ("h1",)
    assert not graph.succeeded({**states, "x.a@h2": TaskState.FAILED})
    assert not graph.succeeded({**states, "y.b@first": TaskState.FAILED})  # its host may not be lost
    assert not graph.succeeded({**states, "x.a@h0": TaskState.RUNNING})


def test_a_host_of_two_groups_counts_in_both() -> None:
    both = (("compute", 1), ("storage", 2))
    tasks = [
        Task("a@h1", opens=("role:base",), may_lose=both),
        Task("a@h2", opens=("role:base",), may_lose=(("compute", 1),)),
        Task("a@h3", opens=("role:base",), may_lose=(("storage", 2),)),
        Task("z@h4", after=("role:base",)),
    ]
    graph = TaskGraph(tasks)
    lost = TaskState.FAILED
    assert graph.newly_blocked({"a@h1": lost, "a@h3": lost}) == ()
    assert graph.newly_blocked({"a@h1": lost, "a@h2": lost}) == ("z@h4",)


def test_a_barrier_that_nobody_opens_holds_nobody_up_and_a_lost_name_is_no_barrier() -> None:
    assert TaskGraph([Task("a@h", after=("role:x",))]).ready({}) == ("a@h",)
    with pytest.raises(GraphProblem, match="waits for x@h, which does not exist"):
        TaskGraph([Task("a@h", after=("x@h",))])


def test_predecessors_descendants_and_cycles_go_through_barriers() -> None:
    graph = TaskGraph(hosts_of(2))
    assert graph.before("y.b@first") == ("x.a@h0", "x.a@h1")
    assert graph.descendants("x.a@h1") == ("y.b@first",)
    with pytest.raises(GraphProblem, match=r"x.a@h → role:x → x.a@h: remove one"):
        TaskGraph([Task("x.a@h", after=("role:x",), opens=("role:x",))])


@settings(deadline=None)
@given(acyclic_tasks(), st.data())
def test_what_stands_before_some_tasks_are_those_that_these_follow(tasks: list[Task], data: st.DataObject) -> None:
    graph = TaskGraph(tasks)
    names = [task.id for task in tasks]
    some = data.draw(st.sets(st.sampled_from(names)))
    assert graph.followers(some) == {after for one in some for after in graph.descendants(one)}
    assert graph.ancestors(some) == {one for one in names if set(graph.descendants(one)) & some}


def test_ancestors_and_followers_are_reached_through_barriers() -> None:
    graph = TaskGraph(hosts_of(2))
    assert graph.ancestors(["y.b@first"]) == {"x.a@h0", "x.a@h1"}
    assert graph.followers(["x.a@h0"]) == {"y.b@first"}


def test_an_agent_that_asks_is_told_of_its_own_tasks_only() -> None:
    graph = TaskGraph([Task("a@h1", resource="mirror"), Task("a@h2", resource="mirror"), Task("b@h2")])
    assert graph.ready({}, {"mirror": 1}, among=["b@h2", "a@h2"]) == ("b@h2", "a@h2")
    assert graph.ready({"a@h1": TaskState.RUNNING}, {"mirror": 1}, among=["b@h2", "a@h2"]) == ("b@h2",)


@st.composite
def clouds(draw: st.DrawFn) -> list[Task]:
    """Some roles one after another, on some hosts each; every role waits for the one before, by all ways there are."""
    hosts = [f"h{number}" for number in range(draw(st.integers(1, 6)))]
    number = draw(st.integers(1, 3))
    groups = {host: ((("g", number),) if draw(st.booleans()) else ()) for host in hosts}
    tasks: list[Task] = []
    barrier = ""
    for level in range(draw(st.integers(1, 4))):
        on = draw(st.lists(st.sampled_from(hosts), min_size=1, unique=True))
        wait = (barrier,) if barrier else ()
        way = draw(st.sampled_from(["role:r{}", "all(role:r{})", "quorum({}, role:r{})"]))
        barrier = way.format(*([level] if way.count("{}") == 1 else [draw(st.integers(1, len(on))), level]))
        tasks += [Task(f"r{level}@{host}", wait, opens=(barrier,), may_lose=groups[host]) for host in on]
    return draw(st.permutations(tasks))


@settings(deadline=None)  # a busy machine is no failure
@given(clouds(), st.randoms(use_true_random=False))
def test_whatever_fails_each_run_ends_and_nobody_starts_before_enough_are_done(
    tasks: list[Task], chance: random.Random
) -> None:
    graph, by_id = TaskGraph(tasks), {task.id: task for task in tasks}
    states: dict[str, TaskState] = {}
    for _ in range(10 * len(tasks)):
        ready = graph.ready(states)
        blocked = graph.newly_blocked(states)
        assert not set(ready) & set(blocked)
        if chance.random() < 0.5:  # whether blocked tasks are marked at once makes no difference
            states.update(dict.fromkeys(blocked, TaskState.BLOCKED))
        for task_id in ready:
            for barrier in by_id[task_id].after:
                check_open(barrier, tasks, {**dict.fromkeys(blocked, TaskState.BLOCKED), **states})
        if not ready:
            break
        states[chance.choice(ready)] = chance.choice([TaskState.OK, TaskState.CHANGED, TaskState.FAILED])
    assert graph.finished(states)
    states.update(dict.fromkeys(graph.newly_blocked(states), TaskState.BLOCKED))
    assert set(states) == set(by_id)
    lost = {task.host_id for task in tasks if states[task.id] not in SUCCEEDED}
    assert set(graph.lost_hosts(states)) == lost
    allowed = all(any(task.host_id == host and task.may_lose for task in tasks) for host in lost)
    numbers = [number for task in tasks if task.host_id in lost for _, number in task.may_lose]
    assert graph.succeeded(states) == (allowed and (not lost or len(lost) <= min(numbers)))


def check_open(barrier: str, tasks: list[Task], states: dict[str, TaskState]) -> None:
    """By counting: the barrier may be open."""
    members = [task for task in tasks if barrier in task.opens]
    done = [task for task in members if states.get(task.id) in SUCCEEDED]
    if barrier.startswith("quorum("):
        assert len(done) >= int(barrier[7 : barrier.index(",")])
        return
    lost = [task for task in members if states.get(task.id) in OVER - SUCCEEDED]
    assert len(done) + len(lost) == len(members)
    if barrier.startswith("all("):
        assert not lost
    assert all(task.may_lose and len(lost) <= task.may_lose[0][1] for task in lost)
