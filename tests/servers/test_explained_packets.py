"""`host explain` against the real DHCP server: every byte, for reserved addresses, other interfaces and relays."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from pyroute2 import netns

from pxeforge.protocol.dhcp.message import DhcpMessage, Option
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.servers.dhcp import DhcpMode, DhcpServer, DhcpSettings
from pxeforge.services import arming, hosts, loaders
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.explanation import explain
from pxeforge.services.leases import StoredLeases
from pxeforge.services.reservations import StoredNetworks
from tests.conftest import MAC

from .conftest import Network, running, wait_until

pytestmark = pytest.mark.needs_root
SECOND = "52:54:00:12:34:57"
ADDRESSES = {"br0": "10.77.0.1", "br1": "10.88.0.1"}
SUBNETS = tuple(
    Subnet(
        network=IPv4Network(f"{start}.0/24"), first=IPv4Address(f"{start}.50"), last=IPv4Address(f"{start}.60"),
        we_stand_in=True, domain="lab.example",
    )
    for start in ("10.77.0", "10.88.0")
)  # fmt: skip
FAR = Subnet(  # behind a router
    network=IPv4Network("10.99.0.0/24"), first=IPv4Address("10.99.0.50"), last=IPv4Address("10.99.0.60"),
    router=IPv4Address("10.99.0.1"),
)  # fmt: skip


@pytest.fixture
def wires(network: Network) -> Network:
    for words in (
        "link add br1 type bridge forward_delay 0",
        "addr add 10.88.0.1/24 dev br1",
        "link set br1 up",
    ):
        subprocess.run(["ip", "-n", network.server, *words.split()], check=True)
    return network


@pytest.fixture
def two_wires(ctx: Context, profile: str) -> Context:
    """The armed host n1 has two NICs; each wire has its subnet."""
    hosts.add(ctx, macs=[MAC, SECOND], name="n1", who="test")
    arming.arm(ctx, "n1", profile=profile, who="test")
    return replace(
        ctx, dhcp="server", subnets=lambda: (*SUBNETS, FAR), interfaces=lambda: ADDRESSES,
        addresses=replace(ctx.addresses, boot_address=ADDRESSES["br0"]),
    )  # fmt: skip


def server(ctx: Context) -> DhcpServer:
    settings = DhcpSettings(
        interfaces=tuple(ADDRESSES), mode=DhcpMode(ctx.dhcp), subnets=(*SUBNETS, FAR), force=True, address_check_s=0.0,
        files=loaders.boot_files(ctx.data_dir, ctx.addresses.boot_port),
    )  # fmt: skip
    return DhcpServer(settings, Desk(ctx), StoredLeases(ctx), ctx.clock, networks=StoredNetworks(ctx))


def asked(
    namespace: str, questions: Sequence[bytes], *, as_relay: str = "", to: str = "255.255.255.255"
) -> list[bytes]:
    """What `eth0` of the namespace hears after each of its messages; `as_relay`: the address it has as a relay."""
    found: list[bytes] = []

    def work() -> None:
        netns.setns(namespace)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.bind((as_relay, 67) if as_relay else ("0.0.0.0", 68))
            client.settimeout(20)
            for question in questions:
                client.sendto(question, (to, 67))
                found.append(client.recv(4000))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def explained(told: dict[str, Any]) -> tuple[list[bytes], list[bytes]]:
    """What the host says on port 67, and our answers."""
    steps = [step for step in told["steps"] if step["hex"] and "4011" not in step["title"]]
    ours = [step["title"].startswith("our ") for step in steps]
    assert ours == [False, True] * (len(steps) // 2)
    packets = [bytes.fromhex(step["hex"]) for step in steps]
    return packets[::2], packets[1::2]


def is_heard(ctx: Context, wires: Network, bridge: str, mac: str) -> str:
    """Plugs the NIC in; returns its namespace when the server has written down where the host was heard."""
    namespace = wires.host(mac, bridge=bridge)
    asked(namespace, explained(explain(ctx, mac, firmware="bios"))[0][:1])
    wait_until(lambda: explain(ctx, mac)["our_address_reason"].endswith(bridge))
    return namespace


@pytest.mark.parametrize("firmware", ["bios", "uefi-x64", "http-x64"])
@pytest.mark.parametrize(
    ("bridge", "mac", "reserved"),
    [("br0", MAC, "10.77.0.200"), ("br1", SECOND, "10.88.0.200"), ("br1", MAC, None)],
)
def test_server_mode_sends_what_was_explained(
    wires: Network, two_wires: Context, bridge: str, mac: str, reserved: str | None, firmware: str
) -> None:
    ctx = two_wires
    hosts.change(ctx, "n1", reserve={mac: reserved}, settings={"network": {"mtu": 1400}}, loader="ipxe", who="test")
    with running(server(ctx), wires.server):
        namespace = is_heard(ctx, wires, bridge, mac)
        told = explain(ctx, mac, firmware=firmware)
        questions, answers = explained(told)
        heard = asked(namespace, questions)
    assert [data.hex() for data in heard] == [data.hex() for data in answers]
    assert len(answers) >= 2  # OFFER and ACK, where iPXE follows once more
    offer = DhcpMessage.parse(answers[0])
    assert (told["nic"], told["our_address"], str(offer.siaddr)) == (mac, ADDRESSES[bridge], ADDRESSES[bridge])
    assert offer.options[Option.MTU] == (1400).to_bytes(2, "big")
    assert reserved is None or str(offer.yiaddr) == reserved


@pytest.mark.parametrize("firmware", ["bios", "uefi-x64", "http-x64"])
@pytest.mark.parametrize(("bridge", "mac"), [("br0", MAC), ("br1", SECOND)])
def test_proxy_mode_sends_what_was_explained(
    wires: Network, two_wires: Context, bridge: str, mac: str, firmware: str
) -> None:
    ctx = replace(two_wires, dhcp="proxy", subnets=tuple)
    with running(server(ctx), wires.server):
        namespace = is_heard(ctx, wires, bridge, mac)
        told = explain(ctx, mac, firmware=firmware)
        questions, answers = explained(told)
        assert [data.hex() for data in asked(namespace, questions)] == [data.hex() for data in answers]
    assert told["our_address"] == ADDRESSES[bridge]
    assert f"http://{ADDRESSES[bridge]}:8080/" in told["files"]["answers"]


@pytest.mark.parametrize("firmware", ["bios", "http-x64"])
def test_a_host_behind_a_relay_is_explained_as_the_relay_hears_it(
    wires: Network, two_wires: Context, firmware: str
) -> None:
    ctx = two_wires
    hosts.change(ctx, "n1", reserve={MAC: "10.99.0.200"}, who="test")
    router = wires.host("52:54:00:00:00:03", "10.77.0.3/24")
    for words in (
        f"-n {router} addr add 10.99.0.1/24 dev eth0",
        f"-n {wires.server} route add 10.99.0.0/24 via 10.77.0.3",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    told = explain(ctx, MAC, firmware=firmware)
    questions, answers = explained(told)
    with running(server(ctx), wires.server):
        heard = asked(router, questions, as_relay="10.99.0.1", to="10.77.0.1")
    assert [data.hex() for data in heard] == [data.hex() for data in answers]
    assert told["relay"] == "10.99.0.1"
    offer = DhcpMessage.parse(answers[0])
    assert (str(offer.yiaddr), str(offer.giaddr)) == ("10.99.0.200", "10.99.0.1")
    assert "to 10.99.0.1:67" in "".join(step["title"] for step in told["steps"])
