"""Hostile datagrams against servers that run: each is answered by an error or dropped, named once, and life goes on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pyroute2 import netns
from structlog.testing import capture_logs

from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType
from pxeforge.protocol.tftp.packet import Ack, Data, Error, ErrorCode, Opcode, OptionAck, Packet, Request, encode, parse
from pxeforge.protocol.tftp.transfer import Limits
from pxeforge.servers.dhcp import DhcpServer
from pxeforge.servers.syslog import SyslogServer, SyslogSettings
from pxeforge.servers.tftp import TftpServer, TftpSettings

from .conftest import Desk, Network, Store, running, wait_until
from .test_dhcp import FILES, MAC, PROXY, SERVER, Loopback, loopback, pxe_message

__all__ = ["loopback"]


class Client:
    """A TFTP client with an address of its own on the loopback network."""

    def __init__(self, server: TftpServer, address: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(5)
        self.server = ("127.0.0.1", server.port)

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.server)

    def ask(self, name: bytes, **options: str) -> Packet:
        self.send(encode(Request(Opcode.READ, name, "octet", options)))
        return self.hear()

    def hear(self) -> Packet:
        return parse(self.socket.recv(70_000))


@pytest.fixture
def tftp(desk: Desk) -> Iterator[TftpServer]:
    desk.files["fine"] = b"fine"
    limits = Limits(first_wait_s=0.2, retries=2)
    settings = TftpSettings(port=0, listen=("127.0.0.1",), roots=("/srv/tftp",), limits=limits)
    with running(server := TftpServer(settings, desk, time.monotonic)):
        yield server


@pytest.fixture
def client(tftp: TftpServer) -> Iterator[Client]:
    found = Client(tftp)
    yield found
    found.socket.close()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"../../etc/passwd", ErrorCode.ACCESS_VIOLATION),
        (b"..\\..\\etc\\passwd", ErrorCode.ACCESS_VIOLATION),
        (b"boot/../../etc/passwd", ErrorCode.ACCESS_VIOLATION),
        (b"/srv/tftp/../../etc/passwd", ErrorCode.ACCESS_VIOLATION),
        (b"..", ErrorCode.ACCESS_VIOLATION),
        (b"/", ErrorCode.ACCESS_VIOLATION),
        (b"fi\x01ne", ErrorCode.ACCESS_VIOLATION),
        (b"\xfe\xfe/x", ErrorCode.ACCESS_VIOLATION),
        (b"x" * 600, ErrorCode.ACCESS_VIOLATION),
        (b"/etc/passwd", ErrorCode.FILE_NOT_FOUND),
        (b"/srv/tftp-old/fine", ErrorCode.FILE_NOT_FOUND),
        (b"%2e%2e/%2e%2e/etc/passwd", ErrorCode.FILE_NOT_FOUND),
        (b"..%2f..%2fetc/passwd", ErrorCode.FILE_NOT_FOUND),
        (b"..%c0%af../etc/passwd", ErrorCode.FILE_NOT_FOUND),
        (b"C:\\windows\\system.ini", ErrorCode.FILE_NOT_FOUND),
        (b"FINE", ErrorCode.FILE_NOT_FOUND),
    ],
)
def test_a_path_trick_is_an_error_that_is_named_once(client: Client, tftp: TftpServer, name: bytes, code: int) -> None:
    with capture_logs() as lines:
        answer = client.ask(name)
        wait_until(lambda: tftp.counters["refused"] == 1)
    assert isinstance(answer, Error)
    assert answer.code == code
    assert b"passwd" not in encode(answer)  # nothing of the name is sent back
    (line,) = [line for line in lines if line["event"] == "TFTP refused"]
    assert line["reason"]
    assert client.ask(b"fine") == Data(1, b"fine")


def test_a_name_with_a_nul_inside_ends_there(client: Client, desk: Desk) -> None:
    client.send(b"\0\1fine\0../../etc/passwd\0octet\0x\0")
    answer = client.hear()
    assert isinstance(answer, Error)  # what follows the NUL is the mode, and none that we know
    assert answer.code == ErrorCode.ILLEGAL_OPERATION
    assert desk.opened == []


def test_a_link_that_leads_out_is_not_followed_by_name(client: Client, desk: Desk, tmp_path: Path) -> None:
    """The desk names files; a client cannot reach one by the way of a folder or a link in it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link").symlink_to(tmp_path / "secret")
    desk.files["images"] = tmp_path / "images"
    for name in (b"images/link", b"images/../secret", b"images"):
        assert isinstance(client.ask(name), Error)


@pytest.mark.parametrize(
    "junk",
    [
        b"", b"\0", b"\0\1", b"\0\1fine", b"\0\1fine\0octet", b"\0\0fine\0octet\0", b"\0\7fine\0octet\0",
        b"\1\0fine\0octet\0", b"\0\1fine\0oct\xffet\0", b"\0\1fine\0octet\0blksize\0", b"\xff" * 65_000,
    ],
)  # fmt: skip
def test_a_packet_that_is_none_is_dropped_and_named(client: Client, tftp: TftpServer, junk: bytes) -> None:
    with capture_logs() as lines:
        client.send(junk)
        wait_until(lambda: tftp.counters["malformed"] == 1)
    assert [line["event"] for line in lines] == ["malformed TFTP packet dropped"]
    assert lines[0]["reason"]
    assert client.ask(b"fine") == Data(1, b"fine")


@pytest.mark.parametrize(
    "stray", [Data(1, b"x" * 512), Ack(0), Ack(65535), Error(0, "stop"), OptionAck({"tsize": "0"})]
)
def test_what_belongs_to_no_transfer_is_not_answered(client: Client, tftp: TftpServer, stray: Packet) -> None:
    client.send(encode(stray))
    wait_until(lambda: tftp.counters["stray"] == 1)
    assert client.ask(b"fine") == Data(1, b"fine")


def test_writing_is_refused_and_named(client: Client, tftp: TftpServer, desk: Desk) -> None:
    with capture_logs() as lines:
        client.send(encode(Request(Opcode.WRITE, b"pxelinux.cfg/default")))
        answer = client.hear()
    assert answer == Error(ErrorCode.ACCESS_VIOLATION, "this server is read-only")
    assert [line["reason"] for line in lines] == ["this server is read-only"]
    assert desk.opened == []


@pytest.mark.parametrize(
    "options",
    [
        {"blksize": "0"}, {"blksize": "7"}, {"blksize": "-1"}, {"blksize": "99999999999999999999"}, {"blksize": "1e3"},
        {"blksize": ""}, {"windowsize": "0"}, {"windowsize": "65536"}, {"timeout": "0"}, {"timeout": "256"},
        {"multicast": ""}, {"x" * 300: "y" * 300}, {f"option{n}": str(n) for n in range(200)},
    ],
)  # fmt: skip
def test_an_option_that_makes_no_sense_is_passed_over(client: Client, options: dict[str, str]) -> None:
    assert client.ask(b"fine", **options) == Data(1, b"fine")


def test_blocks_never_grow_beyond_what_a_packet_holds(client: Client, desk: Desk) -> None:
    desk.files["large"] = bytes(100_000)
    answer = client.ask(b"large", blksize="65464", windowsize="65535")
    assert answer == OptionAck({"blksize": "1468", "windowsize": "64"})


def test_wrong_ports_do_not_hurt_a_transfer_however_many(tftp: TftpServer, client: Client, desk: Desk) -> None:
    desk.files["large"] = bytes(range(256)) * 8
    client.send(encode(Request(Opcode.READ, b"large")))
    data, transfer = client.socket.recvfrom(2000)
    assert parse(data) == Data(1, desk.files["large"][:512])  # type: ignore[index]
    strangers = [Client(tftp, f"127.0.0.{n}") for n in (1, 2, 3)]
    for stranger in strangers:
        for junk in (encode(Ack(1)), encode(Error(0, "stop")), encode(Request(Opcode.READ, b"fine")), b"\xff" * 2000):
            stranger.socket.sendto(junk, transfer)
            assert parse(stranger.socket.recv(2000)) == Error(ErrorCode.UNKNOWN_TRANSFER, "not your transfer")
    for block in range(1, 5):
        client.socket.sendto(encode(Ack(block)), transfer)
        assert parse(client.socket.recv(2000)) == Data(block + 1, desk.files["large"][block * 512 :][:512])  # type: ignore[index]
    client.socket.sendto(encode(Ack(5)), transfer)
    wait_until(lambda: desk.closed == [("large", 2048, None)])
    for stranger in strangers:
        stranger.socket.close()


def test_a_flood_from_one_tftp_client_is_dropped_and_others_are_served(tftp: TftpServer, client: Client) -> None:
    flooding = Client(tftp, "127.0.0.66")
    with capture_logs() as lines:
        for _ in range(60):
            for _ in range(10):
                flooding.send(encode(Request(Opcode.READ, b"missing")))
            assert client.ask(b"missing") == Error(ErrorCode.FILE_NOT_FOUND, "file not found")
        wait_until(lambda: tftp.counters["flood"] > 200)
    assert tftp.counters["refused"] < 60 + 400  # a burst of 200, then 50 a second
    named = [line for line in lines if line["event"] == "TFTP requests dropped: the client sends too many"]
    assert [line["peer"] for line in named] == ["127.0.0.66"]
    assert len(lines) < 200
    flooding.socket.close()


def test_a_smaller_block_is_given_to_the_client_it_is_set_for(desk: Desk) -> None:
    desk.files["large"] = bytes(100_000)
    sizes = {"127.0.0.7": 1024}
    server = TftpServer(
        TftpSettings(port=0, listen=("127.0.0.1",)), desk, time.monotonic,
        largest_blksize_for=lambda address: sizes.get(address, 1468),
    )  # fmt: skip
    with running(server):
        for address, largest in (("127.0.0.7", "1024"), ("127.0.0.8", "1468")):
            one = Client(server, address)
            assert one.ask(b"large", blksize="4096") == OptionAck({"blksize": largest})
            one.socket.close()


# ---- syslog


@pytest.mark.parametrize(
    "junk", [b"\0" * 10, b"<", b"<999999>x", b"<13>" + b"\x1b[2J" * 400, b"\xff" * 60_000, b"%n%s%x", b"<13>\r\n\r\nx"]
)
def test_a_line_of_any_bytes_is_kept_without_control_characters(desk: Desk, junk: bytes) -> None:
    server = SyslogServer(SyslogSettings(listen=("127.0.0.1",), port=0), desk, time.time)
    with running(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(junk, ("127.0.0.1", server.port))
        sender.sendto(b"<13>the end", ("127.0.0.1", server.port))
        wait_until(lambda: bool(desk.lines) and desk.lines[-1].message == "the end")
    assert all(not any(ord(c) < 32 for c in line.message.replace("\t", "")) for line in desk.lines)


def test_a_flood_of_lines_from_one_host_is_dropped_and_anothers_line_is_kept(desk: Desk) -> None:
    settings = SyslogSettings(listen=("127.0.0.1",), port=0, lines_per_s=1, burst=20)
    server = SyslogServer(settings, desk, time.time)
    with capture_logs() as lines, running(server):
        for address, count in (("127.0.0.66", 100), ("127.0.0.67", 1)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((address, 0))
                for number in range(count):
                    sender.sendto(b"<13>%d" % number, ("127.0.0.1", server.port))
        wait_until(lambda: bool(desk.lines) and desk.lines[-1].peer_ip == "127.0.0.67")
    assert 20 <= server.counters["received"] < 30
    assert [line["peer"] for line in lines] == ["127.0.0.66"]


# ---- DHCP


def overlong() -> bytes:
    """An option that claims more bytes than there are."""
    whole = pxe_message(MessageType.REQUEST).encode()
    return whole[:240] + b"\x35\x01\x03\x3c\xff" + b"PXEClient"


BAD_DHCP = {
    "nothing": b"",
    "half a header": pxe_message(MessageType.REQUEST).encode()[:200],
    "no cookie": pxe_message(MessageType.REQUEST).encode()[:236] + bytes(64),
    "an option beyond the end": overlong(),
    "an hlen of 255": b"\1\1\xff\0" + pxe_message(MessageType.REQUEST).encode()[4:],
    "an op of 9": b"\x09" + pxe_message(MessageType.REQUEST).encode()[1:],
    "64 kB": b"\1" * 65_000,
}


@pytest.mark.parametrize("kind", BAD_DHCP)
def test_a_dhcp_message_that_is_none_is_dropped_and_named(loopback: Loopback, desk: Desk, kind: str) -> None:
    server, udp, to = loopback
    desk.armed.add(MAC)
    with capture_logs() as lines:
        udp.sendto(BAD_DHCP[kind], to)
        wait_until(lambda: server.counters["malformed"] == 1)
    assert all(line["reason"] for line in lines if "malformed" in line["event"])
    assert any("malformed" in line["event"] for line in lines)
    udp.sendto(pxe_message(MessageType.REQUEST, xid=99).encode(), to)
    assert DhcpMessage.parse(udp.recv(2000)).xid == 99


def test_options_that_leave_no_room_are_told_and_not_sent(loopback: Loopback, desk: Desk) -> None:
    """A client that wants more repeated than it says it can take: the answer is cut or kept back, never too long."""
    _, udp, to = loopback
    desk.armed.add(MAC)
    udp.sendto(pxe_message(MessageType.REQUEST, xid=1, RELAY_AGENT=b"\1\xff" + bytes(255) * 3).encode(4000), to)
    udp.sendto(pxe_message(MessageType.REQUEST, xid=2).encode(), to)
    replies = [DhcpMessage.parse(udp.recv(2000))]
    if replies[0].xid == 1:
        assert len(replies[0].encode()) <= 548
        replies.append(DhcpMessage.parse(udp.recv(2000)))
    assert replies[-1].xid == 2


@pytest.mark.needs_root
def test_a_forged_relay_address_lends_nothing_and_harms_nobody(network: Network, desk: Desk, store: Store) -> None:
    """In server mode: networks we do not serve, our own address, broadcast, loopback, multicast."""
    server = DhcpServer(replace(SERVER, files=FILES), desk, store, time.time)
    client = network.host(MAC, "10.77.0.40/24")
    with running(server, network.server):
        for forged in ("198.51.100.7", "255.255.255.255", "127.0.0.1", "224.0.0.1", "0.0.0.1"):
            relayed = replace(pxe_message(MessageType.DISCOVER), giaddr=pxe_address(forged))
            send_in(client, relayed.encode(), ("10.77.0.1", 67))
        wait_until(lambda: server.counters["ignored"] == 5)
        assert server.counters["answered"] == 0
        assert store.leases == {}
        send_in(client, pxe_message(MessageType.DISCOVER, xid=5).encode(), ("10.77.0.1", 67))
        wait_until(lambda: server.counters["answered"] == 1)


@pytest.mark.needs_root
def test_no_forged_message_makes_a_proxy_lend_or_refuse(network: Network, desk: Desk) -> None:
    desk.armed.add(MAC)
    server = DhcpServer(PROXY, desk, None, time.time)
    client = network.host(MAC, "10.77.0.40/24")
    kinds = (MessageType.DECLINE, MessageType.RELEASE, MessageType.OFFER, MessageType.ACK, MessageType.NAK)
    with running(server, network.server):
        for kind in kinds:
            send_in(client, pxe_message(kind, REQUESTED_ADDRESS=b"\x0a\x4d\0\x32").encode(), ("10.77.0.1", 67))
        other = pxe_message(MessageType.REQUEST, SERVER_ID=b"\x0a\x4d\0\2", REQUESTED_ADDRESS=b"\x0a\x4d\0\x32")
        send_in(client, other.encode(), ("10.77.0.1", 67))
        wait_until(lambda: server.counters["received"] == len(kinds) + 1)
        wait_until(lambda: server.counters["ignored"] == len(kinds) + 1)
        assert server.counters["answered"] == 0


def pxe_address(text: str) -> IPv4Address:

    return IPv4Address(text)


def send_in(namespace: str, datagram: bytes, to: tuple[str, int]) -> None:

    here = Path("/proc/self/ns/net").open()  # noqa: SIM115
    try:
        netns.setns(namespace)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(datagram, to)
    finally:
        netns.setns(here)
        here.close()
