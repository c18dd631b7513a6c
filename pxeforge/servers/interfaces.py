"""The network interfaces of this computer: name → IPv4 addresses, MAC address, number and whether the link is up."""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

import netifaces

from pxeforge.domain.mac import MacAddress

_SIOCGIFFLAGS: Final = 0x8913  # netdevice(7)
_UP_AND_RUNNING: Final = 0x1 | 0x40
_REQUEST: Final = struct.Struct("16sH22x")  # struct ifreq: name, flags
_IPV4, _LINK = netifaces.InterfaceType.AF_INET, netifaces.InterfaceType.AF_PACKET


class NoInterface(Exception):
    """The interface is missing or has no IPv4 address; the message names those that have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface with its first IPv4 address, and the networks of all of them."""

    name: str
    address: IPv4Address
    network: IPv4Network
    mac: MacAddress | None
    networks: tuple[IPv4Network, ...] = ()
    index: int = 0  # another one after the interface was taken away and came back
    is_up: bool = True  # switched on, and a cable or a peer is there


def interface_named(name: str) -> Interface:
    """Looks the interface up; raises NoInterface."""
    if name not in netifaces.interfaces():
        raise NoInterface(f"there is no interface {name}: choose one of {_choices()}")
    addresses = netifaces.ifaddresses(name)
    ipv4 = addresses.get(_IPV4, [])
    if not ipv4:
        raise NoInterface(f"interface {name} has no IPv4 address: give it one, or choose one of {_choices()}")
    all_addresses = [IPv4Interface(f"{found['addr']}/{found['mask']}") for found in ipv4]
    full = all_addresses[0]
    link = addresses.get(_LINK, [])
    mac = MacAddress.parse(link[0]["addr"]) if link and len(link[0]["addr"]) == 17 else None
    try:
        index, is_up = _state(name)
    except OSError:
        raise NoInterface(f"there is no interface {name}: choose one of {_choices()}") from None
    return Interface(
        name=name, address=full.ip, network=full.network, mac=mac, index=index, is_up=is_up,
        networks=tuple(dict.fromkeys(each.network for each in all_addresses)),
    )  # fmt: skip


def _state(name: str) -> tuple[int, bool]:
    """Number and link; asked through a socket, which is in our network namespace whatever /sys shows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _REQUEST.pack(name.encode()[:15], 0))
    flags = _REQUEST.unpack(answer)[1]
    return socket.if_nametoindex(name), flags & _UP_AND_RUNNING == _UP_AND_RUNNING


def _choices() -> str:
    usable = [
        f"{name} ({found[_IPV4][0]['addr']})"
        for name in sorted(netifaces.interfaces())
        if _IPV4 in (found := netifaces.ifaddresses(name))
    ]
    return ", ".join(usable) or "none: no interface has an IPv4 address"
