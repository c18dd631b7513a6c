"""A role that needs disks of its own gets a plan only where the host has them."""

from __future__ import annotations

import pytest

from pxeforge.engine.disk_needs import DiskNeed, lacking_disks
from pxeforge.engine.plan import PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.roles import parse_role

GB = 10**9
SYSTEM = {"name": "sda", "size_bytes": 100 * GB, "system": True, "removable": False}


def disk(size_gb: int, *, system: bool = False, removable: bool = False) -> dict[str, object]:
    return {"name": "sdx", "size_bytes": size_gb * GB, "system": system, "removable": removable}


def need(count: int, gb: int) -> DiskNeed:
    return DiskNeed(count=count, min_bytes=gb * GB)


def test_the_systems_own_disk_and_removable_ones_do_not_count() -> None:
    facts = {"disks": [SYSTEM, disk(500, removable=True)]}
    said = lacking_disks(facts, {"ceph": need(1, 10)})
    assert said is not None
    assert "role ceph needs 1 disks of at least 10 GB beside the system's, and 0 are left" in said
    assert lacking_disks({"disks": [SYSTEM, disk(10)]}, {"ceph": need(1, 10)}) is None


def test_two_roles_do_not_share_a_disk() -> None:
    facts = {"disks": [SYSTEM, disk(50), disk(500)]}
    assert lacking_disks(facts, {"swift": need(1, 20), "ceph": need(1, 100)}) is None
    said = lacking_disks(facts, {"swift": need(2, 20), "ceph": need(1, 100)})
    assert said is not None
    assert "role swift needs 2" in said


@pytest.mark.parametrize("facts", [{}, {"disks": []}, {"disks": [{"name": "sda", "size_bytes": GB}]}])
def test_nothing_is_said_of_hosts_whose_disks_are_not_known(facts: dict[str, object]) -> None:
    assert lacking_disks(facts, {"ceph": need(3, 100)}) is None


def test_the_plan_of_a_host_without_the_disks_is_refused_with_what_to_do() -> None:
    """R-38: roles declare the disks they need."""
    text = "name: osd\nsummary: a\ndisks: {count: 2, min_gb: 20}\n"
    text += "tasks: [{name: t, steps: [{packages: {names: [ceph-osd]}}]}]\n"
    roles = {"osd": parse_role(text, "role.yaml", "osd", {})}
    server = PlanServer(address="192.0.2.1", boot_url="http://192.0.2.1:8080")

    def plan(*disks: object) -> object:
        host = PlanHost(host_id="h", name="n1", roles=("osd",), facts={"disks": list(disks)})
        return compile_plan([host], roles, server=server)

    assert plan(SYSTEM, disk(20), disk(30))
    with pytest.raises(PlanProblem, match=r"host n1: role osd needs 2 disks .* reserved_disks of the profile"):
        plan(SYSTEM, disk(20), disk(10))
