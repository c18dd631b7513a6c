"""Whether the NICs and addresses that a plan names are those of its hosts, by what the hosts told of themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pxeforge.engine.layout import WITHOUT_ADDRESS, Layout, Place, interfaces_of, nic_facts, nic_problem

Networks = list[dict[str, Any]]  # parameters of the network steps of one host


@dataclass(frozen=True, slots=True)
class NicFinding:
    """What is wrong, and which variable or which `nics` of the blueprint says so: a path below a rule."""

    path: tuple[str | int, ...]
    text: str


def findings_of_nics(
    place: Place, layout: Layout, facts: Mapping[str, Any], networks: Networks, named: Mapping[str, str]
) -> Iterator[NicFinding]:
    """About one host. `named`: by variable, the NICs that roles are told to use."""
    made = {one["name"] for params in networks for one in _made(params)}
    for params in networks:
        for index, nic in enumerate(params["nics"]):
            text = None if nic["optional"] else nic_problem(nic["mac"] or nic["name"], facts)
            if text is not None:
                yield NicFinding(("variables", "nics", index), text)
    for variable, given in named.items():
        text = nic_problem(given, facts) if given and given not in made else None
        if text is None and ":" in given:
            text = f"{given} is a MAC: write the name of the nic"
        if text is not None:
            yield NicFinding(("variables", variable), f"{text} ({variable})")
    yield from _carrying_addresses(place, layout, facts, networks)


def _carrying_addresses(
    place: Place, layout: Layout, facts: Mapping[str, Any], networks: Networks
) -> Iterator[NicFinding]:
    """A NIC on a network without addresses becomes the port of a bridge: one with the host's address cuts it off."""
    ports = {name for params in networks for bridge in params["bridges"] for name in bridge["ports"]}
    ports |= {name for params in networks for bond in params["bonds"] for name in bond["nics"]}
    for purpose, given in place.nics.items():
        network = layout.network_of(purpose)
        if (purpose not in WITHOUT_ADDRESS) if network is None else network.cidr is not None:
            continue
        for nic in nic_facts(facts):
            name, addresses = nic.get("name"), [one for one in interfaces_of(nic) if one.version == 4]
            if given in (name, str(nic.get("mac")).lower()) and addresses and name not in ports:
                yield NicFinding(
                    ("nics", purpose),
                    f"its nic {name} ({purpose}) has the address {addresses[0]}, and as the port of a bridge it would "
                    "cut the host off: name a NIC without an address, or make the bridge with the role net",
                )


def _made(params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for kind in ("bonds", "vlans", "vxlans", "bridges"):
        yield from params[kind]


class GivenAddresses:
    """The addresses that a plan gives to interfaces: each to one host only. `holders`: whose they are already."""

    def __init__(self, holders: Mapping[str, str]) -> None:
        self._holders = dict(holders)

    def clash(self, host_name: str, networks: Networks) -> tuple[str, str] | None:
        """An address for this host that somebody else has, and who that is; None for none."""
        for address in _addresses(networks):
            holder = self._holders.setdefault(address, f"host {host_name}")
            if holder != f"host {host_name}":
                return address, holder
        return None


def _addresses(networks: Networks) -> Iterator[str]:
    for params in networks:
        for one in [*params["nics"], *_made(params)]:
            for text in one["addresses"]:
                yield str(ipaddress.ip_interface(text).ip)
