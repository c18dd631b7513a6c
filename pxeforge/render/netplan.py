"""Writes a host's network as netplan, for Ubuntu."""

from __future__ import annotations

from typing import Any, Final

from pxeforge.render.network import BondMode, Interface, InterfaceKind, Network
from pxeforge.render.networkd import BOOT_MAC

_SECTIONS: Final = {
    InterfaceKind.NIC: "ethernets",
    InterfaceKind.BOND: "bonds",
    InterfaceKind.VLAN: "vlans",
    InterfaceKind.BRIDGE: "bridges",
}


def netplan(network: Network) -> dict[str, Any]:
    """The document below the key `network`; without interfaces: DHCP on the NIC that netboots (BOOT_MAC)."""
    document: dict[str, Any] = {"version": 2}
    if not network.interfaces:
        document["ethernets"] = {"nic-boot": {"match": {"macaddress": BOOT_MAC}, "dhcp4": True}}
        return document
    for one in network.interfaces:
        document.setdefault(_SECTIONS[one.kind], {})[one.name] = _interface(network, one)
    return document


def _interface(network: Network, one: Interface) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if one.kind is InterfaceKind.NIC:
        found["match"] = {"macaddress": one.mac or BOOT_MAC}
    elif one.kind is InterfaceKind.BOND:
        found |= {"interfaces": list(one.ports), "parameters": _bond(one)}
    elif one.kind is InterfaceKind.VLAN:
        found |= {"id": one.vlan_id, "link": one.link}
    else:
        found |= {"interfaces": list(one.ports), "parameters": {"stp": one.stp}}
    found["dhcp4"] = one.dhcp
    if not one.dhcp:
        found["accept-ra"] = False
    if one.addresses:
        found["addresses"] = list(one.addresses)
    routes: list[dict[str, Any]] = [{"to": "default", "via": gateway} for gateway in one.gateways]
    routes += [
        {"to": route.to, "via": route.via, **({"metric": route.metric} if route.metric is not None else {})}
        for route in one.routes
    ]
    if routes:
        found["routes"] = routes
    if one.is_configured and (network.dns or network.search):
        found["nameservers"] = {
            key: list(values) for key, values in (("addresses", network.dns), ("search", network.search)) if values
        }
    if one.mtu is not None:
        found["mtu"] = one.mtu
    if one.optional:
        found["optional"] = True
    return found


def _bond(one: Interface) -> dict[str, Any]:
    found: dict[str, Any] = {"mode": one.mode.value, "mii-monitor-interval": "100"}
    if one.mode is BondMode.LACP:
        found |= {"lacp-rate": "fast", "transmit-hash-policy": "layer3+4"}
    return found
