"""What is wrong with a plan because of its blueprint is told with the blueprint's file and line."""

from __future__ import annotations

import pytest

from pxeforge.engine.blueprint import InventoryHost, assign, layout_of, parse_blueprint
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.roles import parse_role

SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")
ROLES = {
    name: parse_role(f"name: {name}\nsummary: s\n{text}", f"{name}/role.yaml", name, templates)
    for name, text, templates in (
        ("db", "tasks: [{name: go, steps: [{wait: {shell: 'true'}}]}]\n", {}),
        ("lb", "tasks: [{name: go, steps: [{wait: {shell: 'true'}}]}]\n", {}),
        ("odd", "members: {odd: true}\ntasks: [{name: go, steps: [{wait: {shell: 'true'}}]}]\n", {}),
        (
            "web",
            "variables: {contents: {type: list, default: []}, users: {type: list, default: []}}\ntasks:\n  - name: go\n"
            "    steps:\n      - {file: {path: /x, template: x}}\n"
            '      - {user: {accounts: "{{ vars.users }}"}}\n'
            '      - {openstack: {auth: {url: "http://k", user: a, password: b}, resources: "{{ vars.contents }}"}}\n',
            {"x": "\n{{ at.db }}\n"},
        ),
    )
}
START = "name: b\nsummary: s\n"


def plan(text: str) -> Plan:
    blueprint = parse_blueprint(START + text, "b.yaml", ROLES)
    names = ("c1", "c2")
    given = assign(blueprint, [InventoryHost(host_id=name, name=name) for name in names])
    hosts = [
        PlanHost(
            host_id=name, name=name, roles=given[name].roles, addresses=(f"10.0.0.{number}",),
            variables=given[name].variables, facts={"nics": [{"name": "eth0", "addresses": [f"10.0.0.{number}/24"]}]},
        )
        for number, name in enumerate(names, 1) if name in given
    ]  # fmt: skip
    return compile_plan(hosts, ROLES, server=SERVER, variables=blueprint.variables, layout=layout_of(blueprint, given))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "hosts:\n  - match: {name: c1}\n    roles: [web]\n",
            "b.yaml:5: host c1: nobody serves role db: give it to a host, or name it under a VIP (asked by web",
        ),
        (
            "hosts:\n  - match: {name: 'c*'}\n    roles: [odd]\n",
            "b.yaml:5: role odd is on 2 hosts: an even number loses its majority",
        ),
        (
            "networks:\n  api: {cidr: 10.0.0.0/24}\nvips:\n  v:\n    address: 10.0.0.2\n    network: api\n"
            "    roles: [db]\nhosts:\n  - match: {name: 'c*'}\n    roles: [db]\n",
            "b.yaml:7: host c2 and VIP v have the same address 10.0.0.2: give one of them another",
        ),
        (
            "hosts:\n  - match: {name: 'c*'}\n    roles: [db, web]\n    variables:\n      users:\n"
            "        - name: ann\n        - name: bob\n          shel: /bin/sh\n",
            "b.yaml:10: variable users: accounts.1.shel is no known key: correct its spelling or remove it (used by ",
        ),
        (
            "variables:\n  users:\n    - {name: ann}\n    - {name: Bad Name}\nhosts:\n"
            "  - match: {name: 'c*'}\n    roles: [db, web]\n",
            "b.yaml:6: variable users: accounts.1.name became 'Bad Name': write text that fits ",
        ),
    ],
)
def test_the_line_of_the_blueprint_comes_first(text: str, expected: str) -> None:
    with pytest.raises(PlanProblem) as caught:
        plan(text)
    assert str(caught.value).startswith(expected)


CONTENTS = """\
variables:
  contents:
    - {kind: network, name: out, properties: {physical_network: provider}}
    - kind: subnet
      name: wire
      properties:
        network: out
        cidr: 10.0.0.0/24
        pools: [10.0.0.50-10.0.0.60, 10.0.0.2-10.0.0.9]
hosts:
  - match: {name: 'c*'}
    roles: [db, web]
"""


def test_a_pool_over_the_address_of_a_host_is_refused_on_a_wire_outside_the_cloud_alone() -> None:
    with pytest.raises(PlanProblem) as caught:
        plan(CONTENTS)
    assert str(caught.value).startswith(
        "b.yaml:11: the subnet wire would give away 10.0.0.2, the address of host c2: give it pools without the"
    )
    with pytest.raises(
        PlanProblem, match=r"^b.yaml:8: the subnet wire would give away 10.0.0.1, the address of host c1"
    ):
        plan(CONTENTS.replace("        pools: [10.0.0.50-10.0.0.60, 10.0.0.2-10.0.0.9]\n", ""))
    assert plan(CONTENTS.replace(", 10.0.0.2-10.0.0.9", "")).tasks
    assert plan(CONTENTS.replace("{physical_network: provider}", "{}")).tasks


def test_a_later_rule_is_named_where_it_is_the_one_that_counts() -> None:
    rules = (
        "hosts:\n  - match: {name: 'c*'}\n    roles: [db, web]\n    variables: {users: [{name: ann}]}\n"
        "  - match: {name: c2}\n    roles: [db]\n    variables: {users: [{name: 7}]}\n"
    )
    with pytest.raises(PlanProblem, match=r"^b.yaml:9: variable users: accounts.0.name became 7: write text"):
        plan(rules)
