"""A plan for people: as a tree of text and as a graph for Graphviz."""

from __future__ import annotations

import json
from typing import Any

from pxeforge.engine.plan import Plan, PlannedTask

_MAIN_PARAMS = ("path", "name", "names", "argv", "shell", "database", "package", "tcp", "settings", "sql")


def plan_text(plan: Plan) -> str:
    """Hosts, their tasks in order, the steps of each and what each waits for."""
    hosts: dict[str, list[PlannedTask]] = {}
    for task in plan.tasks:
        hosts.setdefault(task.host_name, []).append(task)
    lines = [f"plan {plan.digest[:12]}: {len(hosts)} host(s), {len(plan.tasks)} tasks"]
    for name, tasks in hosts.items():
        roles = ", ".join(plan.roles_by_host[tasks[0].host_id])
        lines.append(f"{name} ({roles})")
        for task in tasks:
            lines.extend(_task_lines(task, name))
    return "\n".join(lines) + "\n"


def _task_lines(task: PlannedTask, host_name: str) -> list[str]:
    marks: list[str] = [task.kind] if task.kind == "verify" else []
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


def plan_dot(plan: Plan) -> str:
    """The graph in the DOT language: one cluster per host, dashed boxes for checks."""
    hosts: dict[str, list[PlannedTask]] = {}
    for task in plan.tasks:
        hosts.setdefault(task.host_name, []).append(task)
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=box];"]
    for number, (name, tasks) in enumerate(hosts.items()):
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    label={_quoted(name)};")
        for task in tasks:
            style = ", style=dashed" if task.kind == "verify" else ""
            lines.append(f"    {_quoted(task.id)} [label={_quoted(f'{task.role}.{task.name}')}{style}];")
        lines.append("  }")
    lines += [f"  {_quoted(before)} -> {_quoted(task.id)};" for task in plan.tasks for before in task.after]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
