"""A cloud on kernels of their own: tunnels and VLANs of Open vSwitch in the kernel, routers on compute hosts, volumes.

The control plane is a system by systemd-nspawn; networks, VMs and volumes are on two machines (decision 61): n1 with
the way out and the disks, k1 with VMs alone.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pxeforge.lab import debian_machine, nspawn
from pxeforge.lab.cloud import Cloud
from pxeforge.lab.debian_machine import Hardware
from pxeforge.lab.newer_qemu import QemuMissing, find_qemu
from tests.e2e.cloud_trial import (
    on,
    openstack,
    operator_folder,
    other_than,
    skip_without_mirror,
    states,
    write_blueprint,
)
from tests.e2e.conftest import CACHE

_MISSING = nspawn.why_not() or debian_machine.why_not()
pytestmark = [
    pytest.mark.by_hand,
    pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING)),
    pytest.mark.timeout(7200),
]
# What takes an emulated processor long to unpack, and has no units.
LIBRARIES = (
    "python3-nova", "python3-neutron", "python3-cinder", "python3-libvirt", "qemu-system", "qemu-block-extra",
    "qemu-utils", "libvirt-clients", "swtpm", "dpkg-dev", "openvswitch-common", "python3-openvswitch", "ipset",
    "conntrack",
)  # fmt: skip
EXTERNAL = {"network": "external", "cidr": "10.88.0.0/24", "gateway": "10.88.0.1", "dhcp": False}
CONTROL = (
    "mariadb", "rabbitmq", "memcached", "keystone", "openrc", "placement", "glance", "nova-controller",
    "neutron-server", "cinder", "guest-image", "cloud-contents",
)  # fmt: skip
NETWORK = ("neutron-openvswitch", "neutron-dhcp", "neutron-metadata", "neutron-l3", "nova-compute")
STORES = ("nfs-server", "cinder-lvm", "cinder-nfs", "cinder-backup")


def blueprint(kind: str, *, distributed: bool = False) -> dict[str, object]:
    contents = [
        {"kind": "network", "name": "external",
         "properties": {"external": True, "type": "flat", "physical_network": "provider"}},
        {"kind": "subnet", "name": "external", "properties": {**EXTERNAL, "pools": ["10.88.0.100-10.88.0.199"]}},
    ]  # fmt: skip
    variables = {
        "workers": 1, "neutron_tenant_type": kind, "neutron_vlan_range": "771:789" if kind == "vlan" else "",
        "neutron_dvr": distributed, "neutron_external_network": "external", "cloud_resources": contents,
    }  # fmt: skip
    here = ["nova-compute", *(("neutron-l3", "neutron-metadata") if distributed else ())]
    hosts = [
        {"match": {"name": "c1"}, "roles": list(CONTROL)},
        # Less of its memory is nova's, so that VMs are on k1 unless they have to be here: volumes come over the wire.
        {"match": {"name": "n1"}, "roles": [*NETWORK, *STORES], "nics": {"provider": "eth1"},
         "disks": {"volumes": {"min_gb": 5}}, "variables": {"nova_reserved_memory_mb": 1536}},
        {"match": {"name": "k1"}, "roles": here, "nics": {"provider": "eth1"}},
    ]  # fmt: skip
    return {"variables": variables, "hosts": hosts}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    skip_without_mirror()
    try:
        find_qemu(CACHE)
    except QemuMissing as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("kernels")
    with (
        operator_folder(folder / "operator") as operator,
        Cloud(
            folder, cache=CACHE, suite="bookworm", names=["c1"], machines=["n1", "k1"],
            hardware=Hardware(memory_mb=2560), libraries=LIBRARIES, name="kernels",
        ) as cloud,
    ):  # fmt: skip
        write_blueprints(operator)
        began = time.monotonic()
        deploy(cloud, "gre")
        print(f"\na cloud on two emulated machines in {time.monotonic() - began:.0f} s")
        yield cloud


def write_blueprints(operator: Path) -> None:
    for kind in ("gre", "vxlan", "vlan"):
        write_blueprint(operator, kind, blueprint(kind))
    write_blueprint(operator, "distributed", blueprint("vxlan", distributed=True))


def deploy(cloud: Cloud, name: str) -> None:
    assert other_than(states(cloud, "deploy", name), "ok", "changed") == {}
    until_heard(cloud, "volume service list", "State", "up")
    until_heard(cloud, "network agent list", "Alive", True)


def until_heard(cloud: Cloud, listed: str, column: str, good: object) -> None:
    """An emulated service that runs has read its own program minutes later; checks give it less time than that."""
    end = time.monotonic() + 900
    while silent := [item["Host"] for item in openstack(cloud, "c1", listed) if item[column] != good]:
        assert time.monotonic() < end, f"{listed}: nothing is heard of {silent}"
        time.sleep(10)


def on_machine(cloud: Cloud, host: str, command: str, *, timeout_s: float = 120.0) -> str:
    return cloud.machine(host).run(["sh", "-c", command], timeout_s=timeout_s).stdout


@dataclass
class Watched:
    """What a machine said to a command that was repeated, from the first time on."""

    said: str = ""


@contextlib.contextmanager
def watched(cloud: Cloud, host: str, command: str) -> Iterator[Watched]:
    """Every two seconds until the end, as tunnels and sessions are there only while somebody needs them."""
    loop = f"while :; do {command} >> /run/watched 2>&1; sleep 2; done"
    on_machine(cloud, host, f"rm -f /run/watched; systemd-run --quiet --unit=watched sh -c '{loop}'")
    seen = Watched()
    try:
        yield seen
    finally:
        seen.said = on_machine(cloud, host, "systemctl stop watched; sort -u /run/watched")


def test_volumes_come_by_iscsi_and_nfs_and_their_backups_too(cloud: Cloud) -> None:
    """A-31 … A-34: the roles' own checks, and that both ways are those of the kernel."""
    with watched(cloud, "k1", "iscsiadm -m session; grep nfs /proc/mounts") as seen:
        found = states(cloud, "verify", "gre", "--only", "cinder")
    tried = {"cinder.services@c1", "cinder-volume.volumes@n1", "cinder-volume.vm@n1", "cinder-backup.restore@n1"}
    assert tried <= set(found)
    assert other_than(found, "ok") == {}
    address = cloud.machine("n1").address
    assert f"] {address}:3260" in seen.said
    assert f"{address}:/srv/nfs /var/lib/nova/mnt/" in seen.said
    assert set(states(cloud, "verify", "gre", "--only", "nfs-server").values()) == {"ok"}


def test_volumes_lie_in_a_thin_pool_on_the_disk_that_the_blueprint_chose(cloud: Cloud) -> None:
    look = "pvs --noheadings -o pv_name,vg_name; lvs --noheadings -o lv_name,segtype cinder-volumes"
    said = on_machine(cloud, "n1", look)
    assert said.split()[:2] == ["/dev/vdb", "cinder-volumes"]
    assert "thin-pool" in said
    assert "volume-" not in said  # the checks left none


@pytest.mark.parametrize(("kind", "on_wire"), [("gre", "type: gre"), ("vxlan", "type: vxlan"), ("vlan", "vlan_vid:7")])
def test_vms_of_a_network_meet_across_hosts_and_those_of_another_do_not(cloud: Cloud, kind: str, on_wire: str) -> None:
    """A-24 with Open vSwitch in the kernel."""
    deploy(cloud, kind)
    with watched(cloud, "n1", "ovs-vsctl show; ovs-ofctl dump-flows br-provider; ovs-appctl dpctl/show") as seen:
        found = states(cloud, "verify", kind, "--only", "neighbour")
    assert set(found) == {"nova-compute.neighbour@n1", "nova-compute.neighbour@k1"}
    assert other_than(found, "ok") == {}
    assert on_wire in seen.said
    assert "system@ovs-system" in seen.said


def test_a_vm_behind_a_router_answers_from_outside_when_a_rule_lets_it(cloud: Cloud) -> None:
    """A-20 … A-23 with networks in VLANs."""
    assert states(cloud, "verify", "vlan", "--only", "floating") == {"neutron-l3.floating@n1": "ok"}


SETUP = """\
. /root/admin-openrc; set -e
openstack keypair create --public-key /root/lab.pub lab
openstack security group create lab
openstack security group rule create --protocol icmp lab
openstack security group rule create --protocol tcp --dst-port 22 lab
for n in 1 2; do
  openstack network create net$n
  openstack subnet create --network net$n --subnet-range 10.1.$n.0/24 net$n
done
openstack router create --distributed lab
openstack router set --external-gateway external lab
openstack router add subnet lab net1
openstack router add subnet lab net2
boot() {
  openstack server create --image pxeforge-guest --flavor pxeforge-guest --key-name lab --network $2 \\
    --security-group lab --availability-zone nova:$3 --wait $1
}
boot vm1 net1 k1; boot vm2 net2 k1; boot vm3 net2 n1
openstack floating ip create external --port $(openstack port list --server vm1 -f value -c ID)
"""
TAKEN_DOWN = """\
. /root/admin-openrc
openstack server delete --wait vm1 vm2 vm3
for id in $(openstack floating ip list -f value -c ID); do openstack floating ip delete $id; done
openstack router remove subnet lab net1; openstack router remove subnet lab net2
openstack router delete lab; openstack network delete net1 net2
openstack security group delete lab; openstack keypair delete lab
true
"""


@dataclass(frozen=True)
class Distributed:
    """Three VMs: vm1 in net1 and vm2 in net2 on k1, vm3 in net2 on n1; vm1 has a floating address."""

    cloud: Cloud
    key: Path
    addresses: dict[str, str]
    floating: str

    def in_vm1(self, command: str) -> subprocess.CompletedProcess[str]:
        """From outside, by its floating address."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20"]
        return self.cloud.rack.run(
            ["ssh", "-i", str(self.key), *options, f"root@{self.floating}", command], check=False, timeout_s=120
        )

    def reaches(self, vm: str) -> str:
        """The answer's `ttl=…` of a ping from vm1; '' without one."""
        said = self.in_vm1(f"ping -c 1 -W 10 {self.addresses[vm]}").stdout
        return next((word for word in said.split() if word.startswith("ttl=")), "")


@pytest.fixture
def distributed(cloud: Cloud, tmp_path: Path) -> Iterator[Distributed]:
    deploy(cloud, "distributed")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    cloud.system("c1").run(["sh", "-c", "cat > /root/lab.pub"], words=key.with_suffix(".pub").read_text())
    try:
        on(cloud, "c1", SETUP, timeout_s=1800)
        servers = {item["Name"]: item["Networks"] for item in openstack(cloud, "c1", "server list")}
        addresses = {name: next(iter(networks.values()))[0] for name, networks in servers.items()}
        floating = openstack(cloud, "c1", "floating ip list")[0]["Floating IP Address"]
        made = Distributed(cloud, key, addresses, floating)
        answers(made, 600)
        yield made
    finally:
        on(cloud, "c1", TAKEN_DOWN, timeout_s=600)


def answers(made: Distributed, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while (done := made.in_vm1("true")).returncode != 0:
        assert time.monotonic() < end, f"no SSH at {made.floating}: {done.stderr[-500:]}"
        time.sleep(5)


def test_distributed_routers_go_on_without_the_network_host(cloud: Cloud, distributed: Distributed) -> None:
    """A-25: from net1 to net2 with n1 switched off, and the floating address is answered by the compute host."""
    assert distributed.reaches("vm2") == "ttl=63"
    assert distributed.reaches("vm3") == "ttl=63"  # on another host, through the router of its own
    cloud.machine("n1").stop()
    try:
        assert distributed.reaches("vm2") == "ttl=63"
        assert distributed.reaches("vm3") == ""
        neighbour = cloud.rack.run(["ip", "neighbour", "show", distributed.floating]).stdout.split()
        gateway = on_machine(cloud, "k1", "for n in $(ip netns list | grep -o '^fip-[^ ]*'); do ip -n $n link; done")
        assert neighbour[neighbour.index("lladdr") + 1] in gateway
    finally:
        cloud.machine("n1").start()
