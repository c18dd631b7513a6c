"""Networking and compute roles: what the shipped blueprints make of them, and what their scripts do when run."""

from __future__ import annotations

import configparser
import os
import subprocess
from pathlib import Path
from typing import Any

from pxeforge.engine.blueprint import InventoryHost, assign, layout_of, load_blueprint
from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")


def plan_of(
    roles: dict[str, Role],
    releases: dict[str, Release],
    name: str,
    hosts: list[str],
    version: str = "12",
    **more: object,
) -> Plan:
    blueprint = load_blueprint(TOP / f"blueprints/{name}.yaml", roles)
    given = assign(blueprint, [InventoryHost(host_id=host, name=host) for host in hosts])
    placed = []
    for number, host in enumerate(hosts, 1):
        nics = [
            {"name": f"eth{nic}", "mac": f"02:00:00:00:0{nic}:0{number}", "addresses": addresses}
            for nic, addresses in enumerate([[f"10.0.0.{number}/24"], [f"10.0.1.{number}/24"], []])
        ]
        facts: dict[str, Any] = {"os": {"id": "debian", "version": version}, "nics": nics, "cpu": {"flags": ["vmx"]}}
        one = given[host]
        placed.append(
            PlanHost(
                host_id=host,
                name=host,
                roles=one.roles,
                addresses=(f"10.0.0.{number}", f"10.0.1.{number}"),
                facts=facts,
                variables=dict(one.variables),
            )
        )
    return compile_plan(
        placed,
        roles,
        server=SERVER,
        variables={**blueprint.variables, **more},
        releases=releases,
        layout=layout_of(blueprint, given),
    )


def step(plan: Plan, task_id: str, name: str) -> dict[str, Any]:
    task = next(task for task in plan.tasks if task.id == task_id)
    return dict(next(item for item in task.steps if item["name"] == name)["params"])


def config(plan: Plan, task_id: str, name: str = "config") -> configparser.RawConfigParser:
    """The file a step writes; a key that is there twice is an error (G-53)."""
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(str(step(plan, task_id, name)["content"]))
    return parser


GRE = ["controller", "network", "compute1", "compute2"]


def test_the_shipped_blueprints_make_plans_on_both_releases(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    for version in ("12", "13"):
        for name, hosts in (
            ("all-in-one", ["one"]),
            ("two-nodes", ["control", "compute1"]),
            ("three-nodes-gre", GRE),
        ):
            plan = plan_of(roles, releases, name, hosts, version)
            assert {task.host_name for task in plan.tasks} >= set(hosts)


def test_tunnels_go_over_the_tunnel_network_and_the_bridge_is_where_the_nic_is(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, "three-nodes-gre", GRE)
    network = config(plan, "neutron-openvswitch.configure@network")
    compute = config(plan, "neutron-openvswitch.configure@compute1")
    assert network["agent"]["tunnel_types"] == compute["agent"]["tunnel_types"] == "gre"
    assert (network["ovs"]["local_ip"], compute["ovs"]["local_ip"]) == ("10.0.1.2", "10.0.1.3")
    assert network["ovs"]["bridge_mappings"] == "provider:br-provider"
    assert "bridge_mappings" not in compute["ovs"]  # G-11: an agent told of a bridge that is not there ends
    assert config(plan, "neutron-server.configure@controller", "ml2")["ml2"]["tenant_network_types"] == "gre"


def test_only_the_server_has_the_databases_password(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    plan = plan_of(roles, releases, "three-nodes-gre", GRE)
    for host in ("network", "compute1"):
        assert "neutron_db" not in str(step(plan, f"neutron.configure@{host}", "config"))  # G-52
    assert "neutron_db" in str(step(plan, "neutron.configure@controller", "config"))


def test_computes_are_taken_in_once_for_all(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    plan = plan_of(roles, releases, "three-nodes-gre", GRE)
    asked = step(plan, "nova-controller.computes@controller", "discover")
    assert asked["argv"][-1].endswith("nova-hosts discover compute1 compute2")
    (task,) = [task for task in plan.tasks if task.id == "nova-controller.computes@controller"]
    assert any("nova-compute.start" in one for one in task.after)


def test_the_server_of_its_own_is_used_where_the_release_needs_it(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    for version, unit in (("12", "neutron-server"), ("13", "neutron-api")):
        plan = plan_of(roles, releases, "all-in-one", ["one"], version)
        assert step(plan, "neutron-server.start@one", "api-server")["name"] == unit
        assert step(plan, "neutron-server.start@one", "packaged-api")["running"] is (version == "13")


def test_vms_use_the_processor_where_it_can_help(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    plan = plan_of(roles, releases, "all-in-one", ["one"])
    assert config(plan, "nova-compute.configure@one")["libvirt"]["virt_type"] == "kvm"
    plan = plan_of(roles, releases, "all-in-one", ["one"], nova_virt_type="qemu")
    assert config(plan, "nova-compute.configure@one")["libvirt"]["virt_type"] == "qemu"


def bridge_command(plan: Plan, host: str, folder: Path, *, nic_address: str = "") -> tuple[int, str, str]:
    """Runs the script with programs that note what they are asked; exit code, complaint and notes."""
    tools = folder / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    notes = folder / "notes"
    for name in ("ovs-vsctl", "ip"):
        answer = f'case "$*" in *"address show"*) echo "{nic_address}" ;; esac\n' if name == "ip" else ""
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {notes}\n{answer}')
        (tools / name).chmod(0o755)
    script = folder / "script"
    script.write_text(str(step(plan, f"neutron-openvswitch.switch@{host}", "bridge-command")["content"]))
    environment = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stderr, notes.read_text() if notes.exists() else ""


def test_a_nic_with_an_address_is_never_taken_into_the_bridge(
    roles: dict[str, Role], releases: dict[str, Release], tmp_path: Path
) -> None:
    """G-13: the host would be cut off."""
    plan = plan_of(roles, releases, "three-nodes-gre", GRE)
    code, said, notes = bridge_command(plan, "network", tmp_path / "a", nic_address="2: eth2 inet 10.9.9.9/24")
    assert code == 1
    assert "eth2 has an address" in said
    assert "add-port" not in notes
    code, said, notes = bridge_command(plan, "network", tmp_path / "b")
    assert (code, said) == (0, "")
    assert "add-port br-provider eth2" in notes
    assert "ip link set dev eth2 up" in notes
    assert bridge_command(plan, "compute1", tmp_path / "c") == (0, "", "")


def test_the_scripts_of_all_checks_compile() -> None:
    found = [
        *(
            path
            for role in ("neutron-server", "neutron-l3", "nova-compute")
            for path in (TOP / "roles" / role / "checks").iterdir()
        ),
        TOP / "roles/guest-image/templates/build-guest-image",
        TOP / "roles/nova-controller/templates/nova-hosts",
    ]
    assert len(found) > 6
    for path in found:
        compile(path.read_text(), str(path), "exec")
