"""Writes a host's network as key files of NetworkManager, for Red Hat's family."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

from pxeforge.render.network import BondMode, Interface, InterfaceKind, Network
from pxeforge.render.networkd import BOOT_MAC, NetworkFile

FOLDER: Final = "/etc/NetworkManager/system-connections"
_TYPES: Final = {
    InterfaceKind.NIC: "ethernet",
    InterfaceKind.BOND: "bond",
    InterfaceKind.VLAN: "vlan",
    InterfaceKind.BRIDGE: "bridge",
}
# Identities must be the same at each rendering, and differ per host and interface.
_NAMESPACE: Final = uuid.UUID("6f1d6f0e-3b34-4f0e-9f0d-1d5c0b0a7e11")


def networkmanager_files(network: Network, hostname: str) -> tuple[NetworkFile, ...]:
    """All files below FOLDER (mode 0600); none for a network that the installer writes by itself."""
    if network.is_simple:
        return ()
    return tuple(
        NetworkFile(f"{one.name}.nmconnection", _text(_sections(network, one, hostname))) for one in network.interfaces
    )


def _sections(network: Network, one: Interface, hostname: str) -> Iterator[tuple[str, list[str]]]:
    master = network.master_of(one.name)
    kind = _TYPES[one.kind]
    head = [f"id={one.name}", f"uuid={_uuid(hostname, one.name)}", f"type={kind}", "autoconnect=true"]
    if one.kind is not InterfaceKind.NIC:
        head.append(f"interface-name={one.name}")
    if master is not None:
        head += [f"master={_uuid(hostname, master.name)}", f"slave-type={_TYPES[master.kind]}"]
    yield "connection", head
    # The MAC that the NIC was built with: bonds and VLANs take the same one on.
    hardware = [f"mac-address={one.mac or BOOT_MAC}"] if one.kind is InterfaceKind.NIC else []
    hardware += [f"mtu={one.mtu}"] if one.mtu is not None else []
    if hardware:
        yield "ethernet", hardware
    if one.kind is InterfaceKind.BOND:
        options = [f"mode={one.mode.value}", "miimon=100"]
        if one.mode is BondMode.LACP:
            options += ["lacp_rate=fast", "xmit_hash_policy=layer3+4"]
        yield "bond", options
    elif one.kind is InterfaceKind.VLAN and one.link is not None:
        yield "vlan", [f"id={one.vlan_id}", f"parent={_parent(network, hostname, one.link)}"]
    elif one.kind is InterfaceKind.BRIDGE:
        yield "bridge", [f"stp={'true' if one.stp else 'false'}"]
    if master is None:
        yield "ipv4", _ipv4(network, one)
        yield "ipv6", _ipv6(network, one)


def _parent(network: Network, hostname: str, name: str) -> str:
    """A VLAN finds a device that is made by its name, and a NIC by its connection."""
    parent = next(one for one in network.interfaces if one.name == name)
    return _uuid(hostname, name) if parent.kind is InterfaceKind.NIC else name


def _ipv4(network: Network, one: Interface) -> list[str]:
    addresses = [text for text in one.addresses if ":" not in text]
    if one.dhcp:
        lines = ["method=auto"]
    elif not addresses:
        return ["method=disabled"]
    else:
        lines = ["method=manual"]
    lines += _addresses(addresses, one.gateway4)
    lines += _routes(one, version=4)
    lines += _names(network, version=4)
    return lines


def _ipv6(network: Network, one: Interface) -> list[str]:
    addresses = [text for text in one.addresses if ":" in text]
    if not addresses:
        return ["method=auto" if one.dhcp else "method=ignore"]
    return [
        "method=manual",
        *_addresses(addresses, one.gateway6),
        *_routes(one, version=6),
        *_names(network, version=6),
    ]


def _addresses(addresses: list[str], gateway: str | None) -> list[str]:
    lines = [f"address{number}={text}" for number, text in enumerate(addresses, start=1)]
    return [*lines, *([f"gateway={gateway}"] if gateway else [])]


def _routes(one: Interface, *, version: int) -> list[str]:
    routes = [route for route in one.routes if (":" in route.to) == (version == 6)]
    return [
        f"route{number}={','.join(map(str, (route.to, route.via, *([route.metric] if route.metric else []))))}"
        for number, route in enumerate(routes, start=1)
    ]


def _names(network: Network, *, version: int) -> list[str]:
    servers = [server for server in network.dns if (":" in server) == (version == 6)]
    lines = [f"dns={''.join(f'{server};' for server in servers)}"] if servers else []
    return [*lines, *([f"dns-search={''.join(f'{domain};' for domain in network.search)}"] if network.search else [])]


def _uuid(hostname: str, name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{hostname}/{name}"))


def _text(sections: Iterator[tuple[str, list[str]]]) -> str:
    return "\n".join("\n".join([f"[{name}]", *lines]) + "\n" for name, lines in sections)
