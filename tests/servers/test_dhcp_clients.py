"""Strangers as DHCP clients, over a real wire: busybox's udhcpc, ISC's dhclient, and Kea's perfdhcp for the load."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import LeaseState
from pxeforge.protocol.dhcp.message import MessageType, Option
from pxeforge.protocol.dhcp.subnet import HostNetwork
from pxeforge.servers.dhcp import DhcpServer
from tests.protocol.dhcp.packets import Networks

from .conftest import Desk, Network, Store, running, wait_until
from .test_dhcp import MAC, SERVER, SUBNET, needs_udhcpc, pxe_message, replies_to

pytestmark = pytest.mark.needs_root
needs_dhclient = pytest.mark.skipif(shutil.which("dhclient") is None, reason="isc-dhcp-client is not installed")
needs_perfdhcp = pytest.mark.skipif(shutil.which("perfdhcp") is None, reason="kea-admin is not installed")
RICH = replace(
    SUBNET, ntp=(IPv4Address("10.77.0.7"),), search=("lab.example", "example"), mtu=1400,
    routes=((IPv4Network("10.9.0.0/16"), IPv4Address("10.77.0.254")),), options=((150, b"\x0a\x4d\0\x09"),),
)  # fmt: skip
_SCRIPT = """#!/bin/sh
exec >> TOLD
echo "$1${reason}"
env | sort
case "$1$reason" in
    bound|renew) ip addr replace "$ip/$mask" dev "$interface" ;;
    BOUND|REBOOT) ip addr replace "$new_ip_address/24" dev "$interface" ;;
    deconfig|PREINIT|RELEASE) ip addr flush dev "${interface:-eth0}"; ip link set "${interface:-eth0}" up ;;
esac
exit 0
"""


@dataclass
class Client:
    """A running DHCP client and what it has said so far."""

    process: subprocess.Popen[str]
    log: Path
    told: Path  # by the script: reasons and environments

    def said(self, *words: str) -> bool:
        text = self.log.read_text() if self.log.exists() else ""
        return all(word in text for word in words)

    def reasons(self) -> list[str]:
        return [line for line in self.told.read_text().splitlines() if line.isupper()] if self.told.exists() else []

    def learned(self) -> dict[str, str]:
        lines = self.told.read_text().splitlines() if self.told.exists() else []
        return dict(line.split("=", 1) for line in lines if "=" in line)


@contextmanager
def client(command: str, namespace: str, folder: Path) -> Iterator[Client]:
    script, log, told = folder / "script", folder / f"log-{time.monotonic_ns()}", folder / f"told-{time.monotonic_ns()}"
    script.write_text(_SCRIPT.replace("TOLD", str(told)))
    script.chmod(0o755)
    words = ["ip", "netns", "exec", namespace, *command.format(folder=folder).split()]
    with log.open("w") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, text=True)
    try:
        yield Client(process, log, told)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


UDHCPC = "busybox udhcpc -i eth0 -f -t 5 -T 1 -s {folder}/script"
DHCLIENT = "dhclient -4 -d -v -cf {folder}/dhclient.conf -lf {folder}/leases -pf {folder}/pid -sf {folder}/script eth0"


def only_lease(store: Store) -> tuple[str, LeaseState]:
    [lease] = store.leases.values()
    return str(lease.address), lease.state


# ---- busybox


@needs_udhcpc
def test_udhcpc_renews_at_its_own_wish_and_releases_at_the_end(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    host = network.host(MAC)
    server = DhcpServer(SERVER, desk, store, time.time)
    with running(server, network.server), client(UDHCPC + " -R", host, tmp_path) as c:
        wait_until(lambda: c.said("obtained") or c.said("lease of"))
        [first] = store.leases.values()
        time.sleep(0.05)
        c.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: next(iter(store.leases.values())).expires_at > first.expires_at)
        assert only_lease(store) == (str(first.address), LeaseState.BOUND)
        c.process.send_signal(signal.SIGTERM)
        wait_until(lambda: only_lease(store) == (str(first.address), LeaseState.RELEASED))


@needs_udhcpc
def test_udhcpc_declines_an_address_that_somebody_uses_and_gets_another(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    """Our own check is off here: the client checks for itself."""
    network.host("52:54:00:00:00:66", "10.77.0.50/24")
    host = network.host(MAC)
    two = replace(SUBNET, last=IPv4Address("10.77.0.51"))
    server = DhcpServer(replace(SERVER, subnets=(two,)), desk, store, time.time)
    with running(server, network.server), client(UDHCPC + " -a -A 1 -r 10.77.0.50", host, tmp_path) as c:
        wait_until(lambda: "10.77.0.51" in store.leases, timeout_s=20)
        wait_until(lambda: c.learned().get("ip") == "10.77.0.51")
    states = {address: lease.state for address, lease in store.leases.items()}
    assert states == {"10.77.0.50": LeaseState.DECLINED, "10.77.0.51": LeaseState.BOUND}


@needs_udhcpc
def test_udhcpc_gets_its_reserved_address_and_what_its_host_alone_is_told(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    host = network.host(MAC)
    own = HostNetwork(address=IPv4Address("10.77.0.200"), dns=(IPv4Address("10.77.0.9"),), lease_time_s=7200)
    networks = Networks({MacAddress.parse(MAC): own})
    server = DhcpServer(SERVER, desk, store, time.time, networks=networks)
    with running(server, network.server), client(UDHCPC + " -q", host, tmp_path) as c:
        wait_until(lambda: "ip" in c.learned())
        found = c.learned()
    assert (found["ip"], found["dns"], found["lease"]) == ("10.77.0.200", "10.77.0.9", "7200")


# ---- ISC


def conf(folder: Path, text: str = "") -> None:
    (folder / "dhclient.conf").write_text(f"initial-interval 1;\ntimeout 10;\nbackoff-cutoff 1;\n{text}\n")


@needs_dhclient
def test_dhclient_understands_every_option_and_releases(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    host = network.host(MAC)
    conf(tmp_path, (
        "option tftp-server-address code 150 = ip-address;\n"
        "option classless-routes code 121 = array of unsigned integer 8;\n"
        "request subnet-mask, routers, domain-name-servers, domain-name, domain-search, ntp-servers, interface-mtu, "
        "broadcast-address, tftp-server-address, classless-routes;"
    ))  # fmt: skip
    server = DhcpServer(replace(SERVER, subnets=(RICH,)), desk, store, time.time)
    with running(server, network.server), client(DHCLIENT, host, tmp_path) as c:
        wait_until(lambda: c.said("bound to"))
        found = c.learned()
        address, state = only_lease(store)
        assert (found["new_ip_address"], state) == (address, LeaseState.BOUND)
        assert (found["new_routers"], found["new_domain_name_servers"]) == ("10.77.0.1", "10.77.0.1")
        assert (found["new_domain_name"], found["new_ntp_servers"]) == ("lab.example", "10.77.0.7")
        assert found["new_domain_search"].replace("'", "").split() == ["lab.example.", "example."]
        assert (found["new_interface_mtu"], found["new_tftp_server_address"]) == ("1400", "10.77.0.9")
        assert found["new_classless_routes"] == "16 10 9 10 77 0 254 0 10 77 0 1"
        assert found["new_broadcast_address"] == "10.77.0.255"
        c.process.kill()
        c.process.wait()
        subprocess.run(
            ["ip", "netns", "exec", host, *DHCLIENT.format(folder=tmp_path).split(), "-r"],
            check=True, capture_output=True, timeout=20,
        )  # fmt: skip
        wait_until(lambda: only_lease(store) == (address, LeaseState.RELEASED))


@needs_dhclient
def test_dhclient_renews_by_unicast_and_rebinds_by_broadcast(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    host = network.host(MAC)
    conf(tmp_path, "supersede dhcp-renewal-time 1;\nsupersede dhcp-rebinding-time 3;")
    with running(DhcpServer(SERVER, desk, store, time.time), network.server):
        with client(DHCLIENT, host, tmp_path) as c:
            wait_until(lambda: c.said("bound to"))
            wait_until(lambda: "RENEW" in c.reasons(), timeout_s=10)
            assert c.said("DHCPREQUEST for", "to 10.77.0.1 port 67")
        address, _ = only_lease(store)
        # The server it would renew from does not exist, so that after a second it asks everybody.
        conf(tmp_path, "supersede dhcp-renewal-time 1;\nsupersede dhcp-rebinding-time 2;\n"
             "supersede dhcp-server-identifier 10.77.0.250;")  # fmt: skip
        with client(DHCLIENT, host, tmp_path) as c:
            wait_until(lambda: "RENEW" in c.reasons(), timeout_s=15)
            assert c.said("to 10.77.0.250 port 67", "DHCPACK of")
            # It began with the lease it remembered (INIT-REBOOT).
            assert c.said(f"DHCPREQUEST for {address} on eth0 to 255.255.255.255")
    assert only_lease(store) == (address, LeaseState.BOUND)


@needs_dhclient
def test_dhclient_that_remembers_an_address_of_another_network_starts_over(
    network: Network, desk: Desk, store: Store, tmp_path: Path
) -> None:
    host = network.host(MAC)
    conf(tmp_path)
    (tmp_path / "leases").write_text(
        'lease {\n  interface "eth0";\n  fixed-address 10.99.0.7;\n  option subnet-mask 255.255.255.0;\n'
        "  option dhcp-server-identifier 10.99.0.1;\n  renew never;\n  rebind never;\n  expire never;\n}\n"
    )
    with running(DhcpServer(SERVER, desk, store, time.time), network.server), client(DHCLIENT, host, tmp_path) as c:
        wait_until(lambda: c.said("bound to 10.77.0."), timeout_s=10)
        assert c.said("DHCPREQUEST for 10.99.0.7", "DHCPNAK from 10.77.0.1", "DHCPDISCOVER")


# ---- messages no client here sends


def test_an_inform_is_answered_to_the_address_it_comes_from(network: Network, desk: Desk, store: Store) -> None:
    host = network.host(MAC, "10.77.0.20/24")
    inform = replace(pxe_message(MessageType.INFORM), ciaddr=IPv4Address("10.77.0.20"), flags=0)
    with running(DhcpServer(SERVER, desk, store, time.time), network.server):
        [ack] = replies_to(inform, host, awaited=1).values()
    assert (ack.message_type, str(ack.yiaddr), str(ack.ciaddr)) == (MessageType.ACK, "0.0.0.0", "10.77.0.20")
    assert Option.LEASE_TIME not in ack.options
    assert store.leases == {}


GUID = bytes.fromhex("564d1ab42c534c4e9d6a0123456789ab")


@pytest.mark.parametrize("known_by", ["the GUID", "the client identifier"])
def test_a_known_host_that_sends_its_guid_as_hardware_address_is_served_by_broadcast(
    network: Network, desk: Desk, store: Store, known_by: str
) -> None:
    host, mac = network.host(MAC), MacAddress.parse(MAC)
    networks = Networks(guids={GUID: mac} if known_by == "the GUID" else {})
    more = {"CLIENT_ID": b"\1" + mac.octets} if known_by != "the GUID" else {}
    desk.armed.add(MAC)
    asked = replace(pxe_message(MessageType.DISCOVER, **more), chaddr=GUID, flags=0)
    server = DhcpServer(SERVER, desk, store, time.time, networks=networks)
    with running(server, network.server):
        [offer] = replies_to(asked, host, awaited=1).values()
        wanted = {"SERVER_ID": IPv4Address("10.77.0.1").packed, "REQUESTED_ADDRESS": offer.yiaddr.packed}
        request = replace(pxe_message(MessageType.REQUEST, **more, **wanted), chaddr=GUID, flags=0)
        [ack] = replies_to(request, host, awaited=1).values()
        stranger = replace(pxe_message(MessageType.DISCOVER), chaddr=bytes(range(1, 17)))
        assert replies_to(stranger, host) == {}
    assert (ack.message_type, ack.chaddr, ack.file) == (MessageType.ACK, GUID, b"pxelinux.0")
    assert [(lease.mac, lease.address) for lease in store.leases.values()] == [(mac, offer.yiaddr)]
    assert desk.seen[:2] == [(MAC, "DISCOVER"), (MAC, "REQUEST")]


# ---- load


@needs_perfdhcp
def test_perfdhcp_loses_nothing(network: Network, desk: Desk, store: Store) -> None:
    """A modest load on whatever computer this is; how much it takes is measured in bench/."""
    host = network.host(MAC, "10.77.0.20/24")
    wide = replace(SUBNET, network=IPv4Network("10.77.0.0/16"), last=IPv4Address("10.77.255.250"), router=None)
    subprocess.run(["ip", "-n", network.server, "addr", "flush", "dev", "br0"], check=True)
    subprocess.run(["ip", "-n", network.server, "addr", "add", "10.77.0.1/16", "dev", "br0"], check=True)
    words = "perfdhcp -4 -r 100 -R 5000 -n 200 -W 1000000 -g single -l eth0 10.77.0.1"
    server = DhcpServer(replace(SERVER, subnets=(wide,), address_check_s=0.1), desk, store, time.time)
    with running(server, network.server):
        done = subprocess.run(
            ["ip", "netns", "exec", host, *words.split()], capture_output=True, text=True, timeout=30, check=False
        )
        assert "REQUEST-ACK" in done.stdout, done.stdout + done.stderr
        assert re.findall(r"drops: (\d+)", done.stdout) == ["0", "0"], done.stdout
        assert re.findall(r"received packets: (\d+)", done.stdout) == ["200", "200"]
    assert len(store.leases) >= 190  # perfdhcp draws its MACs: some come twice
