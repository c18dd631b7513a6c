"""Writes a host's network as files of systemd-networkd (docs/decisions says why not as ifupdown's)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pxeforge.render.network import BondMode, Interface, InterfaceKind, Network

FOLDER: Final = "/etc/systemd/network"
# Stands for the MAC of the NIC that netboots, where it is not known before the installer runs on it.
BOOT_MAC: Final = "@BOOT_MAC@"
_NUMBER: Final = {
    InterfaceKind.BRIDGE: 20,
    InterfaceKind.BOND: 30,
    InterfaceKind.VLAN: 40,
    InterfaceKind.NIC: 50,
}


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """One file below FOLDER."""

    name: str
    text: str


def networkd_files(network: Network) -> tuple[NetworkFile, ...]:
    """All files; none for a network that every installer writes by itself (`Network.is_simple`)."""
    if network.is_simple:
        return ()
    return tuple(file for interface in network.interfaces for file in _files(network, interface))


def resolv_conf(network: Network) -> str:
    """The file for a system whose name servers are given; without systemd-resolved networkd does not write it."""
    lines = [f"nameserver {server}" for server in network.dns]
    if network.search:
        lines.append(f"search {' '.join(network.search)}")
    return "".join(f"{line}\n" for line in lines)


def _files(network: Network, interface: Interface) -> Iterator[NetworkFile]:
    base = f"{_NUMBER[interface.kind]}-{interface.name}"
    if interface.kind is not InterfaceKind.NIC:
        yield NetworkFile(f"{base}.netdev", _text(_netdev(interface)))
    yield NetworkFile(f"{base}.network", _text(_network(network, interface)))


def _netdev(interface: Interface) -> Iterator[tuple[str, list[str]]]:
    head = [f"Name={interface.name}", f"Kind={interface.kind.value}"]
    if interface.mtu is not None:
        head.append(f"MTUBytes={interface.mtu}")
    yield "NetDev", head
    if interface.kind is InterfaceKind.BOND:
        rest = [f"Mode={interface.mode.value}", "MIIMonitorSec=100ms"]
        if interface.mode is BondMode.LACP:
            rest += ["LACPTransmitRate=fast", "TransmitHashPolicy=layer3+4"]
        yield "Bond", rest
    elif interface.kind is InterfaceKind.VLAN:
        yield "VLAN", [f"Id={interface.vlan_id}"]
    else:
        yield "Bridge", [f"STP={'yes' if interface.stp else 'no'}", *([] if interface.stp else ["ForwardDelaySec=0"])]


def _network(network: Network, interface: Interface) -> Iterator[tuple[str, list[str]]]:
    """Physical NICs are matched by the MAC they were built with: bonds and VLANs take the same one on."""
    if interface.kind is InterfaceKind.NIC:
        yield "Match", [f"PermanentMACAddress={interface.mac or BOOT_MAC}"]
    else:
        yield "Match", [f"Name={interface.name}"]
    link = [f"MTUBytes={interface.mtu}"] if interface.mtu is not None else []
    master = network.master_of(interface.name)
    vlans = network.vlans_on(interface.name)
    if interface.optional or (master is None and not vlans and not interface.is_configured):
        link.append("RequiredForOnline=no")
    elif not interface.is_configured:
        link.append(f"RequiredForOnline={'enslaved' if master is not None else 'carrier'}")
    if link:
        yield "Link", link
    yield "Network", _addresses(network, interface, master)
    for route in interface.routes:
        metric = [f"Metric={route.metric}"] if route.metric is not None else []
        yield "Route", [f"Destination={route.to}", f"Gateway={route.via}", *metric]


def _addresses(network: Network, interface: Interface, master: Interface | None) -> list[str]:
    lines = []
    if master is not None:
        lines.append(f"{'Bond' if master.kind is InterfaceKind.BOND else 'Bridge'}={master.name}")
    lines += [f"VLAN={vlan.name}" for vlan in network.vlans_on(interface.name)]
    if not interface.is_configured:
        return [*lines, "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    lines.append(f"DHCP={'ipv4' if interface.dhcp else 'no'}")
    lines += [f"Address={address}" for address in interface.addresses]
    lines += [f"Gateway={gateway}" for gateway in interface.gateways]
    lines += [f"DNS={server}" for server in network.dns]
    if network.search:
        lines.append(f"Domains={' '.join(network.search)}")
    # Router advertisements give addresses nobody asked for where all are static.
    lines.append(f"IPv6AcceptRA={'yes' if interface.dhcp else 'no'}")
    return lines


def _text(sections: Iterator[tuple[str, list[str]]]) -> str:
    return "\n".join("\n".join([f"[{name}]", *lines]) + "\n" for name, lines in sections)
