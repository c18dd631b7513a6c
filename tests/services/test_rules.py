"""Rules: what they fit, what they give, in which order, and that they arm nobody who was installed."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.services import arming, audit, events, hosts, identity, racks, rules
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.facts import merge_facts
from pxeforge.services.problems import Conflict, NotFound, Problem
from tests.conftest import MAC, Clock

pytestmark = pytest.mark.both_databases
MAC_2 = "52:54:00:aa:bb:02"
STRANGER = "3c:ec:ef:00:00:01"
FACTS: dict[str, Any] = {
    "uuid": "4c4c4544-0042-4d10-8051-b3c04f4e4a32", "serial": "ABC123", "vendor": "Dell Inc.",
    "product": "PowerEdge R640", "ram_bytes": 134_000_000_000, "cpu": {"count": 32},
    "disks": [
        {"name": "sda", "size_bytes": 480_000_000_000, "rotational": False},
        {"name": "sdb", "size_bytes": 4_000_000_000_000, "rotational": True},
        {"name": "sdc", "size_bytes": 4_000_000_000_000, "rotational": True},
        {"name": "sr0", "size_bytes": 1_000_000, "rotational": True, "removable": True},
    ],
    "neighbours": [{"nic": "eno1", "system": "leaf1", "port": "Ethernet1/12"}],
}  # fmt: skip


def tell(ctx: Context, name: str, **more: Any) -> None:
    with ctx.database.write() as session:
        merge_facts(session, ctx, hosts.find(session, name), {**FACTS, **more})


def seen(ctx: Context, mac: str, **more: Any) -> None:
    request = BootRequest(mac=MacAddress.parse(mac), firmware=Firmware.UEFI_X64, interface="eth0", **more)
    Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=False)
    with ctx.database.read():
        pass  # what was posted is there


def test_facts_make_a_discovered_host_a_named_tagged_racked_host_with_roles(ctx: Context, clock: Clock) -> None:
    rules.add(
        ctx, "place", when={"circuit_id": "leaf1:*"}, gives={"rack": "r{circuit_number}", "tags": ["new"]}, who="ann"
    )
    rules.add(
        ctx, "storage", when={"vendor": "Dell*", "memory": ">=128G", "disks": ">=2", "disk_rotational": True},
        gives={"name": "stor-{rack}-{serial}", "roles": ["base"], "tags": ["storage"]}, who="ann",
    )  # fmt: skip
    seen(ctx, STRANGER, relay="10.1.0.1", circuit_id="leaf1:7", remote_id="0xabcd")
    assert rules.apply_marked(ctx) == 1
    host = hosts.show(ctx, STRANGER)
    assert (host["state"], host["name"], host["settings"]["rack"]["name"]) == ("known", None, "r7")
    tell(ctx, STRANGER)
    rules.apply_marked(ctx)
    host = hosts.show(ctx, STRANGER)
    assert (host["name"], host["tags"], host["roles"]) == ("stor-r7-abc123", ["new", "storage"], ["base"])
    who = {one["who"] for one in audit.entries(ctx, audit.Filter(host=host["id"]), limit=50)}
    assert {"rule place", "rule storage"} <= who
    assert rules.apply_marked(ctx) == 0
    assert [rule["applied"] for rule in rules.list_rules(ctx)] == [1, 1]


def test_the_first_rule_counts_for_a_name_and_tags_of_all_add_up(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], who="ann")
    rules.add(ctx, "a", when={"mac": "52:54"}, gives={"name": "one{n}", "tags": ["x"]}, who="ann")
    rules.add(ctx, "b", when={"mac": "52-54-00"}, gives={"name": "two{n}", "tags": ["y"]}, who="ann")
    rules.apply(ctx, who="ann")
    assert (hosts.show(ctx, MAC)["name"], hosts.show(ctx, MAC)["tags"]) == ("one1", ["x", "y"])


def test_a_rule_that_was_moved_up_counts_first(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], who="ann")
    rules.add(ctx, "a", when={"mac": "52:54"}, gives={"name": "one{n}"}, who="ann")
    rules.add(ctx, "b", when={"mac": "52:54"}, gives={"name": "two{n}"}, who="ann")
    rules.move(ctx, "b", 1, who="ann")
    assert [one["name"] for one in rules.list_rules(ctx)] == ["b", "a"]
    rules.apply(ctx, who="ann")
    assert hosts.show(ctx, MAC)["name"] == "two1"
    rules.remove(ctx, "b", who="ann")
    assert [one["position"] for one in rules.list_rules(ctx)] == [1]


def test_what_an_operator_set_is_never_changed_unless_a_rule_is_told_to_replace(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="mine", who="ann")
    hosts.change(ctx, "mine", settings={"rack": {"name": "a", "unit": 3}}, who="ann")
    rules.add(ctx, "r", when={"mac": "52:54"}, gives={"name": "n{n}", "rack": "b", "unit": "9"}, who="ann")
    assert rules.apply(ctx, who="ann")["changed"] == 0
    rules.apply(ctx, names=["mine"], replace_=True, who="ann")
    host = hosts.show(ctx, "mine")
    assert (host["name"], host["settings"]["rack"]) == ("mine", {"name": "b", "unit": 9, "height": 1})


def test_numbers_in_names_skip_those_that_are_taken(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="node002", who="ann")
    for number in range(3):
        hosts.add(ctx, macs=[f"52:54:00:00:01:0{number}"], who="ann")
    rules.add(ctx, "r", when={"state": "known"}, gives={"name": "node{n:03}"}, who="ann")
    told = rules.dry_run(ctx)
    assert [one["changes"]["name"][1] for one in told if one["changes"]] == ["node001", "node003", "node004"]
    rules.apply(ctx, who="ann")
    assert {host["name"] for host in hosts.list_hosts(ctx)} == {"node001", "node002", "node003", "node004"}


def test_a_serial_that_would_be_taken_for_an_address_names_no_host(ctx: Context) -> None:
    rules.add(ctx, "names", when={"vendor": "Dell*"}, gives={"name": "{serial}", "tags": ["dell"]}, who="ann")
    seen(ctx, STRANGER)
    tell(ctx, STRANGER, serial="0042")
    rules.apply_marked(ctx)
    host = hosts.show(ctx, STRANGER)
    assert (host["name"], host["tags"]) == (None, ["dell"])
    assert "0042 would be taken for an address" in str(rules.dry_run(ctx))


def test_what_a_host_says_of_itself_is_never_read_as_a_template(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], who="ann")
    tell(ctx, MAC, serial="{mac}{{7*7}}")
    rules.add(ctx, "r", when={"mac": "52:54"}, gives={"name": "s-{serial}"}, who="ann")
    rules.apply(ctx, who="ann")
    assert hosts.show(ctx, MAC)["name"] == "s-mac-7-7"


def test_a_dry_run_tells_what_would_change_and_why_near_misses_do_not_fit(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], who="ann")
    hosts.add(ctx, macs=[MAC_2], name="small", who="ann")
    tell(ctx, MAC)
    tell(ctx, "small", ram_bytes=8_000_000_000, uuid=None, serial=None)
    rule = {"when": {"vendor": "dell*", "memory": ">=64G"}, "set": {"tags": ["big"]}}
    fits, near = rules.dry_run(ctx, rule)
    assert (fits["host"], fits["changes"]) == (MAC, {"tags": [[], ["big"]]})
    assert (near["host"], near["matches"], near["missing"]) == (
        "small", False, ["memory is 8000000000, not >=64G"],
    )  # fmt: skip
    assert hosts.show(ctx, MAC)["tags"] == []


def test_disks_are_counted_by_size_and_kind(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], who="ann")
    tell(ctx, MAC)

    def fits(**when: Any) -> bool:
        return any(one["matches"] for one in rules.dry_run(ctx, {"when": when, "set": {"tags": ["x"]}}))

    assert fits(disks="3")
    assert fits(disk_size=">=4T", disks="2")
    assert fits(disk_rotational=False)
    assert not fits(disk_rotational=False, disk_size=">1T")
    assert not fits(disks=">3")


def test_two_hosts_never_get_one_unit(ctx: Context) -> None:
    for mac in (MAC, MAC_2):
        hosts.add(ctx, macs=[mac], who="ann")
    rules.add(ctx, "r", when={"state": "known"}, gives={"rack": "r1", "unit": "4"}, who="ann")
    done = rules.apply(ctx, who="ann")
    assert done["changed"] == 1
    assert "stands at r1 unit 4" in done["problems"][0]["message"]
    assert len(racks.rack_view(ctx)[0]["units"]) == 1


def test_a_rule_stops_by_itself_after_as_many_hosts_as_it_may(ctx: Context) -> None:
    rules.add(ctx, "r", when={"mac": "3c:ec:ef"}, gives={"name": "n{n}"}, most=2, who="ann")
    for number in range(4):
        seen(ctx, f"3c:ec:ef:00:00:0{number}")
    rules.apply_marked(ctx)
    named = [host for host in hosts.list_hosts(ctx) if host["name"]]
    assert len(named) == 2
    rules.apply(ctx, who="ann")
    assert all(host["name"] for host in hosts.list_hosts(ctx))


def test_a_rule_arms_a_host_for_its_first_install_and_never_again(ctx: Context, profile: str) -> None:
    rules.add(ctx, "r", when={"mac": "3c:ec:ef"}, gives={"name": "n{n}", "profile": profile, "arm": True}, who="ann")
    seen(ctx, STRANGER)
    rules.apply_marked(ctx)
    assert hosts.show(ctx, "n1")["state"] == "armed"
    from pxeforge.services import install_ends

    install_ends.disarm(ctx, "n1", who="ann")
    done = rules.apply(ctx, who="ann")
    assert done["armed"] == []
    assert "armed before" in done["problems"][0]["message"]
    with pytest.raises(Conflict, match="armed or installed before"):
        arming.arm(ctx, "n1", profile=profile, first_only=True, who="rule r")


def test_a_rule_arms_nobody_whose_identity_another_host_shows(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="old", who="ann")
    tell(ctx, "old")
    rules.add(ctx, "r", when={"mac": "3c:ec:ef"}, gives={"profile": profile, "arm": True}, who="ann")
    seen(ctx, STRANGER, uuid=FACTS["uuid"])
    done = rules.apply(ctx, who="ann")
    assert done["armed"] == []
    assert "shows the same UUID" in done["problems"][0]["message"]


def test_a_new_nic_is_attached_by_a_rule_that_says_so_but_not_while_its_host_is_armed(
    ctx: Context, armed: dict[str, Any]
) -> None:
    tell(ctx, "n1", nics=[])
    rules.add(ctx, "nics", when={"mac": "3c:ec:ef"}, gives={"attach": True}, who="ann")
    seen(ctx, STRANGER, uuid=FACTS["uuid"])
    rules.apply_marked(ctx)
    assert hosts.show(ctx, STRANGER)["state"] == "discovered"
    assert any("which is armed" in one["message"] for one in events.timeline(ctx, hosts.show(ctx, STRANGER)["id"]))
    from pxeforge.services import install_ends

    install_ends.disarm(ctx, "n1", who="ann")
    rules.apply(ctx, who="ann")
    assert sorted(hosts.show(ctx, "n1")["macs"]) == sorted([MAC, STRANGER])
    assert identity.conflicts(ctx) == []


def test_tags_alone_vouch_for_no_stranger(ctx: Context) -> None:
    rules.add(ctx, "r", when={"mac": "3c:ec:ef"}, gives={"tags": ["seen"]}, who="ann")
    seen(ctx, STRANGER)
    rules.apply_marked(ctx)
    host = hosts.show(ctx, STRANGER)
    assert (host["state"], host["tags"]) == ("discovered", ["seen"])


@pytest.mark.parametrize(
    ("when", "gives", "said"),
    [
        ({}, {"tags": ["x"]}, "needs a criterion"),
        ({"colour": "red"}, {"tags": ["x"]}, "unknown criterion 'colour'"),
        ({"memory": "lots"}, {"tags": ["x"]}, "memory: 'lots' is no number"),
        ({"mac": "zz"}, {"tags": ["x"]}, "no beginning of a MAC address"),
        ({"subnet": "10.0.0.0/99"}, {"tags": ["x"]}, "is no subnet"),
        ({"mac": "52"}, {}, "must give something"),
        ({"mac": "52"}, {"name": "{os.system}"}, "other braces mean nothing"),
        ({"mac": "52"}, {"name": "{password}"}, "{password} is no field"),
        ({"mac": "52"}, {"rack": "r{n}"}, "n in names only"),
        ({"mac": "52"}, {"arm": True}, "arm needs a profile"),
        ({"mac": "52"}, {"unit": "3"}, "need a rack"),
        ({"mac": "52"}, {"profile": "nothing"}, "nothing"),
        ({"mac": "52"}, {"roles": ["nothing"]}, "there is no role 'nothing'"),
        ({"mac": "52"}, {"tags": ["a b"]}, "is not a tag"),
        ({"mac": "52"}, {"shell": "rm"}, "cannot give 'shell'"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_what_to_do(
    ctx: Context, when: dict[str, Any], gives: dict[str, Any], said: str
) -> None:
    with pytest.raises(Problem) as refused:
        rules.add(ctx, "r", when=when, gives=gives, who="ann")
    assert said in str(refused.value)
    assert rules.list_rules(ctx) == []


def test_a_rule_is_changed_key_by_key_and_every_change_is_audited(ctx: Context) -> None:
    rules.add(ctx, "r", when={"mac": "52", "vendor": "Dell*"}, gives={"tags": ["x"]}, who="ann")
    changed = rules.change(ctx, "r", when={"vendor": None, "memory": ">=1G"}, enabled=False, who="bob")
    assert changed["when"] == {"mac": ["52"], "memory": [">=1G"]}
    assert not changed["enabled"]
    entry = audit.entries(ctx, audit.Filter(kind="rule_changed"), limit=1)[0]
    assert (entry["who"], entry["data"]["before"]["enabled"]) == ("bob", True)
    with pytest.raises(NotFound):
        rules.change(ctx, "other", enabled=True, who="bob")


def test_a_mark_that_came_while_rules_were_applied_is_kept(ctx: Context, clock: Clock, monkeypatch: Any) -> None:
    rules.add(ctx, "r", when={"mac": "52"}, gives={"tags": ["x"]}, who="ann")
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    tell(ctx, "n1")
    looked = rules._apply_to

    def meanwhile(*args: Any, **kwargs: Any) -> dict[str, Any]:
        done = looked(*args, **kwargs)
        clock.now += 1
        tell(ctx, "n1")
        return done

    with monkeypatch.context() as patched:
        patched.setattr(rules, "_apply_to", meanwhile)
        rules.apply_marked(ctx)
    assert rules.apply_marked(ctx) == 1
