"""Who is who: shared identities, NICs that were replaced or moved, hosts that were moved, and how it is settled."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.services import arming, events, hosts, identity
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.facts import merge_facts
from pxeforge.services.problems import Conflict, NotFound, Problem
from tests.conftest import MAC, Clock

pytestmark = pytest.mark.both_databases
MAC_2 = "52:54:00:aa:bb:02"
STRANGER = "3c:ec:ef:00:00:01"
UUID = "4c4c4544-0042-4d10-8051-b3c04f4e4a32"
OTHER_ORDER = "44454c4c-4200-104d-8051-b3c04f4e4a32"


def tell(ctx: Context, name: str, **facts: Any) -> None:
    with ctx.database.write() as session:
        merge_facts(session, ctx, hosts.find(session, name), facts)


def seen(ctx: Context, mac: str, **more: Any) -> None:
    request = BootRequest(
        mac=MacAddress.parse(mac), firmware=Firmware.UEFI_X64, **{"interface": "eth0", **more}
    )  # fmt: skip
    Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=False)
    with ctx.database.read():
        pass  # what was posted is there


@pytest.fixture
def two(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    hosts.add(ctx, macs=[MAC_2], name="n2", who="ann")


def test_two_hosts_with_one_uuid_are_told_with_what_to_do(ctx: Context, two: None) -> None:
    for name in ("n1", "n2"):
        tell(ctx, name, uuid=UUID, serial="S1")
    (found,) = identity.conflicts(ctx)
    assert found["kind"] == "uuid_shared"
    assert "n1 and n2 show one UUID" in found["sentence"]
    assert found["commands"] == ["pxeforge host merge n1 n2", f"pxeforge host settle {found['id']}"]


def test_both_byte_orders_of_a_uuid_are_one_identity(ctx: Context, two: None) -> None:
    tell(ctx, "n1", uuid=UUID)
    seen(ctx, STRANGER, uuid=OTHER_ORDER)
    (found,) = identity.conflicts(ctx)
    assert (found["kind"], found["mac"]) == ("new_nic", STRANGER)
    assert found["commands"][0] == f"pxeforge host merge n1 {STRANGER}"


def test_a_shared_serial_number_is_told_when_the_uuids_differ(ctx: Context, two: None) -> None:
    tell(ctx, "n1", uuid=UUID, serial="S1")
    tell(ctx, "n2", uuid="11111111-2222-3333-4444-555555555555", serial="s1")
    assert [one["kind"] for one in identity.conflicts(ctx)] == ["serial_shared"]


@pytest.mark.parametrize(
    "useless",
    [
        {"uuid": "00000000-0000-0000-0000-000000000000"},
        {"uuid": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
        {"uuid": "03000200-0400-0500-0006-000700080009"},
        {"uuid": "Default string"},
        {"serial": "To be filled by O.E.M."},
        {"serial": "Default string"},
        {"serial": "0"},
        {"serial": "0000000000"},
        {"serial": " "},
    ],
)
def test_what_many_boards_share_is_no_identity(ctx: Context, two: None, useless: dict[str, str]) -> None:
    for name in ("n1", "n2"):
        tell(ctx, name, **useless)
    assert identity.conflicts(ctx) == []
    assert hosts.show(ctx, "n1")["uuid"] is None
    assert hosts.show(ctx, "n1")["facts"] == useless


def test_a_settled_conflict_comes_back_when_a_third_host_joins_it(ctx: Context, two: None) -> None:
    for name in ("n1", "n2"):
        tell(ctx, name, uuid=UUID)
    identity.settle(ctx, identity.conflicts(ctx)[0]["id"], who="ann")
    assert identity.conflicts(ctx) == []
    (kept,) = identity.conflicts(ctx, settled=True)
    assert kept["settled_by"] == "ann"
    hosts.add(ctx, macs=[STRANGER], name="n3", who="ann")
    tell(ctx, "n3", uuid=UUID)
    assert len(identity.conflicts(ctx)) == 1
    with pytest.raises(NotFound):
        identity.settle(ctx, "deadbeef", who="ann")


def test_a_new_mac_with_a_known_uuid_is_never_given_the_install_of_that_host(
    ctx: Context, armed: dict[str, Any]
) -> None:
    tell(ctx, "n1", uuid=UUID)
    seen(ctx, STRANGER, uuid=UUID)
    stranger = hosts.show(ctx, STRANGER)
    assert (stranger["state"], stranger["name"]) == ("discovered", None)
    with pytest.raises(Conflict, match="n1 is armed"):
        identity.merge(ctx, "n1", STRANGER, who="ann")
    with pytest.raises(Conflict, match="n1 is armed"):
        identity.nic_add(ctx, "n1", STRANGER, who="ann")
    assert hosts.show(ctx, "n1")["macs"] == [MAC]


def test_merged_hosts_keep_nics_tags_and_events_of_both(ctx: Context, two: None) -> None:
    tell(ctx, "n1", uuid=UUID)
    seen(ctx, STRANGER, uuid=UUID)
    hosts.change(ctx, "n1", tags=["a"], who="ann")
    merged = identity.merge(ctx, "n1", STRANGER, who="ann")
    assert sorted(merged["macs"]) == sorted([MAC, STRANGER])
    kinds = [event["kind"] for event in events.timeline(ctx, merged["id"])]
    assert "discovered" in kinds
    assert kinds[-1] == "merged"
    assert identity.conflicts(ctx) == []
    with pytest.raises(Problem, match="cannot be merged with itself"):
        identity.merge(ctx, "n1", STRANGER, who="ann")


def test_an_installed_host_is_not_merged_away(ctx: Context, registered: dict[str, Any]) -> None:
    hosts.add(ctx, macs=[MAC_2], name="n2", who="ann")
    with pytest.raises(Conflict, match="pxeforge host merge n1 n2"):
        identity.merge(ctx, "n2", "n1", who="ann")
    assert sorted(identity.merge(ctx, "n1", "n2", who="ann")["macs"]) == sorted([MAC, MAC_2])


def test_a_nic_that_two_hosts_claim_is_told_until_it_was_moved(ctx: Context, two: None) -> None:
    identity.nic_add(ctx, "n2", STRANGER, who="ann")
    tell(ctx, "n1", nics=[{"name": "e0", "mac": MAC_2}, {"name": "e1", "mac": MAC}])
    (found,) = identity.conflicts(ctx)
    assert (found["kind"], found["commands"][0]) == ("nic_claimed", f"pxeforge host nic move {MAC_2} n1")
    identity.nic_move(ctx, MAC_2, "n1", who="ann")
    assert identity.conflicts(ctx) == []
    assert hosts.show(ctx, "n2")["macs"] == [STRANGER]


def test_a_host_keeps_its_last_nic(ctx: Context, two: None) -> None:
    with pytest.raises(Conflict, match="the only NIC of n1"):
        identity.nic_remove(ctx, MAC, who="ann")
    with pytest.raises(Conflict, match="pxeforge host merge n2 n1"):
        identity.nic_move(ctx, MAC, "n2", who="ann")
    identity.nic_add(ctx, "n1", STRANGER, who="ann")
    assert identity.nic_remove(ctx, MAC, who="ann")["macs"] == [STRANGER]
    with pytest.raises(Conflict, match="belongs to n2"):
        identity.nic_add(ctx, "n1", MAC_2, who="ann")


def test_a_host_at_another_relay_or_circuit_is_told_and_back_again_it_is_not(
    ctx: Context, two: None, clock: Clock
) -> None:
    seen(ctx, MAC, relay="10.1.0.1", circuit_id="eth1/7")
    assert identity.conflicts(ctx) == []
    clock.now += 3600
    seen(ctx, MAC, relay="10.1.0.1", circuit_id="eth1/9")
    (found,) = identity.conflicts(ctx)
    assert found["kind"] == "moved"
    assert "was at relay 10.1.0.1, circuit eth1/7, now it is at relay 10.1.0.1, circuit eth1/9" in found["sentence"]
    clock.now += 3600
    seen(ctx, MAC, relay="10.1.0.1", circuit_id="eth1/7")
    assert identity.conflicts(ctx) == []
    clock.now += 3600
    seen(ctx, MAC, relay="10.2.0.1", circuit_id="eth1/7")
    identity.settle(ctx, identity.conflicts(ctx)[0]["id"], who="ann")
    assert identity.conflicts(ctx) == []


def test_behind_a_relay_it_does_not_matter_which_of_our_interfaces_hears_it(ctx: Context, two: None) -> None:
    seen(ctx, MAC, relay="10.1.0.1", interface="eth0")
    seen(ctx, MAC, relay="10.1.0.1", interface="eth1")
    assert identity.conflicts(ctx) == []


def test_conflicts_of_one_host_are_told_alone(ctx: Context, two: None) -> None:
    for name in ("n1", "n2"):
        tell(ctx, name, uuid=UUID)
    hosts.add(ctx, macs=[STRANGER], name="n3", who="ann")
    assert len(identity.conflicts(ctx, host="n1")) == 1
    assert identity.conflicts(ctx, host="n3") == []


def test_a_shared_identity_is_told_of_each_host_in_either_spelling(ctx: Context, two: None) -> None:
    hosts.add(ctx, macs=[STRANGER], name="n3", who="ann")
    tell(ctx, "n1", uuid=UUID, serial="sn-7A")
    tell(ctx, "n2", uuid=OTHER_ORDER)
    tell(ctx, "n3", serial="SN-7a")
    told = {name: {one["kind"] for one in identity.conflicts(ctx, host=name)} for name in ("n1", "n2", "n3")}
    both = {"uuid_shared", "serial_shared"}
    assert told == {"n1": both, "n2": {"uuid_shared"}, "n3": {"serial_shared"}}
    assert {one["kind"] for one in identity.conflicts(ctx)} == both


def test_an_armed_host_does_not_lose_the_nic_that_it_is_armed_by(ctx: Context, armed: dict[str, Any]) -> None:
    hosts.add(ctx, macs=[MAC_2], name="n2", who="ann")
    for refused in (
        lambda: identity.nic_move(ctx, MAC, "n2", who="ann"),
        lambda: identity.nic_remove(ctx, MAC, who="ann"),
        lambda: identity.merge(ctx, "n2", "n1", who="ann"),
    ):
        with pytest.raises(Conflict, match="n1 is armed"):
            refused()


def test_discovery_by_a_rule_cannot_arm_twice(ctx: Context, armed: dict[str, Any], profile: str) -> None:
    with pytest.raises(Conflict, match="armed or installed before"):
        arming.arm(ctx, "n1", profile=profile, first_only=True, who="rule")
