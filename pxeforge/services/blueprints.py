"""Blueprints at hand, and what they (or the assignments, without one) want of each host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxeforge.engine.blueprint import BlueprintProblem, InventoryHost, assign, load_blueprint
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


def wanted(ctx: Context, blueprint: str | None, rows: Sequence[Host], roles: Mapping[str, Role]) -> Wanted:
    """Without a blueprint: the roles that were assigned host by host. Raises NotFound, Problem (file and line)."""
    if blueprint is None:
        return Wanted({host.id: (tuple(row.role for row in host.roles), {}) for host in rows}, {})
    files = _files(ctx)
    if blueprint not in files:
        raise NotFound(f"there is no blueprint {blueprint!r}: known are {', '.join(sorted(files)) or 'none'}")
    try:
        loaded = load_blueprint(files[blueprint], roles)
        inventory = [
            InventoryHost(
                host_id=host.id,
                name=host.name or host.id,
                macs=tuple(nic.mac for nic in host.nics),
                tags=tuple(host.tags),
            )
            for host in rows
        ]
        assigned = assign(loaded, inventory)
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
