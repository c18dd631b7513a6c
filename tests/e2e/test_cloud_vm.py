"""A whole cloud on one real Debian: VMs boot and answer; a second deploy changes nothing; all is back after a reboot.

The host has no KVM and no Open vSwitch in its kernel: VMs are emulated, and the switch works in user space.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from pxeforge.lab.mirror import NoMirror, apt_mirrors

pytestmark = [
    pytest.mark.by_hand, pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
]  # fmt: skip
BLUEPRINT = """\
name: emulated
summary: all-in-one where the kernel helps with nothing
extends: all-in-one
variables: {neutron_datapath: netdev, nova_virt_type: qemu}
"""
ALL = ("verify", "emulated")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One host with everything; how long that took is printed."""
    try:
        apt_mirrors()
    except NoMirror as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("vm")
    (folder / "operator/blueprints").mkdir(parents=True)
    (folder / "operator/blueprints/emulated.yaml").write_text(BLUEPRINT)
    cache = tmp_path_factory.getbasetemp() / "cache"
    with (
        operator_folder(folder / "operator"),
        Cloud(folder, cache=cache, suite="bookworm", names=["c1"], name="vm") as made,
    ):
        began = time.monotonic()
        assert other_than(states(made, "deploy", "emulated"), "ok", "changed") == {}
        print(f"\na cloud from an empty Debian in {time.monotonic() - began:.0f} s")
        yield made


class operator_folder:  # noqa: N801 (read as a context: with operator_folder(...))
    """The server of the cloud takes blueprints from there too."""

    def __init__(self, folder: Path) -> None:
        self._patch = pytest.MonkeyPatch()
        self._folder = folder

    def __enter__(self) -> None:
        self._patch.setitem(os.environ, "PXEFORGE_OPERATOR_DIR", str(self._folder))

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def states(cloud: Cloud, *words: str) -> dict[str, str]:
    """The state of each task of the run, by its name."""
    told = json.loads(cloud.pxeforge(*words, "--json", check=False))
    return {task["planned_id"]: task["state"] for task in told["tasks"]}


def other_than(found: dict[str, str], *wanted: str) -> dict[str, str]:
    return {name: state for name, state in found.items() if state not in wanted}


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
