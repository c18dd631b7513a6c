"""Blueprints: which roles on which hosts, with which variables.

name: single-database
summary: one sentence
variables: {mariadb_max_connections: 500}
hosts:
  - match: {name: "db*", tag: rack1}     # name (shell pattern), mac, tag: all that are given must fit; every such host
    roles: [mariadb]
    variables: {…}                       # only for these hosts
  - count: 3                             # so many of the hosts that no match has taken, in order of their names
    roles: [base]
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pxeforge.domain.mac import MacAddress
from pxeforge.engine.document import DocumentProblem, Finding, findings_of, parse_document
from pxeforge.engine.roles import Name, Role, VariableName


class BlueprintProblem(DocumentProblem):
    """The blueprint cannot be used; see `findings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryHost:
    """What a blueprint can match; `macs` in any spelling."""

    host_id: str
    name: str
    macs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


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

    def fits(self, host: InventoryHost) -> bool:
        if self.name is not None and not fnmatch.fnmatchcase(host.name, self.name):
            return False
        if self.mac is not None and self.mac not in {str(MacAddress.parse(mac)) for mac in host.macs}:
            return False
        return self.tag is None or self.tag in host.tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A checked blueprint."""

    name: str
    summary: str
    variables: Mapping[str, Any]
    rules: tuple[HostRule, ...]
    file: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a blueprint gives to one host."""

    roles: tuple[str, ...]
    variables: Mapping[str, Any]


def _canonical_mac(value: object) -> object:
    return str(MacAddress.parse(value)) if isinstance(value, str) else value


class _Raw(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _RawMatch(_Raw):
    name: str | None = None
    mac: Annotated[str, BeforeValidator(_canonical_mac)] | None = None
    tag: str | None = None

    @model_validator(mode="after")
    def _something(self) -> _RawMatch:
        if self.name is None and self.mac is None and self.tag is None:
            raise ValueError("give name, mac or tag")
        return self


class _RawRule(_Raw):
    match: _RawMatch | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    roles: Annotated[list[Name], Field(min_length=1)]
    variables: dict[VariableName, Any] = {}

    @model_validator(mode="after")
    def _one_way(self) -> _RawRule:
        if (self.match is None) == (self.count is None):
            raise ValueError("give either match or count")
        return self


class _RawBlueprint(_Raw):
    name: Name
    summary: Annotated[str, StringConstraints(min_length=1)]
    variables: dict[VariableName, Any] = {}
    hosts: Annotated[list[_RawRule], Field(min_length=1)]


def load_blueprint(path: Path, roles: Mapping[str, Role]) -> Blueprint:
    """Reads and checks a blueprint file; raises BlueprintProblem."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read ({error})"
        raise BlueprintProblem([Finding(str(path), 1, message, "make it a readable UTF-8 file")]) from None
    return parse_blueprint(text, str(path), roles)


def parse_blueprint(text: str, file: str, roles: Mapping[str, Role]) -> Blueprint:
    """A blueprint from its text, checked against the roles that exist; raises BlueprintProblem."""
    try:
        document = parse_document(text, file)
        raw = _RawBlueprint.model_validate(document.data)
    except ValidationError as error:
        raise BlueprintProblem(findings_of(document, error)) from None
    except DocumentProblem as problem:
        raise BlueprintProblem(problem.findings) from None
    findings: list[Finding] = []
    declared = {name for role in roles.values() for name, item in role.variables.items() if not item.secret}
    for index, rule in enumerate(raw.hosts):
        for position, name in enumerate(rule.roles):
            if name not in roles:
                fix = f"choose from {', '.join(sorted(roles))}"
                findings.append(document.finding(("hosts", index, "roles", position), f"there is no role {name}", fix))
    places: list[tuple[tuple[str | int, ...], Mapping[str, Any]]] = [(("variables",), raw.variables)]
    places += [(("hosts", index, "variables"), rule.variables) for index, rule in enumerate(raw.hosts)]
    for at, given in places:
        for name in given:
            if name not in declared:
                fix = f"known are {', '.join(sorted(declared)) or 'none'}"
                findings.append(document.finding((*at, name), f"no role declares variable {name}", fix))
    if findings:
        raise BlueprintProblem(findings)
    rules = tuple(
        HostRule(
            roles=tuple(rule.roles),
            variables=dict(rule.variables),
            count=rule.count,
            name=rule.match.name if rule.match else None,
            mac=rule.match.mac if rule.match else None,
            tag=rule.match.tag if rule.match else None,
            line=document.line(("hosts", index)),
        )
        for index, rule in enumerate(raw.hosts)
    )
    return Blueprint(name=raw.name, summary=raw.summary, variables=dict(raw.variables), rules=rules, file=file)


def assign(blueprint: Blueprint, hosts: Sequence[InventoryHost]) -> dict[str, Assignment]:
    """Roles and variables by host id, in the order of `hosts`; hosts that nothing takes are left out.

    Raises BlueprintProblem when a match fits no host or a count asks for more hosts than are free.
    """
    roles: dict[str, list[str]] = {}
    variables: dict[str, dict[str, Any]] = {}

    def give(rule: HostRule, host: InventoryHost) -> None:
        mine = roles.setdefault(host.host_id, [])
        mine.extend(name for name in rule.roles if name not in mine)
        variables.setdefault(host.host_id, {}).update(rule.variables)

    findings = []
    for rule in (rule for rule in blueprint.rules if rule.count is None):
        fitting = [host for host in hosts if rule.fits(host)]
        if not fitting:
            message = "this rule matches no host"
            findings.append(Finding(blueprint.file, rule.line, message, "correct it or add the host first"))
        for host in fitting:
            give(rule, host)
    for rule in (rule for rule in blueprint.rules if rule.count is not None):
        free = sorted((host for host in hosts if host.host_id not in roles), key=lambda host: host.name)
        wanted = rule.count or 0
        if len(free) < wanted:
            message = f"{wanted} hosts are asked for and {len(free)} are free"
            findings.append(Finding(blueprint.file, rule.line, message, "lower the count or add hosts"))
        for host in free[:wanted]:
            give(rule, host)
    if findings:
        raise BlueprintProblem(findings)
    return {
        host.host_id: Assignment(tuple(roles[host.host_id]), variables[host.host_id])
        for host in hosts
        if host.host_id in roles
    }
