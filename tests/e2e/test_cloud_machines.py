"""Hosts with a kernel of their own: a bond, VLANs and Open vSwitch in the kernel, by the role net, through reboots."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest

from pxeforge.lab import debian_machine
from pxeforge.lab.cloud import Cloud
from pxeforge.lab.debian_machine import Hardware
from pxeforge.lab.mirror import NoMirror, apt_mirrors
from pxeforge.lab.newer_qemu import QemuMissing, find_qemu
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand,
    pytest.mark.skipif(debian_machine.why_not() is not None, reason=str(debian_machine.why_not())),
    pytest.mark.timeout(2400),
]
HOSTS = ("m1", "m2")
# Both NICs of the bond are on one wire; the host's address is on a bridge of Open vSwitch, and a VLAN on top of it.
BLUEPRINT = """\
name: wires
summary: a bond, a bridge of Open vSwitch with the address of its host, and a VLAN
variables: {network_deadline_s: 180}
hosts:
  - match: {name: m1}
    roles: [net]
    variables:
      nics: [{name: eth0}, {name: eth2}]
      bonds: [{name: bond0, nics: [eth0, eth2]}]
      bridges:
        - name: br-host
          kind: ovs
          ports: [bond0]
          addresses: [10.77.0.20/24]
          gateway: 10.77.0.1
          controller: ["tcp:10.77.0.21:6699"]
      vlans: [{name: storage, link: br-host, id: 42, addresses: [198.51.100.20/24]}]
  - match: {name: m2}
    roles: [net]
    variables:
      nics: [{name: eth0}, {name: eth2}]
      bonds: [{name: bond0, nics: [eth0, eth2], addresses: [10.77.0.21/24], gateway: 10.77.0.1}]
      vlans: [{name: storage, link: bond0, id: 42, addresses: [198.51.100.21/24]}]
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    try:
        apt_mirrors()
        find_qemu(CACHE)
    except (NoMirror, QemuMissing) as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("machines")
    (folder / "operator/blueprints").mkdir(parents=True)
    (folder / "operator/blueprints/wires.yaml").write_text(BLUEPRINT)
    hardware = Hardware(memory_mb=1024, wires=(0, 1, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "PXEFORGE_OPERATOR_DIR", str(folder / "operator"))
        with Cloud(folder, cache=CACHE, suite="bookworm", machines=HOSTS, hardware=hardware, name="machines") as cloud:
            yield cloud


def on(cloud: Cloud, host: str, command: str, *, timeout_s: float = 120.0) -> str:
    return cloud.machine(host).run(["sh", "-c", command], timeout_s=timeout_s).stdout


def ended(cloud: Cloud, *words: str) -> dict[str, list[str]]:
    """The tasks of a run by how they ended."""
    found: dict[str, list[str]] = {}
    for task in json.loads(cloud.pxeforge(*words, "--json", check=False))["tasks"]:
        found.setdefault(task["state"], []).append(task["planned_id"])
    return found


def until(condition: Callable[[], bool], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(1)


def test_a_machine_has_a_kernel_disks_and_names_of_its_own(cloud: Cloud) -> None:
    kernels = {on(cloud, host, "uname -r").strip() for host in HOSTS}
    assert len(kernels) == 1
    assert os.uname().release not in kernels
    assert [on(cloud, host, "hostname").strip() for host in HOSTS] == list(HOSTS)
    assert on(cloud, "m1", "cat /etc/machine-id") != on(cloud, "m2", "cat /etc/machine-id")
    assert on(cloud, "m1", "cat /sys/block/vdb/serial").strip() == cloud.machine("m1").second_serial
    on(cloud, "m1", "modprobe -a openvswitch 8021q bonding ip_gre vxlan dm_thin_pool iscsi_tcp nfs")


def test_what_it_wrote_is_there_after_a_reboot_and_after_the_plug_was_pulled(cloud: Cloud) -> None:
    machine = cloud.machine("m2")
    on(cloud, "m2", "echo kept > /root/kept; sync")
    before = machine.boot_id()
    machine.reboot()
    assert machine.boot_id() != before
    machine.kill()
    machine.start()
    assert on(cloud, "m2", "cat /root/kept") == "kept\n"
    machine.stop()
    assert not machine.is_running
    machine.start()
    until(lambda: machine.run(["systemctl", "is-active", "pxeforge-agent"], check=False).stdout == "active\n")


def test_bond_vlan_and_a_bridge_with_the_hosts_address_hold_through_a_reboot(cloud: Cloud) -> None:
    """A-13."""
    on(cloud, "m2", "apt-get -q update && apt-get -qy install openvswitch-testcontroller", timeout_s=600)
    on(cloud, "m2", "systemd-run --unit=controller ovs-testcontroller ptcp:6699")
    assert "failed" not in ended(cloud, "deploy", "wires")
    assert set(ended(cloud, "verify", "wires")) == {"ok"}
    look_at_wires(cloud)
    assert set(ended(cloud, "deploy", "wires")) == {"ok"}
    cloud.machine("m1").reboot()
    assert set(ended(cloud, "verify", "wires")) == {"ok"}
    look_at_wires(cloud)
    assert cloud.rack.run(["ssh-keyscan", "-T", "10", "10.77.0.20"]).stdout


def look_at_wires(cloud: Cloud) -> None:
    assert "198.51.100.20/24" in on(cloud, "m1", "ip -4 -br address show storage")
    assert "10.77.0.20/24" in on(cloud, "m1", "ip -4 -br address show br-host")
    assert "inet" not in on(cloud, "m1", "ip -4 address show eth0; ip -4 address show bond0")
    assert on(cloud, "m1", "ovs-appctl dpctl/show").startswith("system@ovs-system")  # the kernel's datapath
    assert "true" in on(cloud, "m1", "ovs-vsctl get controller br-host is_connected")
    assert " 0% packet loss" in on(cloud, "m1", "ping -c 3 -i 0.3 -W 3 198.51.100.21")
    # One of the bond's NICs without a link is missed by nobody.
    link = on(cloud, "m2", "cat /sys/class/net/bond0/bonding/active_slave").strip()
    on(cloud, "m2", f"ip link set dev {link} down")
    try:
        until(lambda: link not in on(cloud, "m2", "cat /sys/class/net/bond0/bonding/active_slave"))
        until(lambda: " 0% packet loss" in on(cloud, "m1", "ping -c 3 -i 0.3 -W 3 198.51.100.21; true"))
    finally:
        on(cloud, "m2", f"ip link set dev {link} up")
