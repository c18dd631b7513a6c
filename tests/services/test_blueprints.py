"""From files of the operator to the plan: what blueprints and release packs say reaches the hosts."""

from __future__ import annotations

import pytest

from pxeforge.services import blueprints, deploys, hosts, plans, role_catalogue
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.store.tables import Host, Nic
from tests.conftest import MAC
from tests.services.small_roles import add_host, give_roles, work

AGENT = """\
name: tagent
summary: s
keeps_vips: true
networks: [tunnel]
tasks:
  - name: config
    interrupts: tenants
    steps:
      - packages: {names: "{{ release.packages.tagent }}"}
      - name: conf
        file: {path: /etc/t, content: "{{ host.net.tunnel.address }} {{ at.tagent }} {{ host.zone }}"}
      - unit: {name: t, running: true, restart_on: [conf]}
  - name: join
    after: ["role:tagent.config"]
    steps: [{wait: {shell: "true"}}]
"""
PACK = """\
name: tpack
summary: s
codename: x
suite: bookworm
match: {id: debian, version: "12", codename: here}
packages: {tagent: [t-agent]}
"""
BASE = """\
name: tbase
summary: s
release: tpack
networks:
  api: {cidr: 192.0.2.0/24}
vips: {all: {address: 192.0.2.200, network: api, roles: [tagent]}}
hosts:
  - {match: {name: n1}, roles: [tagent], zone: z1, addresses: {tunnel: 10.7.0.1}}
  - {match: {name: n2}, roles: [tagent], addresses: {tunnel: 10.7.0.2}}
"""
MINE = """\
name: mine
summary: s
extends: tbase
networks:
  tunnel: {cidr: 10.7.0.0/24}
"""


@pytest.fixture
def cloud(ctx: Context) -> Context:
    give_roles(ctx, AGENT)
    for kind, name, text in (("releases", "tpack", PACK), ("blueprints", "tbase", BASE), ("blueprints", "mine", MINE)):
        folder = ctx.operator_dir / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    for number in (1, 2):
        facts = {"os": {"id": "debian", "version": "12", "codename": "here"}}
        host_id = add_host(ctx, number)
        with ctx.database.write() as session:
            session.get_one(Host, host_id).facts = facts
    return ctx


def test_networks_vips_zones_and_releases_reach_the_hosts(cloud: Context) -> None:
    found = plans.plan(cloud, blueprint="mine")
    assert found["problems"] == []
    assert found["packages"] == {"n1": ["t-agent"], "n2": ["t-agent"]}
    assert [(one["host_name"], one["unit"], one["interrupts"]) for one in found["restarts"]] == [
        ("n1", "t", "tenants"), ("n2", "t", "tenants")
    ]  # fmt: skip
    with cloud.database.read() as session:
        compiled, _, _ = plans.compiled_plan(cloud, session, plans.Wish("mine"))
    texts = {task.host_name: task.steps[1]["params"]["content"] for task in compiled.tasks if task.name == "config"}
    assert texts == {"n1": "10.7.0.1 192.0.2.200 z1", "n2": "10.7.0.2 192.0.2.200 "}


def test_a_plan_names_the_tasks_behind_a_barrier(cloud: Context) -> None:
    after = {task["id"]: task["after"] for task in plans.plan(cloud, blueprint="mine")["tasks"]}
    assert after["tagent.join@n2"] == ["tagent.config@n2", "tagent.config@n1"]


def test_a_blueprint_that_lacks_a_network_is_listed_with_what_is_wrong(cloud: Context) -> None:
    shown = blueprints.show(cloud, "tbase")
    told = [f"{one['line']}: {one['message']}" for one in shown["findings"]]
    assert "8: role tagent needs a network for tunnel, and this blueprint has none" in told
    faulty = {one["name"]: one["summary"] for one in blueprints.list_blueprints(cloud)}["tbase"]
    assert faulty.startswith("faulty: ")
    with pytest.raises(Problem, match=r"tbase\.yaml:8: role tagent needs a network for tunnel"):
        plans.plan(cloud, blueprint="tbase")


def test_a_host_that_runs_another_system_is_told_before_anything_runs(cloud: Context) -> None:
    with cloud.database.write() as session:
        session.get_one(Host, f"{2:012x}").facts = {"os": {"id": "debian", "version": "11"}}
    with pytest.raises(
        Problem,
        match=r"tbase\.yaml:9: host n2: host n2 has no release: it runs debian 11, and the blueprint wants tpack",
    ):
        plans.plan(cloud, blueprint="mine")


def test_a_faulty_release_pack_is_named_with_its_line(cloud: Context) -> None:
    (cloud.operator_dir / "releases" / "tpack.yaml").write_text(PACK.replace("suite:", "suit:"))
    with pytest.raises(Problem, match=r"tpack\.yaml:1: suite is missing"):
        plans.plan(cloud, blueprint="mine")


def test_a_blueprint_that_nobody_has_is_not_found(cloud: Context) -> None:
    with pytest.raises(NotFound, match="there is no blueprint 'none': known are"):
        plans.plan(cloud, blueprint="none")


COUNTED = "name: counted\nsummary: s\nhosts:\n  - {count: 1, roles: [tdatabase]}\n"


def hosts_of(ctx: Context) -> set[str]:
    return {task["host_name"] for task in plans.plan(ctx, blueprint="counted")["tasks"]}


@pytest.fixture
def counted(ctx: Context) -> Context:
    """A blueprint for any one host."""
    give_roles(ctx)
    folder = ctx.operator_dir / "blueprints"
    folder.mkdir(parents=True)
    (folder / "counted.yaml").write_text(COUNTED)
    return ctx


def test_a_count_takes_registered_hosts_and_none_that_is_only_known(counted: Context) -> None:
    hosts.add(counted, macs=[MAC], name="a00", who="test")
    with pytest.raises(
        Problem, match=r"counted\.yaml:4: 1 hosts are asked for and 0 are free: install or enrol more \(not"
    ):
        plans.plan(counted, blueprint="counted")
    add_host(counted, 1)
    assert hosts_of(counted) == {"n1"}
    assert [one["name"] for one in blueprints.show(counted, "counted")["hosts"]] == ["n1"]


def test_what_a_count_deployed_stays_on_its_host_until_that_is_out_of_use(counted: Context) -> None:
    second = add_host(counted, 2)
    deploys.start(counted, deploys.Start(kind="deploy", who="test", blueprint="counted"))
    work(counted, second)
    add_host(counted, 1)
    assert hosts_of(counted) == {"n2"}
    with counted.database.write() as session:
        session.get_one(Host, second).state = "retired"
    assert hosts_of(counted) == {"n1"}


def test_a_broken_role_stops_only_the_plans_that_use_it_and_is_listed_with_its_reason(counted: Context) -> None:
    add_host(counted, 1)
    give_roles(counted, "name: tbroken\nsumary: s\n")
    other = COUNTED.replace("counted", "other").replace("tdatabase", "tbroken")
    (counted.operator_dir / "blueprints/other.yaml").write_text(other)
    assert hosts_of(counted) == {"n1"}
    reason = r"role tbroken is broken: \S*/tbroken/role\.yaml:1: summary is missing: add it \(and 1 more\)"
    with pytest.raises(Problem, match=r"other\.yaml:4: " + reason):
        plans.plan(counted, blueprint="other")
    summaries = {one["name"]: one["summary"] for one in blueprints.list_blueprints(counted)}
    assert summaries["counted"] == "s"
    assert summaries["other"].startswith("faulty: ")
    listed = {one["name"]: one for one in role_catalogue.all_roles(counted)}
    assert listed["tdatabase"]["problem"] is None
    assert listed["tbroken"]["summary"].startswith("broken: ")
    assert "sumary is no known key" in listed["tbroken"]["problem"]
    with pytest.raises(Problem, match=reason):
        role_catalogue.check_roles(counted, ["tbroken"])


@pytest.mark.parametrize(
    ("address", "whose"), [("192.0.2.77", "host n7"), ("192.0.2.78", "host n7, for which it is reserved")]
)
def test_a_vip_that_is_somebodys_address_is_refused_by_name(cloud: Context, address: str, whose: str) -> None:
    with cloud.database.write() as session:
        host = session.get_one(Host, add_host(cloud, 7))
        host.address = "192.0.2.77"
        host.nics.append(Nic(mac=MAC, reserved_address="192.0.2.78"))
    file = cloud.operator_dir / "blueprints/tbase.yaml"
    file.write_text(BASE.replace("192.0.2.200", address))
    with pytest.raises(
        Problem, match=rf"tbase\.yaml:6: {address} of VIP all is the address of {whose}: choose one that"
    ):
        plans.plan(cloud, blueprint="mine")
    assert [one["line"] for one in blueprints.show(cloud, "mine")["findings"]] == [6]


def test_a_vip_that_is_our_own_address_is_refused(cloud: Context) -> None:
    ours = cloud.addresses.boot_address
    text = BASE.replace("192.0.2.200", ours).replace("192.0.2.0/24", f"{ours.rpartition('.')[0]}.0/24")
    (cloud.operator_dir / "blueprints/tbase.yaml").write_text(text)
    with pytest.raises(Problem, match=f"{ours} of VIP all is the address of this server: choose one that nobody has"):
        plans.plan(cloud, blueprint="mine")


def test_one_host_behind_a_vip_is_planned_and_told(cloud: Context) -> None:
    hosts_text = BASE[: BASE.index("  - {match: {name: n2}")]
    (cloud.operator_dir / "blueprints/tbase.yaml").write_text(hosts_text)
    assert plans.plan(cloud, blueprint="mine")["problems"] == [
        "VIP all has only n1 behind it: with that host all that is reached there is lost; three hosts go on without "
        "any one of them"
    ]


def test_a_blueprint_is_called_as_its_file(counted: Context) -> None:
    (counted.operator_dir / "blueprints/misnamed.yaml").write_text(COUNTED)
    with pytest.raises(
        Problem, match=r"misnamed\.yaml:1: the blueprint is called counted in the file misnamed.yaml: gi"
    ):
        plans.plan(counted, blueprint="misnamed")
