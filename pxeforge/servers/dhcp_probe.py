"""Asks a network whether somebody serves DHCP there already: sends a DISCOVER and lists the offers."""

from __future__ import annotations

import secrets
import select
import time
from dataclasses import dataclass
from ipaddress import IPv4Address

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.dhcp.exchange import CLIENT_PORT, DHCP_PORT
from pxeforge.protocol.dhcp.message import (
    ANY,
    BROADCAST,
    BROADCAST_FLAG,
    DhcpMessage,
    MessageType,
    Op,
    Option,
)
from pxeforge.servers.datagram import listen_udp, receive
from pxeforge.servers.interfaces import interface_named

_SENDS = 3
_REMEDY = "a DHCP client?): give the interface a fixed address and stop the client, or say --force to skip this check"


@dataclass(frozen=True, slots=True)
class SeenOffer:
    """A DHCP server and the address it offered."""

    server: IPv4Address
    address: IPv4Address


def probe_for_dhcp_servers(interface: str, timeout_s: float) -> list[SeenOffer]:
    """Listens for `timeout_s` seconds; one entry per server. Raises CannotListen and NoInterface."""
    mac = interface_named(interface).mac or MacAddress(b"\x02" + secrets.token_bytes(5))
    question = _discover(mac, xid=secrets.randbits(32))
    found: dict[IPv4Address, SeenOffer] = {}
    started, sends = time.monotonic(), 0
    with listen_udp("", CLIENT_PORT, interface=interface, purpose="the DHCP probe", remedy=_REMEDY) as udp:
        while (passed := time.monotonic() - started) < timeout_s:
            if sends < _SENDS and passed >= sends * timeout_s / _SENDS:
                udp.sendto(question.encode(), (str(BROADCAST), DHCP_PORT))
                sends += 1
            select.select([udp], [], [], min(0.1, timeout_s - passed))
            while (received := receive(udp)) is not None:
                offer = _offer_in(received.data, question.xid)
                if offer is not None:
                    found[offer.server] = offer
    return list(found.values())


def _discover(mac: MacAddress, xid: int) -> DhcpMessage:
    wanted = bytes((Option.SUBNET_MASK, Option.ROUTER, Option.DNS))
    options: dict[int, bytes] = {Option.MESSAGE_TYPE: bytes((MessageType.DISCOVER,)), Option.PARAMETERS: wanted}
    return DhcpMessage(op=Op.REQUEST, xid=xid, flags=BROADCAST_FLAG, chaddr=mac.octets, options=options)


def _offer_in(data: bytes, xid: int) -> SeenOffer | None:
    """An offer of an address; a proxy's offer (no address) is no rival."""
    try:
        message = DhcpMessage.parse(data)
    except Malformed:
        return None
    server = message.address(Option.SERVER_ID)
    if message.xid != xid or message.message_type is not MessageType.OFFER or message.yiaddr == ANY or server is None:
        return None
    return SeenOffer(server, message.yiaddr)
