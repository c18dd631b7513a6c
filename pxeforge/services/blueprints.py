"""Blueprints at hand, and what they (or the assignments, without one) want of each host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pxeforge.engine.blueprint import (
    Assignment,
    BlueprintProblem,
    HostRule,
    InventoryHost,
    assign,
    layout_of,
    load_blueprint,
)
from pxeforge.engine.layout import Layout, Network
from pxeforge.engine.release import Release, ReleaseProblem, load_releases
from pxeforge.engine.roles import Role, RoleProblem, load_roles
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.store.tables import Host

_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Roles and variables per host id, the variables for all, the release packs and how the networks are laid out."""

    per_host: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]
    variables: Mapping[str, Any]
    releases: Mapping[str, Release]
    layout: Layout


def list_blueprints(ctx: Context) -> list[dict[str, Any]]:
    """Shipped and operator's blueprints; one that is faulty is listed with its problem as summary."""
    try:
        roles = load_roles(ctx.assets("roles"))
    except RoleProblem as problem:
        raise Problem(str(problem)) from problem
    views, releases = [], releases_at_hand(ctx)
    for name, path in sorted(_files(ctx).items()):
        try:
            views.append(
                {"name": name, "summary": load_blueprint(path, roles, ctx.assets("blueprints"), releases).summary}
            )
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
        "hosts": [], "findings": [], "networks": [], "vips": [], "tolerance": {}, "release": None,
    }  # fmt: skip
    try:
        loaded = load_blueprint(
            files[name], load_roles(ctx.assets("roles")), ctx.assets("blueprints"), releases_at_hand(ctx)
        )
        view |= {
            "summary": loaded.summary,
            "variables": dict(loaded.variables),
            "rules": list(map(_rule, loaded.rules)),
            "networks": list(map(_network, loaded.networks)),
            "vips": [
                {"name": vip.name, "address": vip.address, "network": vip.network, "roles": list(vip.roles)}
                for vip in loaded.vips
            ],
            "tolerance": {role: str(tolerance) for role, tolerance in loaded.tolerance.items()},
            "release": loaded.release,
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
        "variables": dict(rule.variables), "zone": rule.place.zone, "nics": dict(rule.place.nics),
        "addresses": dict(rule.place.addresses),
        "disks": {
            purpose: f"serial {disk.serial}" if disk.serial else f"{disk.min_bytes // 10**9} GB or more"
            for purpose, disk in rule.place.disks.items()
        },
    }  # fmt: skip


def _network(network: Network) -> dict[str, Any]:
    return {
        "name": network.name, "purposes": list(network.purposes), "cidr": str(network.cidr or ""),
        "vlan": network.vlan, "mtu": network.mtu, "gateway": network.gateway,
        "pool": " to ".join(network.pool) if network.pool else None,
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
        assigned_one_by_one = {host.id: (tuple(row.role for row in host.roles), _NONE) for host in rows}
        return Wanted(assigned_one_by_one, {}, releases_at_hand(ctx), Layout())
    files = _files(ctx)
    if blueprint not in files:
        raise NotFound(f"there is no blueprint {blueprint!r}: known are {', '.join(sorted(files)) or 'none'}")
    releases = releases_at_hand(ctx)
    try:
        loaded = load_blueprint(files[blueprint], roles, ctx.assets("blueprints"), releases)
        assigned = assign(loaded, _inventory(rows))
    except BlueprintProblem as problem:
        raise Problem(str(problem)) from problem
    given = {host_id: (one.roles, one.variables) for host_id, one in assigned.items()}
    return Wanted(given, loaded.variables, releases, layout_of(loaded, assigned))


def releases_at_hand(ctx: Context) -> dict[str, Release]:
    """Shipped and operator's release packs; raises Problem that names file and line."""
    try:
        return load_releases(ctx.assets("releases"))
    except ReleaseProblem as problem:
        raise Problem(str(problem)) from problem


def _files(ctx: Context) -> dict[str, Path]:
    """By name; the operator's folder comes first and wins."""
    found: dict[str, Path] = {}
    for folder in ctx.assets("blueprints"):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found
