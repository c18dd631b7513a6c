"""Asks a network as a plain client and as three kinds of PXE firmware, and lists every DHCP and PXE offer it gets.

Nothing is ever taken: no REQUEST names an offer of an address. Answers are read from a packet socket, so that a DHCP
client which holds port 68 is no obstacle and a server that answers by unicast is heard as well.
"""

from __future__ import annotations

import ctypes
import enum
import secrets
import selectors
import socket
import struct
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.dhcp.exchange import BINL_PORT, CLIENT_PORT, DHCP_PORT
from pxeforge.protocol.dhcp.message import (
    ANY,
    BROADCAST,
    BROADCAST_FLAG,
    DhcpMessage,
    MessageType,
    Op,
    Option,
    encode_sub_options,
    sub_options,
)
from pxeforge.servers.datagram import CannotListen, listen_udp, receive
from pxeforge.servers.interfaces import Interface, interface_named

_ROUNDS: Final = 3  # a lost packet must not hide a server
_NETWORK_INTERFACE: Final = 94  # option: version of the network interface (RFC 4578 section 2.2)
_BOOT_ITEM: Final = 71  # sub-option of 43
_WANTED: Final = bytes((1, 3, 6, 12, 15, 43, 54, 60, 66, 67, 97))
_ETH_P_IP: Final = 0x0800
_SO_ATTACH_FILTER: Final = 26  # socket(7); Python has no name for it
_ENOUGH: Final = 1 << 20
# Only UDP from port 67 or 4011 (classic BPF on the IP packet, as tcpdump would write it): a busy interface must not
# push the few packets that count out of the buffer.
_FILTER: Final = (
    (0x30, 0, 0, 9),  # A = protocol
    (0x15, 0, 5, socket.IPPROTO_UDP),
    (0xB1, 0, 0, 0),  # X = length of the IP header
    (0x48, 0, 0, 0),  # A = source port
    (0x15, 1, 0, DHCP_PORT),
    (0x15, 0, 1, BINL_PORT),
    (0x06, 0, 0, 0xFFFF),  # take it
    (0x06, 0, 0, 0),  # drop it
)


class Guise(enum.Enum):
    """As whom we ask: (option 60, option 93)."""

    PLAIN = "plain"
    BIOS = "bios"
    UEFI = "uefi-x64"
    HTTP = "http-x64"

    @property
    def vendor_class(self) -> bytes:
        return _CLASSES[self]


_CLASSES: Final = {
    Guise.PLAIN: b"",
    Guise.BIOS: b"PXEClient:Arch:00000:UNDI:002001",
    Guise.UEFI: b"PXEClient:Arch:00007:UNDI:003016",
    Guise.HTTP: b"HTTPClient:Arch:00016:UNDI:003001",
}
_ARCHITECTURES: Final = {Guise.BIOS: 0, Guise.UEFI: 7, Guise.HTTP: 16}
_ASK_4011: Final = (Guise.BIOS, Guise.UEFI)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAnswer:
    """One server's answer to one guise. `port` is the one it came from: 67, or 4011 of a PXE boot server.

    `address` is the address offered, `next_server` siaddr; None where there is none. `file` is the header's field,
    `boot_file` option 67, `server_name` option 66 or sname. `vendor` is option 43, `control` its sub-option 6, `menu`
    its sub-option 9 (Intel PXE 2.1 section 2.2.1: a firmware then asks port 4011 for the file of an item).
    """

    guise: Guise
    port: int
    server: IPv4Address  # option 54, else where it came from
    source: IPv4Address  # a relay's address where one stands between
    address: IPv4Address | None
    next_server: IPv4Address | None
    file: str
    boot_file: str
    server_name: str
    vendor_class: str
    vendor: bytes
    control: int | None
    menu: tuple[tuple[int, str], ...] = ()  # sub-option 9: number and text of each boot item

    @property
    def is_boot_service(self) -> bool:
        """A PXE service of its own (a proxy or boot server), not a DHCP server that also names a boot file."""
        return self.address is None and (
            self.port == BINL_PORT or self.vendor_class.startswith(("PXEClient", "HTTPClient"))
        )

    @property
    def boots(self) -> str:
        """The boot file a firmware would take: option 67 goes before the field; empty where there is none."""
        return self.boot_file or self.file


def rival_servers(interface: str, timeout_s: float) -> list[IPv4Address]:
    """Who offers an address to a plain client; a proxy offers none and is no rival. Raises like probe_wire."""
    answers = probe_wire(interface, timeout_s, [Guise.PLAIN])
    return sorted({answer.server for answer in answers if answer.address is not None})


def probe_wire(interface: str, timeout_s: float, guises: Collection[Guise] = tuple(Guise)) -> list[SeenAnswer]:
    """Asks and listens for `timeout_s` seconds; one entry per server, guise and port, in a stable order.

    dnsmasq pings an address for 3 s before it offers it: give at least 4 s. Raises CannotListen and NoInterface.
    """
    home = interface_named(interface)
    # Our own hardware address, so that an answer by unicast arrives, and that servers keep no trace of a new client.
    mac = home.mac or MacAddress(b"\x02" + secrets.token_bytes(5))
    questions = {secrets.randbits(32): guise for guise in guises}
    found: dict[tuple[str, int, IPv4Address], SeenAnswer] = {}
    with _packet_socket(interface) as packets, _sender(interface) as udp, selectors.DefaultSelector() as arrivals:
        for each in (packets, udp):
            arrivals.register(each, selectors.EVENT_READ)
        started, rounds = time.monotonic(), 0
        while (passed := time.monotonic() - started) < timeout_s:
            if rounds < _ROUNDS and passed >= rounds * timeout_s / (_ROUNDS + 1):
                _ask(udp, questions, mac, home, int(passed), list(found.values()))
                rounds += 1
            arrivals.select(min(0.1, timeout_s - passed))
            for data, source, port in (*_from_packets(packets), *_from_udp(udp)):
                answer = answer_in(data, source, port, questions)
                if answer is None:
                    continue
                key = (answer.guise.value, answer.port, answer.server)
                if key not in found or not found[key].boots:  # a later question may be the one that gets the file
                    found[key] = answer
    order = list(Guise)
    return sorted(found.values(), key=lambda a: (a.server, a.port, order.index(a.guise)))


def question_of(
    guise: Guise, xid: int, mac: MacAddress, *, secs: int = 0, ciaddr: IPv4Address = ANY, item: int | None = None
) -> DhcpMessage:
    """A DISCOVER, or with our own address as `ciaddr` the REQUEST that a firmware sends to port 4011.

    `item` is the number of the boot menu's entry whose file is wanted.
    """
    kind = MessageType.DISCOVER if ciaddr == ANY else MessageType.REQUEST
    options: dict[int, bytes] = {Option.MESSAGE_TYPE: bytes((kind,)), Option.PARAMETERS: _WANTED}
    if guise is not Guise.PLAIN:
        options |= {
            Option.MAX_SIZE: (1472).to_bytes(2, "big"),
            Option.VENDOR_CLASS: guise.vendor_class,
            Option.ARCHITECTURE: _ARCHITECTURES[guise].to_bytes(2, "big"),
            _NETWORK_INTERFACE: b"\x01\x03\x10" if guise is not Guise.BIOS else b"\x01\x02\x01",
            Option.CLIENT_UUID: b"\0" + mac.octets.rjust(16, b"\x02"),
        }
    if item is not None:
        options[Option.VENDOR] = encode_sub_options({_BOOT_ITEM: item.to_bytes(2, "big") + b"\0\0"})
    return DhcpMessage(
        op=Op.REQUEST, xid=xid, secs=secs, flags=BROADCAST_FLAG if ciaddr == ANY else 0, ciaddr=ciaddr,
        chaddr=mac.octets, options=options,
    )  # fmt: skip


def answer_in(data: bytes, source: IPv4Address, port: int, questions: dict[int, Guise]) -> SeenAnswer | None:
    """The answer to one of our questions in a datagram; None for anything else, malformed or not ours."""
    try:
        message = DhcpMessage.parse(data)
    except Malformed:
        return None
    guise = questions.get(message.xid)
    wanted = (MessageType.OFFER,) if port == DHCP_PORT else (MessageType.OFFER, MessageType.ACK)
    if guise is None or message.op is not Op.REPLY or message.message_type not in wanted:
        return None
    # An answer from 4011 repeats the address that we said we have: it offers none.
    address = None if message.yiaddr == ANY or port == BINL_PORT else message.yiaddr
    vendor = message.options.get(Option.VENDOR, b"")
    inside = _inside(vendor)
    control = inside.get(6, b"")
    return SeenAnswer(
        guise=guise,
        port=port,
        server=message.address(Option.SERVER_ID) or source,
        source=source,
        address=address,
        next_server=None if message.siaddr == ANY else message.siaddr,
        file=_text(message.file),
        boot_file=_text(message.options.get(Option.BOOT_FILE, b"")),
        server_name=_text(message.options.get(Option.SERVER_NAME, b"") or message.sname),
        vendor_class=_text(message.options.get(Option.VENDOR_CLASS, b"")),
        vendor=vendor,
        control=control[0] if len(control) == 1 else None,
        menu=_menu(inside.get(9, b"")),
    )


def _ask(
    udp: socket.socket, questions: dict[int, Guise], mac: MacAddress, home: Interface, secs: int,
    heard: list[SeenAnswer],
) -> None:  # fmt: skip
    """One round: a DISCOVER per guise, and port 4011 by broadcast and of every server heard so far."""
    for xid, guise in questions.items():
        udp.sendto(question_of(guise, xid, mac, secs=secs).encode(), (str(BROADCAST), DHCP_PORT))
        if guise not in _ASK_4011:
            continue
        items = {answer.server: answer.menu[0][0] for answer in heard if answer.guise is guise and answer.menu}
        for address in (BROADCAST, *sorted({answer.server for answer in heard})):
            request = question_of(guise, xid, mac, secs=secs, ciaddr=home.address, item=items.get(address))
            _send(udp, request.encode(), (str(address), BINL_PORT))


def _send(udp: socket.socket, data: bytes, to: tuple[str, int]) -> None:
    try:
        udp.sendto(data, to)
    except OSError:
        return  # a server behind a relay that we have no route to


def _sender(interface: str) -> socket.socket:
    """Sends from port 68; from any other where a DHCP client holds it: servers answer to port 68 all the same."""
    try:
        return listen_udp("", CLIENT_PORT, interface=interface, purpose="the probe", remedy="a DHCP client?)")
    except CannotListen:
        return listen_udp("", 0, interface=interface, purpose="the probe", remedy="?)")


def _packet_socket(interface: str) -> socket.socket:
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    except PermissionError as error:
        raise CannotListen(
            f"no permission to listen to all DHCP answers on {interface}: run as root or grant CAP_NET_RAW"
        ) from error
    try:
        packets.setblocking(False)
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ENOUGH)
        program = b"".join(struct.pack("=HBBI", *line) for line in _FILTER)
        kept = ctypes.create_string_buffer(program, len(program))
        packets.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(kept))
        )
        # Bound last: before its filter stands, the socket must hear nothing.
        packets.bind((interface, _ETH_P_IP))
    except OSError as error:
        packets.close()
        raise CannotListen(f"cannot listen to DHCP answers on {interface}: {error.strerror}") from error
    return packets


def _from_packets(packets: socket.socket) -> Iterator[tuple[bytes, IPv4Address, int]]:
    while True:
        try:
            packet = packets.recv(65535)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            return  # the interface went down
        if (parts := datagram_of(packet)) is not None:
            yield parts


def datagram_of(packet: bytes) -> tuple[bytes, IPv4Address, int] | None:
    """(payload, source address, source port) of an IPv4 packet with a whole UDP datagram; None for anything else."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_UDP:
        return None
    start = (packet[0] & 15) * 4
    is_fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
    if start < 20 or is_fragment or len(packet) < start + 8:
        return None
    length = int.from_bytes(packet[start + 4 : start + 6], "big")
    if not 8 <= length <= len(packet) - start:
        return None
    source_port = int.from_bytes(packet[start : start + 2], "big")
    return packet[start + 8 : start + length], IPv4Address(packet[12:16]), source_port


def _from_udp(udp: socket.socket) -> Iterator[tuple[bytes, IPv4Address, int]]:
    """What this computer's own servers send to us never passes the interface."""
    while (received := receive(udp)) is not None:
        if received.peer[1] in (DHCP_PORT, BINL_PORT):
            yield received.data, IPv4Address(received.peer[0]), received.peer[1]


def _inside(vendor: bytes) -> dict[int, bytes]:
    try:
        return sub_options(vendor)
    except Malformed:
        return {}


def _menu(value: bytes) -> tuple[tuple[int, str], ...]:
    """Items of two bytes type, one byte length and the text; a cut one ends the list. Item 0 boots the local disk."""
    items: list[tuple[int, str]] = []
    while len(value) > 3 and len(value) >= 3 + value[2]:
        items.append((int.from_bytes(value[:2], "big"), _text(value[3 : 3 + value[2]])))
        value = value[3 + value[2] :]
    return tuple(item for item in items if item[0])


def _text(value: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in value.rstrip(b"\0"))[:255]
