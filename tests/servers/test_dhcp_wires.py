"""Interfaces that come and go, and change their address, while the server runs. A VLAN interface is one like others."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from pxeforge.protocol.dhcp.message import MessageType
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.servers.dhcp import DhcpServer
from pxeforge.servers.interfaces import NoInterface

from .conftest import Desk, Network, Store, running, wait_until
from .test_dhcp import MAC, PROXY, SERVER, SUBNET, pxe_message, replies_to

pytestmark = pytest.mark.needs_root
VLAN = "br0.88"
RACK = Subnet(
    network=IPv4Network("10.88.0.0/24"), first=IPv4Address("10.88.0.50"), last=IPv4Address("10.88.0.60"),
    we_stand_in=True,
)  # fmt: skip
BOTH = replace(SERVER, interfaces=("br0", VLAN), subnets=(SUBNET, RACK), force=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def add_vlan(network: Network, host: str, address: str = "10.88.0.1/24") -> None:
    """A second wire, with a name as VLAN interfaces have it, from the server to `eth0` of the host."""
    subprocess.run(["ip", "-n", host, "link", "del", "eth0"], check=False, capture_output=True)
    ip("-n", network.server, "link", "add", VLAN, "type", "veth", "peer", "name", "eth0", "netns", host)
    ip("-n", host, "link", "set", "eth0", "address", MAC, "up")
    ip("-n", network.server, "addr", "add", address, "dev", VLAN)
    ip("-n", network.server, "link", "set", VLAN, "up")


def offered(host: str, xid: int = 7, *, awaited: int = 1) -> IPv4Address | None:
    found = replies_to(pxe_message(MessageType.DISCOVER, xid=xid), host, listen_s=0.4, awaited=awaited)
    return next(iter(found.values())).yiaddr if found else None


def test_each_interface_lends_its_own_subnet(network: Network, desk: Desk, store: Store) -> None:
    near, far = network.host("52:54:00:00:00:02"), network.host("52:54:00:00:00:03")
    add_vlan(network, far)
    with running(DhcpServer(BOTH, desk, store, time.time), network.server):
        one, other = offered(near), offered(far)
    assert one in SUBNET.network
    assert other in RACK.network


def test_an_interface_that_vanishes_and_returns_is_served_again_and_the_log_says_so(
    network: Network, desk: Desk, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    near, far = network.host("52:54:00:00:00:02"), network.host("52:54:00:00:00:03")
    add_vlan(network, far)
    server = DhcpServer(BOTH, desk, store, time.time)
    with running(server, network.server):
        assert offered(far) in RACK.network
        ip("-n", network.server, "link", "del", VLAN)
        wait_until(lambda: server._wires.interface(VLAN) is None)
        assert offered(near) in SUBNET.network
        add_vlan(network, far)
        wait_until(lambda: server._wires.interface(VLAN) is not None)
        time.sleep(0.05)
        assert offered(far, xid=8) in RACK.network
    said = capfd.readouterr().out
    assert said.index("the interface is gone") < said.index("the interface is back")


def test_a_new_address_is_the_router_and_the_server_from_then_on(network: Network, desk: Desk, store: Store) -> None:
    far = network.host("52:54:00:00:00:03")
    add_vlan(network, far)
    server = DhcpServer(BOTH, desk, store, time.time)
    with running(server, network.server):
        assert list(replies_to(pxe_message(MessageType.DISCOVER), far, 0.4, awaited=1)) == ["10.88.0.1"]
        ip("-n", network.server, "addr", "del", "10.88.0.1/24", "dev", VLAN)
        ip("-n", network.server, "addr", "add", "10.88.0.9/24", "dev", VLAN)
        wait_until(lambda: (wire := server._wires.interface(VLAN)) is not None and str(wire.address) == "10.88.0.9")
        [(sender, offer)] = replies_to(pxe_message(MessageType.DISCOVER), far, 0.4, awaited=1).items()
    assert sender == "10.88.0.9"
    assert offer.options[3] == offer.options[6] == IPv4Address("10.88.0.9").packed


def test_an_interface_without_an_address_is_waited_for(network: Network, desk: Desk, store: Store) -> None:
    far = network.host("52:54:00:00:00:03")
    add_vlan(network, far)
    server = DhcpServer(BOTH, desk, store, time.time)
    with running(server, network.server):
        ip("-n", network.server, "addr", "flush", "dev", VLAN)
        wait_until(lambda: server._wires.interface(VLAN) is None)
        assert offered(far, awaited=0) is None
        ip("-n", network.server, "addr", "add", "10.88.0.1/24", "dev", VLAN)
        wait_until(lambda: server._wires.interface(VLAN) is not None)
        assert offered(far, xid=8) in RACK.network


def test_a_link_that_goes_down_and_up_is_told(network: Network, desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    server = DhcpServer(PROXY, desk, None, time.time)
    network.host(MAC)
    with running(server, network.server):
        for state, is_up in (("down", False), ("up", True)):
            ip("-n", network.server, "link", "set", "br0", state)
            wait_until(lambda is_up=is_up: (wire := server._wires.interface("br0")) is not None and wire.is_up is is_up)
    said = capfd.readouterr().out
    assert said.index("the link is down") < said.index("the link is up again")


def test_an_interface_that_is_missing_at_the_start_is_an_error(network: Network, desk: Desk, store: Store) -> None:
    with (
        pytest.raises(NoInterface, match=r"there is no interface br0\.88: choose one of br0 \(10\.77\.0\.1\)"),
        running(DhcpServer(BOTH, desk, store, time.time), network.server),
    ):
        pass
