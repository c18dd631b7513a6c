"""ARP for IPv4 on Ethernet (RFC 826): the question whether an address is in use, and who speaks for an address."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Final

from pxeforge.domain.mac import MacAddress

ETHERTYPE: Final = 0x0806
_PACKET: Final = struct.Struct("!HHBBH6s4s6s4s")  # hardware, protocol, their sizes, operation; sender; target
_ETHERNET, _IPV4, _REQUEST = 1, 0x0800, 1
_NOBODY: Final = bytes(4)


def probe(mac: MacAddress, address: IPv4Address) -> bytes:
    """The question of RFC 5227 section 2.1.1: it has no sender address, so that nobody's table is changed by it."""
    return _PACKET.pack(_ETHERNET, _IPV4, 6, 4, _REQUEST, mac.octets, _NOBODY, bytes(6), address.packed)


def speaker(packet: bytes) -> tuple[IPv4Address, MacAddress] | None:
    """Who says in an ARP packet that an address is theirs; None for probes and for what is no ARP of this kind."""
    if len(packet) < _PACKET.size:
        return None
    hardware, protocol, hardware_size, protocol_size, _, mac, address, _, _ = _PACKET.unpack_from(packet)
    if (hardware, protocol, hardware_size, protocol_size) != (_ETHERNET, _IPV4, 6, 4) or address == _NOBODY:
        return None
    return IPv4Address(address), MacAddress(mac)
