"""A plan for people: as a tree of text, as a graph for Graphviz, and what it installs and restarts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pxeforge.engine.plan import Plan
from pxeforge.engine.planned_task import PlannedTask

_MAIN_PARAMS = ("path", "name", "names", "argv", "shell", "database", "package", "tcp", "settings", "sql")
_MANY = 120  # tasks behind one barrier: of more, one of each kind stands for all
_HOSTS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class UnitRestart:
    """A unit that is restarted when one of `when` (steps and tasks, in full) changed something."""

    host: str
    unit: str
    task: str
    when: tuple[str, ...]
    interrupts: Literal["tenants", "nobody"]


def plan_restarts(plan: Plan) -> list[UnitRestart]:
    """All restarts that may happen, those first that cut tenants off."""
    found = [
        UnitRestart(
            task.host_name, step["params"]["name"], task.id, tuple(step["params"]["restart_on"]), task.interrupts
        )
        for task in plan.tasks
        for step in task.steps
        if step["type"] == "unit" and step["params"].get("restart_on")
    ]
    return sorted(found, key=lambda restart: restart.interrupts == "nobody")


def plan_packages(plan: Plan) -> dict[str, list[str]]:
    """By host: the packages that are to be there after a deploy, each once, in the order of the plan."""
    found: dict[str, dict[str, None]] = {}
    for task in plan.tasks:
        mine = found.setdefault(task.host_name, {})
        for step in task.steps:
            params = step["params"]
            if step["type"] == "packages" and task.kind == "deploy" and params.get("state", "present") == "present":
                mine.update(dict.fromkeys(params["names"]))
    return {host: list(names) for host, names in found.items() if names}


def predecessors(plan: Plan) -> dict[str, list[str]]:
    """By task: the tasks that it waits for, those behind barriers too; of very many, one of each kind."""
    tasks = {task.id: task for task in plan.tasks}
    behind: dict[str, list[str]] = {}
    for task in plan.tasks:
        for barrier in task.opens:
            behind.setdefault(barrier, []).append(task.id)
    for barrier, members in behind.items():
        if len(members) > _MANY:
            kinds = {(tasks[one].role, tasks[one].name): one for one in reversed(members)}
            behind[barrier] = list(kinds.values())
    return {
        task.id: list(dict.fromkeys(each for before in task.after for each in behind.get(before, [before])))
        for task in plan.tasks
    }


def plan_text(plan: Plan) -> str:
    """Hosts, their tasks in order, the steps of each and what each waits for; then packages and restarts."""
    hosts: dict[str, list[PlannedTask]] = {}
    for task in plan.tasks:
        hosts.setdefault(task.host_name, []).append(task)
    lines = [f"plan {plan.digest[:12]}: {len(hosts)} host(s), {len(plan.tasks)} tasks"]
    for name, tasks in hosts.items():
        roles = ", ".join(plan.roles_by_host[tasks[0].host_id])
        lines.append(f"{name} ({roles})")
        for task in tasks:
            lines.extend(_task_lines(task, name))
    return "\n".join([*lines, *_package_lines(plan), *_restart_lines(plan)]) + "\n"


def _task_lines(task: PlannedTask, host_name: str) -> list[str]:
    marks: list[str] = [] if task.kind == "deploy" else [task.kind]
    if task.interrupts == "tenants":
        marks.append("interrupts tenants")
    if task.resource:
        marks.append(f"uses {task.resource}")
    if task.secrets:
        marks.append(f"secrets: {', '.join(task.secrets)}")
    here = [before.partition("@")[0] for before in task.after if before.endswith(f"@{host_name}")]
    there = [before for before in task.after if not before.endswith(f"@{host_name}")]
    if here or there:
        shown = [*here, *there]
        more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
        marks.append(f"after {', '.join(shown[:4])}{more}")
    lines = [f"  {task.role}.{task.name}" + (f"  [{'; '.join(marks)}]" if marks else "")]
    lines += [f"    {step['name']}: {step['type']} {_summary(step['params'])}".rstrip() for step in task.steps]
    return lines


def _summary(params: dict[str, Any]) -> str:
    for key in _MAIN_PARAMS:
        if key in params:
            value = params[key]
            if isinstance(value, list):
                text = " ".join(str(item) for item in value)
            else:
                text = value if isinstance(value, str) else json.dumps(value)
            text = " ".join(text.split())
            return text if len(text) <= 80 else text[:77] + "..."
    return ""


def _package_lines(plan: Plan) -> list[str]:
    """Hosts with the same packages stand together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for host, names in plan_packages(plan).items():
        alike.setdefault(tuple(sorted(names)), []).append(host)
    lines = ["packages"] if alike else []
    return lines + [f"  {_hosts(hosts)}: {' '.join(names)}" for names, hosts in alike.items()]


def _restart_lines(plan: Plan) -> list[str]:
    alike: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for restart in plan_restarts(plan):
        alike.setdefault((restart.unit, restart.when, restart.interrupts), []).append(restart.host)
    lines = ["restarts, if something before them changes"] if alike else []
    for (unit, when, interrupts), hosts in alike.items():
        mark = "  [interrupts tenants]" if interrupts == "tenants" else ""
        lines.append(f"  {_hosts(hosts)}: {unit} (on {', '.join(when)}){mark}")
    return lines


def _hosts(names: Iterable[str]) -> str:
    hosts = list(dict.fromkeys(names))
    more = f" and {len(hosts) - _HOSTS_SHOWN} more" if len(hosts) > _HOSTS_SHOWN else ""
    return f"{', '.join(hosts[:_HOSTS_SHOWN])}{more}"


def plan_dot(plan: Plan) -> str:
    """The graph in the DOT language: one cluster per host, dashed boxes for checks, ellipses for barriers."""
    hosts: dict[str, list[PlannedTask]] = {}
    barriers: dict[str, list[str]] = {}
    for task in plan.tasks:
        hosts.setdefault(task.host_name, []).append(task)
        for barrier in task.opens:
            barriers.setdefault(barrier, []).append(task.id)
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=box];"]
    for number, (name, tasks) in enumerate(hosts.items()):
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    label={_quoted(name)};")
        for task in tasks:
            style = "" if task.kind == "deploy" else ", style=dashed"
            lines.append(f"    {_quoted(task.id)} [label={_quoted(f'{task.role}.{task.name}')}{style}];")
        lines.append("  }")
    for barrier, members in barriers.items():
        lines.append(f"  {_quoted(barrier)} [shape=ellipse];")
        lines += [f"  {_quoted(member)} -> {_quoted(barrier)};" for member in members]
    known = {task.id for task in plan.tasks} | set(barriers)
    lines += [
        f"  {_quoted(before)} -> {_quoted(task.id)};" for task in plan.tasks for before in task.after if before in known
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
