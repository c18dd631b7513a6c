"""Every shipped blueprint makes a plan, for every system that has a release pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pxeforge.engine.blueprint import Blueprint, InventoryHost, assign, layout_of, load_blueprint
from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.release import Release, load_releases
from pxeforge.engine.roles import load_roles

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.255.0.1", boot_url="http://10.255.0.1:8080")
ROLES = load_roles([TOP / "roles"])
RELEASES = load_releases([TOP / "releases"])
BLUEPRINTS = sorted(path.stem for path in (TOP / "blueprints").glob("*.yaml"))


def inventory(blueprint: Blueprint) -> list[InventoryHost]:
    """As many hosts as its rules want, and two where a pattern fits any number and the roles may be on two."""
    names: list[str] = []
    for rule in blueprint.rules:
        pattern = rule.name or f"spare{rule.line}-*"
        several = "*" in pattern and not any(ROLES[role].members.odd for role in rule.roles)
        count = rule.count or (2 if several else 1)
        names += [pattern.replace("*", str(number)) for number in range(1, count + 1)]
    tags = tuple(rule.tag for rule in blueprint.rules if rule.tag)
    return [InventoryHost(host_id=name, name=name, tags=tags) for name in names]


def facts(blueprint: Blueprint, number: int, release: Release) -> dict[str, Any]:
    """A nic in each network; the host's own address is in the first."""
    ranges = [network.cidr for network in blueprint.networks if network.cidr] or [None]
    own = [f"{cidr[10 + number]}/{cidr.prefixlen}" if cidr else f"10.9.0.{10 + number}/24" for cidr in ranges]
    nics = [
        {"name": f"eth{at}", "mac": f"52:54:00:00:{at:02x}:{number:02x}", "addresses": [address]}
        for at, address in enumerate(own)
    ]
    nics += [{"name": f"eth{at}", "mac": f"52:54:00:01:{at:02x}:{number:02x}"} for at in range(len(nics), 8)]
    disk = {"name": "vdb", "serial": f"D{number}", "size_bytes": 40 * 10**9, "system": False}
    return {"os": dict(release.match), "nics": nics, "disks": [disk]}


def planned(name: str, release: Release) -> Plan:
    blueprint = load_blueprint(TOP / f"blueprints/{name}.yaml", ROLES, (), RELEASES)
    hosts = inventory(blueprint)
    given = assign(blueprint, hosts)
    members = []
    for number, host in enumerate(hosts):
        told = facts(blueprint, number, release)
        address = told["nics"][0]["addresses"][0].partition("/")[0]
        mine = given[host.host_id]
        members.append(
            PlanHost(
                host_id=host.host_id, name=host.name, roles=mine.roles, variables=mine.variables,
                addresses=(address,), facts=told,
            )
        )  # fmt: skip
    return compile_plan(
        members, ROLES, server=SERVER, variables=blueprint.variables, releases=RELEASES,
        layout=layout_of(blueprint, given),
    )  # fmt: skip


@pytest.mark.parametrize("release", sorted(RELEASES))
@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_shipped_blueprint_makes_a_plan(name: str, release: str) -> None:
    plan = planned(name, RELEASES[release])
    assert {task.kind for task in plan.tasks} == {"deploy", "verify"}
    assert len(plan.graph().order) == len(plan.tasks)


def started(plan: Plan, host_name: str) -> dict[bool, set[str]]:
    """The units that roles start on the host, and those that they stop; less those that the check leaves alone."""
    units: dict[bool, set[str]] = {True: set(), False: set()}
    for task in (task for task in plan.tasks if task.host_name == host_name and task.kind == "deploy"):
        for step in (step for step in task.steps if step["type"] == "unit"):
            if step["params"].get("running") == step["params"].get("enabled"):
                units[step["params"]["running"]].add(step["params"]["name"])
    own = {unit for unit in units[True] | units[False] if unit.startswith("pxeforge-")}
    left = own | {"libvirtd", "iscsid.socket"}  # libvirtd ends when nobody needs it, and a socket starts it again
    return {wanted: names - left for wanted, names in units.items()}


def assert_units(plan: Plan) -> None:
    """Each host has one check, of the units of all its roles."""
    checks = [task for task in plan.tasks if any(str(step["id"]).endswith(".units.as-wanted") for step in task.steps)]
    assert sorted(check.host_name for check in checks) == sorted({task.host_name for task in plan.tasks})
    for check in checks:
        given = check.steps[0]["params"]["input"]
        on, off = set(given["on"].split()), set(given["off"].split())
        if given["console"]:
            assert given["console"] == "novnc"
            off.add("nova-spicehtml5proxy")
        units = started(plan, check.host_name)
        assert (on, off) == (units[True], units[False])
        assert "chrony" in on


@pytest.mark.parametrize("release", sorted(RELEASES))
@pytest.mark.parametrize("name", BLUEPRINTS)
def test_the_units_that_are_looked_at_are_those_that_the_roles_start_and_stop(name: str, release: str) -> None:
    """A-56: a pack that forgets one, or names one that its role leaves alone, is found here."""
    assert_units(planned(name, RELEASES[release]))


def test_units_are_looked_at_also_where_no_shipped_blueprint_has_the_role() -> None:
    control = ("mariadb", "rabbitmq", "memcached", "keystone", "glance", "placement", "nova-controller")
    hosts = [
        PlanHost(
            host_id=name, name=name, roles=roles, addresses=(f"10.9.0.{number}",),
            facts=facts(load_blueprint(TOP / "blueprints/all-in-one.yaml", ROLES), number, RELEASES["debian-12-zed"]),
        )
        for number, (name, roles) in enumerate(
            {"c": (*control, "neutron-server"), "n": ("neutron-linuxbridge",), "s": ("nfs-server",)}.items()
        )
    ]  # fmt: skip
    assert_units(compile_plan(hosts, ROLES, server=SERVER, releases=RELEASES))


def test_without_a_release_pack_nothing_is_known_of_units() -> None:
    host = PlanHost(host_id="a", name="a", roles=("base",), addresses=("10.9.0.1",))
    [check] = [task for task in compile_plan([host], ROLES, server=SERVER).tasks if task.id == "base.units@a"]
    assert check.steps[0]["params"]["input"] == {"on": "", "off": "", "console": ""}
