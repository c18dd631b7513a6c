"""From files of the operator to the plan: what blueprints and release packs say reaches the hosts."""

from __future__ import annotations

import pytest

from pxeforge.services import blueprints, plans
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.store.tables import Host
from tests.services.small_roles import add_host, give_roles

AGENT = """\
name: tagent
summary: s
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
    with pytest.raises(Problem, match="n2: host n2 has no release: it runs debian 11, and the blueprint wants tpack"):
        plans.plan(cloud, blueprint="mine")


def test_a_faulty_release_pack_is_named_with_its_line(cloud: Context) -> None:
    (cloud.operator_dir / "releases" / "tpack.yaml").write_text(PACK.replace("suite:", "suit:"))
    with pytest.raises(Problem, match=r"tpack\.yaml:1: suite is missing"):
        plans.plan(cloud, blueprint="mine")


def test_a_blueprint_that_nobody_has_is_not_found(cloud: Context) -> None:
    with pytest.raises(NotFound, match="there is no blueprint 'none': known are"):
        plans.plan(cloud, blueprint="none")
