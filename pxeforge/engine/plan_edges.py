"""What a task of a plan waits for: on its own host, on other hosts by selectors, and at barriers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pxeforge.engine.layout import Tolerance
from pxeforge.engine.plan_problem import PlanProblem
from pxeforge.engine.roles import Role, RoleTask, Selector, TaskKind

if TYPE_CHECKING:
    from pxeforge.engine.plan import PlanHost

Losses = tuple[tuple[str, int], ...]


def task_id(role_name: str, task_name: str, host: PlanHost) -> str:
    return f"{role_name}.{task_name}@{host.name}"


def _last_names(role: Role, kind: TaskKind) -> list[str]:
    """The tasks of the kind that no other such task of the role waits for: after them, all are done."""
    tasks = [task for task in role.tasks if task.kind == kind]
    waited_for: set[str] = set()
    for position, task in enumerate(tasks):
        if task.requires is not None:
            own = (text.rpartition(".") for text in task.requires)
            waited_for.update(name for role_name, _, name in own if role_name in ("", role.name))
        elif position > 0:
            waited_for.add(tasks[position - 1].name)
    return [task.name for task in tasks if task.name not in waited_for]


def losses_of(
    hosts: Sequence[PlanHost], tolerance: Mapping[str, Tolerance], order: Mapping[str, Sequence[str]]
) -> dict[str, Losses]:
    """By host id: the roles of which the host may be lost, and how many of each.

    Only roles that were given to a host count, not those which they require; if one of them may lose no host, the
    host may not be lost.
    """
    sizes = {role: sum(role in order[host.host_id] for host in hosts) for role in tolerance}
    numbers = {role: tolerance[role].of(size) for role, size in sizes.items()}
    found: dict[str, Losses] = {}
    for host in hosts:
        mine = [(role, numbers.get(role, 0)) for role in host.roles]
        found[host.host_id] = tuple(mine) if all(number for _, number in mine) else ()
    return found


class Edges:
    """The edges of one plan. `order`: all roles by host id; `removed`: the roles that are taken from each."""

    def __init__(
        self,
        roles: Mapping[str, Role],
        order: Mapping[str, Sequence[str]],
        groups: Mapping[str, Sequence[PlanHost]],
        losses: Mapping[str, Losses],
    ) -> None:
        self._roles, self._order, self._groups, self._losses = roles, order, groups, losses
        self._barriers: dict[str, dict[str, None]] = {}  # by id: the tasks that open it
        self._settled: dict[tuple[str, Selector], tuple[str, ...]] = {}
        self._last: dict[tuple[str, TaskKind], list[str]] = {}
        self._kinds = {name: {task.name: task.kind for task in role.tasks} for name, role in roles.items()}

    def opened_by(self) -> dict[str, list[str]]:
        """By task: the barriers of this plan that it opens; to be asked when all tasks were asked for."""
        found: dict[str, list[str]] = {}
        for barrier, tasks in self._barriers.items():
            for each in tasks:
                found.setdefault(each, []).append(barrier)
        return found

    def _last_tasks(self, name: str, host: PlanHost, kind: TaskKind = "deploy") -> list[str]:
        if (name, kind) not in self._last:
            self._last[name, kind] = _last_names(self._roles[name], kind)
        return [task_id(name, each, host) for each in self._last[name, kind]]

    def after(self, host: PlanHost, role: Role, task: RoleTask, removed: Sequence[str] = ()) -> tuple[str, ...]:
        """Ids of tasks and barriers; raises PlanProblem."""
        found: dict[str, None] = {}
        if task.requires is not None:
            for text in task.requires:
                found[self._same_host(host, role, text, task)] = None
        elif task.kind == "verify":
            for name in self._required(role, host):
                found.update(dict.fromkeys(self._last_tasks(name, host)))
        else:
            found.update(dict.fromkeys(self._by_order(host, role, task, removed)))
        own = task_id(role.name, task.name, host)
        for selector in task.after:
            for before in self._selected(selector, role, own):
                # `first(role:x.join)` on x.join itself lets the first host lead: it does not wait for itself.
                if before != own:
                    found[before] = None
        return tuple(found)

    def _required(self, role: Role, host: PlanHost) -> list[str]:
        """The role and all that it requires, directly or not."""
        found = [role.name]
        for name in found:  # grows while it is walked
            there = (self._there(other, host) for other in self._roles[name].requires)
            found.extend(other for other in there if other not in found)
        return found

    def _there(self, name: str, host: PlanHost) -> str:
        """The role itself, or what replaces it on the host."""
        names = self._order[host.host_id]
        return name if name in names else next((one for one in names if self._roles[one].replaces == name), name)

    def _by_order(self, host: PlanHost, role: Role, task: RoleTask, removed: Sequence[str]) -> list[str]:
        same = [item for item in role.tasks if item.kind == task.kind]
        position = same.index(task)
        if position > 0:
            return [task_id(role.name, same[position - 1].name, host)]
        if task.kind == "remove":  # what stands on a role goes first
            above = [name for name in removed if {role.name, role.replaces} & {*self._roles[name].requires}]
            return [before for name in above for before in self._last_tasks(name, host, "remove")]
        required = [self._there(name, host) for name in role.requires]
        return [before for name in required for before in self._last_tasks(name, host)]

    def _same_host(self, host: PlanHost, role: Role, text: str, task: RoleTask) -> str:
        role_name, _, task_name = text.rpartition(".")
        role_name = self._there(role_name or role.name, host)
        kind = self._kinds[role_name].get(task_name) if role_name in self._order[host.host_id] else None
        if kind is None or (kind == "remove") != (task.kind == "remove"):
            raise PlanProblem(
                f"{role.file}:{task.line}: task {role.name}.{task.name} requires {text}, which is not on {host.name}:"
                f" correct the name or add the role to `requires`"
            )
        return task_id(role_name, task_name, host)

    def _selected(self, selector: Selector, role: Role, own: str) -> tuple[str, ...]:
        """Tasks, or the barrier that they open; found once for all hosts that wait."""
        key = (role.name if selector.role is None else "", selector)
        if key not in self._settled:
            self._settled[key] = self._found(selector, role, own)
        return self._settled[key]

    def _found(self, selector: Selector, role: Role, own: str) -> tuple[str, ...]:
        if selector.role is None:
            names, barrier = role.requires, f"all({', '.join(role.requires)})"
        else:
            names, barrier = (selector.role,), str(selector)
        chosen: dict[str, list[str]] = {}
        for name in names:
            for host in self._groups.get(name, ())[: 1 if selector.way == "first" else None]:
                chosen.setdefault(host.host_id, []).extend(self._tasks_of(name, selector.task, host, own))
        tasks = tuple(each for found in chosen.values() for each in found)
        if selector.way == "first":
            return tasks
        if selector.way == "quorum" and len(chosen) < selector.quorum:
            raise PlanProblem(
                f"{own} waits for {selector.quorum} hosts of role {selector.role}, and {len(chosen)} of the plan have "
                f"it: give it to more hosts"
            )
        losable = selector.way == "each" and any(self._losses[host_id] for host_id in chosen)
        if len(tasks) < 2 and not losable:
            return tasks
        self._barriers.setdefault(barrier, {}).update(dict.fromkeys(tasks))
        return (barrier,)

    def _tasks_of(self, role_name: str, task_name: str | None, host: PlanHost, own: str) -> list[str]:
        role = self._roles.get(role_name)
        if role is None:
            raise PlanProblem(f"{own} waits for role {role_name}, which does not exist: correct the name")
        if task_name is None:
            return self._last_tasks(role_name, host)
        if self._kinds[role_name].get(task_name, "remove") == "remove":
            raise PlanProblem(f"{own} waits for {role_name}.{task_name}, which does not exist: correct the name")
        return [task_id(role_name, task_name, host)]
