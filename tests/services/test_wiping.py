"""Arming for a wipe, the wipe, and its end; what the script does to disks: tests/render/test_wipe_script.py."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    arming,
    events,
    expiry,
    explanation,
    hosts,
    install_ends,
    install_tokens,
    installer_reports,
    previews,
    registration,
    wipe_reports,
    wiping,
    wire_answers,
    wire_menus,
)
from pxeforge.services.budgets import DEFAULT_BUDGETS
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Forbidden, Problem
from tests.conftest import FACTS, MAC, PEER, Clock

NIC = MacAddress.parse(MAC)


@pytest.fixture(autouse=True)
def host(ctx: Context, profile: str) -> None:
    assert profile
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")


def armed(ctx: Context, *serials: str, **more: Any) -> dict[str, Any]:
    return wiping.arm_wipe(ctx, "n1", confirmed="n1", serials=serials or ("S1",), who="ann", **more)


def token(ctx: Context, purpose: str) -> str:
    return install_tokens.token_of(ctx, hosts.show(ctx, "n1")["attempt"]["id"], purpose)


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def kinds(ctx: Context) -> list[str]:
    return [event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"])]


def begin(ctx: Context) -> str:
    """The wipe is under way; its token."""
    wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)
    assert "partman-auto/disk string /dev/chosen-by-pxeforge" in wire_answers.answers(
        ctx, token(ctx, "answers"), peer=PEER
    )
    assert state(ctx) == "wiping"
    return token(ctx, "installer")


def test_the_next_netboot_gets_a_script_that_names_the_disks_and_no_installer(ctx: Context) -> None:
    assert armed(ctx, "S1", "S 2")["erases"] == ["S1", "S 2"]
    assert "/answers/" in wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)
    opened = begin(ctx)
    script = wire_answers.wipe(ctx, opened, peer=PEER)
    assert "look_for S1\nlook_for 'S 2'\n" in script
    for other in (wire_answers.disks, wire_answers.late):
        with pytest.raises(Forbidden, match="wiping"):
            other(ctx, opened, peer=PEER)
    with pytest.raises(Forbidden, match="wiping"):
        registration.register(ctx, opened, FACTS, peer=PEER)


def test_what_it_would_be_given_can_be_looked_at_before(ctx: Context) -> None:
    armed(ctx)
    assert set(explanation.explain(ctx, "n1", firmware="uefi-x64")["files"]) >= {"answers", "early", "wipe"}
    assert "look_for S1" in previews.preview(ctx, "n1", what="wipe")
    assert "disks" not in explanation.explain(ctx, "n1", firmware="uefi-x64")["files"]


def test_its_end_is_told_and_uses_the_token_up(ctx: Context) -> None:
    armed(ctx)
    opened = begin(ctx)
    wipe_reports.wiped(ctx, opened, "S1 (/dev/vda, 1 bytes): zeroed", peer=PEER)
    found = hosts.show(ctx, "n1")
    assert (found["state"], found["armed_until"], found["attempt"]["outcome"]) == ("known", None, "wiped")
    last = events.timeline(ctx, found["id"])[-1]
    assert (last["kind"], last["data"]["serials"], last["data"]["from"]) == ("wiped", ["S1"], "wiping")
    assert "/dev/vda" in last["message"]
    with pytest.raises(Forbidden, match="used already"):
        wipe_reports.wiped(ctx, opened, "", peer=PEER)


def test_a_host_that_is_to_go_is_retired_by_the_end_of_its_wipe(ctx: Context) -> None:
    armed(ctx, retire=True)
    wipe_reports.wiped(ctx, begin(ctx), "done", peer=PEER)
    assert state(ctx) == "retired"
    assert kinds(ctx)[-2:] == ["wiped", "retire"]


def test_a_wipe_that_stops_fails_with_its_reason(ctx: Context) -> None:
    armed(ctx)
    installer_reports.failed(ctx, begin(ctx), "wipe", "nothing was erased: no disk has the serial S1", peer=PEER)
    assert state(ctx) == "failed"
    assert "nothing was erased" in events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]["message"]


def test_each_report_gives_it_its_whole_time_anew_and_silence_ends_it(ctx: Context, clock: Clock) -> None:
    armed(ctx)
    opened = begin(ctx)
    for _ in range(3):
        clock.now += DEFAULT_BUDGETS["wiping"] - 1
        expiry.expire(ctx)
        installer_reports.progress(ctx, opened, "10 % overwritten", peer=PEER)
    assert state(ctx) == "wiping"
    clock.now += DEFAULT_BUDGETS["wiping"] + 1
    expiry.expire(ctx)
    assert state(ctx) == "failed"


def test_all_disks_are_those_with_the_serials_the_host_reported(ctx: Context) -> None:
    with ctx.database.write() as session:
        hosts.find(session, "n1").facts = {"disks": [{"name": "sda", "serial": "A"}, {"name": "sdb", "serial": "B"}]}
    found = wiping.arm_wipe(ctx, "n1", confirmed="n1", all_disks=True, who="ann")
    assert found["erases"] == ["A", "B"]


@pytest.mark.parametrize(
    ("facts", "wish", "why"),
    [
        ({}, {"confirmed": "n2", "serials": ["S1"]}, "say n1 once more"),
        ({}, {}, "say which disks to erase"),
        ({}, {"serials": ["S1"], "all_disks": True}, "say which disks to erase"),
        ({}, {"serials": ["/dev/sda"]}, "is not the serial of a disk"),
        ({}, {"serials": ["S1", "S1"]}, "named twice"),
        ({}, {"all_disks": True}, "has not reported any disk"),
        ({"disks": [{"name": "sda", "serial": ""}]}, {"all_disks": True}, "disk sda has no serial"),
        ({}, {"serials": ["S1"], "power": "explode"}, "use poweroff or reboot"),
        ({}, {"serials": ["S1"], "profile": "nope"}, "nope"),
        ({}, {"serials": ["S1"], "for_s": 1}, "a minute to a week"),
    ],
)
def test_what_is_not_clear_is_refused_and_changes_nothing(
    ctx: Context, facts: dict[str, Any], wish: dict[str, Any], why: str
) -> None:
    with ctx.database.write() as session:
        hosts.find(session, "n1").facts = facts
    before = hosts.show(ctx, "n1")
    with pytest.raises(Problem, match=why):
        wiping.arm_wipe(ctx, "n1", **{"confirmed": "n1", **wish}, who="ann")
    assert hosts.show(ctx, "n1") == before


def test_a_running_wipe_is_neither_armed_over_nor_forgotten(ctx: Context, profile: str) -> None:
    armed(ctx)
    begin(ctx)
    with pytest.raises(Conflict, match="wiping cannot take arm"):
        arming.arm(ctx, "n1", profile=profile, who="ann")
    with pytest.raises(Conflict, match="the host is wiping"):
        hosts.forget(ctx, "n1", who="ann")
    assert install_ends.disarm(ctx, "n1", who="ann")["state"] == "failed"


def test_a_host_with_an_encrypted_layout_of_its_own_is_wiped_all_the_same(ctx: Context) -> None:
    hosts.change(ctx, "n1", who="ann", settings={"parameters": {"layout": "luks"}})
    armed(ctx)
    assert "look_for S1" in wire_answers.wipe(ctx, begin(ctx), peer=PEER)
