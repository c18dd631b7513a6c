from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from pyroute2 import netns

from pxeforge.servers.tftp_sockets import largest_blksize, transfer_sockets

from .conftest import Network


@pytest.fixture
def peer() -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind(("127.0.0.1", 0))
    found.settimeout(3)
    return found


def test_the_client_is_heard_by_one_socket_and_strangers_by_the_other(peer: socket.socket) -> None:
    ours, strangers = transfer_sockets("127.0.0.1", peer.getsockname())
    with peer, ours, strangers, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        assert ours.getsockname() == strangers.getsockname()
        for number in range(20):
            peer.sendto(b"p%d" % number, ours.getsockname())
            stranger.sendto(b"s%d" % number, ours.getsockname())
        for udp in (ours, strangers):
            udp.settimeout(3)
        assert [ours.recv(9) for _ in range(20)] == [b"p%d" % number for number in range(20)]
        assert [strangers.recv(9) for _ in range(20)] == [b"s%d" % number for number in range(20)]


def test_every_transfer_has_a_port_of_its_own(peer: socket.socket) -> None:
    with peer:
        pairs = [transfer_sockets("127.0.0.1", peer.getsockname()) for _ in range(300)]
        ports = {udp.getsockname()[1] for udp, _ in pairs}
        for pair in pairs:
            for each in pair:
                each.close()
    assert len(ports) == 300


def test_another_program_cannot_sit_down_on_a_transfers_port_by_reuseaddr(peer: socket.socket) -> None:
    ours, strangers = transfer_sockets("127.0.0.1", peer.getsockname())
    with peer, ours, strangers, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(ours.getsockname())


@pytest.mark.parametrize("address", ["192.0.2.77", "not an address"])
def test_an_address_that_is_not_ours_leaves_nothing_open(address: str) -> None:
    with pytest.raises(OSError):
        transfer_sockets(address, ("127.0.0.1", 9))


@pytest.mark.needs_root
def test_blocks_fit_the_mtu_of_the_way(network: Network) -> None:
    host = network.host("52:54:00:aa:bb:02", "10.77.0.51/24")
    found = []
    for mtu in ("1500", "1400", "9000"):
        subprocess.run(["ip", "-n", network.server, "link", "set", "br0", "mtu", mtu], check=True)
        with Path("/proc/self/ns/net").open() as here:
            netns.setns(network.server)
            try:
                ours, strangers = transfer_sockets("10.77.0.1", ("10.77.0.51", 2070))
            finally:
                netns.setns(here)
        with ours, strangers:
            found.append(largest_blksize(ours))
    assert host
    assert found == [1468, 1368, 8968]
