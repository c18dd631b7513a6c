"""A plan as a drawing: tasks in layers from left to right, a lane for each host, edges between them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MOST_TASKS: Final = 120  # more are drawn by task, one box for all hosts that have it
_WIDE, _HIGH = 168, 34
_GAP_X, _GAP_Y = 46, 10
_LABEL, _TOP, _EDGE = 132, 26, 12
_LONG: Final = 22  # letters that fit into a box


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """`count`: tasks that it stands for. `state`: of the run; in a plan the kind of the task."""

    id: str
    title: str
    role: str
    state: str
    tip: str
    href: str
    count: int
    x: int
    y: int
    wide: int = _WIDE
    high: int = _HIGH


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """`path`: the d of an SVG path. `across`: between hosts."""

    path: str
    across: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    name: str
    y: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Where several hosts wait for several others: a line before a layer."""

    x: int
    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    lanes: tuple[Lane, ...]
    barriers: tuple[Barrier, ...]
    wide: int
    high: int
    by_task: bool
    left_out: int  # edges that others imply


@dataclass(slots=True)
class _Node:
    id: str
    lane: str
    title: str
    role: str
    state: str
    tip: str
    href: str
    after: set[str]
    count: int = 1


def graph_of(tasks: Sequence[Mapping[str, Any]], *, by_task: bool | None = None) -> Graph:
    """`tasks` as plans.plan gives them: id, host_name, role, name, kind, after; and with `state` those of a run.

    `by_task`: one box for a task of whatever hosts; None: where there are many.
    """
    gathered = len(tasks) > MOST_TASKS if by_task is None else by_task
    nodes = _gathered(tasks) if gathered else [_node(task) for task in tasks]
    layer = _layers(nodes)
    needed = _reduced(nodes, layer)
    places, lanes, high = _placed(nodes, layer)
    lane_of = {node.id: node.lane for node in nodes}
    boxes = tuple(
        Box(id=node.id, title=_short(node.title), role=node.role, state=node.state, tip=node.tip, href=node.href,
            count=node.count, x=places[node.id][0], y=places[node.id][1])
        for node in nodes
    )  # fmt: skip
    edges = tuple(
        Edge(path=_path(places[before], places[after]), across=lane_of[before] != lane_of[after])
        for before, after in needed
    )
    wide = max((box.x + box.wide for box in boxes), default=0) + _EDGE
    return Graph(
        boxes=boxes, edges=edges, lanes=lanes, barriers=_barriers(nodes, layer, lane_of), wide=wide, high=high,
        by_task=gathered, left_out=sum(len(node.after) for node in nodes) - len(needed),
    )  # fmt: skip


def _node(task: Mapping[str, Any]) -> _Node:
    return _Node(
        id=str(task["id"]), lane=str(task["host_name"]), title=str(task["name"]), role=str(task["role"]),
        state=str(task.get("state") or task["kind"]), tip=f"{task['host_name']}: {task['role']} {task['name']}",
        href=str(task.get("href", "")), after=set(task["after"]),
    )  # fmt: skip


def _gathered(tasks: Sequence[Mapping[str, Any]]) -> list[_Node]:
    """One node for each task of a role, for all hosts that have it; where that would wait for itself, it does not."""
    key_of = {str(task["id"]): f"{task['role']}.{task['name']}.{task['kind']}" for task in tasks}
    nodes: dict[str, _Node] = {}
    states: dict[str, Counter[str]] = {}
    for task in tasks:
        key = key_of[str(task["id"])]
        node = nodes.setdefault(
            key, _Node(id=key, lane=str(task["role"]), title=str(task["name"]), role=str(task["role"]), state="",
                       tip="", href="", after=set(), count=0),
        )  # fmt: skip
        node.count += 1
        node.after |= {key_of[before] for before in task["after"] if before in key_of} - {key}
        states.setdefault(key, Counter())[str(task.get("state") or task["kind"])] += 1
    for key, node in nodes.items():
        node.state = _worst(states[key])
        told = ", ".join(f"{number} {state}" for state, number in sorted(states[key].items()))
        node.tip = f"{node.role} {node.title}: {told}"
    return _without_circles(list(nodes.values()))


_ORDER: Final = ("failed", "blocked", "running", "pending", "cancelled", "changed", "ok", "verify", "deploy")


def _worst(states: Mapping[str, int]) -> str:
    return next((state for state in _ORDER if state in states), next(iter(states), ""))


def _without_circles(nodes: list[_Node]) -> list[_Node]:
    """Tasks of different hosts may follow each other in both orders: the edge against the plan's order goes."""
    at = {node.id: index for index, node in enumerate(nodes)}
    for node in nodes:
        node.after = {before for before in node.after if at[before] < at[node.id]}
    return nodes


def _layers(nodes: Sequence[_Node]) -> dict[str, int]:
    """The longest way from a beginning, for each; tasks of one host in the order of the plan are never stacked."""
    known = {node.id for node in nodes}
    waiting = {node.id: {one for one in node.after if one in known} for node in nodes}
    followers: dict[str, list[str]] = {}
    for node_id, before in waiting.items():
        for one in before:
            followers.setdefault(one, []).append(node_id)
    layer = dict.fromkeys(waiting, 0)
    missing = {node_id: len(before) for node_id, before in waiting.items()}
    queue = [node_id for node_id, count in missing.items() if not count]
    for node_id in queue:  # grows while it is walked
        for after in followers.get(node_id, ()):
            layer[after] = max(layer[after], layer[node_id] + 1)
            missing[after] -= 1
            if not missing[after]:
                queue.append(after)
    return layer


def _reduced(nodes: Sequence[_Node], layer: Mapping[str, int]) -> list[tuple[str, str]]:
    """The edges that no other way implies."""
    ordered = sorted(nodes, key=lambda node: layer[node.id])
    bit = {node.id: 1 << index for index, node in enumerate(ordered)}
    reach: dict[str, int] = {}  # all that come before
    kept = []
    for node in ordered:
        mine, implied = 0, 0
        for before in sorted((one for one in node.after if one in bit), key=lambda one: -layer[one]):
            if not implied & bit[before]:
                kept.append((before, node.id))
            implied |= reach[before] | bit[before]
            mine |= implied
        reach[node.id] = mine
    return kept


def _placed(
    nodes: Sequence[_Node], layer: Mapping[str, int]
) -> tuple[dict[str, tuple[int, int]], tuple[Lane, ...], int]:  # fmt: skip
    """Where each box stands: by its layer, and in its lane below those of the same layer."""
    stacked: dict[tuple[str, int], int] = {}
    rows: dict[str, int] = {}
    slot = {}
    for node in nodes:
        key = (node.lane, layer[node.id])
        slot[node.id] = stacked.get(key, 0)
        stacked[key] = slot[node.id] + 1
        rows[node.lane] = max(rows.get(node.lane, 1), stacked[key])
    lanes, y = [], _TOP
    top: dict[str, int] = {}
    for name, count in rows.items():
        top[name] = y + _GAP_Y
        high = count * (_HIGH + _GAP_Y) + _GAP_Y
        lanes.append(Lane(name=name, y=y, high=high))
        y += high
    places = {
        node.id: (_LABEL + layer[node.id] * (_WIDE + _GAP_X), top[node.lane] + slot[node.id] * (_HIGH + _GAP_Y))
        for node in nodes
    }
    return places, tuple(lanes), y + _EDGE


def _path(before: tuple[int, int], after: tuple[int, int]) -> str:
    x1, y1, x2, y2 = before[0] + _WIDE, before[1] + _HIGH // 2, after[0], after[1] + _HIGH // 2
    bend = max(18, min(60, (x2 - x1) // 2))
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def _barriers(nodes: Sequence[_Node], layer: Mapping[str, int], lane_of: Mapping[str, str]) -> tuple[Barrier, ...]:
    """Before a layer in which each task of several hosts waits for the same tasks of several hosts."""
    found: dict[int, tuple[str, int, int]] = {}
    groups: dict[frozenset[str], list[_Node]] = {}
    for node in nodes:
        across = frozenset(one for one in node.after if lane_of.get(one, node.lane) != node.lane)
        if across:
            whole = frozenset(one for one in node.after if one in lane_of)
            groups.setdefault(whole, []).append(node)
    for before, after in groups.items():
        from_hosts, to_hosts = {lane_of[one] for one in before}, {node.lane for node in after}
        if len(from_hosts) > 1 and len(to_hosts) > 1:
            at = min(layer[node.id] for node in after)
            tip = f"{len(after)} tasks of {_some(to_hosts)} wait for {len(before)} of {_some(from_hosts)}"
            found.setdefault(at, (tip, len(before), len(after)))
    return tuple(
        Barrier(x=_LABEL + at * (_WIDE + _GAP_X) - _GAP_X // 2, tip=tip) for at, (tip, _, _) in sorted(found.items())
    )


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown) if len(shown) <= 3 else f"{', '.join(shown[:3])} and {len(shown) - 3} more"


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
