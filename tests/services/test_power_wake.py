"""Wake-on-LAN: the magic packet as a host's NIC sees it, on every boot interface and on no other."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pyroute2 import netns

from pxeforge.domain.mac import MacAddress
from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services.power_driver import PowerFault, Target
from pxeforge.services.power_wake import Wake, magic_packet
from tests.servers.conftest import Network, network

__all__ = ["network"]

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"


def wake(interfaces: Mapping[str, str], address: str | None = None, **settings: str) -> Wake:
    target = Target(
        host_id="a" * 12, label="n1", macs=(MAC, OTHER), uefi=None, driver="wake-on-lan", settings=settings,
        password=None,
    )  # fmt: skip
    return Wake(target, interfaces, address)


def inside(namespace: str, work: Callable[[], Any]) -> Any:
    """What `work` gives in a network namespace."""
    found: list[Any] = []

    def run() -> None:
        netns.setns(namespace)
        try:
            found.append(work())
        except Exception as problem:
            found.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def listening() -> socket.socket:
    """All frames of eth0 with IPv4, as the wire brings them."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    packets.bind(("eth0", 0x0800))
    return packets


def frames(packets: socket.socket) -> list[bytes]:
    """What came by UDP, until nothing more comes for a moment."""
    poll, found = select.poll(), []
    poll.register(packets, select.POLLIN)
    while poll.poll(1000 if not found else 100):
        frame = packets.recv(2048)
        found += [frame] if frame[23] == socket.IPPROTO_UDP else []
    return found


def udp(frame: bytes) -> tuple[bytes, bytes, str, int, bytes]:
    """(destination MAC, source address, destination address, port, payload)"""
    ip = frame[14:]
    head = (ip[0] & 15) * 4
    return frame[:6], ip[12:16], socket.inet_ntoa(ip[16:20]), int.from_bytes(ip[head + 2 : head + 4]), ip[head + 8 :]


@pytest.mark.needs_root
def test_the_host_hears_the_packet_on_its_own_wire_and_only_there(network: Network) -> None:
    here = network.host(MAC, "10.77.0.50/24")
    subprocess.run(
        ["ip", "-n", network.server, "link", "add", "br1", "type", "bridge", "forward_delay", "0"], check=True
    )
    subprocess.run(["ip", "-n", network.server, "addr", "add", "10.78.0.1/24", "dev", "br1"], check=True)
    subprocess.run(["ip", "-n", network.server, "link", "set", "br1", "up"], check=True)
    # A default route that leads elsewhere: the broadcast must not follow it.
    subprocess.run(["ip", "-n", network.server, "route", "add", "default", "via", "10.78.0.9"], check=True)
    there = network.host("52:54:00:00:00:09", "10.78.0.50/24", bridge="br1")
    with inside(here, listening) as ours, inside(there, listening) as theirs:
        inside(network.server, wake({"br0": "10.77.0.1"}).switch_on)
        heard = [udp(frame) for frame in frames(ours)]
        assert len(heard) == 6
        assert {one[:4] for one in heard} == {(b"\xff" * 6, bytes([10, 77, 0, 1]), "255.255.255.255", 9)}
        assert {one[4] for one in heard} == {magic_packet(MacAddress.parse(mac)) for mac in (MAC, OTHER)}
        assert frames(theirs) == []
        inside(network.server, wake({"br0": "10.77.0.1", "br1": "10.78.0.1"}, mac=MAC).switch_on)
        assert {udp(frame)[4] for frame in frames(theirs)} == {magic_packet(MacAddress.parse(MAC))}
        frames(ours)
        inside(network.server, wake({}, "10.77.0.255").switch_on)
        assert {udp(frame)[2] for frame in frames(ours)} == {"10.77.0.255"}


def test_a_magic_packet_is_six_ff_and_the_address_sixteen_times() -> None:
    assert magic_packet(MacAddress.parse(MAC)) == bytes.fromhex("ff" * 6 + "525400123456" * 16)


def test_it_can_only_switch_on_and_knows_nothing() -> None:
    driver = wake({})
    assert driver.can == {PowerAbility.ON}
    assert driver.state() is PowerState.UNKNOWN
    for work in (lambda: driver.switch_off(soft=False), driver.restart, driver.netboot_once):
        with pytest.raises(PowerFault, match="can only switch on"):
            work()


def test_without_an_interface_or_with_one_that_is_gone_nothing_is_claimed() -> None:
    with pytest.raises(PowerFault, match="no boot interface is there to send from"):
        wake({}).switch_on()
    with pytest.raises(PowerFault, match="could not be sent to 255"):
        wake({"eth9": "192.0.2.77"}).switch_on()
