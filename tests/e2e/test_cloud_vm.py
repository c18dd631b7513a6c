"""A whole cloud on one real Debian: VMs boot and answer; a second deploy changes nothing; all is back after a reboot.

The host has no KVM and no Open vSwitch in its kernel: VMs are emulated, and the switch works in user space.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.cloud_trial import (
    EMULATED,
    engines_share,
    operator_folder,
    other_than,
    run,
    skip_without_mirror,
    states,
    write_blueprint,
)
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand, pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
]  # fmt: skip
ALL = ("verify", "emulated")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One host with everything; how long that took is printed."""
    skip_without_mirror()
    folder = tmp_path_factory.mktemp(f"vm-{request.param}")
    with (
        operator_folder(folder / "operator") as operator,
        Cloud(folder, cache=CACHE, suite=request.param, names=["c1"], name="vm") as made,
    ):
        write_blueprint(operator, "emulated", {"extends": "all-in-one", "variables": dict(EMULATED)})
        began = time.monotonic()
        told = run(made, "deploy", "emulated")
        assert {task["state"] for task in told["tasks"]} <= {"ok", "changed"}
        print(f"\n{request.param}: a cloud from an empty Debian in {time.monotonic() - began:.0f} s; ", end="")
        print(f"in {engines_share(told):.1%} of that the host did nothing")
        yield made


def test_vms_boot_and_answer_only_when_a_rule_lets_them(cloud: Cloud) -> None:
    """A-17, A-18, A-20 … A-23, A-27: the roles' own checks."""
    began = time.monotonic()
    found = states(cloud, *ALL)
    print(f"\nall checks in {time.monotonic() - began:.0f} s")
    assert "nova-compute.vm@c1" in found
    assert other_than(found, "ok") == {}


def test_checks_leave_nothing_behind(cloud: Cloud) -> None:
    told = cloud.system("c1").run(
        ["sh", "-c", ". /root/admin-openrc; for kind in server network router 'floating ip' keypair; do "
         "openstack $kind list -f json; done"], timeout_s=300,
    ).stdout  # fmt: skip
    assert "pxeforge-verify" not in told
    assert "172.24.4." not in told.replace("172.24.4.1/", "")


def test_a_second_deploy_changes_nothing(cloud: Cloud) -> None:
    """A-58."""
    began = time.monotonic()
    assert other_than(states(cloud, "deploy", "emulated"), "ok") == {}
    print(f"\na deploy that has nothing to do in {time.monotonic() - began:.0f} s")


def test_all_is_back_after_a_reboot(cloud: Cloud) -> None:
    """A-57."""
    system = cloud.system("c1")
    system.stop()
    system.start()
    assert other_than(states(cloud, *ALL), "ok") == {}
