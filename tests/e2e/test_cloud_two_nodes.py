"""A controller and a compute host, then one more: VMs on the wire, tunnels between hosts, routers, SPICE, reboots.

No KVM, and no Open vSwitch in the kernel: VMs are emulated, and switches work in user space. These send tunnels by
bridges of their own, so that each host has an address on the bridge to the second wire.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.cloud_trial import (
    EMULATED,
    asking,
    engines_share,
    last_words,
    on,
    openstack,
    operator_folder,
    other_than,
    ping_words,
    pings,
    run,
    shipped_blueprint,
    skip_without_mirror,
    states,
    write_blueprint,
)  # fmt: skip
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand, pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
]  # fmt: skip
NAMES = ("control", "compute1", "compute2")
# On the second wire; VMs have addresses from .100 on.
TUNNEL_ENDS = {name: f"10.88.0.{number}" for number, name in enumerate(NAMES, 11)}
WIRE = {
    "provider_cidr": "10.88.0.0/24", "provider_gateway": "10.88.0.1", "provider_dns": [],
    "provider_pools": ["10.88.0.100-10.88.0.199"],
}  # fmt: skip


def blueprint(names: tuple[str, ...], *more: str, **variables: object) -> dict[str, object]:
    """The shipped two-nodes on the lab's second wire; `more` are roles of the controller."""
    shipped = shipped_blueprint("two-nodes")
    roles = {rule["match"]["name"].rstrip("*"): rule["roles"] for rule in shipped["hosts"]}
    rules = [
        {
            "match": {"name": name},
            "roles": [*roles[name.rstrip("12")], *(more if name == "control" else ())],
            "nics": {"provider": "eth1"},
            "addresses": {"tunnel": TUNNEL_ENDS[name]},
            "variables": {"neutron_provider_address": f"{TUNNEL_ENDS[name]}/24"},
        }
        for name in names
    ]
    chosen = {**EMULATED, **WIRE, "neutron_external_network": "flat", **variables}
    if "neutron-l3" not in more:
        del chosen["neutron_external_network"]
    return {"extends": "two-nodes", "variables": chosen, "hosts": rules}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Three hosts; the first two are a cloud, with a VM on the wire. How long that took is printed."""
    skip_without_mirror()
    folder = tmp_path_factory.mktemp("two")
    with (
        operator_folder(folder / "operator") as operator,
        Cloud(folder, cache=CACHE, suite="bookworm", names=list(NAMES), name="two") as made,
    ):
        write_blueprint(operator, "pair", blueprint(NAMES[:2]))
        write_blueprint(operator, "grown", blueprint(NAMES, "neutron-l3"))
        write_blueprint(operator, "spice", blueprint(NAMES, "neutron-l3", nova_console="spice"))
        write_blueprint(operator, "smaller", blueprint(NAMES[:2], "neutron-l3", nova_console="spice"))
        # What comes from outside into a switch in user space has to have its checksums.
        made.rack.run(["ethtool", "-K", "br1", "tx", "off"])
        began = time.monotonic()
        told = run(made, "deploy", "pair")
        assert {task["state"] for task in told["tasks"]} <= {"ok", "changed"}
        deployed_s = time.monotonic() - began
        address = boot(made, "first")
        assert not pings(made, address)
        openstack(made, "control", "security group create outside")
        for rule in ("icmp", "tcp --dst-port 22"):
            openstack(made, "control", f"security group rule create --protocol {rule} outside")
        on(made, "control", ". /root/admin-openrc && openstack server add security group first outside")
        assert within(60, lambda: pings(made, address))
        print(
            f"\ntwo nodes from registered hosts to a VM that answers in {time.monotonic() - began:.0f} s, the deploy "
            f"{deployed_s:.0f} s of it; in {engines_share(told):.1%} of that the busiest host did nothing"
        )
        yield made


def boot(cloud: Cloud, name: str) -> str:
    """A VM on the wire itself; its address."""
    words = f"--image pxeforge-guest --flavor small --network flat --wait {name}"
    on(cloud, "control", f". /root/admin-openrc && openstack server create {words}")
    address = address_of(cloud, name)
    assert within(120, lambda: "pxeforge-guest: ready" in console(cloud, name)), console(cloud, name)
    return address


def address_of(cloud: Cloud, name: str) -> str:
    return str(openstack(cloud, "control", f"server show {name}")["addresses"]["flat"][0])


def console(cloud: Cloud, name: str) -> str:
    return on(cloud, "control", f". /root/admin-openrc && openstack console log show {name}")


def within(limit_s: float, look: Callable[[], bool]) -> bool:
    until = time.monotonic() + limit_s
    while not look():
        if time.monotonic() > until:
            return False
        time.sleep(1)
    return True


def greets_by_ssh(cloud: Cloud, address: str) -> bool:
    command = ["timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/22; head -c 4 <&3"]
    return cloud.rack.run(command, check=False).stdout == "SSH-"


def test_a_vm_on_the_wire_has_an_address_of_it_and_lets_in_whom_a_rule_lets_in(cloud: Cloud) -> None:
    """A-19, A-22."""
    address = address_of(cloud, "first")
    assert re.fullmatch(r"10\.88\.0\.1\d\d", address)
    assert pings(cloud, address)
    assert within(30, lambda: greets_by_ssh(cloud, address))


def test_every_check_of_two_nodes_holds(cloud: Cloud) -> None:
    """A-17, A-18, A-23 (metadata by the DHCP server's namespace, through a tunnel), A-27 (noVNC)."""
    found = states(cloud, "verify", "pair")
    assert "nova-compute.vm@compute1" in found
    assert other_than(found, "ok") == {}


def test_a_second_deploy_of_two_nodes_changes_nothing(cloud: Cloud) -> None:
    """A-58."""
    began = time.monotonic()
    assert other_than(states(cloud, "deploy", "pair"), "ok") == {}
    print(f"\na deploy that has nothing to do in {time.monotonic() - began:.0f} s")


def test_another_compute_host_joins_and_nobody_inside_notices(cloud: Cloud, tmp_path: Path) -> None:
    address = address_of(cloud, "first")
    shown = "systemctl show --value --property=InvocationID"
    units = {"control": "nova-api neutron-server mariadb", "compute1": "nova-compute libvirtd openvswitch-switch"}
    before = {host: on(cloud, host, f"{shown} {names}") for host, names in units.items()}
    with asking(cloud, tmp_path / "pings", ping_words(address)) as vm:
        began = time.monotonic()
        assert other_than(states(cloud, "deploy", "grown"), "ok", "changed") == {}
        vm.wait_for_answers(3, 30)
    print(f"\na compute host joined in {time.monotonic() - began:.0f} s; the longest silence of a VM: ", end="")
    print(f"{vm.longest_gap_s():.1f} s")
    assert {host: on(cloud, host, f"{shown} {names}") for host, names in units.items()} == before
    assert vm.longest_gap_s() < 15


def test_vms_of_one_network_meet_across_hosts_and_those_of_another_do_not(cloud: Cloud) -> None:
    """A-17, A-18, A-20 … A-24: the roles' own checks; that of neighbours has two networks with the same addresses."""
    began = time.monotonic()
    told = run(cloud, "verify", "grown")
    found = {task["planned_id"]: task["state"] for task in told["tasks"]}
    print(f"\nall checks in {time.monotonic() - began:.0f} s")
    assert {"nova-compute.neighbour@compute2", "neutron-l3.floating@control"} <= set(found)
    assert other_than(found, "ok") == {}


def test_screens_are_shown_by_spice_too(cloud: Cloud) -> None:
    """A-27."""
    assert other_than(states(cloud, "deploy", "spice"), "ok", "changed") == {}
    found = states(cloud, "verify", "spice")
    assert {"nova-compute.vm@compute1", "nova-compute.vm@compute2"} <= set(found)
    assert other_than(found, "ok") == {}


def test_all_is_back_after_every_host_was_rebooted(cloud: Cloud) -> None:
    """A-57; the controller is the last."""
    address = address_of(cloud, "first")
    for name in ("compute1", "compute2", "control"):
        system = cloud.system(name)
        system.stop()
        system.start()
    assert other_than(states(cloud, "verify", "spice"), "ok") == {}
    assert within(120, lambda: pings(cloud, address))
    on(cloud, "control", ". /root/admin-openrc && openstack server delete --wait first")


def test_a_compute_host_goes_when_nobody_is_on_it_and_the_cloud_knows_it_no_more(cloud: Cloud) -> None:
    words = "--image pxeforge-guest --flavor small --network flat --availability-zone nova:compute2 --wait"
    on(cloud, "control", f". /root/admin-openrc && openstack server create {words} guest")
    refused = run(cloud, "deploy", "smaller", "--remove-unassigned")
    [task] = [task for task in refused["tasks"] if task["state"] == "failed"]
    assert task["planned_id"] == "nova-compute.vacated@compute2"
    assert "VMs are on compute2: guest (" in last_words(task)
    on(cloud, "compute2", "systemctl is-active nova-compute neutron-openvswitch-agent")
    on(cloud, "control", ". /root/admin-openrc && openstack server delete --wait guest")
    assert other_than(states(cloud, "deploy", "smaller", "--remove-unassigned"), "ok", "changed") == {}
    for listed in ("compute service list", "network agent list"):
        assert "compute2" not in {item["Host"] for item in openstack(cloud, "control", listed)}
    assert {item["Hypervisor Hostname"] for item in openstack(cloud, "control", "hypervisor list")} == {"compute1"}
    assert other_than(states(cloud, "verify", "smaller"), "ok") == {}
    assert other_than(states(cloud, "deploy", "smaller", "--remove-unassigned"), "ok") == {}
