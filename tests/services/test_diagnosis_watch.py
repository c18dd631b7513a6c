"""Diagnoses as the real services lead to them: written down once, told everywhere, gone when they are over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    agents,
    arming,
    diagnosis,
    diagnosis_watch,
    events,
    expiry,
    hosts,
    install_ends,
    installer_reports,
    registration,
    retirement,
    wire_answers,
    wire_menus,
)
from pxeforge.services.boot_desk import Desk
from pxeforge.services.budgets import DEFAULT_BUDGETS
from pxeforge.services.context import Context
from pxeforge.store.tables import Diagnosis
from tests.conftest import FACTS, MAC, PEER, Clock

NIC = MacAddress.parse(MAC)
Tokens = Callable[[str], str]


def netboot(ctx: Context) -> None:
    request = BootRequest(mac=NIC, firmware=Firmware.UEFI_X64, vendor_class="PXEClient", interface="br0")
    Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=True)


def held_up(ctx: Context) -> str | None:
    """The name of what is told after a look."""
    diagnosis_watch.look(ctx)
    found = hosts.show(ctx, "n1")["diagnosis"]
    return found["name"] if found else None


def told(ctx: Context) -> list[tuple[str, str]]:
    rows = events.timeline(ctx, hosts.show(ctx, "n1")["id"])
    return [(row["kind"], row["data"]["diagnosis"]) for row in rows if row["kind"].startswith("diagnosis")]


def over(clock: Clock, budget: str) -> None:
    clock.now += DEFAULT_BUDGETS[budget] + 1


def test_a_host_is_followed_from_one_diagnosis_to_the_next(ctx: Context, clock: Clock, tokens: Tokens) -> None:
    token, answers = tokens("installer"), tokens("answers")
    assert held_up(ctx) is None
    over(clock, "netboot")
    assert held_up(ctx) == "never_seen"
    netboot(ctx)
    assert held_up(ctx) is None
    over(clock, "loader")
    assert held_up(ctx) == "offer_not_taken"
    Desk(ctx).tftp_closed("shimx64.efi", PEER, sent=9, duration_s=0.1, problem=None)
    with ctx.database.write() as session:
        hosts.find(session, "n1").address = PEER
    Desk(ctx).tftp_closed("shimx64.efi", PEER, sent=9, duration_s=0.1, problem=None)
    over(clock, "menu")
    assert held_up(ctx) == "menu_never_asked"
    wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)
    over(clock, "kernel")
    assert held_up(ctx) == "kernel_never_fetched"
    wire_menus.image_fetched(ctx, "linux", peer=PEER, head=False)
    over(clock, "answers")
    assert held_up(ctx) == "answers_never_asked"
    wire_answers.answers(ctx, answers, peer=PEER)
    over(clock, "installer")
    assert held_up(ctx) == "installer_silent"
    said = SyslogLine(
        peer_ip=PEER, priority=6, tag="main-menu", message="Menu item 'partman-base' selected", received_at=clock.now
    )
    Desk(ctx).installer_said(said)
    assert held_up(ctx) is None
    over(clock, "step")
    assert held_up(ctx) == "installer_stopped"
    assert "partman-base" in hosts.show(ctx, "n1")["diagnosis"]["sentence"]
    netboot(ctx)
    assert held_up(ctx) == "late_never_called"
    installer_reports.finished(ctx, token, "done", peer=PEER)
    over(clock, "registration")
    assert held_up(ctx) == "never_registered"
    registration.register(ctx, token, FACTS, peer=PEER)
    for _ in range(3):
        clock.now += 61
        netboot(ctx)
    assert held_up(ctx) == "boot_loop"
    host_id = hosts.show(ctx, "n1")["id"]
    agents.hello(ctx, host_id, version="1", boot_id="b", facts={}, clock=None, peer=PEER)
    assert held_up(ctx) is None
    over(clock, "agent")
    assert held_up(ctx) == "agent_silent"
    agents.hello(ctx, host_id, version="1", boot_id="b", facts={}, clock=None, peer=PEER)
    assert held_up(ctx) is None
    told_of = told(ctx)
    names = [name for kind, name in told_of if kind == "diagnosis"]
    assert len(names) == len(set(names)) == 11
    assert [name for kind, name in told_of if kind == "diagnosis_over"] == names


@pytest.mark.parametrize("boot_id", ["b1", None])
def test_an_agent_that_never_came_is_missed_where_there_is_one(
    ctx: Context, clock: Clock, tokens: Tokens, boot_id: str | None
) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    facts = {**FACTS, "boot_id": boot_id} if boot_id else FACTS  # by the shell: there will be no agent
    registration.register(ctx, tokens("installer"), facts, peer=PEER)
    over(clock, "agent")
    assert held_up(ctx) == ("agent_silent" if boot_id else None)


def test_a_loader_that_came_by_http_counts_too(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    assert armed
    netboot(ctx)
    wire_menus.loader_fetched(ctx, NIC, "shimx64.efi", peer=PEER, head=False)
    over(clock, "menu")
    assert held_up(ctx) == "menu_never_asked"


def test_it_is_written_down_once_with_its_evidence(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    assert armed
    over(clock, "netboot")
    for _ in range(3):
        diagnosis_watch.look(ctx)
    assert told(ctx) == [("diagnosis", "never_seen")]
    timeline = events.timeline(ctx, hosts.show(ctx, "n1")["id"])
    [armed_event] = [row for row in timeline if row["kind"] == "arm"]
    found = hosts.show(ctx, "n1")["diagnosis"]
    assert [one["id"] for one in found["evidence"]] == [armed_event["id"]]
    assert found["since"] == clock.now
    [attention] = diagnosis.what_needs_attention(ctx, 5)
    assert (attention["host"], attention["name"], attention["since"]) == ("n1", "never_seen", clock.now)
    assert attention["sentence"]
    assert attention["remedy"]


def test_nothing_is_told_of_a_state_the_host_has_left_even_before_the_next_look(
    ctx: Context, armed: dict[str, Any], clock: Clock
) -> None:
    assert armed
    over(clock, "netboot")
    assert held_up(ctx) == "never_seen"
    install_ends.disarm(ctx, "n1", who="ann")
    assert hosts.show(ctx, "n1")["diagnosis"] is None
    assert diagnosis.what_needs_attention(ctx, 5) == []
    assert held_up(ctx) is None
    assert told(ctx)[-1] == ("diagnosis_over", "never_seen")
    with ctx.database.read() as session:
        assert session.scalars(select(Diagnosis)).all() == []


def test_a_failed_install_keeps_its_reason_until_it_is_armed_again(
    ctx: Context, clock: Clock, tokens: Tokens, profile: str
) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    over(clock, "install")
    expiry.expire(ctx)
    assert held_up(ctx) == "installer_silent"
    assert held_up(ctx) == "installer_silent"
    arming.arm(ctx, "n1", profile=profile, who="ann")
    assert held_up(ctx) is None
    assert [kind for kind, _ in told(ctx)] == ["diagnosis", "diagnosis_over"]


def test_a_profile_may_give_a_part_more_time(ctx: Context, clock: Clock, profile: str) -> None:
    from pxeforge.services import profiles

    profiles.change(ctx, profile, parameters={"budgets": {"netboot": 7200}}, who="ann")
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    arming.arm(ctx, "n1", profile=profile, for_s=86400, who="ann")
    over(clock, "netboot")
    assert held_up(ctx) is None
    clock.now += 7200
    assert held_up(ctx) == "never_seen"


def boot(ctx: Context, *, to: str) -> None:
    """A netboot that comes as far as `to`."""
    netboot(ctx)
    with ctx.database.write() as session:
        hosts.find(session, "n1").address = PEER
    Desk(ctx).tftp_closed("shimx64.efi", PEER, sent=9, duration_s=0.1, problem=None)
    if to == "loader":
        return
    wire_menus.menu(ctx, NIC, MenuKind.GRUB, peer=PEER)
    if to == "kernel":
        wire_menus.image_fetched(ctx, "linux", peer=PEER, head=False)


@pytest.mark.parametrize("every_s", [50, 60, 180, 300, 900])
@pytest.mark.parametrize(("to", "reached"), [("loader", "boot loader"), ("menu", "menu"), ("kernel", "kernel")])
def test_a_host_that_starts_again_and_again_is_told_of_once(
    ctx: Context, armed: dict[str, Any], clock: Clock, every_s: int, to: str, reached: str
) -> None:
    assert armed
    found: list[str | None] = []
    for _ in range(7):
        boot(ctx, to=to)
        clock.now += every_s / 2
        found.append(held_up(ctx))
        clock.now += every_s / 2
    assert found[0] in (None, "kernel_never_fetched", "menu_never_asked")
    assert found[-1] == "start_loop"
    assert f"last reached: {reached}" in hosts.show(ctx, "n1")["diagnosis"]["sentence"]
    assert told(ctx).count(("diagnosis", "start_loop")) == 1


def test_a_loop_that_never_ends_is_the_reason_why_it_failed(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    assert armed
    while hosts.show(ctx, "n1")["state"] != "failed":
        boot(ctx, to="kernel")
        clock.now += 300
        expiry.expire(ctx)
    assert held_up(ctx) == "start_loop"


def test_a_loader_that_asks_by_dhcp_again_is_no_second_start(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    assert armed
    ipxe = BootRequest(mac=NIC, firmware=Firmware.UEFI_X64, is_ipxe=True, vendor_class="PXEClient", interface="br0")
    for _ in range(2):
        boot(ctx, to="loader")
        clock.now += 70  # slow enough that the timeline tells of both
        Desk(ctx).dhcp_seen(ipxe, message_type="DISCOVER", server_mode=True)
        clock.now += 70
    assert held_up(ctx) == "offer_not_taken"  # by the loader, and not "start_loop"


def test_a_firmware_that_takes_no_offer_is_not_in_a_loop(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    assert armed
    for _ in range(10):
        netboot(ctx)
        clock.now += 61
    assert held_up(ctx) == "offer_not_taken"


def test_what_was_armed_in_vain_is_told_until_it_is_armed_again(
    ctx: Context, armed: dict[str, Any], clock: Clock, profile: str
) -> None:
    assert armed
    clock.now += arming.ARMED_FOR_S + 1
    expiry.expire(ctx)
    assert hosts.show(ctx, "n1")["state"] == "known"
    for _ in range(3):
        clock.now += 3600
        netboot(ctx)  # what it is told now is no news of that
        assert held_up(ctx) == "never_booted"
    assert [one["host"] for one in diagnosis.what_needs_attention(ctx)] == ["n1"]
    assert "never seen on the wire" in hosts.show(ctx, "n1")["diagnosis"]["sentence"]
    assert told(ctx) == [("diagnosis", "never_booted")]
    arming.arm(ctx, "n1", profile=profile, who="ann")
    assert held_up(ctx) is None
    install_ends.disarm(ctx, "n1", who="ann")
    assert held_up(ctx) is None


def test_a_host_that_comes_back_into_use_is_not_reproached_with_what_was(
    ctx: Context, armed: dict[str, Any], clock: Clock
) -> None:
    assert armed
    clock.now += arming.ARMED_FOR_S + 1
    expiry.expire(ctx)
    assert held_up(ctx) == "never_booted"
    retirement.retire(ctx, "n1", who="ann")
    retirement.revive(ctx, "n1", who="ann")
    assert held_up(ctx) is None


def test_an_installed_host_that_does_not_register_and_netboots_is_in_a_loop(
    ctx: Context, clock: Clock, tokens: Tokens
) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    installer_reports.finished(ctx, tokens("installer"), "done", peer=PEER)
    for _ in range(3):
        clock.now += 400
        netboot(ctx)
    assert held_up(ctx) == "boot_loop"
    over(clock, "installed")
    expiry.expire(ctx)
    assert held_up(ctx) == "boot_loop"


def test_a_late_command_that_never_came_is_still_the_reason_when_the_time_is_over(
    ctx: Context, clock: Clock, tokens: Tokens
) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    with ctx.database.write() as session:
        hosts.find(session, "n1").address = PEER
    said = SyslogLine(
        peer_ip=PEER, priority=6, tag="main-menu", message="Menu item 'finish-install' selected", received_at=clock.now
    )
    Desk(ctx).installer_said(said)
    clock.now += 60
    netboot(ctx)
    assert held_up(ctx) == "late_never_called"
    over(clock, "install")
    expiry.expire(ctx)
    assert held_up(ctx) == "late_never_called"


def test_what_was_before_the_last_arming_is_no_evidence(
    ctx: Context, armed: dict[str, Any], clock: Clock, profile: str
) -> None:
    assert armed
    netboot(ctx)
    clock.now += 10
    arming.arm(ctx, "n1", profile=profile, who="ann")
    over(clock, "loader")
    assert held_up(ctx) is None  # it was seen, but not since it was armed
    over(clock, "netboot")
    assert held_up(ctx) == "never_seen"


@pytest.mark.parametrize("jump_s", [-86400, -10])
def test_a_clock_that_is_set_back_makes_no_diagnosis(
    ctx: Context, armed: dict[str, Any], clock: Clock, jump_s: float
) -> None:
    assert armed
    netboot(ctx)
    clock.now += jump_s
    assert held_up(ctx) is None


def test_of_more_hosts_than_one_look_can_bear_each_has_its_turn() -> None:
    few = [f"{number:03d}" for number in range(diagnosis_watch.MOST_AT_ONCE)]
    assert diagnosis_watch._in_turn(few) == few
    many = [f"{number:04d}" for number in range(3 * diagnosis_watch.MOST_AT_ONCE - 1)]
    looks = [diagnosis_watch._in_turn(many) for _ in range(3)]
    assert all(len(look) <= diagnosis_watch.MOST_AT_ONCE for look in looks)
    assert sorted(host for look in looks for host in look) == many
