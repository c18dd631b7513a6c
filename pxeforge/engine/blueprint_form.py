"""The keys of a blueprint file with the form of their values, and what of several files is left after `extends`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pxeforge.domain.mac import MacAddress
from pxeforge.engine.document import Document, DocumentProblem, Finding, Location, findings_of, parse_document
from pxeforge.engine.layout import Address, Subnet, Tolerance
from pxeforge.engine.release import PackName
from pxeforge.engine.roles import Name, VariableName
from pxeforge.engine.spot import Spot

Value = TypeVar("Value")
Bases = Callable[[str], Iterable[Path]]
_NIC_NAME = StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,14}$|^([0-9a-f]{2}:){5}[0-9a-f]{2}$")


class BlueprintProblem(DocumentProblem):
    """The blueprint cannot be used; see `findings`."""


def _canonical_mac(value: object) -> object:
    return str(MacAddress.parse(value)) if isinstance(value, str) else value


def _nic(value: object) -> object:
    """A name of a nic stays; what can only be a MAC becomes one."""
    return _canonical_mac(value) if isinstance(value, str) and value.count(":") + value.count("-") >= 5 else value


def _subnet(value: object) -> object:
    try:
        return ipaddress.ip_network(str(value))
    except ValueError as error:
        if "has host bits set" in str(error):
            whole = ipaddress.ip_network(str(value), strict=False)
            raise ValueError(f"it is an address in a network: write the network itself, {whole}") from None
        raise ValueError("write a network like 10.0.0.0/24") from None


def _address(value: object) -> object:
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError("write an address like 10.0.0.5") from None


def _tolerance(value: object) -> object:
    return Tolerance.parse(value)


def _disk(value: object) -> object:
    return {"serial": value} if isinstance(value, str) else value


class Raw(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


Cidr = Annotated[Subnet, BeforeValidator(_subnet)]
Ip = Annotated[Address, BeforeValidator(_address)]
NicName = Annotated[str, BeforeValidator(_nic), _NIC_NAME]
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$")]


class RawNetwork(Raw):
    cidr: Cidr | None = None
    purposes: list[Name] | None = None
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = None
    gateway: Ip | None = None
    pool: Annotated[list[Ip], Field(min_length=2, max_length=2)] | None = None


class RawVip(Raw):
    address: Ip
    network: Name
    roles: Annotated[list[Name], Field(min_length=1)]


class RawDisk(Raw):
    serial: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    min_gb: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> RawDisk:
        if (self.serial is None) == (self.min_gb is None):
            raise ValueError("give either serial or min_gb")
        return self


class RawMatch(Raw):
    name: str | None = None
    mac: Annotated[str, BeforeValidator(_canonical_mac)] | None = None
    tag: str | None = None

    @model_validator(mode="after")
    def _something(self) -> RawMatch:
        if self.name is None and self.mac is None and self.tag is None:
            raise ValueError("give name, mac or tag")
        return self


class RawRule(Raw):
    match: RawMatch | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    optional: bool = False
    roles: Annotated[list[Name], Field(min_length=1)]
    variables: dict[VariableName, Any] = {}
    zone: Zone = ""
    nics: dict[Name, NicName] = {}
    addresses: dict[Name, Ip] = {}
    disks: dict[Name, Annotated[RawDisk, BeforeValidator(_disk)]] = {}

    @model_validator(mode="after")
    def _one_way(self) -> RawRule:
        if (self.match is None) == (self.count is None):
            raise ValueError("give either match or count")
        if self.optional and self.match is None:
            raise ValueError("only a rule with a match can be optional")
        return self


class RawBlueprint(Raw):
    name: Name
    summary: Annotated[str, StringConstraints(min_length=1)]
    extends: Name | None = None
    release: PackName | None = None
    variables: dict[VariableName, Any] = {}
    networks: dict[Name, RawNetwork | None] = {}
    vips: dict[Name, RawVip | None] = {}
    tolerance: dict[Name, Annotated[Tolerance, BeforeValidator(_tolerance)] | None] = {}
    hosts: Annotated[list[RawRule], Field(min_length=1)] | None = None


@dataclass(frozen=True, slots=True)
class Sourced(Generic[Value]):
    """A value and where it was written."""

    value: Value
    document: Document
    at: Location

    def finding(self, message: str, fix: str, *deeper: str | int) -> Finding:
        return self.document.finding((*self.at, *deeper), message, fix)

    @property
    def spot(self) -> Spot:
        return self.document.spot(self.at)


@dataclass(slots=True)
class Merged:
    """A blueprint and those that it extends, as one; the nearer file wins for each name."""

    name: str
    summary: str
    file: str
    release: Sourced[str] | None = None
    variables: dict[str, Sourced[Any]] = field(default_factory=dict)
    networks: dict[str, Sourced[RawNetwork]] = field(default_factory=dict)
    vips: dict[str, Sourced[RawVip]] = field(default_factory=dict)
    tolerance: dict[str, Sourced[Tolerance]] = field(default_factory=dict)
    hosts: list[Sourced[RawRule]] = field(default_factory=list)


def read_merged(text: str, file: str, bases: Bases) -> Merged:
    """The blueprint with all that it extends; raises BlueprintProblem. `bases`: the files of a name, best first."""
    chain = _chain(text, file, bases)
    nearest = chain[0][1]
    merged = Merged(name=nearest.name, summary=nearest.summary, file=file)
    findings: list[Finding] = []
    for document, raw in reversed(chain):
        if raw.release is not None:
            merged.release = Sourced(raw.release, document, ("release",))
        _overlay(merged.variables, raw.variables, document, "variables", findings, removable=False)
        _overlay(merged.networks, raw.networks, document, "networks", findings)
        _overlay(merged.vips, raw.vips, document, "vips", findings)
        _overlay(merged.tolerance, raw.tolerance, document, "tolerance", findings)
        if raw.hosts is not None:
            merged.hosts = [Sourced(rule, document, ("hosts", index)) for index, rule in enumerate(raw.hosts)]
    if not merged.hosts:
        findings.append(chain[0][0].finding(("hosts",), "hosts is missing", "say which hosts get which roles"))
    if findings:
        raise BlueprintProblem(findings)
    return merged


def _overlay(
    below: dict[str, Sourced[Any]], given: Mapping[str, Any], document: Document, key: str,
    findings: list[Finding], *, removable: bool = True,
) -> None:  # fmt: skip
    """Puts what a file gives over what it extends; an empty value takes the thing away."""
    for name, value in given.items():
        if value is not None or not removable:
            below[name] = Sourced(value, document, (key, name))
        elif below.pop(name, None) is None:
            message = f"{key}.{name} is empty, and no extended blueprint has it"
            findings.append(document.finding((key, name), message, "write its keys, or {} for none"))


def _chain(text: str, file: str, bases: Bases) -> list[tuple[Document, RawBlueprint]]:
    """The blueprint, the one it extends, and so on."""
    chain = [_read(text, file)]
    files = [Path(file).absolute()]
    while (wanted := chain[-1][1].extends) is not None:
        candidates = list(bases(wanted))
        fresh = [path for path in candidates if path.absolute() not in files]
        document = chain[-1][0]
        if not fresh:
            message = f"blueprints extend each other in a ring: {wanted}" if candidates else f"no blueprint {wanted}"
            fix = "remove one `extends`" if candidates else "correct the name or drop `extends`"
            raise BlueprintProblem([document.finding(("extends",), message, fix)])
        files.append(fresh[0].absolute())
        chain.append(_read(text_of(fresh[0]), str(fresh[0])))
    return chain


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read ({error})"
        raise BlueprintProblem([Finding(str(path), 1, message, "make it a readable UTF-8 file")]) from None


def _read(text: str, file: str) -> tuple[Document, RawBlueprint]:
    try:
        document = parse_document(text, file)
        return document, RawBlueprint.model_validate(document.data)
    except ValidationError as error:
        raise BlueprintProblem(findings_of(document, error)) from None
    except DocumentProblem as problem:
        raise BlueprintProblem(problem.findings) from None
