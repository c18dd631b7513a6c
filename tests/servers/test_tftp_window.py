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

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", 0))
        self.sends: list[int] = []
        self.refuses_option = False
        self.refuses_longer_than = 1 << 20

    def setsockopt(self, *arguments: object) -> None:  # type: ignore[override]
        if self.refuses_option:
            raise OSError(92, "Protocol not available")
        super().setsockopt(*arguments)  # type: ignore[call-overload]

    def sendto(self, data: bytes, to: tuple[str, int]) -> int:  # type: ignore[override]
        if len(data) > self.refuses_longer_than:
            raise OSError(5, "Input/output error")
        self.sends.append(len(data))
        return super().sendto(data, to)


@pytest.fixture
def udp() -> Iterator[Udp]:
    with Udp() as found:
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


def test_a_full_send_buffer_is_reported_and_the_kernels_help_kept(udp: Udp) -> None:
    class Full(Udp):
        def sendto(self, data: bytes, to: tuple[str, int]) -> int:  # type: ignore[override]
            raise BlockingIOError

    with Full() as full:
        sender = WindowSender(full, 1472)
        before = sender.cuts
        with pytest.raises(BlockingIOError):
            sender.send(window(5, 100, ("127.0.0.1", 9)))
        assert sender.cuts == before


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
    finally:
        netns.setns(here)
        here.close()
    with client, ours:
        sender = WindowSender(ours, 1472)
        sent = window(16, 30, ("10.77.0.50", 6000))
        sender.send(sent)
        assert heard(client) == [datagram.payload for datagram in sent]
        assert not sender.cuts
