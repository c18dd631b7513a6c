"""The drawing of a plan: every task and every wait is in it, from left to right."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.webapp.pages.plan_graph import MOST_TASKS, graph_of


def task(name: str, host: str, *after: str, role: str = "r", **more: str) -> dict[str, Any]:
    return {
        "id": f"{role}.{name}@{host}", "host_name": host, "role": role, "name": name, "kind": "deploy",
        "after": list(after), **more,
    }  # fmt: skip


def test_each_host_has_a_lane_and_each_task_stands_right_of_what_it_waits_for() -> None:
    graph = graph_of([task("a", "n1"), task("b", "n1", "r.a@n1"), task("a", "n2", "r.b@n1")])
    x = {box.id: box.x for box in graph.boxes}
    assert x["r.a@n1"] < x["r.b@n1"] < x["r.a@n2"]
    assert [lane.name for lane in graph.lanes] == ["n1", "n2"]
    assert [edge.across for edge in graph.edges] == [False, True]


def test_a_wait_that_others_imply_is_not_drawn_but_counted() -> None:
    graph = graph_of([task("a", "n1"), task("b", "n1", "r.a@n1"), task("c", "n1", "r.a@n1", "r.b@n1")])
    assert (len(graph.edges), graph.left_out) == (2, 1)


def test_where_hosts_wait_for_hosts_there_is_a_barrier() -> None:
    hosts = ("n1", "n2", "n3")
    first = [task("a", host) for host in hosts]
    graph = graph_of([*first, *(task("b", host, *(one["id"] for one in first)) for host in hosts)])
    [barrier] = graph.barriers
    assert barrier.tip == "3 tasks of n1, n2, n3 wait for 3 of n1, n2, n3"
    assert min(box.x for box in graph.boxes if ".b@" in box.id) > barrier.x > min(box.x for box in graph.boxes)
    assert graph_of(first).barriers == ()


def test_many_tasks_are_gathered_with_their_worst_state() -> None:
    tasks = [task("a", f"n{n}", state="ok") for n in range(MOST_TASKS)] + [task("a", "last", state="failed")]
    [box] = graph_of(tasks).boxes
    assert (box.count, box.state, "1 failed" in box.tip) == (MOST_TASKS + 1, "failed", True)
    assert len(graph_of(tasks, by_task=False).boxes) == MOST_TASKS + 1


def test_tasks_that_follow_each_other_in_both_orders_on_different_hosts_can_be_gathered() -> None:
    graph = graph_of([task("a", "n1"), task("b", "n1", "r.a@n1"), task("a", "n2", "r.b@n1")], by_task=True)
    assert (len(graph.boxes), len(graph.edges)) == (2, 1)


@st.composite
def plans(draw: st.DrawFn) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 14))):
        before = draw(st.lists(st.sampled_from([one["id"] for one in tasks]), unique=True)) if tasks else []
        tasks.append(task(f"t{number}", draw(st.sampled_from(["n1", "n2", "n3"])), *before))
    return tasks


@given(plans(), st.booleans())
def test_no_box_hides_another_and_the_drawing_holds_all(tasks: list[dict[str, Any]], by_task: bool) -> None:
    graph = graph_of(tasks, by_task=by_task)
    assert sum(box.count for box in graph.boxes) == len(tasks)
    assert len({(box.x, box.y) for box in graph.boxes}) == len(graph.boxes)
    for box in graph.boxes:
        assert box.x + box.wide <= graph.wide
        assert box.y + box.high <= graph.high
