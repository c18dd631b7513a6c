"""What templates of a role see of networks, releases and other hosts, and what becomes of files beside role.yaml."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pxeforge.engine.layout import DiskChoice, Layout, Network, Place, Tolerance, Vip
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.engine.release import parse_release
from pxeforge.engine.roles import Role, parse_role

SERVER = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1:8080")
OS = {"id": "debian", "version": "12"}
PACK = """\
name: deb
summary: s
codename: zed
suite: bookworm
match: {id: debian, version: "12"}
packages: {web-front: [nginx]}
units: {web-front: [nginx]}
options: {web-front: {port: 81}}
"""
RELEASES = {"deb": parse_release(PACK, "releases/deb.yaml", "deb")}


def role(name: str, more: str = "", text: str = "x", **folders: dict[str, str]) -> Role:
    source = (
        f"name: {name}\nsummary: s\n{more}tasks:\n  - name: go\n"
        f'    steps: [{{file: {{path: /f, content: "{text}"}}}}]\n'
    )
    return parse_role(source, f"{name}/role.yaml", name, {}, **folders)


def host(number: int, *roles: str, **more: Any) -> PlanHost:
    nics = [{"name": "eth0", "mac": f"52:54:00:00:00:0{number}", "addresses": [f"10.1.0.{number}/24"]}]
    values = {"addresses": (f"10.1.0.{number}",), "facts": {"os": OS, "nics": nics}, **more}
    return PlanHost(host_id=str(number), name=f"h{number}", roles=roles, **values)


def compiled(hosts: list[PlanHost], *roles: Role, **more: Any) -> Plan:
    return compile_plan(hosts, {one.name: one for one in roles}, server=SERVER, releases=RELEASES, **more)


def text_on(plan: Plan, host_name: str) -> str:
    task = next(task for task in plan.tasks if task.host_name == host_name)
    return str(task.steps[0]["params"]["content"])


NETWORKS = (
    Network(name="api", purposes=("api",), cidr=ipaddress.ip_network("10.1.0.0/24"), gateway="10.1.0.254", vlan=7),
    Network(name="provider", purposes=("provider",)),
)
ELSEWHERE = Layout(networks=(Network(name="api", purposes=("api",), cidr=ipaddress.ip_network("9.9.9.0/24")),))
LAYOUT = Layout(
    networks=NETWORKS,
    vips=(Vip(name="cloud", address="10.1.0.200", network="api", roles=("db",)),),
    places={
        "1": Place(zone="az1", nics={"provider": "bond9"}, disks={"volumes": DiskChoice(serial="S1")}),
        "2": Place(addresses={"tunnel": "10.9.0.2"}),
    },
)


@pytest.mark.parametrize(
    ("template", "layout", "expected"),
    [
        ("{{ host.net.tunnel.address }} {{ host.net.api.nic }}", None, "10.1.0.1 eth0"),
        ("{{ host.net.storage.cidr }} [{{ host.net.provider.nic }}]", None, "10.1.0.0/24 []"),
        ("{{ host.net.provider.nic }} {{ host.zone }} {{ host.disks.volumes }}", LAYOUT, "bond9 az1 serial=S1"),
        ("{{ host.net.api.gateway }} {{ host.net.api.vlan }} {{ host.net.api.prefix }}", LAYOUT, "10.1.0.254 7 24"),
        ("{{ hosts[1].net.tunnel.address }}", LAYOUT, "10.9.0.2"),
        ("{{ at.db }} {{ at['web-front'] }}", LAYOUT, "10.1.0.200 10.1.0.1"),
        ("{{ at.db }}", None, "10.1.0.2"),
        ("{% for v in vips %}{{ vips[v].address }}/{{ vips[v].prefix }} {{ vips[v].roles[0] }}{% endfor %}", LAYOUT,
         "10.1.0.200/24 db"),
        ("{{ networks.api.cidr }} {{ 'tunnel' in networks }}", LAYOUT, "10.1.0.0/24 False"),
        ("{{ release.name }} {{ release.codename }} {{ release.suite }}", None, "deb zed bookworm"),
        ("{{ release.packages['web-front'] | join(' ') }} {{ release.options['web-front'].port }}", None, "nginx 81"),
    ],
)  # fmt: skip
def test_templates_see(template: str, layout: Layout | None, expected: str) -> None:
    hosts = [host(1, "web-front"), host(2, "db")]
    plan = compiled(hosts, role("web-front", text=template), role("db"), layout=layout)
    assert text_on(plan, "h1") == expected


@pytest.mark.parametrize(
    ("template", "more", "expected"),
    [
        ("{{ at.db }}", {}, "nobody serves role db: give it to a host, or name it under a VIP"),
        ("{{ release.packages.db }}", {}, "release pack deb has no packages for role db: add them to rel"),
        ("{{ host.net.office.address }}", {}, "host h1: net has no attribute 'office': known are api, external"),
        (
            "{{ host.net.api.address }}",
            {"layout": ELSEWHERE},
            "host h1 has no address in network api (9.9.9.0/24): give it one (`addresses: {api: ",
        ),
        ("{{ host.net.provider.address }}", {"layout": LAYOUT}, "host h1: net.provider has no attribute 'address'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_the_remedy(template: str, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(PlanProblem) as caught:
        compiled([host(1, "web-front")], role("web-front", text=template), role("db"), **more)
    assert expected in str(caught.value)


def test_a_host_without_a_release_pack_matters_only_to_roles_that_ask_for_it() -> None:
    stranger = host(1, "web-front", facts={"os": {"id": "other", "version": "1"}})
    assert text_on(compiled([stranger], role("web-front", text="x")), "h1") == "x"
    with pytest.raises(
        PlanProblem, match=r"go.file on h1: host h1 has no release: it runs other 1, for which there is"
    ):
        compiled([stranger], role("web-front", text="{{ release.suite }}"))
    with pytest.raises(PlanProblem, match="there is no release pack other: known are deb"):
        compiled([host(1, "web-front")], role("web-front", text="{{ release.suite }}"), layout=Layout(release="other"))


def test_a_role_may_need_a_network() -> None:
    known = role("web-front", more="networks: [tunnel]\n")
    assert compiled([host(1, "web-front")], known)  # without a blueprint its own address serves
    networks = (Network(name="tunnel", purposes=("tunnel",), cidr=ipaddress.ip_network("9.9.9.0/24")),)
    with pytest.raises(PlanProblem, match="role web-front needs network tunnel: host h1 has no address in network"):
        compiled([host(1, "web-front")], known, layout=Layout(networks=networks))


def test_a_role_says_how_many_hosts_may_have_it() -> None:
    known = role("db", more="members: {min: 1, max: 3, odd: true}\n")
    hosts = [host(number, "db") for number in range(1, 6)]
    assert compiled(hosts[:1], known)
    assert compiled(hosts[:3], known)
    with pytest.raises(PlanProblem, match="role db is on 2 hosts: an even number loses its majority"):
        compiled(hosts[:2], known)
    with pytest.raises(PlanProblem, match="role db is on 5 hosts: it may be on 3 at most"):
        compiled(hosts, known)


def test_hosts_of_two_releases_cannot_share_a_role_that_wants_one() -> None:
    other = parse_release(PACK.replace("name: deb", "name: new").replace('"12"', '"13"'), "releases/new.yaml", "new")
    packs = {**RELEASES, "new": other}
    hosts = [host(1, "cloud"), host(2, "cloud", facts={"os": {"id": "debian", "version": "13"}}), host(3, "cloud")]

    def planned(known: Role, *some: PlanHost) -> Plan:
        return compile_plan(some, {"cloud": known}, server=SERVER, releases=packs)

    one = role("cloud", more="members: {same_release: true}\n")
    with pytest.raises(PlanProblem) as caught:
        planned(one, *hosts)
    assert str(caught.value) == (
        "role cloud is on hosts of several releases (deb on h1, h3; new on h2): install all of them with one system, "
        "or take the role from those of the other"
    )
    assert planned(one, hosts[0], hosts[2]).tasks
    assert planned(role("cloud"), *hosts).tasks


def test_the_text_of_scripts_goes_into_the_plan_as_it_is_and_their_input_is_rendered() -> None:
    source = """\
name: web
summary: s
variables: {ports: {type: map, default: {http: 80, name: "{{ host.name }}"}}}
verify:
  - name: look
    steps:
      - probe: {script: look.py, input: {ports: "{{ vars.ports }}", at: "{{ host.address }}"}}
      - ansible: {file: site.yml}
"""
    checks, playbooks = {"look.py": "print({{1}})\n"}, {"site.yml": "- hosts: all # {{ inventory_hostname }}\n"}
    known = parse_role(source, "web/role.yaml", "web", {}, checks, playbooks)
    probe, ansible = (step["params"] for step in compiled([host(1, "web")], known).tasks[0].steps)
    assert probe["script"] == "print({{1}})\n"
    assert probe["input"] == {"ports": {"http": 80, "name": "h1"}, "at": "10.1.0.1"}
    assert ansible["playbook"] == playbooks["site.yml"]
    assert "file" not in ansible


@pytest.mark.parametrize("disk", ["{{ host.disks.volumes }}", "volumes"])
def test_a_disk_step_gets_the_disk_that_the_blueprint_has_for_its_purpose(disk: str) -> None:
    source = f"""\
name: cinder
summary: s
tasks:
  - {{name: go, steps: [{{disk: {{disk: "{disk}", layout: lvm, group: volumes}}}}]}}
"""
    known = parse_role(source, "cinder/role.yaml", "cinder", {})
    plan = compiled([host(1, "cinder")], known, layout=LAYOUT)
    assert plan.tasks[0].steps[0]["params"]["disk"] == "serial=S1"
    with pytest.raises(PlanProblem, match="nobody said which disk of host h2 is for volumes: name it under `disks`"):
        compiled([host(2, "cinder")], known, layout=LAYOUT)


def waiting(after: str, *names: str, **more: Any) -> Plan:
    """A plan in which h9 waits for hosts with role x."""
    waiter = (
        f'name: waiter\nsummary: s\nrequires: [base]\ntasks:\n  - name: go\n    after: ["{after}"]\n'
        "    steps: [{wait: {shell: 'true'}}]\n"
    )
    hosts = [host(number, *names) for number in range(1, 4)]
    known = parse_role(waiter, "waiter/role.yaml", "waiter", {})
    return compiled([*hosts, host(9, "waiter")], role("x"), role("base"), known, **more)


def go(plan: Plan) -> PlannedTask:
    return next(task for task in plan.tasks if task.id == "waiter.go@h9")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("role:x", "role:x"), ("role:x.go", "role:x.go"), ("all(role:x)", "all(role:x)"),
        ("quorum(2, role:x.go)", "quorum(2, role:x.go)"), ("first(role:x)", "x.go@h1"), ("all", "base.go@h9"),
    ],
)  # fmt: skip
def test_many_hosts_are_waited_for_at_a_barrier(after: str, expected: str) -> None:
    plan = waiting(after, "x")
    assert go(plan).after == tuple(dict.fromkeys(["base.go@h9", expected]))
    opens = {task.id for task in plan.tasks if expected in task.opens}
    assert opens == (set() if "@" in expected else {"x.go@h1", "x.go@h2", "x.go@h3"})


def test_all_waits_for_the_required_roles_on_every_host() -> None:
    plan = waiting("all", "x", "base")
    assert "all(base)" in go(plan).after
    assert plan.graph().before("waiter.go@h9") == ("base.go@h9", "base.go@h1", "base.go@h2", "base.go@h3")


def test_more_hosts_than_there_are_cannot_be_waited_for() -> None:
    with pytest.raises(PlanProblem, match="waits for 4 hosts of role x, and 3 of the plan have it"):
        waiting("quorum(4, role:x)", "x")


def test_hosts_may_be_lost_by_the_roles_that_they_were_given() -> None:
    layout = Layout(tolerance={"x": Tolerance.parse("34%")})
    plan = waiting("role:x", "x", layout=layout)
    assert {task.host_name: task.may_lose for task in plan.tasks} == {
        "h1": (("x", 1),), "h2": (("x", 1),), "h3": (("x", 1),), "h9": ()
    }  # fmt: skip
    both = waiting("role:x", "x", "base", layout=layout)  # base may lose none
    assert {task.may_lose for task in both.tasks} == {()}


def test_a_part_of_a_plan_waits_for_nothing_that_was_left_out() -> None:
    plan = waiting("role:x", "x")
    part = plan.only(lambda task: task.host_name in ("h1", "h9"))
    assert go(part).after == ("base.go@h9", "role:x")
    assert part.graph().before("waiter.go@h9") == ("base.go@h9", "x.go@h1")
    assert go(plan.only(lambda task: task.host_name == "h9")).after == ("base.go@h9",)


def test_a_planned_task_comes_back_from_json_and_so_does_one_of_an_earlier_version() -> None:
    plan = waiting("role:x", "x", layout=Layout(tolerance={"x": Tolerance.parse(1)}))
    assert [PlannedTask.from_json(task.to_json()) for task in plan.tasks] == list(plan.tasks)
    old = go(plan).to_json()
    for key in ("opens", "may_lose", "interrupts"):
        del old[key]
    assert PlannedTask.from_json(old) == go(plan)


REMOVABLE = """\
name: {name}
summary: s
requires: [{requires}]
tasks:
  - {{name: go, steps: [{{file: {{path: /{name}, content: "{{{{ groups.{name} | length }}}} of them"}}}}]}}
remove:
  - {{name: stop, steps: [{{unit: {{name: x, running: false}}}}]}}
  - {{name: gone, steps: [{{packages: {{names: [x1], state: absent}}}}]}}
"""


def removable() -> list[Role]:
    texts = {"low": REMOVABLE.format(name="low", requires=""), "high": REMOVABLE.format(name="high", requires="low")}
    return [parse_role(text, f"{name}/role.yaml", name, {}) for name, text in texts.items()]


def test_a_role_is_taken_from_a_host_after_those_that_stand_on_it() -> None:
    plan = compiled([host(1, removes=("low", "high")), host(2, "low")], *removable())
    after = {task.id: task.after for task in plan.tasks if task.kind == "remove"}
    assert after == {
        "high.stop@h1": (), "high.gone@h1": ("high.stop@h1",),
        "low.stop@h1": ("high.gone@h1",), "low.gone@h1": ("low.stop@h1",),
    }  # fmt: skip
    assert plan.roles_by_host["1"] == ()
    assert text_on(plan.only(lambda task: task.kind == "deploy"), "h2") == "1 of them"  # the others no longer count it


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([host(1, "high", removes=("low",))], "role low cannot be taken from h1: role high there requires it"),
        ([host(1, "low", removes=("low",))], "role low cannot be taken from h1: it is to have it too"),
        ([host(1, removes=("x",))], "role x cannot be taken from h1: it has no `remove` tasks"),
    ],
)
def test_a_role_that_cannot_be_taken_away_is_told(hosts: list[PlanHost], expected: str) -> None:
    with pytest.raises(PlanProblem, match=expected):
        compiled(hosts, *removable(), role("x"))


def test_a_role_that_a_release_lacks_is_refused_with_the_reason() -> None:
    pack = parse_release(f"{PACK}lacks: {{old: it ended with zed; use new}}\n", "releases/deb.yaml", "deb")
    with pytest.raises(PlanProblem, match=r"^role old cannot be on h1 \(s\): it ended with zed; use new$"):
        compile_plan([host(1, "old")], {"old": role("old")}, server=SERVER, releases={"deb": pack})
    elsewhere = host(1, "old", facts={"os": {"id": "debian", "version": "13"}})
    assert compile_plan([elsewhere], {"old": role("old")}, server=SERVER, releases={"deb": pack}).tasks
