from __future__ import annotations

import time
from pathlib import Path

import pytest

from pxeforge.engine.blueprint import InventoryHost, assign, load_blueprint
from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.roles import Role, load_roles

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1:8080")


@pytest.fixture(scope="module")
def roles() -> dict[str, Role]:
    return load_roles([TOP / "roles"])


def plan_of(roles: dict[str, Role], names: list[str], role: str = "mariadb", **variables: object) -> Plan:
    hosts = [
        PlanHost(host_id=str(number), name=name, roles=(role,), addresses=(f"10.1.{number // 250}.{number % 250}",))
        for number, name in enumerate(names, 1)
    ]
    return compile_plan(hosts, roles, server=SERVER, variables=variables)


def content(plan: Plan, task_id: str, step: str) -> str:
    task = next(task for task in plan.tasks if task.id == task_id)
    return str(next(item for item in task.steps if item["name"] == step)["params"]["content"])


def test_every_host_knows_every_host_of_the_plan(roles: dict[str, Role]) -> None:
    plan = plan_of(roles, ["db1", "db2.example.org"], "base", domain="lan")
    expected = "10.1.0.1 db1.lan db1\n10.1.0.2 db2.example.org db2\n"
    assert content(plan, "base.names@db1", "hosts") == content(plan, "base.names@db2.example.org", "hosts") == expected
    assert content(plan_of(roles, ["db1"]), "base.names@db1", "hosts") == "10.1.0.1 db1\n"


def test_time_comes_from_the_server_unless_others_are_named(roles: dict[str, Role]) -> None:
    """R-26: the computer that serves is the hosts' source of time."""
    assert "server 10.0.0.1 iburst\n" in content(plan_of(roles, ["a"]), "base.time@a", "config")
    config = content(plan_of(roles, ["a"], ntp_servers=["t1", "t2"]), "base.time@a", "config")
    assert "server t1 iburst\nserver t2 iburst\n" in config
    assert "10.0.0.1" not in config


def test_packages_install_at_once_and_the_service_waits_for_the_final_name(roles: dict[str, Role]) -> None:
    after = {task.id: task.after for task in plan_of(roles, ["a"]).tasks}
    assert after["mariadb.install@a"] == ()
    assert set(after["mariadb.configure@a"]) == {"mariadb.install@a", "base.names@a"}
    assert set(after["mariadb.round-trip@a"]) >= {"mariadb.service-user@a", "base.time@a"}


def test_the_password_goes_only_to_tasks_that_need_it(roles: dict[str, Role]) -> None:
    plan = plan_of(roles, ["a"])
    assert [task.name for task in plan.tasks if task.secrets] == ["service-user", "round-trip", "members"]
    assert plan.secrets == ("mariadb_admin", "mariadb_verify")


def test_the_smallest_blueprint_fits_one_host(roles: dict[str, Role]) -> None:
    blueprint = load_blueprint(TOP / "blueprints/single-database.yaml", roles)
    given = assign(blueprint, [InventoryHost(host_id="1", name="a")])
    host = PlanHost(host_id="1", name="a", addresses=("10.0.0.9",), roles=given["1"].roles)
    plan = compile_plan([host], roles, server=SERVER, variables=blueprint.variables)
    assert "max_connections = 500\n" in content(plan, "mariadb.configure@a", "config")


def test_a_plan_for_three_hundred_hosts_takes_seconds(roles: dict[str, Role]) -> None:
    began = time.perf_counter()
    plan = plan_of(roles, [f"h{number}" for number in range(300)], "memcached")
    assert len(plan.tasks) == 300 * len(plan_of(roles, ["a"], "memcached").tasks)
    assert time.perf_counter() - began < 10
