"""Every role that is shipped can be taken from a host again, alone or with all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role

SERVER = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1:8080")
CONTROL = ("mariadb", "rabbitmq", "memcached", "keystone", "placement", "glance", "nova-controller", "neutron-server")
VERSIONS = {"debian-12-zed": "12", "debian-13-2025.1": "13"}


def plan_of(roles: Mapping[str, Role], releases: Mapping[str, Release], *hosts: PlanHost, version: str = "12") -> Plan:
    facts = {"os": {"id": "debian", "version": version}}
    given = [replace(host, facts=facts, addresses=(f"10.1.0.{number}",)) for number, host in enumerate(hosts, 1)]
    return compile_plan(given, roles, server=SERVER, releases=releases)


def a_host(name: str, *roles: str, removes: tuple[str, ...] = ()) -> PlanHost:
    return PlanHost(host_id=name, name=name, roles=roles, removes=removes)


def removals(plan: Plan) -> Iterator[PlannedTask]:
    return (task for task in plan.tasks if task.kind == "remove")


def taken(plan: Plan, kind: str, key: str) -> set[str]:
    steps = [step for task in removals(plan) for step in task.steps if step["type"] == kind]
    found: set[str] = set()
    for step in steps:
        value = step["params"][key]
        found |= {value} if isinstance(value, str) else {*value}
    return found


@pytest.mark.parametrize("release", sorted(VERSIONS))
def test_each_role_goes_from_a_host_that_keeps_what_it_stands_on(
    roles: dict[str, Role], releases: dict[str, Release], release: str
) -> None:
    others = a_host("c", *CONTROL, "nfs-server")
    for name, role in roles.items():
        if name not in releases[release].lacks:
            host = a_host("a", *role.requires, removes=(name,))
            plan = plan_of(roles, releases, host, others, version=VERSIONS[release])
            assert {task.role for task in removals(plan)} == {name}


@pytest.mark.parametrize("release", sorted(VERSIONS))
def test_a_whole_cloud_goes_with_all_that_it_stands_on_though_nobody_serves_it_any_more(
    roles: dict[str, Role], releases: dict[str, Release], release: str
) -> None:
    every = tuple(name for name in roles if name not in releases[release].lacks)
    plan = plan_of(roles, releases, a_host("a", removes=every), version=VERSIONS[release])
    assert {task.role for task in removals(plan)} == {*every}
    place = {task.role: position for position, task in enumerate(removals(plan))}
    for name in every:
        assert all(place[name] < place[below] for below in roles[name].requires)


def test_a_folder_is_taken_away_only_when_no_role_still_has_files_in_it(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    """The step `file` removes empty folders only."""
    every = tuple(name for name in roles if name not in ("neutron-linuxbridge", "cinder-lvm"))  # a conflict, a disk
    deployed = plan_of(roles, releases, a_host("a", *every))
    files = [
        PurePosixPath(step["params"]["path"])
        for task in deployed.tasks
        for step in task.steps
        if step["type"] == "file" and step["params"]["state"] == "file"
    ]
    gone = taken(plan_of(roles, releases, a_host("a", removes=every)), "file", "path")
    for path in gone:
        inside = [file for file in files if PurePosixPath(path) in file.parents]
        assert not inside or {str(file) for file in inside} <= gone, path


def test_base_gives_the_name_back_to_the_loopback_and_the_clock_to_debian(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, a_host("c1", removes=("base",)))
    steps = {step["name"]: step["params"] for task in removals(plan) for step in task.steps}
    assert steps["own-name"]["line"] == "127.0.1.1\tc1"
    assert steps["hosts"]["state"] == "absent"
    assert steps["sysctl"]["settings"] == {}
    assert steps["unit"] == {
        "name": "chrony", "running": True, "enabled": True, "restart_on": ["base.time-back.config"], "settle_s": 8.0,
    }  # fmt: skip


def test_the_guest_leaves_a_cloud_that_goes_on_without_it_and_no_other(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    def asked(*others: PlanHost) -> list[str]:
        plan = plan_of(roles, releases, a_host("g", "cloud", removes=("guest-image",)), *others)
        [step] = [step for task in removals(plan) for step in task.steps if step["type"] == "openstack"]
        return [resource["kind"] for resource in step["params"]["resources"]]

    assert asked(a_host("c", *CONTROL)) == ["image", "flavor"]
    assert asked(a_host("c", *CONTROL, "guest-image")) == []
    assert asked() == []


def test_a_switch_that_carries_the_network_of_the_host_stays_when_neutron_goes(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    bridge = {"name": "br-ex", "kind": "ovs", "ports": ["eth0"], "addresses": ["10.1.0.1/24"]}
    host = replace(
        a_host("n", "net", removes=("neutron-openvswitch",)),
        variables={"nics": [{"name": "eth0"}], "bridges": [bridge]},
    )
    gone = taken(plan_of(roles, releases, host), "packages", "names")
    assert "neutron-openvswitch-agent" in gone
    assert "openvswitch-switch" not in gone


def test_programs_units_and_settings_that_a_role_wrote_go_with_it(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    """What a package owns or tenants gave stays, like files in /etc of packages that are removed and not purged."""
    ours = ("/usr/local/", "/etc/systemd/", "/etc/sysctl.d/", "/etc/apt/", "/etc/ssh/", "/root/", "/etc/sudoers.d/")
    left: dict[str, set[str]] = {}
    for name, role in roles.items():
        if name == "cinder-lvm":
            continue  # its files are on a disk that no test host has
        others = a_host("c", *CONTROL, "nfs-server")
        alone = [a_host("a", *CONTROL)] if name in CONTROL else [a_host("a", name), others]
        deployed = plan_of(roles, releases, *alone)
        removed = plan_of(roles, releases, a_host("a", *role.requires, removes=(name,)), others)
        written = {
            str(step["params"]["path"])
            for task in deployed.tasks
            if task.role == name and task.host_name == "a" and task.kind == "deploy"
            for step in task.steps
            if step["type"] == "file" and step["params"]["state"] == "file"
        }
        left[name] = {path for path in written if path.startswith(ours)} - taken(removed, "file", "path")
    assert {name: paths for name, paths in left.items() if paths} == {}
