"""Networks, addresses, disks and losses as a blueprint lays them out, and what of it holds for one host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pxeforge.engine.spot import Spot

PURPOSES = ("api", "tunnel", "provider", "storage", "external")
WITHOUT_ADDRESS = frozenset({"provider", "external"})  # such a nic is a bridge's port: it has no address of its own

_MADE_LATER = re.compile(r"^(bond|br|vlan|team|dummy|ovs)|\.")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network; `purposes` are the names under which templates find it (`host.net.<purpose>`)."""

    name: str
    purposes: tuple[str, ...]
    cidr: Subnet | None = None
    vlan: int | None = None
    mtu: int | None = None
    gateway: str | None = None
    pool: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """An address that moves between hosts, and the roles that clients reach there."""

    name: str
    address: str
    network: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskChoice:
    """A disk beside the system's: by its serial, or the first free one of at least this size."""

    serial: str | None = None
    min_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a blueprint says of one host: addresses, nics (name or MAC) and disks by purpose, and its zone.

    `rules`: where it says so, the one that counts last.
    """

    addresses: Mapping[str, str] = field(default_factory=dict)
    nics: Mapping[str, str] = field(default_factory=dict)
    disks: Mapping[str, DiskChoice] = field(default_factory=dict)
    zone: str = ""
    rules: tuple[Spot, ...] = field(default=(), compare=False)

    def told_at(self, *path: str | int) -> str:
        """`file:line: ` of what a rule gives (`nics`, `eth0`), or of the rule; '' without a blueprint."""
        for rule in reversed(self.rules):
            if rule.has(*path[:2]):
                return f"{rule.line(*path)}: "
        return f"{self.rules[0].line()}: " if self.rules else ""


NO_PLACE = Place()


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many hosts of a role may be lost: so many, or so many of a hundred (rounded down)."""

    number: int
    unit: Literal["hosts", "percent"]

    @classmethod
    def parse(cls, value: object) -> Tolerance:
        """From `3`, `"3"` or `"10%"`; raises ValueError."""
        text = str(value).strip()
        percent = text.endswith("%")
        digits = text.removesuffix("%")
        if isinstance(value, bool) or not digits.isascii() or not digits.isdigit() or (percent and int(digits) > 100):
            raise ValueError(f"a tolerance is a number of hosts or `10%`, not {text!r}")
        return cls(int(digits), "percent" if percent else "hosts")

    def __str__(self) -> str:
        return f"{self.number} %" if self.unit == "percent" else str(self.number)

    def of(self, hosts: int) -> int:
        return self.number if self.unit == "hosts" else hosts * self.number // 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All of it for one plan; `places` by host id, `release` the name of the pack that every host must fit, `spots` by
    key and name (`variables`, `workers`) where the blueprint says it.
    """

    networks: tuple[Network, ...] = ()
    vips: tuple[Vip, ...] = ()
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    release: str | None = None
    spots: Mapping[tuple[str, str], Spot] = field(default_factory=dict, compare=False)

    def told_at(self, key: str, name: str, *deeper: str | int) -> str:
        """`file:line: ` of what the blueprint says for all hosts; '' where it does not."""
        spot = self.spots.get((key, name))
        return f"{spot.line(*deeper)}: " if spot is not None else ""

    def network_of(self, purpose: str) -> Network | None:
        return next((network for network in self.networks if purpose in network.purposes), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How a host is on a network; what is not known is None, and `problem` says why and what to do."""

    purpose: str
    network: Network | None
    address: str | None
    prefix: int | None
    nic: str
    problem: str | None = None

    @property
    def cidr(self) -> str:
        """The network as text, '' when nobody knows it."""
        if self.network is not None and self.network.cidr is not None:
            return str(self.network.cidr)
        if self.address is None or self.prefix is None:
            return ""
        return str(ipaddress.ip_network(f"{self.address}/{self.prefix}", strict=False))


def attachments(
    layout: Layout, place: Place, host_name: str, addresses: Sequence[str], facts: Mapping[str, Any]
) -> dict[str, Attachment]:
    """By purpose: every purpose of the layout's networks, and the usual ones.

    A purpose that the layout does not know is served by the host's first address and the nic that has it.
    """
    names = dict.fromkeys([*PURPOSES, *(purpose for network in layout.networks for purpose in network.purposes)])
    names.update(dict.fromkeys([*place.addresses, *place.nics]))
    found = {}
    for purpose in names:
        network = layout.network_of(purpose)
        if network is None:
            found[purpose] = _by_first_address(purpose, place, addresses, facts)
        else:
            found[purpose] = _on_network(purpose, network, place, host_name, facts)
    return found


def _by_first_address(purpose: str, place: Place, addresses: Sequence[str], facts: Mapping[str, Any]) -> Attachment:
    address = place.addresses.get(purpose) or (addresses[0] if addresses else None)
    given = _nic_named(place.nics.get(purpose), facts)
    holder, prefix = _holder(address, facts)
    if given is None and purpose in WITHOUT_ADDRESS:
        given = ""  # nobody said which: the nic that carries the host's own address must not be taken
    return Attachment(
        purpose=purpose, network=None, address=address, prefix=prefix, nic=holder if given is None else given
    )


def _on_network(purpose: str, network: Network, place: Place, host_name: str, facts: Mapping[str, Any]) -> Attachment:
    given = _nic_named(_of_any(place.nics, network), facts)
    address = _of_any(place.addresses, network)
    prefix = network.cidr.prefixlen if network.cidr else None
    if address is None and network.cidr is not None:
        address = _address_within(network.cidr, given, facts)
    nic = given if given is not None else _holder(address, facts)[0]
    problem = None
    if network.cidr is not None and address is None:
        problem = (
            f"host {host_name} has no address in network {network.name} ({network.cidr}): "
            f"give it one (`addresses: {{{purpose}: …}}` in its rule of the blueprint)"
        )
    elif network.cidr is None and not nic:
        problem = (
            f"nobody knows which nic of host {host_name} is on network {network.name}: "
            f"name it (`nics: {{{purpose}: …}}` in its rule of the blueprint)"
        )
    return Attachment(purpose=purpose, network=network, address=address, prefix=prefix, nic=nic, problem=problem)


def _of_any(given: Mapping[str, str], network: Network) -> str | None:
    """What a rule gives under any purpose of the network, or under its name."""
    return next((given[name] for name in (*network.purposes, network.name) if name in given), None)


def nic_facts(facts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The nics that a host told of; facts come from hosts, so nothing is taken for granted."""
    nics = facts.get("nics")
    yield from (nic for nic in (nics if isinstance(nics, list) else []) if isinstance(nic, dict))


def interfaces_of(nic: Mapping[str, Any]) -> Iterator[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    told = nic.get("addresses")
    for text in told if isinstance(told, list) else []:
        try:
            yield ipaddress.ip_interface(str(text))
        except ValueError:
            continue


def _nic_named(given: str | None, facts: Mapping[str, Any]) -> str | None:
    """The name of a nic that is given by name or MAC; a MAC that nobody has stays as it is."""
    if given is None or ":" not in given:
        return given
    return next((str(nic.get("name")) for nic in nic_facts(facts) if str(nic.get("mac")).lower() == given), given)


def unknown_nics(place: Place, facts: Mapping[str, Any]) -> dict[str, str]:
    """By purpose, a sentence for each nic of the place that the host, which told of its nics, does not have."""
    problems = {purpose: nic_problem(given, facts) for purpose, given in place.nics.items()}
    return {purpose: f"{problem} ({purpose})" for purpose, problem in problems.items() if problem is not None}


def nic_problem(given: str, facts: Mapping[str, Any]) -> str | None:
    """A sentence where the host, which told of its nics, does not have this one (a name or a MAC).

    What a deploy makes first (VLANs, bonds, bridges) cannot be there yet; and a bond hides the MACs of its nics.
    """
    there = {str(nic.get("name")): str(nic.get("mac")).lower() for nic in nic_facts(facts)}
    macs = list(there.values())
    if not there or given in there or given.lower() in macs or _MADE_LATER.search(given):
        return None
    if ":" in given and len(set(macs)) < len(macs):
        return None
    told = ", ".join(f"{name} ({mac})" for name, mac in there.items())
    return f"it has no nic {given}, but {told}: correct it, or start its agent again where it has that nic now"


def _holder(address: str | None, facts: Mapping[str, Any]) -> tuple[str, int | None]:
    """The nic that has the address ('' for none) and the address's prefix length."""
    for nic in nic_facts(facts):
        for interface in interfaces_of(nic):
            if str(interface.ip) == address:
                return str(nic.get("name", "")), interface.network.prefixlen
    return "", None


def _address_within(cidr: Subnet, nic_name: str | None, facts: Mapping[str, Any]) -> str | None:
    for nic in nic_facts(facts):
        if nic_name is not None and nic.get("name") != nic_name:
            continue
        for interface in interfaces_of(nic):
            if interface.version == cidr.version and interface.ip in cidr:
                return str(interface.ip)
    return None


def chosen_disks(place: Place, facts: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """`serial=…` of each purpose's disk, and by purpose a sentence for each that no disk fits."""
    disks = _disk_facts(facts)
    free = [
        disk for disk in disks
        if not disk.get("system") and not disk.get("removable") and isinstance(disk.get("serial"), str)
        and disk["serial"] and isinstance(disk.get("size_bytes"), int)
    ]  # fmt: skip
    found: dict[str, str] = {}
    problems: dict[str, str] = {}
    named = [choice.serial for choice in place.disks.values() if choice.serial]
    for purpose, choice in place.disks.items():
        if choice.serial is not None:
            found[purpose] = f"serial={choice.serial}"
            problem = disk_problem(found[purpose], facts)
            if problem is not None:
                problems[purpose] = f"{problem} ({purpose})"
            continue
        fitting = [disk for disk in free if disk["serial"] not in named and disk["size_bytes"] >= choice.min_bytes]
        if not fitting:
            problems[purpose] = (
                f"no disk with a serial is left for {purpose} ({choice.min_bytes // 10**9} GB or more), it has "
                f"{_told_disks(disks)}: lower min_gb, name another host, or add a disk and start its agent again"
            )
            continue
        best = min(fitting, key=lambda disk: (disk["size_bytes"], str(disk["serial"])))
        named.append(best["serial"])
        found[purpose] = f"serial={best['serial']}"
    return found, problems


def disk_problem(selector: str, facts: Mapping[str, Any]) -> str | None:
    """A sentence where the host, which told of its disks, does not have this one (`serial=…` or `path=/dev/…`)."""
    disks = _disk_facts(facts)
    kind, _, given = selector.partition("=")
    if kind == "serial":
        known = given in [disk.get("serial") for disk in disks]
    else:  # of other paths (by-id, mapper, loop devices) hosts tell nothing
        name = given.removeprefix("/dev/")
        known = "/" in name or name.startswith(_NOT_TOLD) or any(name.startswith(str(one.get("name"))) for one in disks)
    if known or not disks:
        return None
    what = f"no disk has the serial {given}" if kind == "serial" else f"there is no disk {given}"
    return f"{what}, it has {_told_disks(disks)}: correct it, or start its agent again where it has that disk now"


_NOT_TOLD = ("loop", "ram", "zram", "dm-", "md", "nbd")  # by hosts, among their disks


def _disk_facts(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    told = facts.get("disks")
    return [disk for disk in (told if isinstance(told, list) else []) if isinstance(disk, dict)]


def _told_disks(disks: Sequence[Mapping[str, Any]]) -> str:
    """For people: which disks a host has."""
    return ", ".join(
        f"{disk.get('name')} ({'the system' if disk.get('system') else disk.get('serial') or 'no serial'})"
        for disk in disks
    ) or "none"  # fmt: skip
