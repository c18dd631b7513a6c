"""Neutron on bridges of the kernel (Zed): VMs on two hosts reach each other by VXLAN, and the outside by a flat wire.

VLANs are left out: this computer's kernel, which the hosts share, need not have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.cloud_trial import (
    EMULATED,
    on,
    operator_folder,
    other_than,
    shipped_blueprint,
    skip_without_mirror,
    states,
    write_blueprint,
)  # fmt: skip
from tests.e2e.conftest import CACHE

_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
pytestmark = [
    pytest.mark.by_hand,
    pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
    pytest.mark.skipif(not _FILTER.exists(), reason="this kernel's bridges know no rules (br_netfilter)"),
]
NAMES = ("c1", "n1")
EXTERNAL = {
    "provider_cidr": "10.88.0.0/24", "provider_gateway": "10.88.0.1", "provider_pools": ["10.88.0.100-10.88.0.199"],
}  # fmt: skip
ALL = ("verify", "linux-bridges")


def blueprint() -> dict[str, object]:
    """all-in-one with bridges, its way out by the lab's second wire, and a second compute host."""
    shipped = shipped_blueprint("all-in-one")
    roles = [
        "neutron-linuxbridge" if name == "neutron-openvswitch" else name
        for name in shipped["hosts"][0]["roles"]
        if name != "horizon"
    ]
    rules = [
        {"match": {"name": "c1"}, "roles": roles, "nics": {"provider": "eth1"}},
        {"match": {"name": "n1"}, "roles": ["nova-compute", "neutron-linuxbridge"]},
    ]
    variables = {**EMULATED, "neutron_provider_address": "", **EXTERNAL}
    return {"extends": "all-in-one", "variables": variables, "hosts": rules}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    skip_without_mirror()
    folder = tmp_path_factory.mktemp("bridges")
    with (
        operator_folder(folder / "operator") as operator,
        Cloud(folder, cache=CACHE, suite="bookworm", names=NAMES, name="bridges") as cloud,
    ):
        write_blueprint(operator, "linux-bridges", blueprint())
        for host in NAMES:
            # The filter of bridges is built into this computer's kernel, and its list of such parts is not in the host.
            on(
                cloud,
                host,
                "cd /lib; mkdir -p modules/$(uname -r); echo br_netfilter.ko > modules/$(uname -r)/modules.builtin",
            )
        assert other_than(states(cloud, "deploy", "linux-bridges"), "ok", "changed") == {}
        yield cloud


def test_vms_reach_each_other_and_the_outside(cloud: Cloud) -> None:
    """A-20 … A-24 with Linux bridges: the roles' own checks."""
    found = states(cloud, *ALL)
    assert {"nova-compute.vm@n1", "nova-compute.neighbour@n1", "neutron-l3.floating@c1"} <= set(found)
    assert other_than(found, "ok") == {}
    assert "ovs" not in on(cloud, "c1", "ip -br link; ip netns")


def test_a_second_deploy_changes_nothing(cloud: Cloud) -> None:
    """A-58."""
    assert other_than(states(cloud, "deploy", "linux-bridges"), "ok") == {}


def test_agents_and_bridges_are_back_after_a_reboot(cloud: Cloud) -> None:
    """G-39."""
    for host in NAMES:
        cloud.system(host).stop()
    for host in NAMES:
        cloud.system(host).start()
    assert other_than(states(cloud, *ALL), "ok") == {}
