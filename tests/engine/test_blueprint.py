from __future__ import annotations

import pytest

from pxeforge.engine.blueprint import Blueprint, BlueprintProblem, InventoryHost, assign, parse_blueprint
from pxeforge.engine.roles import parse_role

ROLES = {
    name: parse_role(
        f"name: {name}\nsummary: s\nvariables: {{size: {{type: int, default: 1}}, pw: {{secret: true}}}}\n"
        "tasks: [{name: t, steps: [{wait: {shell: 'true'}}]}]\n",
        f"{name}/role.yaml",
        name,
        {},
    )
    for name in ("db", "web")
}
TEXT = """\
name: two
summary: s
variables: {size: 2}
hosts:
  - match: {name: "db*"}
    roles: [db]
    variables: {size: 3}
  - match: {mac: 52-54-00-00-00-0A}
    roles: [web]
  - count: 1
    roles: [web]
"""
HOSTS = [
    InventoryHost(host_id="1", name="z"),
    InventoryHost(host_id="2", name="db2", macs=("52:54:00:00:00:0a",)),
    InventoryHost(host_id="3", name="db3"),
    InventoryHost(host_id="4", name="a"),
]


def parsed(text: str = TEXT) -> Blueprint:
    return parse_blueprint(text, "b.yaml", ROLES)


def test_hosts_get_roles_by_match_and_then_by_count() -> None:
    given = assign(parsed(), HOSTS)
    assert {host_id: item.roles for host_id, item in given.items()} == {"2": ("db", "web"), "3": ("db",), "4": ("web",)}
    assert given["3"].variables == {"size": 3}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[db]", "[bd]", "b.yaml:6: there is no role bd: choose from db, web"),
        ("variables: {size: 2}", "variables: {sise: 2}", "b.yaml:3: no role declares variable sise: known are size"),
        ("variables: {size: 2}", "variables: {pw: x}", "b.yaml:3: no role declares variable pw"),
        ('{name: "db*"}', "{}", "b.yaml:5: hosts.0.match is {}: give name, mac or tag"),
        ("  - count: 1\n", "  - count: 0\n", "b.yaml:10: hosts.2.count is 0"),
        ("52-54-00-00-00-0A", "52-54", "b.yaml:8: hosts.1.match.mac is '52-54': '52-54' is not a MAC address"),
        ("  - count: 1\n    roles", "  - roles", "b.yaml:10: hosts.2 is"),
        ("summary: s\n", "", "b.yaml:1: summary is missing: add it"),
    ],
)
def test_an_error_names_file_line_and_fix(old: str, new: str, expected: str) -> None:
    assert old in TEXT
    with pytest.raises(BlueprintProblem) as caught:
        parsed(TEXT.replace(old, new, 1))
    assert expected in str(caught.value)


def test_hosts_that_are_missing_are_reported_with_the_line_of_the_rule() -> None:
    with pytest.raises(BlueprintProblem) as caught:
        assign(parsed(), [HOSTS[2]])
    assert str(caught.value).splitlines() == [
        "b.yaml:8: this rule matches no host: correct it or add the host first",
        "b.yaml:10: 1 hosts are asked for and 0 are free: lower the count or add hosts",
    ]
