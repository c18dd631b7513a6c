"""What a blueprint says of NICs, disks and addresses, against what the hosts told."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.engine.blueprint import InventoryHost, assign, layout_of, parse_blueprint
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.roles import parse_role

SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")
ROLES = {
    name: parse_role(f"name: {name}\nsummary: s\n{text}", f"{name}/role.yaml", name, {})
    for name, text in {
        "net": """\
variables: {nics: {type: list, default: []}, bridges: {type: list, default: []}}
tasks: [{name: go, steps: [{network: {nics: "{{ vars.nics }}", bridges: "{{ vars.bridges }}"}}]}]
""",
        "ovs": """\
requires: [net]
variables: {port: {names: nic, default: "{{ host.net.provider.nic }}"}}
tasks: [{name: go, steps: [{wait: {shell: "true {{ vars.port }}"}}]}]
""",
        "store": """\
variables: {store_disk: {default: volumes}}
tasks: [{name: go, steps: [{disk: {disk: "{{ vars.store_disk }}", layout: filesystem}}]}]
""",
    }.items()
}
START = """\
name: b
summary: s
variables: {port: ""}
hosts:
"""


def plan(rules: str, names: tuple[str, ...] = ("c1",), **facts: Any) -> Plan:
    blueprint = parse_blueprint(START + rules, "b.yaml", ROLES)
    given = assign(blueprint, [InventoryHost(host_id=name, name=name) for name in names])
    hosts = []
    for number, name in enumerate(names, 1):
        nics = [
            {"name": "eth0", "mac": f"52:54:00:00:00:0{number}", "addresses": [f"10.0.0.{number}/24"]},
            {"name": "eth1", "mac": f"52:54:00:00:01:0{number}", "addresses": ["fd00::7/64"]},
        ]
        disks = [{"name": "vda", "serial": "S0", "system": True}, {"name": "vdb", "serial": f"D{number}"}]
        told = {"nics": nics, "disks": disks, **facts}
        one = given[name]
        hosts.append(
            PlanHost(
                host_id=name, name=name, roles=one.roles, addresses=(f"10.0.0.{number}",), facts=told,
                variables=one.variables,
            )
        )  # fmt: skip
    return compile_plan(hosts, ROLES, server=SERVER, variables=blueprint.variables, layout=layout_of(blueprint, given))


ETH0 = "nics: [{name: eth0}]"
BRIDGE = "bridges: [{name: br-p, ports: [eth0]}]"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            "  - match: {name: c1}\n    roles: [ovs]\n    nics:\n      provider: eth9\n",
            "b.yaml:8: host c1: it has no nic eth9, but eth0 (52:54:00:00:00:01), eth1 (52:54:00:00:01:01): correct it",
        ),
        (
            "  - match: {name: c1}\n    roles: [ovs]\n    nics: {provider: eth0}\n",
            "b.yaml:7: host c1: its nic eth0 (provider) has the address 10.0.0.1/24, and as the port of a bridge",
        ),
        (
            "  - match: {name: c1}\n    roles: [ovs]\n    variables:\n      port: eth9\n",
            "b.yaml:8: host c1: it has no nic eth9, but ",
        ),
        (
            "  - match: {name: c1}\n    roles: [ovs]\n    variables: {port: '52:54:00:00:01:01'}\n",
            "b.yaml:7: host c1: 52:54:00:00:01:01 is a MAC: write the name of the nic (port)",
        ),
        (
            "  - match: {name: c1}\n    roles: [net]\n    variables:\n      nics:\n        - name: eth0\n"
            "        - name: eth8\n",
            "b.yaml:10: host c1: it has no nic eth8, but ",
        ),
        (
            "  - match: {name: c1}\n    roles: [store]\n    disks: {volumes: S9}\n",
            "b.yaml:7: host c1: no disk has the serial S9, it has vda (the system), vdb (D1): correct it",
        ),
        (
            "  - match: {name: c1}\n    roles: [store]\n    variables: {store_disk: path=/dev/nosuch}\n",
            "b.yaml:7: host c1: there is no disk /dev/nosuch, it has vda (the system), vdb (D1): correct it",
        ),
    ],
)
def test_what_a_host_does_not_have_is_refused_with_the_line_that_asks_for_it(rules: str, expected: str) -> None:
    with pytest.raises(PlanProblem) as caught:
        plan(rules)
    assert str(caught.value).startswith(expected)


def test_a_nic_that_is_there_or_is_made_first_can_be_named() -> None:
    assert plan("  - match: {name: c1}\n    roles: [ovs]\n    nics: {provider: eth1}\n").tasks
    made = f"  - match: {{name: c1}}\n    roles: [ovs]\n    variables: {{port: br-p, {ETH0}, {BRIDGE}}}\n"
    assert plan(made).tasks
    assert plan(made + "    nics: {provider: eth0}\n").tasks  # its address goes to the bridge with it
    assert plan("  - match: {name: c1}\n    roles: [ovs]\n    nics: {provider: eth9}\n", nics=[]).tasks  # not told yet
    optional = "  - match: {name: c1}\n    roles: [net]\n    variables: {nics: [{name: eth8, optional: true}]}\n"
    assert plan(optional).tasks


def test_one_address_for_several_hosts_is_refused_whoever_gives_it() -> None:
    rule = (
        "  - match: {name: 'c*'}\n    roles: [net]\n    variables: {nics: [{name: eth0, addresses: [10.0.0.77/24]}]}\n"
    )
    assert plan(rule).tasks
    with pytest.raises(PlanProblem) as caught:
        plan(rule, ("c1", "c2"))
    assert str(caught.value).startswith(
        "b.yaml:7: host c2 is given the address 10.0.0.77, which is that of host c1: give it another, and where"
    )
    with pytest.raises(PlanProblem, match=r"host c1 is given the address 10.0.0.2, which is that of host c2"):
        plan(rule.replace("10.0.0.77", "10.0.0.2").replace("c*", "c1") + rule.replace("c*", "c2"), ("c1", "c2"))
