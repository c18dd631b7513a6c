from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.lab import rack as rack_module
from pxeforge.lab.newer_qemu import PROGRAM
from pxeforge.lab.qemu import Machine, MachineError, make_disk
from pxeforge.lab.rack import NETNS_DIR, STATE_DIR, Rack, RackError, remove_recorded, remove_stale
from pxeforge.lab.site_dhcp import SiteDhcp

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="racks need root and iproute2"),
]


@pytest.fixture
def rack() -> Iterator[Rack]:
    with Rack("test") as rack:
        yield rack


def host_network() -> list[str]:
    """Links, addresses, routes and rules of this computer (without counters and lifetimes)."""
    queries = [
        ["ip", "-json", "link", "show"],
        ["ip", "-br", "address", "show"],
        ["ip", "route", "show", "table", "all"],
        ["ip", "-6", "route", "show", "table", "all"],
        ["ip", "rule", "show"],
        *([["nft", "list", "ruleset"]] if shutil.which("nft") else []),
        *([["iptables-save"]] if shutil.which("iptables-save") else []),
    ]
    return [subprocess.run(query, check=True, capture_output=True, text=True).stdout for query in queries]


def test_a_rack_comes_and_goes_and_the_network_of_this_computer_stays_the_same() -> None:
    before = host_network()
    with Rack("test") as rack:
        site = rack.add_site()
        rack.add_tap(0)
        assert host_network() == before
        assert (NETNS_DIR / rack.name).exists()
        assert "10.77.0.1/24" in rack.ip("address", "show", "br0")
    assert host_network() == before
    for name in (rack.name, site.name):
        assert not (NETNS_DIR / name).exists()
        assert not (STATE_DIR / name).exists()


def test_nothing_in_a_rack_can_reach_the_outside(rack: Rack) -> None:
    assert rack.ip("route", "show", "default") == ""
    links = {link["ifname"] for link in json.loads(rack.ip("-json", "link", "show"))}
    assert links == {"lo", "br0"}


def test_a_site_and_the_rack_hear_each_other(rack: Rack) -> None:
    site = rack.add_site()
    listen = (
        "import socket; s=socket.create_server(('10.77.0.1', 7000)); print('up', flush=True);"
        "s.accept()[0].send(b'hello')"
    )
    server = rack.popen([sys.executable, "-c", listen], stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == b"up\n"
    ask = "import socket; s=socket.create_connection(('10.77.0.1', 7000), 10); print(s.recv(9), s.getsockname()[0])"
    assert site.run([sys.executable, "-c", ask]).stdout == "b'hello' 10.77.0.2\n"


def test_a_branch_is_reached_through_its_router(rack: Rack) -> None:
    site = rack.add_site()
    branch = rack.add_branch()
    assert branch.add_tap(1) == "tap1"
    # A machine of the branch: one more namespace whose way out is the router's address on the branch.
    branch.ip("link", "add", "client0", "type", "veth", "peer", "name", "client1")
    client = rack_module.Namespace(f"{branch.name}-client")
    client.create()
    try:
        branch.ip("link", "set", "client1", "master", branch.bridge, "up")
        branch.ip("link", "set", "client0", "netns", client.name)
        client.ip("addr", "add", "10.78.0.50/24", "dev", "client0")
        client.ip("link", "set", "client0", "up")
        client.ip("route", "add", "default", "via", "10.78.0.1")
        for near in (rack, site):
            listen = (
                "import socket; s=socket.create_server(('', 7000)); print('up', flush=True); s.accept()[0].send(b'hi')"
            )
            server = near.popen([sys.executable, "-c", listen], stdout=subprocess.PIPE)
            assert server.stdout
            assert server.stdout.readline() == b"up\n"
            ask = f"import socket; print(socket.create_connection(('{near.address}', 7000), 10).recv(9))"
            assert client.run([sys.executable, "-c", ask]).stdout == "b'hi'\n"
    finally:
        client.remove()


def test_two_racks_of_one_name_stand_side_by_side(rack: Rack) -> None:
    with Rack("test") as other:
        assert other.name != rack.name


def test_processes_end_with_their_rack() -> None:
    with Rack("test") as rack:
        child = rack.popen(["sleep", "600"])
        stubborn = rack.popen(["sh", "-c", "sleep 601 & echo $!; wait"], stdout=subprocess.PIPE)
        assert stubborn.stdout
        grandchild = int(stubborn.stdout.readline())
    assert child.poll() is not None
    assert not runs(grandchild)


def runs(pid: int) -> bool:
    """False also for a process that ended and that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_rack_whose_maker_died_is_removed_and_a_living_one_is_not(rack: Rack) -> None:
    code = (
        "import os, signal; from pxeforge.lab.rack import Rack; r = Rack('test').__enter__(); r.add_site();"
        "r.popen(['sleep', '600'], stdout=-3); print(r.name, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as crashed:
        assert crashed.stdout
        name = crashed.stdout.readline().strip()
        crashed.stdout.read()  # its end: the maker is dead, and a zombie until it is waited for
        while runs(crashed.pid):
            time.sleep(0.01)
        assert (NETNS_DIR / name).exists()
        removed = remove_stale("test")
    assert crashed.returncode == -signal.SIGKILL
    assert {name, f"{name}-site"} <= set(removed)
    assert rack.name not in removed
    assert not (NETNS_DIR / name).exists()
    assert (NETNS_DIR / rack.name).exists()


def test_a_namespace_that_somebody_else_made_is_never_touched() -> None:
    foreign = f"test-foreign-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    try:
        remove_recorded(foreign)
        assert foreign not in remove_stale("test-foreign")
        assert (NETNS_DIR / foreign).exists()
    finally:
        subprocess.run(["ip", "netns", "del", foreign], check=True)


def test_a_taken_name_is_refused_and_left_alone(rack: Rack) -> None:
    second = rack_module.Namespace(rack.name)
    with pytest.raises(RackError, match="exists already"):
        second.create()
    assert (NETNS_DIR / rack.name).exists()


@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs dnsmasq")
def test_the_dhcp_server_of_the_site_serves_and_ends_by_its_pid(rack: Rack, tmp_path: Path) -> None:
    with SiteDhcp(rack.add_site(), tmp_path) as dhcp:
        assert "10.77.0.50 -- 10.77.0.90" in dhcp.log.read_text()
        assert Path(f"/proc/{dhcp.pid}").exists()
    assert not Path(f"/proc/{dhcp.pid}").exists()
    assert "dhcp-boot" not in dhcp.config()


@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs dnsmasq")
def test_a_site_dhcp_server_that_cannot_start_says_why(rack: Rack, tmp_path: Path) -> None:
    site = rack.add_site()
    with SiteDhcp(site, tmp_path / "first"), pytest.raises(RackError, match="in use"):
        SiteDhcp(site, tmp_path / "second").start()


@pytest.mark.skipif(not shutil.which(PROGRAM), reason="needs QEMU")
def test_a_machine_asks_the_network_first_and_obeys_the_power_switch(rack: Rack, tmp_path: Path) -> None:
    disk = tmp_path / "n1.img"
    make_disk(disk, 1)
    machine = Machine(
        rack=rack, tap=rack.add_tap(0), mac=MacAddress.parse("52:54:00:77:00:09"), disk=disk, qemu=(PROGRAM,)
    )
    with SiteDhcp(rack.add_site(), tmp_path) as dhcp:
        machine.start()
        assert machine.status() == "running"
        deadline = time.monotonic() + 40
        while "DHCPACK(eth0)" not in dhcp.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
    assert re.search(r"DHCPACK\(eth0\) 10\.77\.0\.\d+ 52:54:00:77:00:09", dhcp.log.read_text())
    assert machine.is_running
    machine.power_off()
    assert (machine.is_running, machine.status()) == (False, "off")


@pytest.mark.skipif(not shutil.which(PROGRAM), reason="needs QEMU")
def test_a_machine_that_does_not_start_says_why(rack: Rack, tmp_path: Path) -> None:
    machine = Machine(
        rack=rack,
        tap=rack.add_tap(0),
        mac=MacAddress.parse("52:54:00:77:00:09"),
        disk=tmp_path / "no-such-disk.img",
        qemu=(PROGRAM,),
    )
    with pytest.raises(MachineError, match="no-such-disk"):
        machine.start()
