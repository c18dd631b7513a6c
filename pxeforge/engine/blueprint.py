"""Blueprints: which roles on which hosts, on which networks, with which variables. docs/blueprints.md shows all keys.

name: two-nodes
summary: one sentence
extends: single-database                 # another blueprint: what is not written here comes from there
release: debian-12-zed                   # the pack that every host must fit; without it each host's own
variables: {mariadb_max_connections: 500}
networks:                                # none: all is served by the hosts' own addresses
  api: {cidr: 10.42.0.0/24, gateway: 10.42.0.1, vlan: 10, mtu: 1500, pool: [10.42.0.100, 10.42.0.199]}
  data: {cidr: 10.42.1.0/24, purposes: [tunnel, storage]}      # its name is its purpose unless others are given
  provider: {}                           # hosts have a nic there and no address
vips:
  cloud: {address: 10.42.0.250, network: api, roles: [mariadb]}
tolerance: {nova-compute: 10%}           # so many hosts of a role may be lost: a number or a share
hosts:
  - match: {name: "db*", tag: rack1}     # name (shell pattern), mac, tag: all that are given must fit; every such host
    roles: [mariadb]
    zone: az1
    nics: {provider: eth1}               # by purpose: a name or a MAC
    addresses: {tunnel: 10.42.1.11}      # by purpose; without it the one that the host has in that network
    disks: {volumes: {min_gb: 20}}       # by purpose: min_gb (the smallest that fits), or serial
    variables: {…}                       # only for these hosts
    optional: true                       # there need not be such a host
  - count: 3                             # so many of the registered hosts that no match has taken: see host_choice.py
    roles: [base]
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pxeforge.domain.mac import MacAddress
from pxeforge.engine.blueprint_checks import check, purposes_of
from pxeforge.engine.blueprint_form import BlueprintProblem, Merged, RawRule, Sourced, read_merged, text_of
from pxeforge.engine.document import Finding, parse_document
from pxeforge.engine.host_choice import InventoryHost, Wants, choose, few
from pxeforge.engine.layout import NO_PLACE, DiskChoice, Layout, Network, Place, Tolerance, Vip
from pxeforge.engine.release import Release
from pxeforge.engine.role_order import role_order
from pxeforge.engine.roles import Role
from pxeforge.engine.spot import Spot

__all__ = [
    "Assignment", "Blueprint", "BlueprintProblem", "HostRule", "InventoryHost", "assign", "layout_of",
    "load_blueprint", "parse_blueprint",
]  # fmt: skip

_NO_RELEASES: Mapping[str, Release] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRule:
    """Roles for every host that matches, or for a number of hosts (exactly one of count and a match is given)."""

    roles: tuple[str, ...]
    variables: Mapping[str, Any]
    count: int | None
    name: str | None
    mac: str | None
    tag: str | None
    line: int
    place: Place = NO_PLACE
    file: str = ""
    wants: Wants = field(default_factory=Wants)
    optional: bool = False

    def fits(self, host: InventoryHost) -> bool:
        if self.name is not None and not fnmatch.fnmatchcase(host.name, self.name):
            return False
        if self.mac is not None and self.mac not in {str(MacAddress.parse(mac)) for mac in host.macs}:
            return False
        return self.tag is None or self.tag in host.tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A checked blueprint, with what it extends put in."""

    name: str
    summary: str
    variables: Mapping[str, Any]
    rules: tuple[HostRule, ...]
    file: str
    networks: tuple[Network, ...] = ()
    vips: tuple[Vip, ...] = ()
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)
    release: str | None = None
    spots: Mapping[tuple[str, str], Spot] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a blueprint gives to one host."""

    roles: tuple[str, ...]
    variables: Mapping[str, Any]
    place: Place = NO_PLACE


def load_blueprint(
    path: Path, roles: Mapping[str, Role], folders: Sequence[Path] = (), releases: Collection[str] | None = None
) -> Blueprint:
    """Reads and checks a blueprint file; raises BlueprintProblem.

    What it extends is looked for beside it and then in `folders`; a file of the same name in a later folder can be
    extended too. `releases`: the names of the packs that there are, if that is to be checked.
    """
    places = list(dict.fromkeys([path.parent, *folders]))
    found = parse_blueprint(text_of(path), str(path), roles, places, releases)
    if found.name != path.stem:
        message = f"the blueprint is called {found.name} in the file {path.name}"
        line = parse_document(text_of(path), str(path)).line(("name",))
        raise BlueprintProblem([Finding(str(path), line, message, "give both the same name")])
    return found


def parse_blueprint(
    text: str,
    file: str,
    roles: Mapping[str, Role],
    folders: Sequence[Path] = (),
    releases: Collection[str] | None = None,
) -> Blueprint:
    """A blueprint from its text, checked against the roles that exist; raises BlueprintProblem."""

    def bases(name: str) -> list[Path]:
        return [folder / f"{name}.yaml" for folder in folders if (folder / f"{name}.yaml").is_file()]

    merged = read_merged(text, file, bases)
    findings = check(merged, roles, releases)
    if findings:
        raise BlueprintProblem(findings)
    return _blueprint(merged, roles)


def _blueprint(merged: Merged, roles: Mapping[str, Role]) -> Blueprint:
    networks = tuple(
        Network(
            name=name, purposes=purposes_of(name, raw.value), cidr=raw.value.cidr, vlan=raw.value.vlan,
            mtu=raw.value.mtu, gateway=str(raw.value.gateway) if raw.value.gateway else None,
            pool=(str(raw.value.pool[0]), str(raw.value.pool[1])) if raw.value.pool else None,
        )
        for name, raw in merged.networks.items()
    )  # fmt: skip
    vips = tuple(
        Vip(name=name, address=str(raw.value.address), network=raw.value.network, roles=tuple(raw.value.roles))
        for name, raw in merged.vips.items()
    )
    return Blueprint(
        name=merged.name,
        summary=merged.summary,
        variables={name: item.value for name, item in merged.variables.items()},
        rules=tuple(_rule(rule, roles) for rule in merged.hosts),
        file=merged.file,
        networks=networks,
        vips=vips,
        tolerance={role: item.value for role, item in merged.tolerance.items()},
        release=merged.release.value if merged.release else None,
        spots={
            (key, name): item.spot
            for key, items in (("variables", merged.variables), ("vips", merged.vips), ("networks", merged.networks))
            for name, item in items.items()
        },
    )


def _rule(source: Sourced[RawRule], roles: Mapping[str, Role]) -> HostRule:
    raw = source.value
    names = role_order(raw.roles, roles)
    return HostRule(
        roles=tuple(raw.roles),
        variables=dict(raw.variables),
        count=raw.count,
        name=raw.match.name if raw.match else None,
        mac=raw.match.mac if raw.match else None,
        tag=raw.match.tag if raw.match else None,
        optional=raw.optional,
        line=source.document.line(source.at),
        file=source.document.file,
        place=Place(
            addresses={purpose: str(address) for purpose, address in raw.addresses.items()},
            nics=dict(raw.nics),
            disks={
                purpose: DiskChoice(serial=disk.serial, min_bytes=(disk.min_gb or 0) * 10**9)
                for purpose, disk in raw.disks.items()
            },
            zone=raw.zone,
            rules=(source.spot,),
        ),
        wants=Wants(
            roles=frozenset(names),
            disks={name: need for name in names if (need := roles[name].disks) is not None},
            networks=tuple(dict.fromkeys(purpose for name in names for purpose in roles[name].networks)),
        ),
    )


def assign(
    blueprint: Blueprint, hosts: Sequence[InventoryHost], releases: Mapping[str, Release] = _NO_RELEASES
) -> dict[str, Assignment]:
    """Roles, variables and place by host id, in the order of `hosts`; hosts that nothing takes are left out.

    `releases`: the packs that there are; a count prefers hosts that fit the blueprint's. Raises BlueprintProblem when
    a match that is not optional fits no host, a count asks for more hosts than are free, or a rule with addresses fits
    several hosts.
    """
    taken: dict[str, list[HostRule]] = {}
    findings = []
    for rule in (rule for rule in blueprint.rules if rule.count is None):
        fitting = [host for host in hosts if rule.fits(host)]
        if not fitting and not rule.optional:
            message = "this rule matches no host"
            findings.append(Finding(rule.file, rule.line, message, "correct it or add the host first"))
        if len(fitting) > 1 and rule.place.addresses:
            message = f"this rule gives one address to {len(fitting)} hosts"
            findings.append(Finding(rule.file, rule.line, message, "write a rule for each, by name or mac"))
        for host in fitting:
            taken.setdefault(host.host_id, []).append(rule)
    release = releases.get(blueprint.release or "")
    layout = Layout(networks=blueprint.networks)
    for rule in (rule for rule in blueprint.rules if rule.count is not None):
        free = [host for host in hosts if host.host_id not in taken]
        wanted = rule.count or 0
        chosen = choose(wanted, free, rule.wants, rule.place, layout, release)
        if len(chosen) < wanted:
            findings.append(_too_few(rule, len(chosen), [host for host in free if host not in chosen]))
        for host in chosen:
            taken.setdefault(host.host_id, []).append(rule)
    if findings:
        raise BlueprintProblem(findings)
    return {host.host_id: _assignment(taken[host.host_id]) for host in hosts if host.host_id in taken}


def _too_few(rule: HostRule, found: int, waiting: Sequence[InventoryHost]) -> Finding:
    message = f"{rule.count} hosts are asked for and {found} are free"
    fix = "lower the count or add hosts"
    if waiting:
        fix = f"install or enrol more (not registered: {few([host.name for host in waiting])}), or lower the count"
    return Finding(rule.file, rule.line, message, fix)


def _assignment(rules: Sequence[HostRule]) -> Assignment:
    """What several rules give to one host; of two values the later rule's counts."""
    variables: dict[str, Any] = {}
    addresses: dict[str, str] = {}
    nics: dict[str, str] = {}
    disks: dict[str, DiskChoice] = {}
    for rule in rules:
        variables.update(rule.variables)
        addresses.update(rule.place.addresses)
        nics.update(rule.place.nics)
        disks.update(rule.place.disks)
    zone = next((rule.place.zone for rule in reversed(rules) if rule.place.zone), "")
    roles = tuple(dict.fromkeys(name for rule in rules for name in rule.roles))
    told = tuple(spot for rule in rules for spot in rule.place.rules)
    return Assignment(roles, variables, Place(addresses=addresses, nics=nics, disks=disks, zone=zone, rules=told))


def layout_of(blueprint: Blueprint, given: Mapping[str, Assignment]) -> Layout:
    """What the compiler needs of a blueprint beside roles and variables."""
    return Layout(
        networks=blueprint.networks,
        vips=blueprint.vips,
        tolerance=blueprint.tolerance,
        places={host_id: item.place for host_id, item in given.items()},
        release=blueprint.release,
        spots=blueprint.spots,
    )
