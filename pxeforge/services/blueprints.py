"""Blueprints at hand, and what they (or the assignments, without one) want of each host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pxeforge.engine.blueprint import Assignment, BlueprintProblem, HostRule, InventoryHost, assign, load_blueprint
from pxeforge.engine.roles import Role, RoleProblem, load_roles
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.store.tables import Host


@dataclass(frozen=True, slots=True)
class Wanted:
    """Roles and variables per host id, and the variables for all."""

    per_host: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]
    variables: Mapping[str, Any]


def list_blueprints(ctx: Context) -> list[dict[str, Any]]:
    """Shipped and operator's blueprints; one that is faulty is listed with its problem as summary."""
    try:
        roles = load_roles(ctx.assets("roles"))
    except RoleProblem as problem:
        raise Problem(str(problem)) from problem
    views = []
    for name, path in sorted(_files(ctx).items()):
        try:
            views.append({"name": name, "summary": load_blueprint(path, roles).summary})
        except BlueprintProblem as problem:
            views.append({"name": name, "summary": f"faulty: {problem}"})
    return views


def show(ctx: Context, name: str) -> dict[str, Any]:
    """One blueprint: its text, what is wrong in it, its rules with the hosts that they take now; raises NotFound.

    `findings` (file, line, message, fix) are of the file itself, or, where that is good, of how it fits the hosts.
    """
    files = _files(ctx)
    if name not in files:
        raise NotFound(f"there is no blueprint {name!r}: known are {', '.join(sorted(files)) or 'none'}")
    text = files[name].read_text(encoding="utf-8", errors="replace")
    view: dict[str, Any] = {
        "name": name, "file": str(files[name]), "text": text, "summary": "", "variables": {}, "rules": [],
        "hosts": [], "findings": [],
    }  # fmt: skip
    try:
        loaded = load_blueprint(files[name], load_roles(ctx.assets("roles")))
        view |= {
            "summary": loaded.summary,
            "variables": dict(loaded.variables),
            "rules": list(map(_rule, loaded.rules)),
        }
        with ctx.database.read() as session:
            rows = session.scalars(select(Host).order_by(Host.name, Host.id)).all()
            given = assign(loaded, _inventory(rows))
            view["hosts"] = [_host(row, given[row.id]) for row in rows if row.id in given]
    except (BlueprintProblem, RoleProblem) as problem:
        view["findings"] = [
            {"file": one.file, "line": one.line, "message": one.message, "fix": one.fix} for one in problem.findings
        ]
    return view


def _rule(rule: HostRule) -> dict[str, Any]:
    match = {key: value for key, value in (("name", rule.name), ("mac", rule.mac), ("tag", rule.tag)) if value}
    return {
        "line": rule.line, "count": rule.count, "match": match, "roles": list(rule.roles),
        "variables": dict(rule.variables),
    }  # fmt: skip


def _host(row: Host, given: Assignment) -> dict[str, Any]:
    """`addresses` as the host reported them, each with its length where it is known."""
    told = row.facts.get("nics")
    nics = [nic for nic in told if isinstance(nic, dict)] if isinstance(told, list) else []
    found = [str(one) for nic in nics for one in (nic.get("addresses") or []) if isinstance(one, str)]
    return {
        "id": row.id, "name": row.name or row.id, "state": row.state, "roles": list(given.roles),
        "variables": dict(given.variables), "addresses": found or ([row.address] if row.address else []),
    }  # fmt: skip


def _inventory(rows: Sequence[Host]) -> list[InventoryHost]:
    return [
        InventoryHost(
            host_id=host.id, name=host.name or host.id, macs=tuple(nic.mac for nic in host.nics), tags=tuple(host.tags)
        )
        for host in rows
    ]  # fmt: skip


def wanted(ctx: Context, blueprint: str | None, rows: Sequence[Host], roles: Mapping[str, Role]) -> Wanted:
    """Without a blueprint: the roles that were assigned host by host. Raises NotFound, Problem (file and line)."""
    if blueprint is None:
        return Wanted({host.id: (tuple(row.role for row in host.roles), {}) for host in rows}, {})
    files = _files(ctx)
    if blueprint not in files:
        raise NotFound(f"there is no blueprint {blueprint!r}: known are {', '.join(sorted(files)) or 'none'}")
    try:
        loaded = load_blueprint(files[blueprint], roles)
        assigned = assign(loaded, _inventory(rows))
    except BlueprintProblem as problem:
        raise Problem(str(problem)) from problem
    return Wanted({host_id: (given.roles, given.variables) for host_id, given in assigned.items()}, loaded.variables)


def _files(ctx: Context) -> dict[str, Path]:
    """By name; the operator's folder comes first and wins."""
    found: dict[str, Path] = {}
    for folder in ctx.assets("blueprints"):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found
