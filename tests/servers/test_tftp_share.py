from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.protocol.tftp.packet import Ack, Data, Opcode, OptionAck, Request, encode, parse
from pxeforge.protocol.tftp.transfer import Limits
from pxeforge.servers.datagram import Received
from pxeforge.servers.tftp import TftpServer, TftpSettings
from pxeforge.servers.tftp_share import Abandoned, Sharer, channel, envelope, receive_shared

from .conftest import Desk, running, wait_until

CONTENT = random.Random(9).randbytes(100_000)
FILE = Path("/srv/an image/ä/linux")


def request_from(address: str, data: bytes = b"\0\1x\0octet\0") -> Received:
    return Received(data, (address, 2070), "10.0.0.1")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    found = channel()
    yield found
    for end in found:
        end.close()


def test_a_client_always_gets_the_same_process_and_many_are_spread(ends: tuple[socket.socket, socket.socket]) -> None:
    listener, helper = ends
    sharer = Sharer([listener])
    handed = 0
    for host in range(100):
        received = request_from(f"10.0.0.{host}")
        turns = {sharer.hand_over(received, FILE) for _ in range(3)}
        assert len(turns) == 1
        if turns == {True}:
            handed += 1
            assert [receive_shared(helper) for _ in range(4)] == [(received, FILE)] * 3 + [None]
    assert 30 <= handed <= 70


def test_without_helpers_nothing_is_handed_over() -> None:
    assert not any(Sharer().hand_over(request_from(f"10.0.0.{host}"), FILE) for host in range(50))


def test_what_a_busy_helper_does_not_take_stays_here(ends: tuple[socket.socket, socket.socket]) -> None:
    sharer = Sharer([ends[0]])
    theirs = next(each for host in range(50) if sharer.hand_over(each := request_from(f"10.0.0.{host}"), FILE))
    assert not all(sharer.hand_over(theirs, FILE) for _ in range(10_000))


def test_a_helper_hears_that_its_listener_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].close()
    with pytest.raises(Abandoned):
        receive_shared(ends[1])


class Client:
    """A machine with an address of its own that fetches `x`."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(3)
        self.well_known = ("127.0.0.1", port)

    def ask(self) -> tuple[str, int]:
        """Asks; returns where the answer came from."""
        request = Request(Opcode.READ, b"x", "octet", {"windowsize": "4", "tsize": "0"})
        self.socket.sendto(encode(request), self.well_known)
        answer, sender = self.socket.recvfrom(2000)
        assert isinstance(parse(answer), OptionAck)
        return str(sender[0]), int(sender[1])

    def fetch(self) -> bytes:
        transfer = self.ask()
        got, block = b"", 0
        self.socket.sendto(encode(Ack(0)), transfer)
        while True:
            packet = parse(self.socket.recv(2000))
            assert isinstance(packet, Data)
            assert packet.block == block + 1
            got, block = got + packet.payload, packet.block
            if len(packet.payload) < 512 or block % 4 == 0:
                self.socket.sendto(encode(Ack(block)), transfer)
            if len(packet.payload) < 512:
                self.socket.close()
                return got


@pytest.fixture
def pair(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> Iterator[tuple[TftpServer, TftpServer, Desk, Desk]]:
    (tmp_path / "x").write_bytes(CONTENT)
    desks = Desk(files={"x": tmp_path / "x", "menu": b"default local"}), Desk()
    limits = Limits(first_wait_s=0.2, retries=1)
    listener = TftpServer(
        TftpSettings(port=0, listen=("0.0.0.0",), limits=limits), desks[0], time.monotonic, helpers=[ends[0]]
    )
    helper = TftpServer(TftpSettings(listen=(), limits=limits), desks[1], time.monotonic, requests=ends[1])
    with running(listener), running(helper):
        yield listener, helper, *desks


def test_two_processes_on_one_port_serve_every_byte(pair: tuple[TftpServer, TftpServer, Desk, Desk]) -> None:
    listener, helper, desk, other = pair
    for host in range(1, 21):
        assert Client(f"127.0.0.{host}", listener.port).fetch() == CONTENT
    wait_until(lambda: len(desk.closed) + len(other.closed) == 20)
    assert min(len(desk.closed), len(other.closed)) >= 5
    assert listener.counters["handed_over"] == helper.counters["requests"] == len(other.closed)


def test_a_repeated_request_finds_its_transfer_in_the_other_process(
    pair: tuple[TftpServer, TftpServer, Desk, Desk],
) -> None:
    listener, _, desk, other = pair
    clients = [Client(f"127.0.0.{host}", listener.port) for host in range(1, 11)]
    for each in clients:
        assert each.ask() == each.ask()
        each.socket.close()
    wait_until(lambda: len(desk.closed) + len(other.closed) == 10, 30)  # ten transfers that come to nothing
    assert other.closed


def test_one_desk_decides_for_all_and_texts_are_sent_by_the_listener(
    pair: tuple[TftpServer, TftpServer, Desk, Desk],
) -> None:
    listener, helper, desk, other = pair
    for host in range(1, 11):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((f"127.0.0.{host}", 0))
            client.settimeout(3)
            client.sendto(encode(Request(Opcode.READ, b"menu")), ("127.0.0.1", listener.port))
            assert parse(client.recv(2000)) == Data(1, b"default local")
    assert Client("127.0.0.4", listener.port).fetch() == Client("127.0.0.1", listener.port).fetch() == CONTENT
    assert (desk.opened, other.opened) == (["menu"] * 10 + ["x"] * 2, [])
    assert helper.counters["requests"] == 1


def test_a_helper_goes_on_when_the_listener_is_gone(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    helper = TftpServer(TftpSettings(listen=()), Desk(), time.monotonic, requests=ends[1])
    request = encode(Request(Opcode.READ, b"x"))
    with running(helper), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.bind(("127.0.0.1", 0))
        ends[0].send(envelope(Received(request, client.getsockname(), "127.0.0.1"), tmp_path / "x"))
        answer, transfer = client.recvfrom(2000)
        ends[0].close()
        time.sleep(0.05)
        client.sendto(encode(Ack(1)), transfer)
        assert parse(client.recv(2000)) == Data(2, CONTENT[512:1024])
        assert parse(answer) == Data(1, CONTENT[:512])
