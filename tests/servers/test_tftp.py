from __future__ import annotations

import io
import os
import random
import resource
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tftpy

from pxeforge.protocol.tftp.packet import Ack, Data, Error, ErrorCode, Opcode, OptionAck, Packet, Request, encode, parse
from pxeforge.protocol.tftp.transfer import Limits
from pxeforge.servers import tftp as tftp_module
from pxeforge.servers.tftp import TftpServer, TftpSettings

from .conftest import Desk, Network, running, wait_until

LARGE = random.Random(1).randbytes(3_000_001)


@pytest.fixture(autouse=True, params=["the short way, from files", "the long way, from memory"])
def way(
    request: pytest.FixtureRequest,
    desk: Desk,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything holds with and without what is compiled."""
    if "long" in request.param:
        monkeypatch.setattr(tftp_module, "Lockstep", None)
        return
    if tftp_module.Lockstep is None:
        pytest.skip("no C compiler when pxeforge was installed")
    folder, opened = tmp_path_factory.mktemp("files"), desk.tftp_open

    def from_disk(name: str, peer_ip: str) -> bytes | Path | None:
        content = opened(name, peer_ip)
        if not isinstance(content, bytes):
            return content
        place = folder / str(len(list(folder.iterdir())))
        place.write_bytes(content)
        return place

    monkeypatch.setattr(desk, "tftp_open", from_disk)


@pytest.fixture
def server(desk: Desk) -> Iterator[TftpServer]:
    settings = TftpSettings(
        port=0, listen=("0.0.0.0",), roots=("/srv/tftp",), max_per_client=8, limits=Limits(first_wait_s=0.1, retries=3)
    )
    tftp = TftpServer(settings, desk, time.monotonic)
    with running(tftp):
        yield tftp


class Peer:
    """A client that sends and shows single packets."""

    def __init__(self, port: int, to: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(3)
        self.well_known = (to, port)

    def ask(self, name: bytes, *, opcode: Opcode = Opcode.READ, mode: str = "octet", **options: str) -> None:
        self.socket.sendto(encode(Request(opcode, name, mode, options)), self.well_known)

    def hear(self) -> tuple[Packet, tuple[str, int]]:
        data, sender = self.socket.recvfrom(70000)
        return parse(data), sender


@pytest.fixture
def peer(server: TftpServer) -> Iterator[Peer]:
    found = Peer(server.port)
    yield found
    found.socket.close()


@pytest.mark.parametrize("blksize", [512, 1468])
@pytest.mark.parametrize("size", [0, 1, 512, 1468, 100_000])
def test_tftpys_client_gets_every_byte(server: TftpServer, desk: Desk, size: int, blksize: int) -> None:
    desk.files["boot/x"] = LARGE[:size]
    got = io.BytesIO()
    got.close = lambda: None  # type: ignore[method-assign]
    tftpy.TftpClient("127.0.0.1", server.port, {"blksize": blksize, "tsize": 0}).download("boot/x", got)
    assert got.getvalue() == LARGE[:size]
    wait_until(lambda: desk.closed == [("boot/x", size, None)])


@pytest.mark.skipif(shutil.which("tftp") is None, reason="the tftp-hpa client is not installed")
def test_tftp_hpas_client_gets_a_file_from_disk(server: TftpServer, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "linux").write_bytes(LARGE)
    desk.files["linux"] = tmp_path / "linux"
    command = ["tftp", "-m", "binary", "127.0.0.1", str(server.port), "-c", "get", "/srv/tftp/linux", "got"]
    subprocess.run(command, check=True, timeout=30, cwd=tmp_path)
    assert (tmp_path / "got").read_bytes() == LARGE


@pytest.mark.skipif(shutil.which("tftp") is None, reason="the tftp-hpa client is not installed")
def test_tftp_hpas_client_gets_text_in_netascii(server: TftpServer, desk: Desk, tmp_path: Path) -> None:
    desk.files["menu"] = b"default local\nprompt 0\n"
    command = ["tftp", "-m", "ascii", "127.0.0.1", str(server.port), "-c", "get", "menu", "got"]
    subprocess.run(command, check=True, timeout=30, cwd=tmp_path)
    assert (tmp_path / "got").read_bytes() == b"default local\nprompt 0\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_many_clients_at_once_get_their_bytes(server: TftpServer, desk: Desk, tmp_path: Path) -> None:
    desk.files["linux"] = tmp_path / "linux"
    (tmp_path / "linux").write_bytes(LARGE)
    url = f"tftp://127.0.0.1:{server.port}/linux"
    clients = [subprocess.Popen(["curl", "-s", "-o", str(tmp_path / f"got{n}"), url]) for n in range(6)]
    assert [client.wait(60) for client in clients] == [0] * 6
    assert all((tmp_path / f"got{n}").read_bytes() == LARGE for n in range(6))


def test_a_missing_file_is_answered_at_once(peer: Peer, desk: Desk) -> None:
    began = time.monotonic()
    peer.ask(b"pxelinux.cfg/01-52-54-00-12-34-56")
    packet, _ = peer.hear()
    assert isinstance(packet, Error)
    assert packet.code == ErrorCode.FILE_NOT_FOUND
    assert time.monotonic() - began < 0.5
    assert desk.opened == ["pxelinux.cfg/01-52-54-00-12-34-56"]


@pytest.mark.parametrize("name", [b"../etc/passwd", b"boot\\..\\..\\x", b"a\x01b"])
def test_a_name_that_climbs_out_never_reaches_the_desk(peer: Peer, desk: Desk, name: bytes) -> None:
    peer.ask(name)
    packet, _ = peer.hear()
    assert isinstance(packet, Error)
    assert packet.code == ErrorCode.ACCESS_VIOLATION
    assert desk.opened == []


def test_writing_is_refused(peer: Peer, desk: Desk) -> None:
    peer.ask(b"x", opcode=Opcode.WRITE)
    packet, _ = peer.hear()
    assert isinstance(packet, Error)
    assert packet.code == ErrorCode.ACCESS_VIOLATION


def test_a_folder_or_a_lost_file_is_an_error_not_a_crash(peer: Peer, desk: Desk, tmp_path: Path) -> None:
    desk.files = {"gone": tmp_path / "gone", "folder": tmp_path}
    for name in (b"gone", b"folder"):
        peer.ask(name)
        packet, _ = peer.hear()
        assert isinstance(packet, Error)


def test_a_pipe_does_not_stop_the_server(peer: Peer, desk: Desk, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    desk.files["pipe"] = tmp_path / "pipe"
    peer.ask(b"pipe")
    packet, _ = peer.hear()
    assert isinstance(packet, Error)
    assert packet.message == "cannot be read: not a regular file"


def test_a_size_probe_and_a_second_request_from_the_same_port_work(peer: Peer, desk: Desk) -> None:
    desk.files["pxelinux.0"] = LARGE[:700]
    peer.ask(b"pxelinux.0", tsize="0")
    packet, transfer = peer.hear()
    assert packet == OptionAck({"tsize": "700"})
    peer.socket.sendto(encode(Error(8, "User aborted the transfer")), transfer)
    wait_until(lambda: desk.closed == [("pxelinux.0", 0, None)])
    peer.ask(b"pxelinux.0", blksize="1456")
    packet, transfer = peer.hear()
    assert packet == OptionAck({"blksize": "1456"})
    peer.socket.sendto(encode(Ack(0)), transfer)
    assert peer.hear()[0] == Data(1, LARGE[:700])


def test_a_repeated_request_stays_one_transfer(peer: Peer, desk: Desk) -> None:
    desk.files["x"] = LARGE[:700]
    peer.ask(b"x", tsize="0")
    peer.ask(b"x", tsize="0")
    (_, first), (_, second) = peer.hear(), peer.hear()
    assert first == second
    assert desk.opened == ["x"]


def test_a_repeated_request_that_comes_late_does_not_end_the_transfer_it_began(desk: Desk) -> None:
    desk.files["x"] = LARGE[:600]
    settings = TftpSettings(port=0, listen=("127.0.0.1",), limits=Limits(first_wait_s=60))
    server = TftpServer(settings, desk, time.monotonic)
    with running(server):
        peer = Peer(server.port)
        peer.ask(b"x", blksize="512")
        _, transfer = peer.hear()
        peer.socket.sendto(encode(Ack(0)), transfer)
        assert peer.hear() == (Data(1, LARGE[:512]), transfer)
        peer.ask(b"x", blksize="512")  # the server was busy: it had lain in the queue of the well-known port
        wait_until(lambda: server.counters["requests"] == 2)
        peer.socket.sendto(encode(Ack(1)), transfer)
        assert peer.hear() == (Data(2, LARGE[512:600]), transfer)
        peer.socket.close()


def test_a_stranger_does_not_disturb_a_transfer(peer: Peer, desk: Desk, server: TftpServer) -> None:
    desk.files["x"] = LARGE[:600]
    peer.ask(b"x")
    _, transfer = peer.hear()
    stranger = Peer(server.port)
    stranger.socket.sendto(encode(Error(0, "stop")), transfer)
    answer, _ = stranger.hear()
    assert isinstance(answer, Error)
    assert answer.code == ErrorCode.UNKNOWN_TRANSFER
    peer.socket.sendto(encode(Ack(1)), transfer)
    wait_until(lambda: peer.hear()[0] == Data(2, LARGE[512:600]))
    stranger.socket.close()


def test_the_reply_comes_from_the_address_that_was_asked_and_from_a_port_of_its_own(
    server: TftpServer, desk: Desk
) -> None:
    desk.files["x"] = b"x"
    peer = Peer(server.port, to="127.0.0.5")
    peer.ask(b"x")
    _, (address, port) = peer.hear()
    assert address == "127.0.0.5"
    assert port != server.port
    peer.socket.close()


def test_a_client_that_went_away_is_given_up(peer: Peer, desk: Desk, server: TftpServer) -> None:
    desk.files["x"] = LARGE[:600]
    peer.ask(b"x")
    wait_until(lambda: bool(desk.closed), 10)
    assert desk.closed == [("x", 0, "the client stopped answering at block 1 of 2")]
    assert server.counters["timed_out"] == 1


def test_one_client_cannot_take_all_transfers(server: TftpServer, desk: Desk) -> None:
    desk.files["x"] = LARGE
    peers = [Peer(server.port) for _ in range(10)]
    for each in peers:
        each.ask(b"x")
    wait_until(lambda: server.counters["busy"] == 2)
    assert len(desk.opened) == 8
    for each in peers:
        each.socket.close()


def test_a_failing_desk_costs_one_packet_only(peer: Peer, desk: Desk, server: TftpServer) -> None:
    desk.files["x"] = b"fine"
    desk.failing = True
    peer.ask(b"x")
    wait_until(lambda: desk.failures == 1)
    desk.failing = False
    peer.ask(b"x")
    assert peer.hear()[0] == Data(1, b"fine")


def test_junk_is_dropped(peer: Peer, desk: Desk, server: TftpServer) -> None:
    desk.files["x"] = b"fine"
    for junk in (b"", b"\0", b"\xff" * 600, encode(Ack(3))):
        peer.socket.sendto(junk, peer.well_known)
    peer.ask(b"x")
    assert peer.hear()[0] == Data(1, b"fine")
    assert server.counters["malformed"] == 3


def test_what_the_desk_refuses_is_told_with_its_reason(peer: Peer, desk: Desk, server: TftpServer) -> None:
    desk.problem = "pxelinux.cfg.j2:3: 'disk' is undefined"
    peer.ask(b"pxelinux.cfg/01-52-54-00-12-34-56")
    assert peer.hear()[0] == Error(ErrorCode.NOT_DEFINED, desk.problem)
    assert server.counters["refused"] == 1
    desk.problem = "x" * 5000
    peer.ask(b"pxelinux.cfg/01-52-54-00-12-34-56")
    assert peer.hear()[0] == Error(ErrorCode.NOT_DEFINED, "x" * 200)


def test_no_thread_is_made_per_transfer(server: TftpServer, desk: Desk) -> None:
    desk.files["x"] = LARGE
    before = threading.active_count()
    peers = [Peer(server.port) for _ in range(6)]
    for each in peers:
        each.ask(b"x")
        each.hear()
    assert threading.active_count() == before
    for each in peers:
        each.socket.close()


@pytest.mark.needs_root
@pytest.mark.skipif(shutil.which("atftp") is None, reason="atftp is not installed")
def test_a_socket_without_room_is_waited_for_and_every_byte_arrives(
    desk: Desk, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow wire and the kernel's smallest send buffer: the socket is full in the midst of a window."""
    slow = ["tc", "qdisc", "add", "dev", "br0", "root", "tbf", "rate", "200mbit", "burst", "32kb", "limit", "4mb"]
    if subprocess.run(["ip", "netns", "exec", network.server, *slow], capture_output=True, check=False).returncode:
        pytest.skip("the kernel has no token bucket filter")
    desk.files["large"] = LARGE
    made = tftp_module.transfer_sockets

    def narrow(our_address: str, peer: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
        udp, strangers = made(our_address, peer)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes 4608 of it
        return udp, strangers

    monkeypatch.setattr(tftp_module, "transfer_sockets", narrow)
    server = TftpServer(TftpSettings(port=6900, listen=("10.77.0.1",)), desk, time.monotonic)
    host = network.host("52:54:00:aa:bb:03", "10.77.0.53/24")
    options = ["--option", "blksize 1468", "--option", "windowsize 64"]
    command = ["atftp", *options, "--get", "-r", "large", "-l", str(tmp_path / "got"), "10.77.0.1", "6900"]
    with running(server, network.server):
        subprocess.run(["ip", "netns", "exec", host, *command], check=True, timeout=60, capture_output=True)
        wait_until(lambda: desk.closed == [("large", len(LARGE), None)])
    assert (tmp_path / "got").read_bytes() == LARGE
    assert server.counters["waited_for_room"] > 10
    assert server.counters["unsent"] == 0


def test_without_a_free_descriptor_a_client_is_left_to_ask_again(
    peer: Peer, desk: Desk, server: TftpServer, tmp_path: Path
) -> None:
    (tmp_path / "linux").write_bytes(LARGE[:600])
    desk.files["linux"] = tmp_path / "linux"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        peer.ask(b"linux")
        wait_until(lambda: server.counters["unanswerable"] == 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    peer.ask(b"linux")
    assert peer.hear()[0] == Data(1, LARGE[:512])
