from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from pyroute2 import netns

from pxeforge.domain.firmware import Firmware
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.lease import LeaseState
from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType, Op, Option
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.servers.datagram import CannotListen
from pxeforge.servers.dhcp import DhcpMode, DhcpServer, DhcpSettings, OtherDhcpServer

from .conftest import Desk, Network, Store, running, wait_until

MAC = "52:54:00:12:34:56"
FILES = BootFiles(ipxe_menu_url="http://{server}:8080/boot/{mac}/menu.ipxe")
SUBNET = Subnet(
    network=IPv4Network("10.77.0.0/24"),
    first=IPv4Address("10.77.0.50"),
    last=IPv4Address("10.77.0.60"),
    router=IPv4Address("10.77.0.1"),
    dns=(IPv4Address("10.77.0.1"),),
    domain="lab.example",
    lease_time_s=600,
)
PROXY = DhcpSettings(interfaces=("br0",), mode=DhcpMode.PROXY, files=FILES)
SERVER = DhcpSettings(
    interfaces=("br0",), mode=DhcpMode.SERVER, files=FILES, subnets=(SUBNET,), probe_s=0.3, address_check_s=0.0
)
Loopback = tuple[DhcpServer, socket.socket, tuple[str, int]]
_SHOW_ENVIRONMENT = """#!/bin/sh
[ "$1" = bound ] && env > "$OUT"
[ "$1" = bound ] && ip addr add "$ip/$mask" dev "$interface"
exit 0
"""


def pxe_message(kind: MessageType, *, is_ipxe: bool = False, xid: int = 7, **more: bytes) -> DhcpMessage:
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes((kind,)),
        Option.VENDOR_CLASS: b"PXEClient:Arch:00000:UNDI:002001",
        Option.ARCHITECTURE: b"\0\0",
        **({Option.USER_CLASS: b"iPXE"} if is_ipxe else {}),
        **{Option[name]: value for name, value in more.items()},
    }
    return DhcpMessage(
        op=Op.REQUEST, xid=xid, flags=0x8000, chaddr=bytes.fromhex(MAC.replace(":", "")), options=options
    )


# ---- without root: unicast to the boot server port on loopback


@pytest.fixture
def loopback(desk: Desk) -> Iterator[Loopback]:
    ports = [free_port(), free_port()]
    settings = replace(PROXY, interfaces=("lo",), dhcp_port=ports[0], binl_port=ports[1])
    server = DhcpServer(settings, desk, None, time.time)
    with running(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        yield server, client, ("127.0.0.1", ports[1])


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_armed_host_is_answered_from_the_boot_server_port(loopback: Loopback, desk: Desk) -> None:
    _, client, to = loopback
    desk.armed.add(MAC)
    client.sendto(pxe_message(MessageType.REQUEST).encode(), to)
    data, sender = client.recvfrom(2000)
    reply = DhcpMessage.parse(data)
    assert sender == to
    assert (reply.message_type, reply.file, str(reply.siaddr)) == (MessageType.ACK, b"pxelinux.0", "127.0.0.1")
    wait_until(lambda: bool(desk.answered))
    assert desk.answered == ["proxy ACK from port 4011, boot file pxelinux.0"]
    assert desk.seen == [(MAC, "REQUEST")]


def test_junk_and_a_failing_desk_do_not_stop_the_server(loopback: Loopback, desk: Desk) -> None:
    server, client, to = loopback
    desk.armed.add(MAC)
    desk.failing = True
    for junk in (b"", b"x", b"\1" * 300, pxe_message(MessageType.REQUEST).encode()):
        client.sendto(junk, to)
    wait_until(lambda: (server.counters["malformed"], desk.failures) == (3, 1))
    desk.failing = False
    client.sendto(pxe_message(MessageType.REQUEST, xid=99).encode(), to)
    assert DhcpMessage.parse(client.recv(2000)).xid == 99


def test_a_host_that_is_not_armed_is_seen_and_hears_nothing(loopback: Loopback, desk: Desk) -> None:
    server, client, to = loopback
    client.sendto(pxe_message(MessageType.REQUEST).encode(), to)
    wait_until(lambda: server.counters["ignored"] == 1)
    assert desk.seen == [(MAC, "REQUEST")]
    assert (server.counters["answered"], desk.answered) == (0, [])


def test_a_flood_from_one_mac_is_dropped_and_others_are_answered(loopback: Loopback, desk: Desk) -> None:
    server, client, to = loopback
    other = "52:54:00:00:00:99"
    desk.armed |= {MAC, other}
    quiet = replace(pxe_message(MessageType.REQUEST, xid=99), chaddr=bytes.fromhex(other.replace(":", "")))
    for _ in range(300):
        client.sendto(pxe_message(MessageType.REQUEST).encode(), to)
    client.sendto(quiet.encode(), to)
    # Received is counted before what becomes of it.
    wait_until(lambda: server.counters["flooding"] + server.counters["answered"] == 301)
    assert server.counters["received"] == 301
    assert 40 <= server.counters["answered"] < 100
    replies = [DhcpMessage.parse(client.recv(2000)).xid for _ in range(server.counters["answered"])]
    assert replies[-1] == 99


def test_a_port_in_use_is_explained(desk: Desk) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as dnsmasq does
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
        settings = replace(PROXY, interfaces=("lo",), dhcp_port=port, binl_port=free_port())
        with pytest.raises(CannotListen, match=rf"port {port} on lo is in use \(another DHCP server\?\).*--dhcp off"):
            DhcpServer(settings, desk, None, time.time).open()


def test_server_mode_without_a_range_is_refused(desk: Desk, store: Store) -> None:
    with pytest.raises(ValueError, match="needs an address range"):
        DhcpServer(replace(SERVER, interfaces=("lo",), subnets=()), desk, store, time.time).open()


# ---- with root: whole exchanges on a bridge between network namespaces


@contextmanager
def dnsmasq(namespace: str, lease_file: Path) -> Iterator[None]:
    """The site's own DHCP server."""
    command = (
        f"ip netns exec {namespace} dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=eth0 "
        "--bind-interfaces --dhcp-range=10.77.0.100,10.77.0.120,1h --no-ping --user=root --pid-file= "
        f"--dhcp-leasefile={lease_file}"
    )
    process = subprocess.Popen(command.split(), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while "sockets bound" not in (line := process.stderr.readline()):
            assert line, "dnsmasq did not start"
        yield
    finally:
        process.terminate()
        process.communicate(timeout=5)


def udhcpc(namespace: str, folder: Path, *extra: str) -> dict[str, str]:
    """Runs busybox's client once; returns what it learned, empty where it got no lease."""
    script, out = folder / "script", folder / f"out-{time.monotonic_ns()}"
    script.write_text(_SHOW_ENVIRONMENT)
    script.chmod(0o755)
    options = ["-i", "eth0", "-f", "-n", "-q", "-t", "3", "-T", "1", "-O", "bootfile", "-O", "tftp"]
    command = ["ip", "netns", "exec", namespace, "env", f"OUT={out}", "busybox", "udhcpc", *options]
    subprocess.run([*command, "-s", str(script), *extra], capture_output=True, timeout=20, check=False)
    lines = out.read_text().splitlines() if out.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def replies_to(
    question: DhcpMessage, namespace: str, listen_s: float = 1.0, *, awaited: int = 0
) -> dict[str, DhcpMessage]:
    """Broadcasts a message from `eth0` of the namespace; the replies by the server they name.

    On a busy computer the `awaited` ones may come later than `listen_s`, up to half a minute.
    """
    found: dict[str, DhcpMessage] = {}

    def work() -> None:
        netns.setns(namespace)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.bind(("0.0.0.0", 68))
            client.sendto(question.encode(), ("255.255.255.255", 67))
            began = time.monotonic()
            while (left := began + (listen_s if len(found) >= awaited else 30.0) - time.monotonic()) > 0:
                wait = struct.pack("ll", int(left), max(int(left % 1 * 1_000_000), 1))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
                try:
                    data, (sender, _) = client.recvfrom(2000)
                except BlockingIOError:
                    continue
                reply = DhcpMessage.parse(data)
                assert reply.xid == question.xid
                assert sender == str(reply.address(Option.SERVER_ID))
                found[sender] = reply

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


needs_udhcpc = pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")
needs_dnsmasq = pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")


@pytest.mark.needs_root
@needs_udhcpc
def test_a_plain_client_gets_a_lease_with_router_and_dns_that_is_stored(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    host = network.host(MAC)
    with running(DhcpServer(SERVER, desk, store, time.time), network.server):
        learned = udhcpc(host, tmp_path)
        assert (learned["router"], learned["dns"], learned["domain"]) == ("10.77.0.1", "10.77.0.1", "lab.example")
        assert (learned["subnet"], learned["lease"], learned["serverid"]) == ("255.255.255.0", "600", "10.77.0.1")
        assert "boot_file" not in learned
        assert "bootfile" not in learned
    assert store.leases[learned["ip"]].state is LeaseState.BOUND
    assert desk.seen == []  # not a netboot client


@pytest.mark.needs_root
@needs_udhcpc
def test_after_a_restart_a_host_keeps_its_address_and_a_release_is_stored(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    host, other = network.host(MAC), network.host("52:54:00:00:00:99")
    with running(DhcpServer(SERVER, desk, store, time.time), network.server):
        first = udhcpc(host, tmp_path)["ip"]
    with running(DhcpServer(replace(SERVER, force=True), desk, store, time.time), network.server):
        assert udhcpc(other, tmp_path, "-r", first)["ip"] != first
        assert udhcpc(host, tmp_path)["ip"] == first
        leaving = replace(pxe_message(MessageType.RELEASE), ciaddr=IPv4Address(first))
        assert replies_to(leaving, host, listen_s=0.2) == {}
        wait_until(lambda: store.leases[first].state is LeaseState.RELEASED)


@pytest.mark.needs_root
@needs_udhcpc
def test_a_lease_that_cannot_be_stored_is_not_given(network: Network, desk: Desk, store: Store, tmp_path: Path) -> None:
    host = network.host(MAC)
    with running(DhcpServer(SERVER, desk, store, time.time), network.server):
        store.failing = True
        assert udhcpc(host, tmp_path) == {}
        store.failing = False
        assert udhcpc(host, tmp_path)["ip"]


@pytest.mark.needs_root
def test_in_server_mode_only_an_armed_host_gets_a_boot_file(network: Network, desk: Desk, store: Store) -> None:
    host = network.host(MAC)
    with running(DhcpServer(SERVER, desk, store, time.time), network.server):
        offer = replies_to(pxe_message(MessageType.DISCOVER, is_ipxe=True), host, awaited=1)["10.77.0.1"]
        assert (offer.file, Option.BOOT_FILE in offer.options) == (b"", False)
        desk.armed.add(MAC)
        armed = replies_to(pxe_message(MessageType.DISCOVER, is_ipxe=True), host, awaited=1)["10.77.0.1"]
        assert armed.file == b"http://10.77.0.1:8080/boot/52:54:00:12:34:56/menu.ipxe"
        assert armed.yiaddr == offer.yiaddr
    assert desk.seen == [(MAC, "DISCOVER")] * 2


@pytest.mark.needs_root
def test_without_a_stored_lease_there_is_no_ack_and_the_server_lives(
    network: Network, desk: Desk, store: Store
) -> None:
    host = network.host(MAC)
    server = DhcpServer(SERVER, desk, store, time.time)
    wanted = {"SERVER_ID": IPv4Address("10.77.0.1").packed, "REQUESTED_ADDRESS": IPv4Address("10.77.0.55").packed}
    with running(server, network.server):
        store.failing = True
        assert replies_to(pxe_message(MessageType.REQUEST, **wanted), host) == {}
        assert (server.counters["unsaved"], store.leases) == (1, {})
        store.failing = False
        [ack] = replies_to(pxe_message(MessageType.REQUEST, **wanted), host, awaited=1).values()
    assert (ack.message_type, str(ack.yiaddr)) == (MessageType.ACK, "10.77.0.55")
    assert list(store.leases) == ["10.77.0.55"]


@pytest.mark.needs_root
@needs_udhcpc
@needs_dnsmasq
def test_beside_the_sites_dhcp_server_the_proxy_adds_a_boot_file_for_armed_hosts_only(
    network: Network, desk: Desk, tmp_path: Path
) -> None:
    site, host = network.host("52:54:00:00:00:02", "10.77.0.2/24"), network.host(MAC)
    server = DhcpServer(PROXY, desk, None, time.time)
    with dnsmasq(site, tmp_path / "leases"), running(server, network.server):
        assert set(replies_to(pxe_message(MessageType.DISCOVER), host, awaited=1)) == {"10.77.0.2"}
        desk.armed.add(MAC)
        both = replies_to(pxe_message(MessageType.DISCOVER), host, awaited=2)
        assert set(both) == {"10.77.0.1", "10.77.0.2"}
        assert both["10.77.0.2"].yiaddr in IPv4Network("10.77.0.0/24")
        ours = both["10.77.0.1"]
        assert (str(ours.yiaddr), ours.file, str(ours.siaddr)) == ("0.0.0.0", b"pxelinux.0", "10.77.0.1")
        # The host's REQUEST to the site's server is none of ours.
        wanted = {"SERVER_ID": IPv4Address("10.77.0.2").packed, "REQUESTED_ADDRESS": both["10.77.0.2"].yiaddr.packed}
        acked = replies_to(pxe_message(MessageType.REQUEST, **wanted), host, awaited=1)
        assert set(acked) == {"10.77.0.2"}
        # A plain client is the site's business alone, even if its MAC is armed.
        learned = udhcpc(host, tmp_path)
        assert learned["serverid"] == "10.77.0.2"


@pytest.mark.needs_root
@needs_dnsmasq
def test_server_mode_does_not_start_beside_another_dhcp_server(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    site = network.host("52:54:00:00:00:02", "10.77.0.2/24")
    with dnsmasq(site, tmp_path / "leases"):
        server = DhcpServer(replace(SERVER, probe_s=1.0), desk, store, time.time)
        with (
            pytest.raises(OtherDhcpServer, match=r"answers on br0 \(10\.77\.0\.2\): use --dhcp proxy"),
            running(server, network.server),
        ):
            pass
        with running(DhcpServer(replace(SERVER, force=True), desk, store, time.time), network.server):
            pass


@pytest.mark.needs_root
@pytest.mark.parametrize("mode", DhcpMode)
def test_this_computer_that_asks_itself_is_no_host(network: Network, desk: Desk, store: Store, mode: DhcpMode) -> None:
    """The doctor sends a PXE DISCOVER by each interface."""
    subprocess.run(["ip", "-n", network.server, "link", "set", "br0", "address", MAC], check=True)
    host = network.host("52:54:00:00:00:07")
    desk.armed.add(MAC)
    with running(DhcpServer(replace(SERVER, mode=mode), desk, store, time.time), network.server):
        found = replies_to(pxe_message(MessageType.DISCOVER), host, awaited=1 if mode is DhcpMode.SERVER else 0)
    assert [reply.file for reply in found.values()] == ([b""] if mode is DhcpMode.SERVER else [])
    assert (desk.seen, desk.answered) == ([], [])


# ---- behind a relay: a second network, whose only way to us is a router


@dataclass(frozen=True)
class FarNetwork:
    """`router` has 10.77.0.3 on our wire and 10.88.0.1 on the far one, where `host` is."""

    router: str
    host: str


FAR = Subnet(
    network=IPv4Network("10.88.0.0/24"), first=IPv4Address("10.88.0.50"), last=IPv4Address("10.88.0.60"),
    router=IPv4Address("10.88.0.1"),
)  # fmt: skip
BOTH = replace(SERVER, subnets=(SUBNET, FAR), force=True)


@pytest.fixture
def far(network: Network) -> FarNetwork:
    router, host = network.host("52:54:00:00:00:03", "10.77.0.3/24"), network.host(MAC)
    for command in (
        f"ip -n {host} link del eth0",
        f"ip -n {router} link add far0 type veth peer name eth0 netns {host}",
        f"ip -n {router} addr add 10.88.0.1/24 dev far0",
        f"ip -n {router} link set far0 up",
        f"ip -n {host} link set eth0 address {MAC} up",
        f"ip -n {network.server} route add 10.88.0.0/24 via 10.77.0.3",
    ):
        subprocess.run(command.split(), check=True)
    return FarNetwork(router, host)


@pytest.mark.needs_root
@needs_udhcpc
@needs_dnsmasq
def test_a_host_behind_a_real_relay_gets_an_address_of_its_own_network(
    network: Network, far: FarNetwork, desk: Desk, store: Store, tmp_path: Path
) -> None:
    words = "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --pid-file="
    relay = f"ip netns exec {far.router} {words} --dhcp-relay=10.88.0.1,10.77.0.1 --dhcp-leasefile={tmp_path / 'l'}"
    with running(DhcpServer(BOTH, desk, store, time.time), network.server), subprocess.Popen(relay.split()) as process:
        try:
            time.sleep(0.5)
            learned = udhcpc(far.host, tmp_path)
        finally:
            process.terminate()
    assert (learned["router"], learned["serverid"]) == ("10.88.0.1", "10.77.0.1")
    assert IPv4Address(learned["ip"]) in FAR.network
    assert store.leases[learned["ip"]].state is LeaseState.BOUND


@pytest.mark.needs_root
@pytest.mark.parametrize("mode", DhcpMode)
def test_the_relay_gets_its_option_back_unchanged_as_the_last_one(
    network: Network, far: FarNetwork, desk: Desk, store: Store, mode: DhcpMode
) -> None:
    said = b"\x01\x04eth1\x02\x06\xff\x00\x01\x02\x03\x04"
    desk.armed.add(MAC)
    asked = replace(pxe_message(MessageType.DISCOVER, RELAY_AGENT=said), giaddr=IPv4Address("10.88.0.1"), hops=1)
    got: list[tuple[bytes, tuple[str, int]]] = []

    def relay() -> None:
        netns.setns(far.router)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(3)
            udp.bind(("10.88.0.1", 67))
            udp.sendto(asked.encode(), ("10.77.0.1", 67))
            got.append(udp.recvfrom(2000))

    with running(DhcpServer(replace(BOTH, mode=mode), desk, store, time.time), network.server):
        thread = threading.Thread(target=relay)
        thread.start()
        thread.join()
    [(data, sender)] = got
    reply = DhcpMessage.parse(data)
    assert sender == ("10.77.0.1", 67)
    assert (str(reply.giaddr), reply.file, reply.xid) == ("10.88.0.1", b"pxelinux.0", asked.xid)
    assert (reply.yiaddr in FAR.network) is (mode is DhcpMode.SERVER)
    assert data.rstrip(b"\0").endswith(bytes((82, len(said))) + said + b"\xff")


# ---- dialects


@pytest.mark.needs_root
def test_uefi_that_never_reaches_port_4011_is_given_its_file_in_the_third_offer(network: Network, desk: Desk) -> None:
    host = network.host(MAC)
    desk.armed.add(MAC)
    files = replace(FILES, grub_files={Firmware.UEFI_X64: "boot.efi"})
    uefi = {"ARCHITECTURE": b"\0\7", "VENDOR_CLASS": b"PXEClient:Arch:00007:UNDI:003016"}
    with running(DhcpServer(replace(PROXY, files=files), desk, None, time.time), network.server):
        offers = [
            replies_to(pxe_message(MessageType.DISCOVER, xid=xid, **uefi), host, awaited=1)["10.77.0.1"]
            for xid in (1, 1, 2, 3, 4)
        ]
    assert [offer.file for offer in offers] == [b"", b"", b"", b"boot.efi", b"boot.efi"]
    assert [Option.VENDOR in offer.options for offer in offers] == [False, False, False, True, True]
