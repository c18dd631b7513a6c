"""The two ends of a DHCP exchange: where a message came from, and the replies or the reason for silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Final

from pxeforge.protocol.dhcp.lease import Lease
from pxeforge.protocol.dhcp.message import (
    ANY,
    BROADCAST,
    BROADCAST_FLAG,
    DhcpMessage,
    MessageType,
    Op,
    Option,
    TooLong,
    spelled,
)

DHCP_PORT: Final = 67
CLIENT_PORT: Final = 68
BINL_PORT: Final = 4011  # PXE's boot server port
HTTP_CLIENT: Final = b"HTTPClient"  # UEFI HTTP Boot throws away every offer without it (EDK2 HttpBootDhcp4.c)

# What a reply repeats unchanged: RFC 6842 (61), RFC 3046 (82), RFC 4578 section 2.3 (97), RFC 3011 (118).
_ECHOED = (Option.CLIENT_ID, Option.CLIENT_UUID, Option.SUBNET_SELECTION, Option.RELAY_AGENT)
# What stays in a reply that is too long, whether the client asked for it or not.
_NEEDED = frozenset(
    {
        Option.SUBNET_MASK, Option.ROUTER, Option.DNS, Option.LEASE_TIME, Option.MESSAGE_TYPE, Option.SERVER_ID,
        Option.MESSAGE, Option.RENEWAL_TIME, Option.REBINDING_TIME, Option.VENDOR, Option.VENDOR_CLASS,
        Option.BOOT_FILE, Option.IPXE, *_ECHOED,
    }
)  # fmt: skip
_NO_PEER: Final = str(ANY)
_EVERYBODY: Final = (str(BROADCAST), CLIENT_PORT)
_FILE_ROOM = 127  # the file field, less the NUL


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How a message reached us."""

    our_address: IPv4Address  # on the interface it came in by
    port: int  # DHCP_PORT or BINL_PORT
    peer: tuple[str, int]  # the sender, as the socket saw it
    now: float  # unix seconds
    unicast: bool = False  # sent to our own address, so the sender may be on any network


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One datagram to send from `source_port` of the interface the request came in by."""

    message: DhcpMessage
    destination: tuple[str, int]
    source_port: int
    limit: int  # the most bytes the client takes
    asked: bytes = b""  # the option codes it asks for (55)

    def datagram(self) -> bytes:
        """Without the options nobody asked for where all do not fit; raises TooLong where that is not enough."""
        try:
            return self.message.encode(self.limit)
        except TooLong:
            wanted = _NEEDED.union(self.asked)
            fewer = {code: value for code, value in self.message.options.items() if code in wanted}
            return replace(self.message, options=fewer).encode(self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to do about a message: store `leases` first, then send `replies`. With `check`, an address that the host
    never had: see first that nobody uses it.
    """

    replies: tuple[Reply, ...] = ()
    leases: tuple[Lease, ...] = ()
    check: IPv4Address | None = None
    what: str = ""  # for people: "OFFER 10.77.0.50, boot file pxelinux.0"


@dataclass(frozen=True, slots=True)
class Ignored:
    """No answer; the reason is one clear clause."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFields:
    """Where a client finds its boot file: header fields and options of a reply."""

    server: IPv4Address
    file: str


def reply_to(
    message: DhcpMessage,
    arrival: Arrival,
    kind: MessageType,
    *,
    options: Mapping[int, bytes],
    yiaddr: IPv4Address = ANY,
    siaddr: IPv4Address = ANY,
    boot: BootFields | None = None,
) -> Reply:
    """A reply that carries what every reply must (RFC 2131 table 3) and goes where section 4.1 says."""
    all_options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes((kind,)),
        Option.SERVER_ID: arrival.our_address.packed,
        **options,
    }
    file = sname = b""
    if boot is not None:
        # Both places: clients differ in which one they read. A long URL fits into the option only.
        name = boot.file.encode()
        siaddr, sname = boot.server, spelled(boot.server).encode()
        file = name if len(name) <= _FILE_ROOM else b""
        all_options[Option.SERVER_NAME] = sname
        all_options[Option.BOOT_FILE] = name
    all_options.update({code: message.options[code] for code in _ECHOED if code in message.options})
    ciaddr = ANY if kind in (MessageType.OFFER, MessageType.NAK) else message.ciaddr
    # A relay must broadcast a NAK: the client's address is the wrong one (RFC 2131 section 4.3.2). So it must an offer
    # without an address, which it would send to 0.0.0.0 otherwise (RFC 1542 section 5.4; dnsmasq's relay does).
    addressless = message.giaddr != ANY and yiaddr == ANY and ciaddr == ANY
    must_broadcast = kind is MessageType.NAK or addressless
    return Reply(
        message=DhcpMessage(
            op=Op.REPLY,
            htype=message.htype,
            xid=message.xid,
            flags=message.flags | (BROADCAST_FLAG if must_broadcast else 0),
            ciaddr=ciaddr,
            yiaddr=yiaddr,
            siaddr=siaddr,
            giaddr=message.giaddr,
            chaddr=message.chaddr,
            sname=sname,
            file=file,
            options=all_options,
        ),
        destination=_destination(message, arrival, kind),
        source_port=arrival.port,
        limit=message.reply_limit,
        asked=message.options.get(Option.PARAMETERS, b""),
    )


def _destination(message: DhcpMessage, arrival: Arrival, kind: MessageType) -> tuple[str, int]:
    """RFC 2131 section 4.1. A client without an address is answered by broadcast, whatever its broadcast flag says:
    a unicast to it would need an ARP entry that only a privileged call can make.
    """
    if arrival.port == BINL_PORT and arrival.peer[0] != _NO_PEER:
        return arrival.peer
    if message.giaddr != ANY:
        return (spelled(message.giaddr), DHCP_PORT)
    if message.ciaddr != ANY and kind is MessageType.ACK:
        return (spelled(message.ciaddr), CLIENT_PORT)
    return _EVERYBODY
