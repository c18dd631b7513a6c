from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.plan_views import plan_dot, plan_text
from pxeforge.engine.roles import Role, parse_role

SERVER = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1:8080")
BASE = """\
name: base
summary: base
variables:
  ntp: {type: list, default: "{{ [server.address] }}"}
tasks:
  - {name: names, steps: [{hostname: {name: "{{ host.short_name }}"}}]}
  - name: time
    steps: [{file: {path: /etc/ntp, content: "{{ vars.ntp | join(' ') }}"}}]
"""
DB = """\
name: db
summary: db
requires: [base]
conflicts: [web]
variables:
  port: {type: int, default: 3306}
  db_root: {secret: true}
tasks:
  - {name: install, requires: [], resource: mirror, steps: [{packages: {names: [mariadb-server]}}]}
  - name: config
    requires: [install, base.names]
    steps:
      - name: conf
        file: {path: /etc/db, template: conf}
      - unit: {name: db, running: true, restart_on: [conf, install, base.time]}
  - name: join
    after: ["first(role:db.join)"]
    steps: [{wait: {tcp: {host: "{{ groups.db[0].address }}", port: "{{ vars.port }}"}}}]
verify:
  - {name: check, steps: [{probe: {shell: "true", expect: ""}}]}
"""
WEB = """\
name: web
summary: web
tasks:
  - name: go
    after: ["role:db"]
    steps: [{file: {path: /x, content: "{% for h in hosts %}{{ h.name }} {% endfor %}"}}]
"""


def roles(**changed: str) -> dict[str, Role]:
    texts = {"base": BASE, "db": DB, "web": WEB, **changed}
    templates: Mapping[str, str] = {"conf": "bind {{ host.address }}\npassword {{ secrets.db_root }}\n"}
    return {name: parse_role(text, f"{name}/role.yaml", name, templates) for name, text in texts.items()}


def host(number: int, *names: str, **more: object) -> PlanHost:
    values = {"host_id": str(number), "name": f"h{number}", "roles": names, "addresses": (f"10.0.0.{number}",), **more}
    return PlanHost(**values)  # type: ignore[arg-type]


HOSTS = [host(1, "db"), host(2, "db"), host(3, "web")]


def compiled(hosts: list[PlanHost] | None = None, known: dict[str, Role] | None = None, **more: object) -> Plan:
    return compile_plan(hosts or HOSTS, known or roles(), server=SERVER, **more)  # type: ignore[arg-type]


def task(plan: Plan, task_id: str) -> object:
    return next(task for task in plan.tasks if task.id == task_id)


def after(plan: Plan, task_id: str) -> set[str]:
    return set(next(task.after for task in plan.tasks if task.id == task_id))


def test_required_roles_come_first_and_tasks_wait_as_written() -> None:
    plan = compiled()
    assert plan.roles_by_host["1"] == ("base", "db")
    assert after(plan, "base.names@h1") == set()
    assert after(plan, "base.time@h1") == {"base.names@h1"}
    assert after(plan, "db.install@h1") == set()
    assert after(plan, "db.config@h1") == {"db.install@h1", "base.names@h1"}
    assert after(plan, "db.check@h1") == {"base.time@h1", "db.join@h1"}


def test_the_first_host_leads_and_the_others_follow() -> None:
    plan = compiled()
    assert after(plan, "db.join@h1") == {"db.config@h1"}
    assert after(plan, "db.join@h2") == {"db.config@h2", "db.join@h1"}


def test_a_role_selector_waits_for_the_last_tasks_on_all_its_hosts() -> None:
    plan = compiled()
    assert after(plan, "web.go@h3") == {"role:db"}
    assert plan.graph().before("web.go@h3") == ("db.join@h1", "db.join@h2")


def test_values_are_rendered_with_their_types_and_secrets_stay_tokens() -> None:
    plan = compiled(variables={"port": 3307})
    planned = {item.id: item for item in plan.tasks}
    config = planned["db.config@h2"]
    assert config.steps[0]["params"]["content"] == "bind 10.0.0.2\npassword @@secret:db_root@@\n"
    assert config.secrets == ("db_root",)
    assert planned["db.install@h2"].secrets == ()
    assert planned["db.join@h2"].steps[0]["params"]["tcp"] == {"host": "10.0.0.1", "port": 3307}
    assert planned["base.time@h2"].steps[0]["params"]["content"] == "10.0.0.1"
    assert planned["web.go@h3"].steps[0]["params"]["content"] == "h1 h2 h3 "


def test_restart_references_are_written_out_in_full() -> None:
    planned = {item.id: item for item in compiled().tasks}
    assert planned["db.config@h1"].steps[1]["params"]["restart_on"] == ["db.config.conf", "db.install", "base.time"]


def test_the_same_input_gives_the_same_plan_and_another_value_another_digest() -> None:
    plan, again = compiled(), compiled()
    assert plan.to_json() == again.to_json()
    assert plan.digest == again.digest != compiled(variables={"port": 1}).digest
    assert json.loads(json.dumps(plan.to_json())) == plan.to_json()


def test_variables_of_a_host_win() -> None:
    hosts = [host(1, "db", variables={"port": 5}), host(2, "db")]
    planned = {item.id: item for item in compiled(hosts, variables={"port": 6}).tasks}
    assert planned["db.join@h1"].steps[0]["params"]["tcp"]["port"] == 5
    assert planned["db.join@h2"].steps[0]["params"]["tcp"]["port"] == 6


@pytest.mark.parametrize(
    ("hosts", "changed", "variables", "expected"),
    [
        ([host(1, "db", "web")], {}, {}, "roles db and web cannot be on one host"),
        ([host(1, "nothing")], {}, {}, "there is no role nothing: choose from base, db, web"),
        ([host(1)], {}, {}, "host h1 has no role"),
        ([host(1, "db"), host(2, "db", name="h1")], {}, {}, "two hosts have the name h1"),
        (
            [host(1, "db", addresses=())],
            {},
            {},
            r"db/templates/conf:1: host h1 has no attribute 'address': .* \(step db.config.conf on h1\)",
        ),
        ([host(1, "db", addresses=("x",))], {}, {}, "has the address 'x', which is none"),
        (
            [host(1, "db", addresses=("10.0.0.7",)), host(2, "db", addresses=("10.0.0.7",))],
            {},
            {},
            "host h2 and host h1 have the same address 10.0.0.7: give one of them another",
        ),
        (
            [host(1, "db")],
            {"db": DB.replace("vars.port", "secrets.db_rot")},
            {},
            "no attribute 'db_rot': known are db_",
        ),
        ([host(1, "db")], {}, {"port": "x"}, "variable port on h1: it must be of type int, not 'x'"),
        ([host(1, "db")], {}, {"prot": 1}, "the plan sets variable prot, which no role declares: known are ntp, port"),
        ([host(1, "db")], {"db": DB.replace(", default: 3306", "")}, {}, "needs variable port: set it"),
        ([host(1, "db")], {"db": DB.replace("base.names]", "base.nix]")}, {}, "requires base.nix, which is not on h1"),
        ([host(1, "db")], {"db": DB.replace("[conf, install", "[konf, install")}, {}, "restart_on names konf"),
        ([host(1, "db")], {"db": DB.replace("vars.port", "vars.prot")}, {}, "join.wait on h1: .*no attribute 'prot'"),
        ([host(1, "db")], {"db": DB.replace("vars.port", "host.name")}, {}, "tcp.port became 'h1'"),
        ([host(1, "db")], {"base": BASE.replace("summary: base", "summary: b\nrequires: [db]")}, {}, "db → base → db"),
        (
            [host(1, "db"), host(3, "web")],
            {"db": DB.replace('"first(role:db.join)"', '"role:web"')},
            {},
            "tasks wait for each other: .*web.go@h3",
        ),
    ],
)
def test_what_cannot_be_planned_is_named(
    hosts: list[PlanHost], changed: dict[str, str], variables: dict[str, object], expected: str
) -> None:
    with pytest.raises(PlanProblem, match=expected):
        compile_plan(hosts, roles(**changed), server=SERVER, variables=variables)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a\n\n{{ 1 / 0 }}\n", "db/templates/conf:3: division by zero (step db.config.conf on h1)"),
        ("a\n{% if true %}\n{{ vars.nothing }}\n{% endif %}\n", "db/templates/conf:3: vars has no attribute 'nothing'"),
        ("{{ groups.db[7].address }}", "db/templates/conf:1: "),
    ],
)
def test_a_template_that_fails_is_named_with_its_line(template: str, expected: str) -> None:
    known = {**roles(), "db": parse_role(DB, "db/role.yaml", "db", {"conf": template})}
    with pytest.raises(PlanProblem) as caught:
        compiled([host(1, "db")], known)
    assert str(caught.value).startswith(expected)


def test_a_value_that_does_not_fit_is_told_for_people_and_without_all_that_is_around_it() -> None:
    text = "name: net\nsummary: s\nvariables: {nics: {type: list}, bonds: {type: list, default: []}}\ntasks:\n"
    step = '  - {name: go, steps: [{network: {nics: "{{ vars.nics }}", bonds: "{{ vars.bonds }}"}}]}\n'
    known = {"net": parse_role(text + step, "net/role.yaml", "net", {})}
    bond = {"nics": [{"name": "eth0"}], "bonds": [{"name": "bond0", "nics": ["eth7"]}]}
    with pytest.raises(PlanProblem) as caught:
        compiled([host(1, "net")], known, variables=bond)
    assert str(caught.value) == (
        "net/role.yaml:5: step net.go.network on h1: network: bond0 has the port eth7, which is not there: add it"
    )
    with pytest.raises(PlanProblem, match=r"on h1: nics.0.mtu became 5: write 576 or more$"):
        compiled([host(1, "net")], known, variables={"nics": [{"name": "eth0", "mtu": 5}]})


def test_a_secret_that_a_filter_changed_is_refused() -> None:
    known = roles(db=DB.replace('host: "{{ groups.db[0].address }}"', 'host: "{{ secrets.db_root | upper }}"'))
    with pytest.raises(PlanProblem, match="a secret was changed by a filter"):
        compiled([host(1, "db")], known)


OTHER_DB = """\
name: other-db
summary: instead of db
requires: [base]
replaces: db
tasks:
  - {name: config, steps: [{hostname: {name: "{{ host.short_name }}"}}]}
remove:
  - {name: away, steps: [{hostname: {name: "{{ host.short_name }}"}}]}
"""
ON_DB = """\
name: on-db
summary: stands on db
requires: [db]
tasks:
  - {name: install, requires: [], steps: [{hostname: {name: "{{ host.short_name }}"}}]}
  - {name: go, requires: [install, db.config], steps: [{hostname: {name: "{{ host.short_name }}"}}]}
verify:
  - {name: check, steps: [{probe: {shell: "true", expect: ""}}]}
remove:
  - {name: away, steps: [{hostname: {name: "{{ host.short_name }}"}}]}
"""


def test_a_role_takes_the_place_of_another_where_a_host_is_given_it() -> None:
    known = roles(**{"other-db": OTHER_DB, "on-db": ON_DB})
    plan = compiled([host(1, "on-db"), host(2, "on-db", "other-db")], known)
    assert plan.roles_by_host == {"1": ("base", "db", "on-db"), "2": ("base", "other-db", "on-db")}
    assert after(plan, "on-db.go@h1") == {"on-db.install@h1", "db.config@h1"}
    assert after(plan, "on-db.go@h2") == {"on-db.install@h2", "other-db.config@h2"}
    assert "other-db.config@h2" in after(plan, "on-db.check@h2")


def test_what_stands_on_a_role_goes_before_the_one_that_replaces_it() -> None:
    known = roles(**{"other-db": OTHER_DB, "on-db": ON_DB})
    gone = host(1, "base", removes=("other-db", "on-db"))
    assert after(compiled([gone], known), "other-db.away@h1") == {"on-db.away@h1"}


def test_a_role_that_leaves_something_on_purpose_is_taken_away_by_a_task_without_steps() -> None:
    text = ON_DB[: ON_DB.index("remove:")] + "stays: what it wrote\n"
    plan = compiled([host(1, "db", removes=("on-db",))], roles(**{"on-db": text}))
    assert [(task.id, task.steps) for task in plan.tasks if task.kind == "remove"] == [("on-db.leave@h1", [])]
    with pytest.raises(PlanProblem, match="role on-db cannot be taken from h1: it has no `remove` tasks"):
        compiled([host(1, "db", removes=("on-db",))], roles(**{"on-db": text[: text.index("stays:")]}))


def test_what_other_roles_of_the_host_have_too_is_not_taken_away_with_a_role() -> None:
    away = "  - {name: away, steps: [{packages: {names: [tool, own], state: absent}}]}\n"
    going = ON_DB[: ON_DB.index("  - {name: away")] + away
    staying = "name: user\nsummary: s\ntasks:\n  - {name: install, steps: [{packages: {names: [tool]}}]}\n"
    known = roles(**{"on-db": going, "user": staying})
    plan = compiled([host(1, "user", removes=("on-db",)), host(2, "db", removes=("on-db",))], known)
    taken = {task.id: task.steps[0]["params"]["names"] for task in plan.tasks if task.kind == "remove"}
    assert {name: list(names) for name, names in taken.items()} == {
        "on-db.away@h1": ["own"], "on-db.away@h2": ["tool", "own"],
    }  # fmt: skip


def test_a_template_knows_which_of_the_hosts_of_a_role_its_host_is() -> None:
    text = (
        "name: ring\nsummary: s\ntasks:\n  - name: go\n    steps:\n      - command: {always: true, argv: [echo, "
        "\"{{ groups.ring[host.position.ring - 1].name if host.position.ring else 'first' }}\"]}\n"
    )
    plan = compiled([host(1, "ring"), host(2, "base"), host(3, "ring")], roles(ring=text))
    said = {task.host_name: task.steps[0]["params"]["argv"][1] for task in plan.tasks if task.role == "ring"}
    assert said == {"h1": "first", "h3": "h1"}


def test_a_template_can_refuse_values_in_a_sentence() -> None:
    known = roles(web=WEB.replace("{{ h.name }}", "{{ 'two databases are too many' | refuse }}"))
    with pytest.raises(PlanProblem, match=r"web\.go\.file on h3: two databases are too many"):
        compiled(known=known)


def test_templates_cannot_reach_out_of_the_sandbox() -> None:
    known = roles(web=WEB.replace("{{ h.name }}", "{{ h.__class__.__mro__ }}"))
    with pytest.raises(PlanProblem, match=r"web\.go"):
        compiled([host(3, "web")], known)


def test_a_plan_can_be_read_by_people_and_drawn() -> None:
    plan = compiled()
    text = plan_text(plan)
    assert "h2 (base, db)" in text
    assert "  db.config  [secrets: db_root; after db.install, base.names]" in text
    assert "    conf: file /etc/db" in text
    dot = plan_dot(plan)
    assert '"db.join@h1" -> "db.join@h2";' in dot
    assert dot.count("{") == dot.count("}")


def test_each_host_is_told_the_server_as_it_reaches_it() -> None:
    far = PlanServer(address="10.9.0.1", boot_url="http://10.9.0.1:8080")
    shared = WEB.replace('content: "{% for h in hosts %}{{ h.name }} {% endfor %}"', "template: from")
    known = {"base": roles()["base"], "web": parse_role(
        shared.replace('after: ["role:db"]', "after: []"), "web/role.yaml", "web",
        {"from": "{{ server.boot_url }} {{ hosts | length }}"},
    )}  # fmt: skip
    plan = compiled([host(1, "base", "web"), host(2, "base", "web", server=far)], known)
    told = {
        (step["params"]["path"], planned.host_id): step["params"]["content"]
        for planned in plan.tasks for step in planned.steps if step["type"] == "file"
    }  # fmt: skip
    assert told == {
        ("/etc/ntp", "1"): "10.0.0.1", ("/etc/ntp", "2"): "10.9.0.1",
        ("/x", "1"): "http://10.0.0.1:8080 2", ("/x", "2"): "http://10.9.0.1:8080 2",
    }  # fmt: skip
