"""Blueprints at hand, and what they (or the assignments, without one) want of each host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState
from pxeforge.engine.blueprint import (
    Assignment,
    Blueprint,
    BlueprintProblem,
    HostRule,
    InventoryHost,
    assign,
    layout_of,
    load_blueprint,
)
from pxeforge.engine.document import Finding
from pxeforge.engine.layout import Layout, Network
from pxeforge.engine.release import Release, ReleaseProblem, load_releases
from pxeforge.engine.roles import Role
from pxeforge.services import deployed_roles
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.services.role_catalogue import roles_at_hand
from pxeforge.store.tables import AgentCredential, Host

_NONE: Mapping[str, Any] = {}
_DEPLOYABLE: Final = {  # and it must have an agent
    state.value
    for state in (HostState.KNOWN, HostState.REGISTERED, HostState.CONFIGURING, HostState.READY, HostState.FAILED)
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Roles and variables per host id, the variables for all, the release packs and how the networks are laid out."""

    per_host: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]
    variables: Mapping[str, Any]
    releases: Mapping[str, Release]
    layout: Layout


def list_blueprints(ctx: Context) -> list[dict[str, Any]]:
    """Shipped and operator's blueprints; one that is faulty is listed with its problem as summary."""
    views, roles, releases = [], roles_at_hand(ctx), releases_at_hand(ctx)
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
        releases = releases_at_hand(ctx)
        loaded = load_blueprint(files[name], roles_at_hand(ctx), ctx.assets("blueprints"), releases)
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
            given = _given(ctx, session, name, loaded, rows, releases)
            view["hosts"] = [_host(row, given[row.id]) for row in rows if row.id in given]
    except BlueprintProblem as problem:
        view["findings"] = [
            {"file": one.file, "line": one.line, "message": one.message, "fix": one.fix} for one in problem.findings
        ]
    return view


def _rule(rule: HostRule) -> dict[str, Any]:
    match = {key: value for key, value in (("name", rule.name), ("mac", rule.mac), ("tag", rule.tag)) if value}
    return {
        "line": rule.line, "count": rule.count, "match": match, "optional": rule.optional, "roles": list(rule.roles),
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


def deployable(host: Host, with_agent: Collection[str]) -> bool:
    """Whether a deploy can work on the host now; `with_agent`: the ids of hosts that have one."""
    return host.state in _DEPLOYABLE and host.id in with_agent and bool(host.address)


def _inventory(session: Session, blueprint: str, rows: Sequence[Host]) -> list[InventoryHost]:
    with_agent = set(session.scalars(select(AgentCredential.host_id)))
    deployed, by_it = deployed_roles.by_host(session), deployed_roles.of_blueprint(session, blueprint)
    return [
        InventoryHost(
            host_id=host.id, name=host.name or host.id, macs=host.macs, tags=tuple(host.tags),
            addresses=(host.address,) if host.address else (), facts=host.facts,
            ready=deployable(host, with_agent), also_has=frozenset(deployed.get(host.id, ())),
            has=frozenset() if host.state == HostState.RETIRED.value else frozenset(by_it.get(host.id, ())),
        )
        for host in rows
    ]  # fmt: skip


def _strange_vips(
    ctx: Context, loaded: Blueprint, rows: Sequence[Host], given: Mapping[str, Assignment]
) -> list[Finding]:
    """VIPs that are somebody's already. Hosts of the blueprint itself are looked at when their plan is made."""
    holders = {ctx.addresses.boot_address: "this server"}
    for host in rows if loaded.vips else ():
        if host.state != HostState.RETIRED.value:
            label = f"host {host.name or host.id}"
            for address in [host.address, *(nic.address for nic in host.nics)] if host.id not in given else []:
                holders.setdefault(address or "", label)
            for nic in host.nics:
                holders.setdefault(nic.reserved_address or "", f"{label}, for which it is reserved")
    return [
        Finding(
            loaded.spots["vips", vip.name].file, loaded.spots["vips", vip.name].number("address"),
            f"{vip.address} of VIP {vip.name} is the address of {holders[vip.address]}", "choose one that nobody has",
        )
        for vip in loaded.vips if vip.address in holders
    ]  # fmt: skip


def _given(
    ctx: Context, session: Session, name: str, loaded: Blueprint, rows: Sequence[Host], releases: Mapping[str, Release]
) -> dict[str, Assignment]:
    """What the blueprint gives to the hosts that are there; raises BlueprintProblem."""
    given = assign(loaded, _inventory(session, name, rows), releases)
    findings = _strange_vips(ctx, loaded, rows, given)
    if findings:
        raise BlueprintProblem(findings)
    return given


def wanted(
    ctx: Context, session: Session, blueprint: str | None, rows: Sequence[Host], roles: Mapping[str, Role]
) -> Wanted:
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
        assigned = _given(ctx, session, blueprint, loaded, rows, releases)
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
