"""The network interfaces of this computer: name → IPv4 address, network mask and MAC address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import netifaces

from pxeforge.domain.mac import MacAddress

_IPV4, _LINK = netifaces.InterfaceType.AF_INET, netifaces.InterfaceType.AF_PACKET


class NoInterface(Exception):
    """The interface is missing or has no IPv4 address; the message names those that have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface with its first IPv4 address."""

    name: str
    address: IPv4Address
    network: IPv4Network
    mac: MacAddress | None


def interface_named(name: str) -> Interface:
    """Looks the interface up; raises NoInterface."""
    if name not in netifaces.interfaces():
        raise NoInterface(f"there is no interface {name}: choose one of {_choices()}")
    addresses = netifaces.ifaddresses(name)
    ipv4 = addresses.get(_IPV4, [])
    if not ipv4:
        raise NoInterface(f"interface {name} has no IPv4 address: give it one, or choose one of {_choices()}")
    full = IPv4Interface(f"{ipv4[0]['addr']}/{ipv4[0]['mask']}")
    link = addresses.get(_LINK, [])
    mac = MacAddress.parse(link[0]["addr"]) if link and len(link[0]["addr"]) == 17 else None
    return Interface(name=name, address=full.ip, network=full.network, mac=mac)


def _choices() -> str:
    usable = [
        f"{name} ({found[_IPV4][0]['addr']})"
        for name in sorted(netifaces.interfaces())
        if _IPV4 in (found := netifaces.ifaddresses(name))
    ]
    return ", ".join(usable) or "none: no interface has an IPv4 address"
