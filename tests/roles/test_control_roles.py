"""The control plane's roles: plans of one host and of three, and the tools and checks that they bring."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import ipaddress
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pxeforge.engine.layout import Layout, Network, Vip
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role
from pxeforge.engine.secrets import secrets_in

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")
CONTROL = (
    *("mariadb", "rabbitmq", "memcached", "keystone", "openrc", "placement", "glance", "nova-controller", "horizon"),
)
API = Network(name="api", purposes=("api",), cidr=ipaddress.ip_network("10.0.0.0/24"))
VIP = Vip(
    name="cloud",
    address="10.0.0.250",
    network="api",
    roles=("mariadb", "keystone", "placement", "glance", "nova-controller", "horizon"),
)


def plan_of(
    roles: dict[str, Role],
    releases: dict[str, Release],
    count: int,
    names: tuple[str, ...] = CONTROL,
    version: str = "12",
    layout: Layout | None = None,
    **variables: object,
) -> Plan:
    hosts = []
    for number in range(1, count + 1):
        nics = [{"name": "eth0", "mac": f"02:00:00:00:00:{number:02x}", "addresses": [f"10.0.0.{number}/24"]}]
        facts: dict[str, Any] = {"os": {"id": "debian", "version": version}, "nics": nics}
        host = PlanHost(
            host_id=str(number), name=f"c{number}", roles=names, addresses=(f"10.0.0.{number}",), facts=facts
        )
        hosts.append(host)
    return compile_plan(hosts, roles, server=SERVER, releases=releases, layout=layout or Layout(), variables=variables)


def task_of(plan: Plan, task_id: str) -> PlannedTask:
    return next(task for task in plan.tasks if task.id == task_id)


def params_of(plan: Plan, task_id: str, step: str) -> dict[str, Any]:
    return dict(next(item for item in task_of(plan, task_id).steps if item["name"] == step)["params"])


def content(plan: Plan, task_id: str, step: str) -> str:
    return str(params_of(plan, task_id, step)["content"])


def before(plan: Plan, task_id: str) -> set[str]:
    """All tasks that must be over before this one starts."""
    graph = plan.graph()
    return {task.id for task in plan.tasks if task_id in graph.descendants(task.id)}


@pytest.mark.parametrize("version", ["12", "13"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_control_plane_makes_a_plan(
    roles: dict[str, Role], releases: dict[str, Release], count: int, version: str
) -> None:
    plan = plan_of(roles, releases, count, version=version)
    assert {task.role for task in plan.tasks} >= set(CONTROL)
    assert {task.host_name for task in plan.tasks if task.host_name} == {f"c{number + 1}" for number in range(count)}


def test_packages_of_every_service_come_at_once_and_start_nothing(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, 3)
    for name in set(CONTROL) - {"openrc"}:
        for host in ("c1", "c2", "c3"):
            task = task_of(plan, f"{name}.install@{host}")
            assert task.after == ()
            assert task.resource == "mirror"
            assert [step["params"]["start"] for step in task.steps if step["type"] == "packages"] == [False]


def test_a_file_with_a_secret_is_not_for_everybody(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    for plan in (plan_of(roles, releases, 1), plan_of(roles, releases, 3, (*CONTROL, "haproxy"), layout=vip_layout())):
        for task in plan.tasks:
            for step in task.steps:
                if step["type"] == "file" and secrets_in(step["params"].get("content", "")):
                    assert step["params"]["mode"].lstrip("0") in ("640", "600", "400"), step["id"]


def test_no_secret_stands_on_a_command_line(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    """Every user of a host sees the words of its commands; environments and standard input only root."""
    for task in plan_of(roles, releases, 3).tasks:
        for step in task.steps:
            words = {key: step["params"].get(key) for key in ("argv", "shell", "unless", "onlyif")}
            assert not secrets_in(words), step["id"]


def test_one_host_leads_what_can_only_happen_once(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    plan = plan_of(roles, releases, 3)
    for name in ("mariadb.start", "rabbitmq.start", "keystone.database", "glance.database", "nova-controller.database"):
        assert f"{name}@c1" in before(plan, f"{name}@c2") & before(plan, f"{name}@c3")
        assert not {f"{name}@c2", f"{name}@c3"} & before(plan, f"{name}@c1")


def test_databases_come_before_what_needs_them_and_after_all_their_servers(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, 3)
    assert {f"mariadb.service-user@c{number}" for number in (1, 2, 3)} <= before(plan, "keystone.database@c1")
    assert "nova-controller.register@c1" in before(plan, "nova-controller.start@c1")
    assert {"rabbitmq.users@c3", "placement.start@c1"} <= before(plan, "nova-controller.start@c1")


def test_a_single_database_is_no_cluster_and_three_are_one(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    assert "wsrep" not in content(plan_of(roles, releases, 1), "mariadb.configure@c1", "config")
    plan = plan_of(roles, releases, 3)
    assert "gcomm://10.0.0.1,10.0.0.2,10.0.0.3\n" in content(plan, "mariadb.configure@c2", "config")
    guards = [params_of(plan, f"mariadb.start@c{number}", "new-cluster")["unless"] for number in (1, 2, 3)]
    assert guards[0].startswith("systemctl is-active")
    assert all(guard.startswith("true ||") for guard in guards[1:])  # only the first one may make a cluster


def test_services_know_every_node_of_the_queue_and_of_memcached(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    text = content(plan_of(roles, releases, 3), "nova.configure@c2", "config")
    nodes = ",".join(f"openstack:@@secret:rabbitmq_openstack@@@10.0.0.{number}:5672" for number in (1, 2, 3))
    assert f"transport_url = rabbit://{nodes}/\n" in text
    assert "memcache_servers = 10.0.0.1:11211,10.0.0.2:11211,10.0.0.3:11211\n" in text


def test_a_host_without_the_controllers_role_gets_no_password_of_the_database(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    facts = {"os": {"id": "debian", "version": "12"}}
    hosts = [
        PlanHost(host_id="1", name="c1", roles=CONTROL, addresses=("10.0.0.1",), facts=facts),
        PlanHost(host_id="2", name="n1", roles=("nova",), addresses=("10.0.0.2",), facts=facts),
    ]
    plan = compile_plan(hosts, roles, server=SERVER, releases=releases)
    assert "nova_db" in secrets_in(content(plan, "nova.configure@c1", "config"))
    assert "nova_db" not in {name for task in plan.tasks if task.host_name == "n1" for name in task.secrets}


def test_the_chosen_console_is_the_only_one(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    for console, other in (("novnc", "spicehtml5"), ("spice", "novnc")):
        plan = plan_of(roles, releases, 1, nova_console=console)
        units = {
            step["params"]["name"]: step["params"]["running"]
            for step in task_of(plan, "nova-controller.start@c1").steps
            if step["type"] == "unit"
        }
        chosen = "spicehtml5" if console == "spice" else "novnc"
        assert units[f"nova-{chosen}proxy"] is True
        assert units[f"nova-{other}proxy"] is False


# ------------------------------------------------------------------ behind one address


def vip_layout() -> Layout:
    return Layout(networks=(API,), vips=(VIP,))


def test_behind_a_vip_clients_go_there_and_services_listen_on_their_own_address(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, 3, (*CONTROL, "haproxy"), layout=vip_layout())
    config = content(plan, "keystone.configure@c2", "config")
    assert "@10.0.0.250/keystone" in config
    assert "--http-socket 10.0.0.2:5000" in content(plan, "keystone.configure@c2", "address")
    for number in (1, 2, 3):
        assert f"haproxy.start@c{number}" in before(plan, "keystone.database@c1")
    keepalived = [content(plan, f"haproxy.configure@c{number}", "address") for number in (1, 2, 3)]
    priorities = [next(line for line in text.splitlines() if "priority" in line) for text in keepalived]
    assert len(set(priorities)) == 3
    assert "10.0.0.1\n" not in keepalived[0].partition("unicast_peer")[2]


def test_only_one_database_is_written_to_through_the_vip(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    """Two writers of one row make Galera refuse one of them, which the services take badly."""
    plan = plan_of(roles, releases, 3, (*CONTROL, "haproxy"), layout=vip_layout())
    section = content(plan, "haproxy.configure@c1", "balancer").partition("listen mariadb-3306")[2].partition("\n\n")[0]
    servers = [line for line in section.splitlines() if line.strip().startswith("server ")]
    assert [line.endswith("backup") for line in servers] == [False, True, True]
    assert all("port 9200" in line for line in servers)
    # Not back again when the first one is there; a full table of one entry does not learn of the second server.
    assert "stick-table type ip size 16\n    stick on dst\n" in section


def test_images_come_from_a_host_that_has_them_all(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    """Each controller has a store of its own, unless a blueprint says that they share one."""
    names = (*CONTROL, "haproxy")
    for shared in (False, True):
        plan = plan_of(roles, releases, 3, names, layout=vip_layout(), glance_store_shared=shared)
        section = (
            content(plan, "haproxy.configure@c1", "balancer").partition("listen glance-9292")[2].partition("\n\n")[0]
        )
        servers = [line for line in section.splitlines() if line.strip().startswith("server ")]
        assert [line.endswith("backup") for line in servers] == [False, not shared, not shared]
        assert all(("port 9202" in line) is not shared for line in servers)
        assert "shutdown-sessions" not in section
        unit = params_of(plan, "glance.start@c2", "copies")
        assert (unit["running"], unit["enabled"]) == (not shared, not shared)
    assert "glance-copies 10.0.0.1 10.0.0.3\n" in content(plan, "glance.start@c2", "copies-unit")
    assert params_of(plan_of(roles, releases, 1), "glance.start@c1", "copies")["running"] is False


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy_takes_its_configuration(roles: dict[str, Role], releases: dict[str, Release], tmp_path: Path) -> None:
    plan = plan_of(roles, releases, 3, (*CONTROL, "haproxy"), layout=vip_layout())
    path = tmp_path / "haproxy.cfg"
    path.write_text(content(plan, "haproxy.configure@c1", "balancer"))
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rules_of_policy_are_written_as_they_are_given(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    rules = {"identity:list_users": "role:reader or rule:admin_required", "identity:get_user": "!"}
    plan = plan_of(roles, releases, 1, keystone_policy=rules)
    assert yaml.safe_load(content(plan, "keystone.configure@c1", "policy")) == rules
    assert yaml.safe_load(content(plan_of(roles, releases, 1), "keystone.configure@c1", "policy")) == {}


def test_projects_users_and_grants_of_the_operators_come_with_generated_passwords(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(
        roles, releases, 1,
        keystone_projects=[{"name": "shop"}],
        keystone_users=[{"name": "ann", "secret": "keystone_ann"}, {"name": "old", "password": "as it was"}],
        keystone_grants=[{"user": "ann", "project": "shop", "role": "auditor"}],
    )  # fmt: skip
    params = params_of(plan, "keystone.projects@c1", "yours")
    assert [project["name"] for project in params["projects"]] == ["shop"]
    assert params["roles"] == ["member", "auditor"]
    assert [user["password"] for user in params["users"]] == ["@@secret:keystone_ann@@", "as it was"]
    assert not any("secret" in user for user in params["users"])
    assert "keystone_ann" in task_of(plan, "keystone.projects@c1").secrets
    assert params["grants"][0]["role"] == "auditor"
    nobody = params_of(plan_of(roles, releases, 1), "keystone.projects@c1", "yours")
    assert (nobody["users"], nobody["roles"]) == ([], ["member"])
    with pytest.raises(PlanProblem, match="either a password or a secret"):
        plan_of(roles, releases, 1, keystone_users=[{"name": "a", "secret": "a", "password": "12345678"}])


# ------------------------------------------------------------------ tools and checks


def loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of a role as a module; its own imports lie beside it or in the role cloud."""
    monkeypatch.syspath_prepend(str(TOP / "roles/cloud/templates"))
    monkeypatch.setitem(sys.modules, "pymysql", ModuleType("pymysql"))  # on hosts only; what is tested here needs none
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = path.name.replace("-", "_").replace(".py", "")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_keys_of_two_generations_open_each_others_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """While hosts are one generation apart: the newer key is staged there already, the older one still kept here."""
    keys = loaded(TOP / "roles/keystone/templates/keystone-keys", monkeypatch).keys
    for generation in range(1, 8):
        now, then = (keys("master", Path("/x/fernet-keys"), number) for number in (generation, generation + 1))
        assert now["0"] == then[str(generation + 1)]
        assert now[str(generation)] == then[str(generation)]
        assert len(now) == len(set(now.values())) <= 3
    first = keys("master", Path("/x/fernet-keys"), 1)
    assert first != keys("another", Path("/x/fernet-keys"), 1)
    assert not set(first.values()) & set(keys("master", Path("/x/credential-keys"), 1).values())
    assert all(len(key) == 44 for key in first.values())


def test_the_last_migrations_are_those_that_nothing_follows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = loaded(TOP / "roles/cloud/templates/schema-at-head", monkeypatch)
    texts = {
        "a.py": "revision = 'a'\ndown_revision = None\n",
        "zed/b.py": 'revision: str = "b"\ndown_revision = "a"\n',
        "zed/c.py": "revision = 'c'\ndown_revision = ('a',)\ndepends_on = ('b',)\n",
        "d.py": "revision = 'd'\ndown_revision = 'a'\nbranch_labels = ('other',)\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert tool.heads([tmp_path]) == {"c", "d"}


UNITS = """\
case "$*" in *--property=*) shift 3;; esac
for name in "$@"; do
  cat "$FOLDER/$name" || printf 'Id=%s\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n' "$name"
  echo
done
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A systemctl that shows the units it was told of."""
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{UNITS}")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FOLDER", str(tmp_path))

    def told(name: str, active: str = "active", at_boot: str = "enabled") -> None:
        states = {"Id": name, "LoadState": "loaded", "ActiveState": active, "UnitFileState": at_boot}
        (tmp_path / name).write_text("".join(f"{key}={value}\n" for key, value in states.items()))

    return told


def test_a_unit_that_does_not_run_or_will_not_or_should_not_is_named(
    monkeypatch: pytest.MonkeyPatch, systemd: Callable[..., None]
) -> None:
    check = loaded(TOP / "roles/base/checks/units.py", monkeypatch)
    systemd("glance-api")
    systemd("nova-api", at_boot="generated")
    systemd("apache2", active="failed")
    systemd("keystone", at_boot="disabled")
    systemd("nova-serialproxy", active="inactive")
    systemd("mariadb.socket", active="inactive", at_boot="disabled")
    systemd("neutron-api")
    assert list(check.problems(["glance-api", "nova-api"], ["mariadb.socket", "gone"])) == []
    assert list(check.problems(["apache2", "keystone", "gone"], ["nova-serialproxy", "neutron-api"])) == [
        "apache2 is failed",
        "keystone will not start at boot (disabled)",
        "gone is not-found",
        "nova-serialproxy will start at boot, and nobody wants it",
        "neutron-api runs, and nobody wants it",
    ]
    assert check.states([]) == {}


def test_of_novas_consoles_the_wanted_one_runs_and_the_other_does_not(
    monkeypatch: pytest.MonkeyPatch, systemd: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    check = loaded(TOP / "roles/base/checks/units.py", monkeypatch)
    systemd("nova-novncproxy")
    for console, words in (
        ("novnc", "1 units run, 1 do not, as wanted"),
        ("spice", "nova-spicehtml5proxy is not-found; nova-novncproxy runs, and nobody wants it"),
        ("", "1 units run, 0 do not, as wanted"),
    ):
        given = {"on": "nova-novncproxy ", "off": "", "console": console}
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(given)))
        assert check.main() == (1 if console == "spice" else 0)
        assert capsys.readouterr().out == f"{words}\n"


class _Memcached(socketserver.StreamRequestHandler):
    kept: dict[bytes, bytes] = {}
    forgets = False

    def handle(self) -> None:
        while words := self.rfile.readline().split():
            if words[0] == b"set":
                self.kept[words[1]] = self.rfile.readline().strip()
                self.wfile.write(b"STORED\r\n")
            elif words[0] == b"get":
                value = b"" if self.forgets else self.kept[words[1]]
                self.wfile.write(
                    b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (words[1], len(value), value) if value else b"END\r\n"
                )


@pytest.fixture
def memcached() -> Iterator[str]:
    """Its address; the port is the real one, so the address is one of the loopback's that nobody else uses."""
    address = "127.0.11.211"
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer((address, 11211), _Memcached) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield address
        server.shutdown()
        thread.join()


def test_memcached_that_forgets_is_noticed(monkeypatch: pytest.MonkeyPatch, memcached: str) -> None:
    check = loaded(TOP / "roles/memcached/checks/round-trip.py", monkeypatch)
    assert check.round_trip(memcached) == ""
    monkeypatch.setattr(_Memcached, "forgets", True)
    assert "does not give back" in check.round_trip(memcached)


def test_the_dashboards_package_is_tried_again(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    """Its script fails now and then, for no reason that lies in the host."""
    assert task_of(plan_of(roles, releases, 1), "horizon.install@c1").retries > 0
