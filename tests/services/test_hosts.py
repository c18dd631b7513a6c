import re
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.services import events, hosts, install_ends
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound, Problem
from tests.conftest import FACTS, MAC

pytestmark = pytest.mark.both_databases
OTHER = "52:54:00:00:00:02"


@pytest.fixture
def host(ctx: Context) -> dict[str, Any]:
    return hosts.add(ctx, macs=[MAC], name="n1", who="test")


@pytest.mark.parametrize("text", [MAC, MAC.upper().replace(":", "-"), "5254.0012.3456", "n1", "N1"])
def test_a_host_is_found_by_any_of_its_names(ctx: Context, host: dict[str, Any], text: str) -> None:
    assert hosts.show(ctx, text)["id"] == host["id"]


def test_a_host_is_found_by_the_beginning_of_its_id(ctx: Context, host: dict[str, Any]) -> None:
    assert hosts.show(ctx, host["id"][:5])["id"] == host["id"]


def test_an_unknown_host_is_refused_with_the_next_step(ctx: Context) -> None:
    with pytest.raises(NotFound, match="no host is known as 'ghost': see `pxeforge host list`"):
        hosts.show(ctx, "ghost")


def test_two_hosts_cannot_have_one_name(ctx: Context, host: dict[str, Any]) -> None:
    with pytest.raises(Conflict, match="the name n1 belongs to"):
        hosts.add(ctx, macs=[OTHER], name="n1", who="test")
    assert len(hosts.list_hosts(ctx)) == 1


@pytest.mark.parametrize("name", ["", "N1", "a.b", "-a", "a-", "x" * 64, "a\nb", "ö"])
def test_names_that_no_hosts_file_can_hold_are_refused(ctx: Context, host: dict[str, Any], name: str) -> None:
    with pytest.raises(Problem, match="is not a host name"):
        hosts.change(ctx, "n1", name=name, who="test")


@pytest.mark.parametrize("name", ["localhost", "ip6-loopback", "12", "0x7f", "import"])
def test_a_name_that_would_not_lead_to_the_host_is_refused(ctx: Context, host: dict[str, Any], name: str) -> None:
    with pytest.raises(Problem, match=r"choose another name|into the name"):
        hosts.change(ctx, "n1", name=name, who="test")
    assert hosts.show(ctx, host["id"])["name"] == "n1"


GIVEN = [
    ({"name": "db1"}, "has not the name db1: nothing was changed; `pxeforge host set n1`"),
    ({"tags": ["rack1", "new"]}, "has not the tag new"),
    ({"roles": ["base", "etcd"]}, "has not the role etcd"),
    ({"macs": [MAC, OTHER]}, f"has not the MAC address {OTHER}: nothing was changed; `pxeforge host nic add n1`"),
]


@pytest.mark.parametrize(("given", "says"), GIVEN)
def test_adding_a_host_that_is_known_rewrites_nothing(
    ctx: Context, host: dict[str, Any], given: dict[str, Any], says: str
) -> None:
    hosts.change(ctx, "n1", tags=["rack1"], who="test")
    hosts.assign(ctx, ["n1"], ["base"], who="test", known_roles=["base"])
    before = hosts.show(ctx, "n1")
    with pytest.raises(Conflict, match=re.escape(says)) as refused:
        hosts.add(ctx, **{"macs": [MAC], **given}, who="ann")
    assert str(refused.value).startswith(f"{MAC} belongs to host n1 already")
    assert hosts.show(ctx, "n1") == before


def test_adding_what_is_known_already_just_so_changes_nothing(ctx: Context, host: dict[str, Any]) -> None:
    hosts.change(ctx, "n1", tags=["rack1", "db"], who="test")
    before = events.timeline(ctx, host["id"])
    added = hosts.add(ctx, macs=[MAC.upper()], name="n1", tags=["db"], who="ann")
    assert (added["id"], added["tags"]) == (host["id"], ["db", "rack1"])
    assert events.timeline(ctx, host["id"]) == before


def test_adding_a_host_that_was_only_seen_adopts_it_with_its_further_nics(ctx: Context) -> None:
    ctx.database.change(lambda change: hosts.discover(change, MacAddress.parse(MAC), ctx.clock()))
    added = hosts.add(ctx, macs=[MAC, OTHER], name="n1", tags=["rack1"], who="ann")
    assert (added["state"], added["name"], added["macs"], added["tags"]) == ("known", "n1", [MAC, OTHER], ["rack1"])
    assert len(hosts.list_hosts(ctx)) == 1


def test_an_armed_host_is_disarmed_before_it_is_forgotten(ctx: Context, armed: dict[str, Any]) -> None:
    for state in ("armed", "booting", "installing", "installed", "wiping"):
        with ctx.database.write() as session:
            hosts.find(session, "n1").state = state
        with pytest.raises(Conflict, match=f"the host is {state}: disarm it first, then forget it"):
            hosts.forget(ctx, "n1", who="ann")
    install_ends.disarm(ctx, "n1", who="ann")
    hosts.forget(ctx, "n1", who="ann")
    assert hosts.list_hosts(ctx) == []


def test_a_change_is_told_with_before_and_after(ctx: Context, host: dict[str, Any]) -> None:
    hosts.change(ctx, "n1", tags=["rack1"], who="alice")
    last = events.timeline(ctx, host["id"])[-1]
    assert last["who"] == "alice"
    assert last["data"] == {"before": {"tags": []}, "after": {"tags": ["rack1"]}}


def test_roles_are_given_to_all_hosts_or_to_none(ctx: Context, host: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        hosts.assign(ctx, ["n1", "ghost"], ["base"], who="test", known_roles=["base"])
    assert hosts.show(ctx, "n1")["roles"] == []
    with pytest.raises(NotFound, match="there is no role 'nope'"):
        hosts.assign(ctx, ["n1"], ["nope"], who="test", known_roles=["base"])


def test_roles_come_and_go(ctx: Context, host: dict[str, Any]) -> None:
    hosts.assign(ctx, ["n1"], ["base", "base"], who="test", known_roles=["base"])
    hosts.assign(ctx, ["n1"], ["base"], who="test", known_roles=["base"])
    assert hosts.show(ctx, "n1")["roles"] == ["base"]
    assert hosts.unassign(ctx, "n1", ["base"], who="test")["roles"] == []
    with pytest.raises(NotFound):
        hosts.unassign(ctx, "n1", ["base"], who="test")


def test_hosts_are_filtered_by_state_tag_and_role(ctx: Context, host: dict[str, Any]) -> None:
    hosts.change(ctx, "n1", tags=["rack1"], who="test")
    hosts.add(ctx, macs=[OTHER], name="n2", who="test")
    assert [one["name"] for one in hosts.list_hosts(ctx, tag="rack1")] == ["n1"]
    assert [one["name"] for one in hosts.list_hosts(ctx, state="known")] == ["n1", "n2"]
    assert hosts.list_hosts(ctx, role="base") == []
    with pytest.raises(Problem, match="'sleeping' is not a state"):
        hosts.list_hosts(ctx, state="sleeping")


def test_a_forgotten_host_is_gone_and_its_mac_free(ctx: Context, host: dict[str, Any]) -> None:
    hosts.forget(ctx, "n1", who="test")
    assert hosts.list_hosts(ctx) == []
    hosts.add(ctx, macs=[MAC], name="n1", who="test")


def test_an_unknown_setting_is_named(ctx: Context, host: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="unknown host setting 'dsik'"):
        hosts.change(ctx, "n1", settings={"dsik": "first"}, who="test")


def test_a_second_nic_that_was_discovered_alone_joins_its_host(ctx: Context, registered: dict[str, Any]) -> None:
    from pxeforge.services.facts import merge_facts
    from tests.conftest import FACTS

    ctx.database.change(lambda change: hosts.discover(change, MacAddress.parse(OTHER), ctx.clock()))
    assert len(hosts.list_hosts(ctx)) == 2
    nics = [*FACTS["nics"], {"name": "ens4", "mac": OTHER, "addresses": []}]
    with ctx.database.write() as session:
        merge_facts(session, ctx, hosts.find(session, "n1"), {**FACTS, "nics": nics})
    [only] = hosts.list_hosts(ctx)
    assert sorted(only["macs"]) == sorted([MAC, OTHER])


@pytest.mark.parametrize(
    "settings",
    [
        {"disk": 5}, {"disk": "second"}, {"wipe": "yes"}, {"parameters": "abc"}, {"parameters": {"colour": "red"}},
        {"parameters": {"disk": None}}, {"parameters": {"accounts": [5]}},
    ],
)  # fmt: skip
def test_a_setting_that_no_answers_can_hold_is_refused_at_once(ctx: Context, settings: dict[str, Any]) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    with pytest.raises(Problem):
        hosts.change(ctx, "n1", settings=settings, who="test")
    assert hosts.show(ctx, "n1")["settings"] == {}


def test_a_setting_that_is_none_goes_away(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    hosts.change(ctx, "n1", settings={"disk": "serial=A1", "wipe": True}, who="test")
    assert hosts.change(ctx, "n1", settings={"disk": None}, who="test")["settings"] == {"wipe": True}


def test_the_timeline_tells_of_changes_without_password_hashes(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    hashed = "$6$saltsalt$" + "a" * 86
    parameters = {"accounts": [{"name": "ops", "password_hash": hashed}], "root_password_hash": hashed}
    hosts.change(ctx, "n1", settings={"parameters": parameters}, who="test")
    assert hosts.show(ctx, "n1")["settings"]["parameters"] == parameters
    assert hashed not in repr(events.recent(ctx))


def test_a_parameter_of_a_host_may_hang_on_the_layout_of_its_profile(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    own = {"reserve": "200G", "partitions": [{"mount": "/", "size": "rest"}], "mirror_disk": "serial=S2"}
    hosts.change(ctx, "n1", settings={"parameters": own}, who="test")
    for key, value in (("reserve", "much"), ("partitions", [5]), ("partitions", 5), ("mirror_disk", "last")):
        with pytest.raises(Problem, match=key):
            hosts.change(ctx, "n1", settings={"parameters": {key: value}}, who="test")
    with pytest.raises(Problem, match="only the layouts lvm and luks"):
        hosts.change(ctx, "n1", settings={"parameters": {"layout": "plain", "reserve": "40%"}}, who="test")
    assert hosts.show(ctx, "n1")["settings"]["parameters"] == own


def test_vlans_and_bridges_are_no_nics_of_a_host(ctx: Context, registered: dict[str, Any]) -> None:
    from pxeforge.services.facts import merge_facts

    nics = [
        {"name": "enp1s0", "mac": MAC, "addresses": ["192.0.2.50/24"], "physical": True},
        {"name": "storage", "mac": MAC, "addresses": ["10.42.0.5/24"], "physical": False},
        {"name": "br0", "mac": "9e:00:00:00:00:01", "addresses": ["10.43.0.5/24"], "physical": False},
    ]
    with ctx.database.write() as session:
        merge_facts(session, ctx, hosts.find(session, "n1"), {**FACTS, "nics": nics})
    found = hosts.show(ctx, "n1")["nics"]
    assert [(nic["mac"], nic["name"], nic["address"]) for nic in found] == [(MAC, "enp1s0", "192.0.2.50")]
