from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.engine.blueprint import (
    Blueprint,
    BlueprintProblem,
    InventoryHost,
    assign,
    layout_of,
    load_blueprint,
    parse_blueprint,
)
from pxeforge.engine.blueprint_form import RawBlueprint, RawDisk, RawMatch, RawNetwork, RawRule, RawVip
from pxeforge.engine.document import Finding
from pxeforge.engine.layout import DiskChoice, Place
from pxeforge.engine.roles import parse_role

ROLES = {
    name: parse_role(
        f"name: {name}\nsummary: s\nvariables: {{size: {{type: int, default: 1, max: 9}}, pw: {{secret: true}}}}\n"
        + ("keeps_vips: true\n" if name == "web" else "")
        + "tasks: [{name: t, steps: [{wait: {shell: 'true'}}]}]\n",
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
        (
            "variables: {size: 2}",
            "variables: {size: 12}",
            "b.yaml:3: variable size is wrong: it must be 9 or less, not",
        ),
        (
            "    variables: {size: 3}",
            "    variables: {size: 12}",
            "b.yaml:7: variable size is wrong: it must be 9 or le",
        ),
        ("variables: {size: 2}", "variables: {pw: x}", "b.yaml:3: no role declares variable pw"),
        ('{name: "db*"}', "{}", "b.yaml:5: hosts.0.match is {}: give name, mac or tag"),
        ("  - count: 1\n", "  - count: 0\n", "b.yaml:10: hosts.2.count is 0: write 1 or more"),
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


def test_hosts_of_an_optional_rule_may_be_missing_and_count_when_they_come() -> None:
    text = "name: b\nsummary: s\nhosts:\n  - {match: {name: 'n*'}, roles: [db]}\n"
    text += "  - {match: {name: 'late*'}, optional: true, roles: [db]}\n"
    node, late = (InventoryHost(host_id=name, name=name) for name in ("n1", "late1"))
    assert list(assign(parsed(text), [node])) == ["n1"]
    assert list(assign(parsed(text), [node, late])) == ["n1", "late1"]
    with pytest.raises(BlueprintProblem, match="only a rule with a match can be optional"):
        parsed(text.replace("match: {name: 'late*'}", "count: 1"))


CLOUD_ROLES = {
    **ROLES,
    "net": parse_role(
        "name: net\nsummary: s\nnetworks: [tunnel]\ntasks: [{name: t, steps: [{wait: {shell: 'true'}}]}]\n",
        "net/role.yaml", "net", {},
    ),
    "galera": parse_role(
        "name: galera\nsummary: s\nconflicts: [db]\nmembers: {odd: true}\n"
        "tasks: [{name: t, steps: [{wait: {shell: 'true'}}]}]\n",
        "galera/role.yaml", "galera", {},
    ),
}  # fmt: skip
CLOUD = """\
name: cloud
summary: s
release: debian-12-zed
variables: {size: 2}
networks:
  api: {cidr: 10.42.0.0/24, gateway: 10.42.0.1, vlan: 10, mtu: 1500, pool: [10.42.0.100, 10.42.0.199]}
  data: {cidr: 10.42.1.0/24, purposes: [tunnel, storage]}
  provider: {}
vips:
  cloud: {address: 10.42.0.250, network: api, roles: [web]}
tolerance: {net: 10%}
hosts:
  - match: {name: "c1"}
    roles: [db, web]
    zone: az1
    nics: {provider: eth1, storage: 52-54-00-00-00-0B}
    addresses: {tunnel: 10.42.1.11}
    disks: {volumes: S123, objects: {min_gb: 20}}
  - count: 2
    roles: [net]
"""


def cloud(text: str = CLOUD, folders: tuple[Path, ...] = ()) -> Blueprint:
    return parse_blueprint(text, "b.yaml", CLOUD_ROLES, folders, ["debian-12-zed"])


def test_networks_vips_nics_disks_and_zones_are_read() -> None:
    blueprint = cloud()
    api, data, provider = blueprint.networks
    assert (str(api.cidr), api.gateway, api.vlan, api.mtu) == ("10.42.0.0/24", "10.42.0.1", 10, 1500)
    assert api.pool == ("10.42.0.100", "10.42.0.199")
    assert (data.purposes, provider.purposes, provider.cidr) == (("tunnel", "storage"), ("provider",), None)
    assert blueprint.vips[0].address == "10.42.0.250"
    assert blueprint.release == "debian-12-zed"
    given = assign(blueprint, [InventoryHost(host_id=name, name=name) for name in ("c1", "n1", "n2")])
    layout = layout_of(blueprint, given)
    place = layout.places["c1"]
    assert (place.zone, place.addresses) == ("az1", {"tunnel": "10.42.1.11"})
    assert place.nics == {"provider": "eth1", "storage": "52:54:00:00:00:0b"}
    assert place.disks == {"volumes": DiskChoice(serial="S123"), "objects": DiskChoice(min_bytes=20 * 10**9)}
    assert layout.tolerance["net"].of(20) == 2
    assert layout.places["n1"] == Place()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("10.42.0.0/24,", "10.42.0.9/24,", "b.yaml:6: networks.api.cidr is '10.42.0.9/24': it is an address in a"),
        ("10.42.0.0/24,", "10.42.0/24,", "b.yaml:6: networks.api.cidr is '10.42.0/24': write a network like"),
        ("10.42.1.0/24", "10.42.0.0/16", "b.yaml:7: network data (10.42.0.0/16) overlaps network api (10.42.0.0/24)"),
        ("gateway: 10.42.0.1,", "gateway: 10.43.0.1,", "b.yaml:6: gateway 10.43.0.1 is outside network api: choose"),
        ("gateway: 10.42.0.1,", "gateway: 10.42.0.150,", "b.yaml:6: the pool of network api holds its gateway"),
        ("10.42.0.199]", "10.42.1.9]", "b.yaml:6: the pool 10.42.0.100 to 10.42.1.9 does not lie in network api"),
        ("10.42.0.199]", "10.42.0.50]", "does not lie in network api: write two addresses of 10.42.0.0/24, the low"),
        ("vlan: 10", "vlan: 5000", "b.yaml:6: networks.api.vlan is 5000: write 4094 or less"),
        ("purposes: [tunnel, storage]", "purposes: [api]", "b.yaml:7: networks api and data both serve purpose api"),
        ("provider: {}", "provider: {gateway: 10.0.0.1}", "b.yaml:8: network provider has a gateway and no cidr"),
        ("provider: {}", "provider:", "b.yaml:8: networks.provider is empty, and no extended blueprint has it: write"),
        ("provider: {}", "provider: {colour: red}", "b.yaml:8: networks.provider.colour is no known key"),
        ("10.42.0.250", "10.42.0.150", "b.yaml:10: 10.42.0.150 is in the pool of network api: choose one outside"),
        ("10.42.0.250", "10.99.0.150", "b.yaml:10: 10.99.0.150 is outside network api: choose an address in 10.42"),
        ("10.42.0.250", "10.42.0.255", "b.yaml:10: 10.42.0.255 stands for network api as a whole: choose an address"),
        ("10.42.0.250", "10.42.0.0", "b.yaml:10: 10.42.0.0 stands for network api as a whole: choose an address of a"),
        ("[db, web]", "[db]", "b.yaml:10: no host has role web, so that nobody would answer at VIP cloud: give it to"),
        ("10.42.0.250", "10.42.0.1", "b.yaml:10: 10.42.0.1 is the gateway of network api"),
        ("network: api", "network: ipa", "b.yaml:10: VIP cloud is in network ipa, which is not there: known are api"),
        ("roles: [web]}", "roles: [galera]}", "b.yaml:10: no host has role galera, which VIP cloud is for: give it to"),
        ("roles: [web]}", "roles: [wep]}", "b.yaml:10: there is no role wep: choose from db, galera, net, web"),
        ("net: 10%", "net: lots", "b.yaml:11: tolerance.net is 'lots': a tolerance is a number of hosts or `10%`"),
        ("net: 10%", "nett: 1", "b.yaml:11: there is no role nett"),
        ("net: 10%", "galera: 1", "b.yaml:11: no rule gives role galera, so that no host can be lost for it"),
        ("tunnel: 10.42.1.11", "tunnel: 10.42.0.11", "b.yaml:17: 10.42.0.11 is outside network data: choose an addr"),
        ("tunnel: 10.42.1.11", "tunel: 10.42.1.11", "b.yaml:17: there is no network tunel: known are api, data"),
        ("tunnel: 10.42.1.11", "api: 10.42.0.250", "b.yaml:10: 10.42.0.250 of VIP cloud is given twice"),
        ("tunnel: 10.42.1.11", "provider: 10.42.0.25", "b.yaml:17: network provider has no cidr for 10.42.0.25"),
        ("provider: eth1", "provider: 'eth 1'", "b.yaml:16: hosts.0.nics.provider is 'eth 1'"),
        ("52-54-00-00-00-0B", "52-54-00-00-00-0X", "b.yaml:16: hosts.0.nics.storage is '52-54-00-00-00-0X'"),
        ("objects: {min_gb: 20}", "objects: {}", "b.yaml:18: hosts.0.disks.objects is {}: give either serial or min"),
        ("[db, web]", "[db, web, galera]", "b.yaml:14: these roles do not go together: roles galera and db cannot"),
        ("    roles: [net]", "    roles: [galera]", "b.yaml:19: role galera is on 2 hosts: an even number loses its"),
        ("data: {cidr: 10.42.1.0/24, purposes: [tunnel, storage]}", "data: {}", "role net needs a network for tunnel"),
        ("release: debian-12-zed", "release: debian-99", "b.yaml:3: there is no release pack debian-99: choose from"),
        ("variables: {size: 2}", "variables: {size: big}", "b.yaml:4: variable size is wrong: it must be of type int"),
        ("    roles: [net]", "    roles: [net]\n    addresses: {api: 10.42.0.9}", "b.yaml:21: one address for 2 hosts"),
        ("name: cloud", "name: cloud\nextends: nothing", "b.yaml:2: no blueprint nothing: correct the name or drop"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_names_line_and_fix(old: str, new: str, expected: str) -> None:
    assert old in CLOUD
    with pytest.raises(BlueprintProblem) as caught:
        cloud(CLOUD.replace(old, new, 1))
    assert expected in str(caught.value)


def test_a_rule_with_an_address_that_fits_two_hosts_is_told() -> None:
    hosts = [InventoryHost(host_id=str(number), name="c1") for number in range(4)]
    with pytest.raises(BlueprintProblem, match=r"b.yaml:13: this rule gives one address to 4 hosts: write a rule for"):
        assign(cloud(), hosts)


def test_a_blueprint_takes_from_another_what_it_does_not_say_itself(tmp_path: Path) -> None:
    (tmp_path / "cloud.yaml").write_text(CLOUD)
    mine = """\
name: mine
summary: my own
extends: cloud
variables: {size: 9}
networks:
  api: {cidr: 192.168.7.0/24}
vips: {cloud: }
"""
    found = cloud(mine, (tmp_path,))
    assert (found.name, found.summary, found.variables) == ("mine", "my own", {"size": 9})
    assert [(network.name, str(network.cidr)) for network in found.networks] == [
        ("api", "192.168.7.0/24"), ("data", "10.42.1.0/24"), ("provider", "None")
    ]  # fmt: skip
    assert (found.networks[0].gateway, found.vips, found.release) == (None, (), "debian-12-zed")
    assert [rule.roles for rule in found.rules] == [("db", "web"), ("net",)]


def test_what_an_extended_file_gets_wrong_is_told_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "cloud.yaml").write_text(CLOUD)
    with pytest.raises(BlueprintProblem) as caught:
        cloud("name: mine\nsummary: s\nextends: cloud\nnetworks:\n  api: {cidr: 10.7.0.0/24}\n", (tmp_path,))
    assert f"{tmp_path}/cloud.yaml:10: 10.42.0.250 is outside network api: choose an address in 10.7.0.0/24" in str(
        caught.value
    )


def test_an_operators_file_may_extend_the_shipped_one_of_its_own_name_but_no_ring(tmp_path: Path) -> None:
    mine, shipped = tmp_path / "mine", tmp_path / "shipped"
    mine.mkdir()
    shipped.mkdir()
    (shipped / "cloud.yaml").write_text(CLOUD)
    (mine / "cloud.yaml").write_text("name: cloud\nsummary: ours\nextends: cloud\n")
    found = load_blueprint(mine / "cloud.yaml", CLOUD_ROLES, [mine, shipped])
    assert (found.summary, len(found.rules)) == ("ours", 2)
    (shipped / "cloud.yaml").write_text("name: cloud\nsummary: s\nextends: cloud\n")
    with pytest.raises(BlueprintProblem, match=r"shipped/cloud.yaml:3: blueprints extend each other in a ring"):
        load_blueprint(mine / "cloud.yaml", CLOUD_ROLES, [mine, shipped])


def test_a_blueprint_without_hosts_is_told() -> None:
    with pytest.raises(BlueprintProblem, match="hosts is missing: say which hosts get which roles"):
        cloud("name: x\nsummary: s\n")


_FORMS = (RawBlueprint, RawRule, RawMatch, RawNetwork, RawVip, RawDisk)
_WORDS = st.sampled_from([*(key for form in _FORMS for key in form.model_fields), "api", "web", "db"])
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["10.0.0.0/24", "10.0.0.1", "fd00::/64", "10%", ""])
    | _WORDS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(_WORDS, each, max_size=4),
    max_leaves=15,
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(_WORDS, _VALUES, max_size=8), st.booleans())
def test_whatever_stands_in_a_blueprint_is_read_or_refused_with_a_line(given_keys: dict[str, Any], whole: bool) -> None:
    good = yaml.safe_load(CLOUD) if whole else {}
    findings: tuple[Finding, ...] | None = None
    try:
        cloud(yaml.safe_dump({**good, **given_keys}))
    except BlueprintProblem as problem:
        findings = problem.findings
    assert findings is None or (findings and all(finding.line >= 1 and finding.fix for finding in findings))
