"""Stages with durations, joined from everything that told of a host."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    agents,
    arming,
    expiry,
    hosts,
    install_ends,
    installer_reports,
    registration,
    timeline,
    wire_answers,
    wire_menus,
)
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from pxeforge.services.timeline import monotonic, stages
from pxeforge.store.tables import Event
from tests.conftest import FACTS, MAC, PEER, Clock

NIC = MacAddress.parse(MAC)
Tokens = Callable[[str], str]


def netboot(ctx: Context) -> None:
    request = BootRequest(mac=NIC, firmware=Firmware.UEFI_X64, vendor_class="PXEClient", interface="br0")
    Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=True)


def install(ctx: Context, clock: Clock, tokens: Tokens) -> None:
    """A whole install; each part takes some seconds of its own."""
    with ctx.database.write() as session:
        hosts.find(session, "n1").address = PEER  # it has a lease
    clock.now += 10
    netboot(ctx)
    clock.now += 1
    Desk(ctx).tftp_closed("shimx64.efi", PEER, sent=9, duration_s=0.1, problem=None)
    clock.now += 2
    wire_menus.menu(ctx, NIC, MenuKind.GRUB, peer=PEER, source="tftp")
    clock.now += 3
    wire_menus.image_fetched(ctx, "linux", peer=PEER, head=False)
    clock.now += 20
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    for step in ("Detect disks", "Partition disks"):
        clock.now += 30
        line = SyslogLine(
            peer_ip=PEER, priority=6, tag="main-menu", message=f"Menu item '{step}' selected", received_at=clock.now
        )
        Desk(ctx).installer_said(line)
    clock.now += 100
    wire_answers.late(ctx, tokens("installer"), peer=PEER)
    clock.now += 5
    installer_reports.finished(ctx, tokens("installer"), "done", peer=PEER)
    clock.now += 6
    registration.register(ctx, tokens("installer"), FACTS, peer=PEER)
    clock.now += 40
    agents.hello(ctx, hosts.show(ctx, "n1")["id"], version="1", boot_id="b", facts={}, clock=None, peer=PEER)


def lasted(found: list[dict[str, Any]]) -> list[tuple[str, float | None]]:
    return [(one["stage"], one["ended_at"] and one["ended_at"] - one["began_at"]) for one in found]


def test_an_install_is_told_in_stages_that_follow_each_other(ctx: Context, clock: Clock, tokens: Tokens) -> None:
    install(ctx, clock, tokens)
    found = timeline.stages_of(ctx, "n1")
    assert lasted(found) == [
        ("armed", 10), ("netboot", 1), ("loader", 2), ("menu", 3), ("kernel", 20), ("installer", 30),
        ("installer: Detect disks", 30), ("installer: Partition disks", 100), ("installer: late script", 5),
        ("installed", 6), ("registered", 40),
    ]  # fmt: skip
    assert {one["state"] for one in found} == {"done"}
    assert all(before["ended_at"] == after["began_at"] for before, after in itertools.pairwise(found))


def test_the_last_stage_lasts_while_nothing_ended_it(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    assert armed
    clock.now += 5
    [only] = timeline.stages_of(ctx, "n1")
    assert (only["stage"], only["state"], only["ended_at"]) == ("armed", "running", None)


def test_the_stage_in_which_an_install_was_given_up_has_failed_and_says_why(
    ctx: Context, clock: Clock, tokens: Tokens
) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    clock.now += 4 * 3600
    expiry.expire(ctx)
    last = timeline.stages_of(ctx, "n1")[-1]
    assert (last["stage"], last["state"]) == ("installer", "failed")
    assert "late_command never called" in last["note"]


def test_attempts_are_told_apart_and_the_last_one_alone_unless_more_are_asked_for(
    ctx: Context, clock: Clock, tokens: Tokens, profile: str
) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    clock.now += 60
    install_ends.disarm(ctx, "n1", who="ann")
    clock.now += 600
    arming.arm(ctx, "n1", profile=profile, who="ann")
    assert [one["stage"] for one in timeline.stages_of(ctx, "n1")] == ["armed"]
    both = timeline.stages_of(ctx, "n1", attempts=2)
    assert [(one["stage"], one["attempt"], one["state"]) for one in both] == [
        ("armed", 1, "done"), ("installer", 1, "failed"), ("armed", 2, "running"),
    ]  # fmt: skip
    assert both[1]["ended_at"] == both[2]["began_at"] - 600


def test_a_host_that_boots_again_before_its_kernel_begins_anew(
    ctx: Context, armed: dict[str, Any], clock: Clock
) -> None:
    assert armed
    netboot(ctx)
    clock.now += 3
    wire_menus.menu(ctx, NIC, MenuKind.GRUB, peer=PEER)
    clock.now += 200
    netboot(ctx)
    found = timeline.stages_of(ctx, "n1")
    assert lasted(found)[1:] == [("netboot", 3), ("menu", 200), ("netboot", None)]
    assert "booted again" in found[-1]["note"]


@pytest.mark.parametrize("jump_s", [-3600, -5, -100 * 86400])
def test_a_clock_that_is_set_back_makes_no_duration_negative_and_keeps_those_before_it(
    ctx: Context, clock: Clock, tokens: Tokens, jump_s: float
) -> None:
    netboot(ctx)
    clock.now += 3
    wire_menus.menu(ctx, NIC, MenuKind.GRUB, peer=PEER)
    clock.now += 20 + jump_s
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    clock.now += 7
    found = timeline.stages_of(ctx, "n1")
    assert lasted(found)[1] == ("netboot", 3)
    assert all(lasted_s is None or lasted_s >= 0 for _, lasted_s in lasted(found))
    assert found[-1]["began_at"] == clock.now - 7  # by the clock of today
    clock.now -= 1000
    assert timeline.stages_of(ctx, "n1")[-1]["began_at"] <= clock.now


def test_nobody_has_no_stages(ctx: Context) -> None:
    with pytest.raises(NotFound):
        timeline.stages_of(ctx, "n9")


@given(times=st.lists(st.floats(-1e6, 1e9), max_size=30), now=st.floats(0, 1e9))
def test_times_never_go_back_and_never_beyond_now(times: list[float], now: float) -> None:
    moved = monotonic(times, now)
    assert all(before <= after for before, after in itertools.pairwise([*moved, now]))


_EVENTS = st.builds(
    Event, id=st.just(0), host_id=st.just("h"), source=st.just("http"),
    kind=st.sampled_from(
        ["netboot", "tftp_sent", "image_fetched", "installer_step", "late", "agent_connected"]
        + [signal.value for signal in Signal]
    ),
    at=st.floats(0, 1e6),
    data=st.fixed_dictionaries({}, optional={
        "from": st.sampled_from([state.value for state in HostState]),
        "to": st.sampled_from([state.value for state in HostState]), "decision": st.sampled_from(["install", "local"]),
    }),
    message=st.sampled_from(["", "linux fetched by x", "images/d/1/linux to x", "x by iPXE on br0: x", "d-i: x"]),
)  # fmt: skip


@given(st.lists(_EVENTS, max_size=40))
def test_whatever_was_told_stages_follow_each_other_and_only_the_last_may_last(events: list[Event]) -> None:
    views = [stage.view() for stage in stages(events, 1e6)]
    for before, after in itertools.pairwise(views):
        assert before["began_at"] <= before["ended_at"] <= after["began_at"]
        assert before["state"] != "running"
    assert all(one["ended_at"] is None or one["ended_at"] >= one["began_at"] for one in views)
