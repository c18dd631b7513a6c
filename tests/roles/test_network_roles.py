"""Networking and compute roles: what the shipped blueprints make of them, and what their scripts do when run."""

from __future__ import annotations

import configparser
import os
import subprocess
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from pxeforge.engine.blueprint import InventoryHost, assign, layout_of, load_blueprint
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")


def plan_of(
    roles: dict[str, Role],
    releases: dict[str, Release],
    name: str | Path,
    hosts: list[str],
    version: str = "12",
    **more: object,
) -> Plan:
    file = name if isinstance(name, Path) else TOP / f"blueprints/{name}.yaml"
    blueprint = load_blueprint(file, roles)
    given = assign(blueprint, [InventoryHost(host_id=host, name=host) for host in hosts])
    ranges = [network.cidr for network in blueprint.networks if network.cidr] or [ip_network("10.0.0.0/24")]
    placed = []
    for number, host in enumerate(hosts, 1):
        own = [str(cidr[number]) for cidr in ranges]
        nics = [
            {"name": f"eth{nic}", "mac": f"02:00:00:00:0{nic}:0{number}", "addresses": [*addresses]}
            for nic, addresses in enumerate([*([f"{address}/24"] for address in own), *([[]] * (4 - len(own)))])
        ]
        facts: dict[str, Any] = {"os": {"id": "debian", "version": version}, "nics": nics, "cpu": {"flags": ["vmx"]}}
        facts["disks"] = [{"name": "vdb", "serial": f"D{number}", "size_bytes": 20 * 10**9, "system": False}]
        one = given[host]
        placed.append(
            PlanHost(
                host_id=host,
                name=host,
                roles=one.roles,
                addresses=tuple(own),
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


SERVICES = ["database", "queue", "keystone", "glance", "nova-api", "horizon", "neutron", "network", "compute1"]
GRE = ["controller", "network", "compute1", "compute2", "block1"]


def test_the_shipped_blueprints_make_plans_on_both_releases(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    for version in ("12", "13"):
        for name, hosts in (
            ("all-in-one", ["one"]),
            ("two-nodes", ["control", "compute1"]),
            ("three-nodes-gre", GRE),
            ("service-per-host", SERVICES),
        ):
            plan = plan_of(roles, releases, name, hosts, version)
            assert {task.host_name for task in plan.tasks} >= set(hosts)


def test_each_service_has_a_host_of_its_own_and_finds_the_others_there(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, "service-per-host", SERVICES)
    where = {role: {task.host_name for task in plan.tasks if task.role == role} for role in roles}
    for role, host in (
        *(("mariadb", "database"), ("rabbitmq", "queue"), ("keystone", "keystone"), ("glance", "glance")),
        *(("nova-controller", "nova-api"), ("horizon", "horizon"), ("neutron-server", "neutron")),
        *(("neutron-l3", "network"), ("nova-compute", "compute1")),
    ):
        assert where[role] == {host}
    config = str(step(plan, "nova.configure@compute1", "config")["content"])
    assert "@10.0.0.2:5672" in config  # the queue
    assert "http://10.0.0.3:5000" in config
    database = str(step(plan, "keystone.configure@keystone", "config")["content"])
    assert "@10.0.0.1/keystone" in database


def test_three_controllers_work_alone_and_take_compute_and_network_hosts_that_come(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    controllers = ["c1", "c2", "c3"]
    alone = plan_of(roles, releases, "ha", controllers)
    where = {role: sorted({task.host_name for task in alone.tasks if task.role == role}) for role in roles}
    assert where["neutron-dhcp"] == where["mariadb"] == controllers
    assert where["guest-image"] == where["cloud-contents"] == ["c1"]
    assert where["nova-compute"] == where["neutron-l3"] == []
    more = plan_of(roles, releases, "ha", [*controllers, "compute1", "compute2", "network1"])
    where = {role: sorted({task.host_name for task in more.tasks if task.role == role}) for role in roles}
    assert (where["nova-compute"], where["neutron-l3"]) == (["compute1", "compute2"], ["network1"])
    assert contents(alone)[0]["properties"] == {"shared": True, "type": "flat", "physical_network": "provider"}
    assert contents(more)[0]["properties"]["external"] is True  # as routers lead there


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


def test_each_compute_host_is_tried_with_the_one_before_it(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, "two-nodes", ["control", "compute1", "compute2", "compute3"])
    asked = [step(plan, f"nova-compute.neighbour@compute{number}", "reached")["input"] for number in (1, 2, 3)]
    assert [(one["neighbour"], one["host"]) for one in asked] == [
        ("", "compute1"), ("compute1", "compute2"), ("compute2", "compute3"),
    ]  # fmt: skip


def test_where_a_switch_in_user_space_sends_its_tunnels_from_is_looked_at(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    for datapath, hosts, looked in (
        ("netdev", ["control", "compute1"], True),
        ("system", ["control", "compute1"], False),
    ):
        plan = plan_of(roles, releases, "two-nodes", hosts, neutron_datapath=datapath)
        shell = step(plan, "neutron-openvswitch.bridges@compute1", "tunnel-source")["shell"]
        assert ("address show to 10.0.0.2 " in shell) is looked
        assert subprocess.run(["sh", "-n", "-c", shell], check=False).returncode == 0
    plan = plan_of(roles, releases, "all-in-one", ["one"], neutron_datapath="netdev")
    assert step(plan, "neutron-openvswitch.bridges@one", "tunnel-source")["shell"] == "echo seen"


def test_the_periodic_workers_run_where_they_are_a_program_of_their_own(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    for version, there in (("12", False), ("13", True)):
        plan = plan_of(roles, releases, "all-in-one", ["one"], version)
        assert step(plan, "neutron-server.start@one", "periodic-workers")["running"] is there


def test_vms_use_the_processor_where_it_can_help(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    plan = plan_of(roles, releases, "all-in-one", ["one"])
    assert config(plan, "nova-compute.configure@one")["libvirt"]["virt_type"] == "kvm"
    plan = plan_of(roles, releases, "all-in-one", ["one"], nova_virt_type="qemu")
    assert config(plan, "nova-compute.configure@one")["libvirt"]["virt_type"] == "qemu"


LINUX_BRIDGES = """\
name: linux-bridges
summary: the kernel's bridges instead of Open vSwitch
hosts:
  - match: {name: "control*"}
    roles: [mariadb, rabbitmq, memcached, keystone, placement, glance, nova-controller, neutron-server]
  - match: {name: "network*"}
    roles: [neutron-linuxbridge, neutron-dhcp, neutron-metadata, neutron-l3]
    nics: {provider: eth2}
  - match: {name: "compute*"}
    roles: [nova-compute, neutron-linuxbridge]
"""


@pytest.fixture
def with_linux_bridges(roles: dict[str, Role], releases: dict[str, Release], tmp_path: Path) -> Callable[..., Plan]:
    """Plans with neutron-linuxbridge: the version of Debian, and variables."""
    (tmp_path / "linux-bridges.yaml").write_text(LINUX_BRIDGES)

    def made(version: str = "12", **more: object) -> Plan:
        return plan_of(
            roles, releases, tmp_path / "linux-bridges.yaml", ["control", "network", "compute"], version, **more
        )

    return made


def test_linux_bridges_take_the_place_of_open_vswitch(with_linux_bridges: Callable[..., Plan]) -> None:
    plan = with_linux_bridges()
    assert not [task.id for task in plan.tasks if task.role == "neutron-openvswitch"]
    after = {task.id: task.after for task in plan.tasks}
    for waiting in ("nova-compute.start@compute", "neutron-dhcp.start@network", "neutron-l3.start@network"):
        assert f"neutron-linuxbridge.start@{waiting.partition('@')[2]}" in after[waiting]
    assert "neutron-linuxbridge.start@compute" in after["nova-compute.service@compute"]
    ml2 = config(plan, "neutron-server.configure@control", "ml2")["ml2"]
    assert ml2["mechanism_drivers"] == "linuxbridge,l2population"
    for host in ("control", "network", "compute"):
        assert config(plan, f"neutron.configure@{host}")["experimental"]["linuxbridge"] == "true"
    for task_id in ("neutron-dhcp.configure@network", "neutron-l3.configure@network"):
        assert config(plan, task_id)["DEFAULT"]["interface_driver"] == "linuxbridge"
    asked = step(plan, "neutron-server.agents@control", "alive")["input"]["expected"]
    assert (asked["Open vSwitch agent"], asked["Linux bridge agent"]) == ([], ["network", "compute"])


def test_linux_bridges_lead_to_where_the_nic_is(with_linux_bridges: Callable[..., Plan]) -> None:
    plan = with_linux_bridges()
    network = config(plan, "neutron-linuxbridge.configure@network")
    assert dict(network["linux_bridge"]) == {"physical_interface_mappings": "provider:eth2"}
    assert (network["vxlan"]["enable_vxlan"], network["vxlan"]["local_ip"]) == ("true", "10.0.0.2")
    assert not dict(config(plan, "neutron-linuxbridge.configure@compute")["linux_bridge"])
    plan = with_linux_bridges(neutron_tenant_type="vlan", neutron_vlan_range="771:789")
    assert dict(config(plan, "neutron-linuxbridge.configure@network")["vxlan"]) == {"enable_vxlan": "false"}
    assert step(plan, "neutron-linuxbridge.bridges@network", "module")["names"] == ["br_netfilter", "8021q"]
    plan = with_linux_bridges(neutron_provider_address="203.0.113.1/24")
    assert dict(config(plan, "neutron-linuxbridge.configure@network")["linux_bridge"]) == {
        "bridge_mappings": "provider:br-provider"
    }


def test_what_linux_bridges_cannot_is_refused_before_anything_runs(with_linux_bridges: Callable[..., Plan]) -> None:
    with pytest.raises(PlanProblem, match="Linux bridges have no GRE"):
        with_linux_bridges(neutron_tenant_type="gre")
    with pytest.raises(PlanProblem, match=r"neutron_dvr.* need Open vSwitch"):
        with_linux_bridges(neutron_dvr=True)
    with pytest.raises(PlanProblem, match=r"role neutron-linuxbridge cannot be on network \(Debian 13.*since 2025.1"):
        with_linux_bridges("13")


def test_a_nic_with_an_address_is_not_given_to_linux_bridges(
    with_linux_bridges: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = with_linux_bridges()
    task = "neutron-linuxbridge.bridges@network", "nic-command"
    code, said, notes = script_run(plan, *task, tmp_path / "a", nic_address="2: eth2 inet 10.9.9.9/24")
    assert (code, "eth2 has an address" in said, "up" in notes) == (1, True, False)
    code, said, notes = script_run(plan, *task, tmp_path / "b")
    assert (code, said) == (0, "")
    assert notes.splitlines()[-1] == "ip link set dev eth2 up"
    code, said, notes = script_run(with_linux_bridges(neutron_provider_address="203.0.113.1/24"), *task, tmp_path / "c")
    assert "ip link set dev eth2 master br-provider" in notes
    assert "ip address replace 203.0.113.1/24 dev br-provider" in notes


def test_distributed_routers_lead_out_where_there_is_a_nic(
    roles: dict[str, Role], releases: dict[str, Release], tmp_path: Path
) -> None:
    (tmp_path / "dvr.yaml").write_text("""\
name: dvr
summary: routers on every compute host
variables: {neutron_dvr: true}
hosts:
  - match: {name: control}
    roles: [mariadb, rabbitmq, memcached, keystone, placement, glance, nova-controller, neutron-server]
  - {match: {name: network}, roles: [neutron-dhcp, neutron-metadata, neutron-l3], nics: {provider: eth2}}
  - {match: {name: wired}, roles: [nova-compute, neutron-metadata, neutron-l3], nics: {provider: eth2}}
  - {match: {name: inner}, roles: [nova-compute, neutron-metadata, neutron-l3]}
""")
    plan = plan_of(roles, releases, tmp_path / "dvr.yaml", ["control", "network", "wired", "inner"])
    modes = {
        host: config(plan, f"neutron-l3.configure@{host}")["DEFAULT"]["agent_mode"]
        for host in ("network", "wired", "inner")
    }
    assert modes == {"network": "dvr_snat", "wired": "dvr", "inner": "dvr_no_external"}
    for host in modes:
        assert config(plan, f"neutron-openvswitch.configure@{host}")["agent"]["enable_distributed_routing"] == "true"
    assert config(plan, "neutron.configure@control")["DEFAULT"]["router_distributed"] == "true"


def bridge_command(plan: Plan, host: str, folder: Path, *, nic_address: str = "") -> tuple[int, str, str]:
    return script_run(plan, f"neutron-openvswitch.switch@{host}", "bridge-command", folder, nic_address=nic_address)


def script_run(plan: Plan, task_id: str, name: str, folder: Path, *, nic_address: str = "") -> tuple[int, str, str]:
    """Runs the script with programs that note what they are asked; exit code, complaint and notes."""
    tools = folder / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    notes = folder / "notes"
    for tool in ("ovs-vsctl", "ip"):
        answer = f'case "$*" in *"address show"*) echo "{nic_address}" ;; esac\n' if tool == "ip" else ""
        (tools / tool).write_text(f'#!/bin/sh\necho {tool} "$@" >> {notes}\n{answer}')
        (tools / tool).chmod(0o755)
    script = folder / "script"
    script.write_text(str(step(plan, task_id, name)["content"]))
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


# ------------------------------------------------------------------ what the cloud holds


def contents(plan: Plan) -> list[dict[str, Any]]:
    [made] = [task.steps for task in plan.tasks if task.id.startswith("cloud-contents.make@")]
    return list(made[0]["params"]["resources"])


def test_networks_of_the_cloud_follow_from_addresses_alone(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    """A blueprint that extends a shipped one names its range, and copies no list."""
    hosts = ["control", "compute1"]
    found = contents(plan_of(roles, releases, "two-nodes", hosts, provider_cidr="203.0.113.0/24", provider_pools=[]))
    network, subnet, *flavors = found
    assert network["properties"] == {"shared": True, "type": "flat", "physical_network": "provider"}
    assert (network["name"], subnet["name"]) == ("flat", "flat")
    assert subnet["properties"] == {
        "network": "flat", "cidr": "203.0.113.0/24", "gateway": "192.168.56.2", "dns": ["192.168.56.2"],
    }  # fmt: skip
    assert {row["kind"] for row in flavors} == {"flavor"}


def test_a_network_outside_is_for_routers_and_a_first_network_is_behind_one(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    external, outside, inside, subnet, router, port, *_ = contents(plan_of(roles, releases, "three-nodes-gre", GRE))
    assert external["properties"] == {"external": True, "type": "flat", "physical_network": "provider"}
    assert outside["properties"] == {
        "network": "external", "cidr": "192.168.234.0/24", "gateway": "192.168.234.1", "dhcp": False,
        "pools": ["192.168.234.230-192.168.234.239"],
    }  # fmt: skip
    assert (inside["name"], subnet["properties"]["cidr"]) == ("demo-net", "10.10.1.0/24")
    assert router["properties"] == {"external_network": "external"}
    assert port["properties"] == {"router": "demo-router", "subnet": "demo-net"}


def test_without_a_range_no_network_is_made_and_routers_turn_one_of_vms_to_the_outside(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    without = plan_of(roles, releases, "three-nodes-gre", GRE, provider_cidr="", project_cidr="")
    assert {row["kind"] for row in contents(without)} == {"flavor"}
    alone = plan_of(roles, releases, "three-nodes-gre", GRE, provider_cidr="")
    assert next(row for row in contents(alone) if row["kind"] == "router")["properties"] == {}
    both = plan_of(roles, releases, "three-nodes-gre", GRE, provider_for_vms=True)
    assert {"shared": True, "external": True}.items() <= contents(both)[0]["properties"].items()
    own = [{"kind": "network", "name": "mine"}]
    listed = contents(plan_of(roles, releases, "three-nodes-gre", GRE, cloud_networks=own))
    assert [row["name"] for row in listed if row["kind"] != "flavor"] == ["mine"]


def test_a_nic_with_the_hosts_address_is_refused_for_the_network_outside_before_anything_runs(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    with pytest.raises(PlanProblem, match=r"eth0 has the address 10.0.0.1/24: in the bridge the host would be cut off"):
        plan_of(roles, releases, "all-in-one", ["one"], neutron_provider_nic="eth0")
    with pytest.raises(PlanProblem, match=r"host one: it has no nic eth9, but eth0 .*\(neutron_provider_nic\)"):
        plan_of(roles, releases, "all-in-one", ["one"], neutron_provider_nic="eth9")
    assert plan_of(roles, releases, "all-in-one", ["one"], neutron_provider_nic="eth2").tasks


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("neutron_tenant_type", "vxlam", "one of vxlan, gre, vlan"),
        ("nova_console", "vnc", "one of novnc, spice"),
        ("nova_virt_type", "xen", "one of kvm, qemu"),
        ("neutron_datapath", "kernel", "one of system, netdev"),
        ("neutron_vlan_range", "771-789", "text that fits"),
        ("neutron_mtu", 20, "a number from 576 to 65535"),
    ],
)
def test_a_value_that_services_do_not_know_is_refused_with_those_that_they_do(
    roles: dict[str, Role], releases: dict[str, Release], name: str, value: object, allowed: str
) -> None:
    with pytest.raises(PlanProblem, match=f"variable {name} on one: it must be {allowed}"):
        plan_of(roles, releases, "all-in-one", ["one"], **{name: value})
