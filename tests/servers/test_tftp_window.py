from __future__ import annotations

import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from pxeforge.protocol.tftp.transfer import Datagram, Window
from pxeforge.servers.tftp_window import WindowSender

CONTENT = random.Random(5).randbytes(400_000)


class Udp(socket.socket):
    """A real UDP socket that counts its sends and can refuse like a kernel that cannot cut."""

    def __init__(self, to: tuple[str, int] = ("127.0.0.1", 9)) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", 0))
        self.connect(to)
        self.sends: list[int] = []
        self.refuses_option = False
        self.refuses_longer_than = 1 << 20

    def setsockopt(self, *arguments: object) -> None:  # type: ignore[override]
        if self.refuses_option:
            raise OSError(92, "Protocol not available")
        super().setsockopt(*arguments)  # type: ignore[call-overload]

    def send(self, data: bytes) -> int:  # type: ignore[override]
        if len(data) > self.refuses_longer_than:
            raise OSError(5, "Input/output error")
        self.sends.append(len(data))
        return super().send(data)


@pytest.fixture
def udp(client: socket.socket) -> Iterator[Udp]:
    with Udp(client.getsockname()) as found:
        yield found


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        found.settimeout(0.3)
        yield found


def window(blocks: int, last: int, to: tuple[str, int], block_bytes: int = 1472) -> Window:
    """`blocks` packets, the last one `last` bytes long."""
    return Window(CONTENT[: (blocks - 1) * block_bytes + last], block_bytes, to)


def heard(client: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(client.recv(70_000))
        except TimeoutError:
            return found


@pytest.mark.parametrize(
    ("blocks", "last", "block_bytes", "sends"),
    [
        (2, 4, 1472, 1),  # the file's end: an empty block
        (16, 1472, 1472, 1),
        (16, 700, 1472, 1),
        (44, 1472, 1472, 1),
        (45, 1472, 1472, 2),  # more than 64 kB
        (64, 5, 1472, 2),
        (64, 516, 516, 1),
        (65, 516, 516, 2),  # more than 64 blocks
        (65, 4, 516, 2),
    ],
)
def test_the_client_hears_every_block_of_a_window_by_itself(
    udp: Udp, client: socket.socket, blocks: int, last: int, block_bytes: int, sends: int
) -> None:
    sent = window(blocks, last, client.getsockname(), block_bytes)
    sender = WindowSender(udp, block_bytes)
    sender.send(sent)
    assert heard(client) == [datagram.payload for datagram in sent]
    assert len(sent) == blocks
    if sender.cuts:  # always on Linux 4.18 and later
        assert len(udp.sends) == sends


def test_without_the_kernels_help_blocks_go_one_by_one(udp: Udp, client: socket.socket) -> None:
    udp.refuses_option = True
    sender = WindowSender(udp, 1472)
    assert not sender.cuts
    sent = window(5, 100, client.getsockname())
    sender.send(sent)
    assert heard(client) == [datagram.payload for datagram in sent]
    assert udp.sends == [1472] * 4 + [100]


def test_a_kernel_that_refuses_is_not_asked_again_and_no_block_is_lost(udp: Udp, client: socket.socket) -> None:
    sender = WindowSender(udp, 1472)
    udp.refuses_longer_than = 1472
    for _ in range(2):
        sent = window(60, 9, client.getsockname())
        sender.send(sent)
        assert heard(client) == [datagram.payload for datagram in sent]
    assert not sender.cuts
    assert len(udp.sends) == 120


def test_control_packets_are_never_cut(udp: Udp, client: socket.socket) -> None:
    sender = WindowSender(udp, 12)  # blksize 8: an OACK is longer than a block
    assert not sender.cuts
    sender.send([Datagram(b"\0\6" + b"windowsize\0" + b"16\0" + b"blksize\0" + b"8\0", client.getsockname())])
    assert len(heard(client)) == 1


class Narrow(Udp):
    """Its buffer takes `room` more packets, then it is full."""

    room = 0

    def send(self, data: bytes) -> int:  # type: ignore[override]
        if self.room == 0:
            raise BlockingIOError
        self.room -= 1
        return super().send(data)


@pytest.mark.parametrize("helped", [True, False])
def test_what_finds_the_buffer_full_waits_and_goes_on_where_it_stopped(client: socket.socket, helped: bool) -> None:
    with Narrow(client.getsockname()) as narrow:
        narrow.refuses_option = not helped
        sender = WindowSender(narrow, 1472)
        sent = window(60, 100, client.getsockname())  # more than 64 kB: two calls, with the kernel's help
        narrow.room = 1
        sender.send(sent)
        assert sender.blocked
        sender.resume()
        assert sender.blocked  # still no room
        narrow.room = 100
        sender.resume()
        assert not sender.blocked
        assert heard(client) == [datagram.payload for datagram in sent]
        assert sender.cuts == helped


def test_what_waits_for_room_is_forgotten_when_there_is_newer(client: socket.socket) -> None:
    with Narrow(client.getsockname()) as narrow:
        sender = WindowSender(narrow, 1472)
        sender.send(window(5, 100, client.getsockname()))
        narrow.room = 9
        sender.send([Datagram(b"\0\5\0\0\0", client.getsockname())])
        assert not sender.blocked
        assert heard(client) == [b"\0\5\0\0\0"]


def test_a_kernel_that_refuses_in_the_middle_of_a_full_buffer_loses_no_block(client: socket.socket) -> None:
    with Narrow(client.getsockname()) as narrow:
        sender = WindowSender(narrow, 1472)
        narrow.refuses_longer_than, narrow.room = 1472, 3
        real = narrow.send

        def send(data: bytes) -> int:
            if len(data) > 1472:
                raise OSError(5, "Input/output error")
            return real(data)

        narrow.send = send  # type: ignore[method-assign]
        sent = window(60, 100, client.getsockname())
        sender.send(sent)
        assert sender.blocked
        assert not sender.cuts
        narrow.room = 100
        sender.resume()
        assert heard(client) == [datagram.payload for datagram in sent]


def test_an_old_answer_of_the_client_does_not_cost_a_packet() -> None:
    """A closed port answers by ICMP, which the next send on a connected socket reports instead of sending."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        address = client.getsockname()
    with Udp(address) as udp:
        sender = WindowSender(udp, 0)
        sender.send([Datagram(b"1", address)])  # nobody is there
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(address)
            client.settimeout(0.3)
            sender.send([Datagram(b"2", address)])
            assert heard(client) == [b"2"]


@pytest.mark.needs_root
def test_a_way_with_a_smaller_mtu_gets_every_byte(network: object, tmp_path: Path) -> None:
    """The kernel itself refuses to cut into blocks that would have to be fragmented (EINVAL)."""
    server = network.server  # type: ignore[attr-defined]
    subprocess.run(["ip", "-n", server, "link", "set", "br0", "mtu", "1200"], check=True)
    host = network.host("52:54:00:aa:bb:01", "10.77.0.50/24")  # type: ignore[attr-defined]
    here = Path("/proc/self/ns/net").open()  # noqa: SIM115
    try:
        netns.setns(host)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind(("10.77.0.50", 6000))
        client.settimeout(1)
        netns.setns(server)
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.connect(("10.77.0.50", 6000))
    finally:
        netns.setns(here)
        here.close()
    with client, ours:
        sender = WindowSender(ours, 1472)
        sent = window(16, 30, ("10.77.0.50", 6000))
        sender.send(sent)
        assert heard(client) == [datagram.payload for datagram in sent]
        assert not sender.cuts
