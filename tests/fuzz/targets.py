"""What is fuzzed: each target takes any bytes as if they came off the wire, and raises where a promise is broken.

An exception other than the ones a module documents is a finding, and so is a broken promise (an address lent twice, a
NAK by the proxy, a file outside the folders that are served). `python -m tests.fuzz` drives them by coverage;
test_targets.py runs the seeds and every input that ever found something.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pxeforge.agent.lldp import NotLldp
from pxeforge.agent.lldp import parse as parse_lldp
from pxeforge.domain.boot import Boot, BootDecision
from pxeforge.domain.firmware import Firmware
from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.dhcp import proxy
from pxeforge.protocol.dhcp.authority import Authority
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.dialect import Dialect
from pxeforge.protocol.dhcp.exchange import BINL_PORT, DHCP_PORT, Answer, Arrival, Ignored
from pxeforge.protocol.dhcp.lease import LeaseState
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Option, TooLong
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.protocol.syslog import LONGEST_LINE, parse_line
from pxeforge.protocol.tftp.names import BadName, normalise
from pxeforge.protocol.tftp.packet import Ack, Error, Opcode, Request, encode, parse
from pxeforge.protocol.tftp.transfer import Download, Limits, Outcome
from pxeforge.servers.datagram import Received
from pxeforge.servers.tftp import TftpServer, TftpSettings
from pxeforge.services import loaders
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.store.database import Database
from tests.protocol.dhcp import packets

OURS = IPv4Address("10.77.0.1")
FILES = BootFiles(
    ipxe_menu_url="http://{server}:8080/boot/{mac}/menu.ipxe",
    grub_files={Firmware.UEFI_X64: "boot/{dashed}/bootx64.efi"},
    ipxe_files={Firmware.UEFI_X64: "boot/{dashed}/ipxe.efi", Firmware.HTTP_X64: "http://{server}/boot/{mac}/ipxe.efi"},
)
INSTALL = BootDecision(boot=Boot.INSTALL, reason="host is armed")
CONTENT = bytes(range(256)) * 40


class Broken(AssertionError):
    """A promise that did not hold."""


def promise(kept: bool, what: str) -> None:
    if not kept:
        raise Broken(what)


def pieces(data: bytes, most: int) -> Iterator[tuple[int, bytes]]:
    """Several datagrams out of one input: before each stand a byte of our own use and its length."""
    at = 0
    for _ in range(most):
        if at + 3 > len(data):
            return
        length = int.from_bytes(data[at + 1 : at + 3], "big") % 2048
        yield data[at], data[at + 3 : at + 3 + length]
        at += 3 + length


def joined(*datagrams: tuple[int, bytes]) -> bytes:
    """The input from which pieces() gives these."""
    return b"".join(bytes((use,)) + len(each).to_bytes(2, "big") + each for use, each in datagrams)


# ------------------------------------------------------------------------------------------------------------ DHCP


def dhcp_proxy(data: bytes) -> None:
    """The first byte chooses port and dialect, the rest is the datagram."""
    use, datagram = data[:1] or b"\0", data[1:]
    port = BINL_PORT if use[0] & 1 else DHCP_PORT
    dialect = (None, Dialect.BINL, Dialect.DIRECT, None)[use[0] >> 1 & 3]
    arrival = Arrival(our_address=OURS, port=port, peer=("10.77.0.50", 68), now=1000.0)
    try:
        message = DhcpMessage.parse(datagram)
    except Malformed:
        return
    request = classify(message, interface="br0")
    if isinstance(request, Ignored):
        return
    answer = proxy.answer(message, arrival, request, INSTALL, FILES, dialect)
    if isinstance(answer, Ignored):
        return
    promise(not answer.leases, "a proxy lends nothing")
    for reply in sent(message, answer):
        kind, server = reply.message_type, message.address(Option.SERVER_ID)
        promise(kind in (MessageType.OFFER, MessageType.ACK), f"a proxy sent {kind}")
        promise(reply.yiaddr == ANY, "a proxy gave an address")
        asked = message.message_type
        promise(asked is MessageType.DISCOVER or port == BINL_PORT or server == OURS, "another server was asked")


def sent(message: DhcpMessage, answer: Answer) -> list[DhcpMessage]:
    """The replies as the client reads them, with what must hold for every reply."""
    found = []
    for reply in answer.replies:
        try:
            payload = reply.message.encode(reply.limit)
        except TooLong:
            continue  # the server says so and sends nothing
        promise(300 <= len(payload) <= reply.limit, f"{len(payload)} bytes, the client takes {reply.limit}")
        parsed = DhcpMessage.parse(payload)
        promise((parsed.xid, parsed.chaddr, parsed.giaddr) == (message.xid, message.chaddr, message.giaddr), "xid")
        promise(parsed.address(Option.SERVER_ID) == OURS, "option 54 is not ours")
        relay = message.options.get(Option.RELAY_AGENT)
        promise(relay is None or parsed.options.get(Option.RELAY_AGENT) == relay, "option 82 is not the relay's")
        found.append(parsed)
    return found


SUBNET = Subnet(
    network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.53"),
    router=OURS, dns=(OURS,), domain="lab.example", lease_time_s=60,
)  # fmt: skip


def dhcp_server(data: bytes) -> None:
    """A few datagrams in a row; the byte before each is how many seconds have passed."""
    authority, now, lent = Authority([SUBNET]), 1000.0, dict[IPv4Address, tuple[bytes, float]]()
    for use, datagram in pieces(data, 12):
        now += use
        try:
            message = DhcpMessage.parse(datagram)
        except Malformed:
            continue
        arrival = Arrival(our_address=OURS, port=DHCP_PORT, peer=("0.0.0.0", 68), now=now)
        request = classify(message, interface="br0")
        if isinstance(request, Ignored):
            answer = authority.answer(message, arrival, FILES)
        else:
            answer = authority.answer(message, arrival, FILES, request, INSTALL)
        if isinstance(answer, Ignored):
            continue
        for lease in answer.leases:
            if lease.state is not LeaseState.BOUND:
                lent.pop(lease.address, None)
        for reply in sent(message, answer):
            _check_lease(message, reply, lent, now)


def _check_lease(
    message: DhcpMessage, reply: DhcpMessage, lent: dict[IPv4Address, tuple[bytes, float]], now: float
) -> None:
    if reply.yiaddr == ANY:
        return
    promise(SUBNET.first <= reply.yiaddr <= SUBNET.last, f"{reply.yiaddr} is outside the range")
    holder, until = lent.get(reply.yiaddr, (message.chaddr, now))
    promise(holder == message.chaddr or until <= now, f"{reply.yiaddr} is lent to two hosts")
    if reply.message_type is MessageType.ACK:
        lent[reply.yiaddr] = (message.chaddr, now + SUBNET.lease_time_s)


# ------------------------------------------------------------------------------------------------------------ TFTP


class Shelf:
    """The part of a BootDesk that TFTP asks: every name is there."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def tftp_open(self, name: str, peer_ip: str) -> bytes | None:
        self.opened.append(name)
        return CONTENT[: len(name) * 97] if len(name) % 7 else None

    def tftp_closed(self, name: str, peer_ip: str, *, sent: int, duration_s: float, problem: str | None) -> None:
        promise(0 <= sent <= len(CONTENT), "more was acknowledged than there is")


def tftp_request(data: bytes) -> None:
    """Datagrams at the well-known port of the real server; the byte before each chooses the client's port."""
    shelf = Shelf()
    server = TftpServer(TftpSettings(listen=()), shelf, lambda: 0.0)  # type: ignore[arg-type]
    try:
        for use, datagram in pieces(data, 6):
            server.serve(Received(datagram, ("127.0.0.1", 40_000 + use % 4), "127.0.0.1"))
    finally:
        server.close()
    for name in shelf.opened:
        promise(not name.startswith("/") and ".." not in name.split("/"), f"the name {name!r} climbs out")


def tftp_transfer(data: bytes) -> None:
    """One request, then what comes to the transfer's own port; the byte before each says who sent it and when."""
    peer, stranger = ("10.77.0.50", 2070), ("10.77.0.66", 666)
    steps = list(pieces(data, 40))
    if not steps:
        return
    try:
        request = parse(steps[0][1])
    except Malformed:
        return
    if not isinstance(request, Request):
        return
    content = CONTENT[: steps[0][0] * 40]
    now, limits = 0.0, Limits(retries=3)
    transfer = Download(
        request, peer, size=len(content), read=lambda offset, length: content[offset : offset + length], limits=limits
    )
    largest = 4 + max(transfer.agreed.blksize, 512)
    outgoing = transfer.start(now)
    for use, datagram in steps[1:]:
        promise(len(outgoing) <= limits.largest_window + 1, "more than a window was sent")
        for each in outgoing:
            promise(len(each.payload) <= largest, "a packet is longer than agreed")
            promise(each.to in (peer, stranger), "sent to nobody we know")
        if transfer.outcome is not None:
            promise(transfer.deadline is None, "a deadline after the end")
        now += (use & 63) / 8
        if use & 64:
            outgoing = transfer.expired(now)
        else:
            before = transfer.bytes_acked
            outgoing = transfer.received(datagram, stranger if use & 128 else peer, now)
            promise(not use & 128 or transfer.bytes_acked == before, "a stranger moved the transfer")
    promise(0 <= transfer.bytes_acked <= len(content), "more was acknowledged than there is")
    promise(transfer.outcome is not Outcome.COMPLETE or transfer.bytes_acked == len(content), "ended too early")


@cache
def _desk() -> tuple[Desk, tuple[Path, ...]]:
    """The desk of the product over a fresh data directory, and the folders it may serve files from."""
    folder = Path(tempfile.mkdtemp(prefix="pxeforge-fuzz-"))
    (folder / "images" / "debian-13" / "1").mkdir(parents=True)
    (folder / "outside").write_bytes(b"secret")
    database = Database(folder / "pxeforge.db")
    database.upgrade()
    ctx = Context(
        database=database, data_dir=folder, addresses=Addresses(boot_address="192.0.2.1"),
        master_key=load_master_key(folder), operator_dir=folder / "etc",
    )  # fmt: skip
    allowed = (folder / "images", Path("/usr/lib"), Path("/usr/share"))
    return Desk(ctx), allowed


def tftp_name(data: bytes) -> None:
    """A file name as a client spells it, through to the file that would be sent."""
    try:
        name = normalise(data, roots=("/srv/tftp",))
    except BadName:
        return
    desk, allowed = _desk()
    found = desk.tftp_open(name, "127.0.0.1")
    if isinstance(found, Path):
        real = found.resolve()
        promise(any(real.is_relative_to(folder) for folder in allowed), f"{name!r} gives {real}")


# ---------------------------------------------------------------------------------------------------------- syslog


def syslog_line(data: bytes) -> None:
    line = parse_line(data, peer_ip="10.77.0.50", received_at=0.0)
    promise(0 <= line.priority <= 191, "no such priority")
    text = line.tag + line.message
    promise(len(text) <= LONGEST_LINE, "a line grew")
    promise(text.isprintable() or not any(c in text for c in "\n\r\0\x1b\x7f\x85"), "control characters in a line")


# ----------------------------------------------------------------------------------------------------------- table


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`least` is how many inputs a second the slowest computer should manage: less means the fuzzer does not fuzz."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    least: int = 200


def _client(kind: MessageType, **options: bytes) -> bytes:
    netboot = {"VENDOR_CLASS": b"PXEClient:Arch:00007:UNDI:003016", "ARCHITECTURE": b"\0\7"}
    return packets.message(kind, **(netboot | options)).encode()


_FIRMWARE = (
    packets.IPXE_DISCOVER, packets.PXE_ROM_DISCOVER, packets.OVMF_DISCOVER, packets.OVMF_HTTP_DISCOVER,
    packets.INSTALLER_DISCOVER,
)  # fmt: skip
_FIRST = SUBNET.first.packed
_REQUEST = _client(MessageType.REQUEST, SERVER_ID=OURS.packed, REQUESTED_ADDRESS=_FIRST)
_TO_4011 = _client(MessageType.REQUEST, VENDOR=bytes.fromhex("470480000000ff"))
_RELAYED = packets.message(MessageType.DISCOVER, giaddr="10.77.0.9", RELAY_AGENT=b"\1\4eth0").encode()
_OTHER = packets.message(MessageType.REQUEST, mac=b"\x52\x54\0\0\0\1", REQUESTED_ADDRESS=_FIRST).encode()
_ROM = encode(Request(Opcode.READ, b"pxelinux.0", "octet", {"tsize": "0", "blksize": "1456"}))
_WINDOWED = encode(Request(Opcode.READ, b"boot\\x.efi", "octet", {"blksize": "8", "windowsize": "4", "timeout": "1"}))
_WRITE = encode(Request(Opcode.WRITE, b"../x", "netascii"))


def lldp(data: bytes) -> None:
    """A frame from a switch: told in short printable texts, or refused."""
    try:
        told = parse_lldp(data)
    except NotLldp:
        return
    promise({"chassis", "port"} <= set(told), "a neighbour has a chassis and a port")
    texts = [value for value in told.values() if isinstance(value, str)]
    promise(all(text.isprintable() and len(text) <= 255 for text in texts), "texts are printable and short")


_LLDP = bytes.fromhex(
    "0180c200000e3cecef00000188cc0207043cecef000001040d0545746865726e6574312f3132060200780a056c656166310000"
)


TARGETS = {
    "lldp": Target(run=lldp, seeds=(_LLDP, _LLDP[:40], _LLDP[:12] + bytes.fromhex("81000064") + _LLDP[12:])),
    "dhcp-proxy": Target(
        run=dhcp_proxy,
        seeds=(*(bytes((use,)) + each for each in _FIRMWARE for use in (0, 2, 4)), b"\1" + _TO_4011, b"\0" + _RELAYED),
    ),
    "dhcp-server": Target(
        run=dhcp_server,
        seeds=(
            joined(*((1, each) for each in _FIRMWARE)),
            joined((1, packets.OVMF_DISCOVER), (1, _REQUEST), (70, _OTHER), (1, _REQUEST)),
            joined((1, _RELAYED), (0, _OTHER), (1, _client(MessageType.RELEASE)), (1, _client(MessageType.INFORM))),
            joined((1, _REQUEST), (1, _client(MessageType.DECLINE, REQUESTED_ADDRESS=_FIRST)), (1, _OTHER)),
        ),
    ),
    "tftp-request": Target(
        run=tftp_request, seeds=(joined((0, _ROM), (0, _ROM), (0, _WINDOWED)), joined((1, _WRITE), (2, encode(Ack(1)))))
    ),
    "tftp-transfer": Target(
        run=tftp_transfer,
        seeds=(
            joined((90, _WINDOWED), (1, encode(Ack(0))), (1, encode(Ack(2))), (127, b""), (1, encode(Ack(6)))),
            joined((90, _ROM), (1, encode(Ack(0))), (129, encode(Ack(1))), (1, encode(Ack(1))), (1, encode(Ack(2)))),
            joined((9, _ROM), (1, encode(Error(8, "TFTP Aborted")))),
            joined((2, encode(Request(Opcode.READ, b"x"))), (1, encode(Ack(1)))),
        ),
    ),
    "tftp-name": Target(
        run=tftp_name,
        seeds=(
            b"pxelinux.0", b"/srv/tftp/boot\\x.efi\xff", b"pxelinux.cfg/01-52-54-00-12-34-56",
            b"boot/52-54-00-12-34-56/grub.cfg", b"boot/52-54-00-12-34-56/shimx64.efi", b"grub/x86_64-efi/grub.cfg",
            b"images/debian-13/1/../../../outside", b"images/debian-13/1/linux", b"boot/..%2f..%2foutside",
            f"{loaders.GRUB_PREFIX}grub.cfg-01-52-54-00-12-34-56".encode(),
        ),
        least=20,
    ),
    "syslog-line": Target(
        run=syslog_line,
        seeds=(
            b"<30>Jan  1 00:00:00 main-menu[123]: INFO: Menu item 'partman-base' selected\n",
            b"<13>Nov 21 10:00:00 n1 kernel: [    0.0] x", b"<999>debian-installer: \xff\0", b"no priority at all",
        ),
    ),
}  # fmt: skip
