"""Boots are counted and timed from what the services really write into the timelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.prometheus import OTHER
from pxeforge.render.menus import MenuKind
from pxeforge.services import agents, arming, expiry, hosts, installer_reports, registration, wire_answers, wire_menus
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.milestones import FIRMWARES, LOADERS, OUTCOMES, REASONS, STAGES, Milestones
from pxeforge.store.tables import Event
from tests.conftest import FACTS, MAC, PEER, Clock

pytestmark = pytest.mark.both_databases
NIC = MacAddress.parse(MAC)
IMAGE = "debian-13/20250803"


@pytest.fixture
def milestones(ctx: Context) -> Milestones:
    fresh = Milestones(ctx)
    fresh.follow()  # from here on
    return fresh


def caught_up(milestones: Milestones) -> Milestones:
    """What was written by the first call is counted by the second."""
    milestones.follow()
    milestones.follow()
    return milestones


def sum_s(milestones: Milestones, stage: str) -> float | None:
    histogram = milestones.stages[stage]
    return histogram.total if sum(histogram.counts) else None


def netboot(ctx: Context) -> None:
    request = BootRequest(mac=NIC, firmware=Firmware.UEFI_X64, vendor_class="PXEClient", interface="br0")
    Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=True)


def boot_and_install(ctx: Context, clock: Clock, token: Callable[[str], str]) -> None:
    netboot(ctx)
    clock.now += 4
    wire_menus.menu(ctx, NIC, MenuKind.GRUB, peer=PEER, source="tftp")
    clock.now += 6
    Desk(ctx).tftp_closed(f"images/{IMAGE}/linux", PEER, sent=9, duration_s=1, problem=None)
    clock.now += 20
    wire_answers.answers(ctx, token("answers"), peer=PEER)
    clock.now += 240
    installer_reports.finished(ctx, token("installer"), "done", peer=PEER)
    clock.now += 60
    registration.register(ctx, token("installer"), FACTS, peer=PEER)
    clock.now += 45
    agents.hello(ctx, hosts.show(ctx, "n1")["id"], version="1", boot_id="b", facts={}, clock=None, peer=PEER)


def test_a_boot_is_counted_by_firmware_and_loader_and_each_stage_timed(
    ctx: Context, clock: Clock, milestones: Milestones, tokens: Callable[[str], str]
) -> None:
    boot_and_install(ctx, clock, tokens)
    caught_up(milestones)
    assert milestones.started == {("uefi-x64", "grub"): 1}
    assert milestones.finished == {("uefi-x64", "grub", "registered"): 1}
    assert {stage: sum_s(milestones, stage) for stage in STAGES} == {
        "dhcp_to_menu": 4, "menu_to_kernel": 6, "kernel_to_answers": 20, "answers_to_installed": 240,
        "installed_to_registered": 60, "answers_to_registered": 300, "dhcp_to_registered": 330,
        "registered_to_agent": 45, "configuring": None, "wiping": None,
    }  # fmt: skip
    assert not milestones.errors


@pytest.mark.parametrize("kind", MenuKind)
def test_every_boot_loader_is_known_by_its_menu_and_http_kernels_are_timed(
    ctx: Context, clock: Clock, milestones: Milestones, armed: dict[str, Any], kind: MenuKind
) -> None:
    wire_menus.menu(ctx, NIC, kind, peer=PEER)
    clock.now += 3
    wire_menus.image_fetched(ctx, "linux", peer=PEER, head=False)
    caught_up(milestones)
    assert milestones.started == {(OTHER, kind.name.lower()): 1}
    assert sum_s(milestones, "menu_to_kernel") == 3
    assert sum_s(milestones, "dhcp_to_menu") is None  # no packet of it was seen


def test_whoever_goes_on_after_a_restart_counts_nothing_twice_and_knows_what_was_under_way(
    ctx: Context, clock: Clock, milestones: Milestones, tokens: Callable[[str], str]
) -> None:
    netboot(ctx)
    clock.now += 4
    wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)
    clock.now += 10
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    caught_up(milestones)
    clock.now += 60
    registration.register(ctx, tokens("installer"), FACTS, peer=PEER)
    again = caught_up(Milestones(ctx))
    assert again.started == {("uefi-x64", "ipxe"): 1}
    assert again.finished == {("uefi-x64", "ipxe", "registered"): 1}
    assert sum_s(again, "answers_to_registered") == 60
    assert sum_s(again, "dhcp_to_menu") == 4
    assert sum(again.stages["dhcp_to_menu"].counts) == 1


def test_what_happened_before_the_first_start_is_not_counted(
    ctx: Context, clock: Clock, tokens: Callable[[str], str]
) -> None:
    boot_and_install(ctx, clock, tokens)
    assert not caught_up(Milestones(ctx)).started


def test_an_older_database_is_followed_from_its_end(
    ctx: Context, clock: Clock, milestones: Milestones, tokens: Callable[[str], str]
) -> None:
    boot_and_install(ctx, clock, tokens)
    caught_up(milestones)
    with ctx.database.write() as session:
        session.query(Event).delete()
    caught_up(milestones)
    with ctx.database.write() as session:
        record(session, ctx, source="server", kind="login_failed", message="x")
    caught_up(milestones)
    assert milestones.errors in ({}, {"login_failed": 1})
    assert milestones.started == {("uefi-x64", "grub"): 1}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"last": "x"}', '{"last": 1, "started": [[1]]}'])
def test_a_broken_state_begins_at_zero(ctx: Context, milestones: Milestones, content: str) -> None:
    (ctx.data_dir / "metrics" / "milestones.state").write_text(content)
    assert not caught_up(Milestones(ctx)).started


def test_giving_up_is_told_apart_by_what_it_waited_for(
    ctx: Context, clock: Clock, milestones: Milestones, profile: str
) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    for boots in (False, True):
        arming.arm(ctx, "n1", profile=profile, who="test")
        if boots:
            wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)
        clock.now += 8 * 86400
        expiry.expire(ctx)
    caught_up(milestones)
    assert milestones.errors == {"time_over_armed": 1, "time_over_booting": 1}
    assert milestones.finished == {(OTHER, "ipxe", "gave_up"): 1}  # who never booted did not finish either


def test_an_installer_that_fails_is_an_error_of_its_own(
    ctx: Context, milestones: Milestones, tokens: Callable[[str], str]
) -> None:
    wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    installer_reports.failed(ctx, tokens("installer"), "disks", "no disk", peer=PEER)
    caught_up(milestones)
    assert milestones.errors == {"install_failed": 1}


KINDS = st.sampled_from(["netboot", "tftp_sent", "image_fetched", "tftp_failed", *(signal.value for signal in Signal)])
DATA = st.dictionaries(
    st.sampled_from(["from", "to", "decision"]),
    st.text(max_size=5) | st.none() | st.integers() | st.sampled_from([state.value for state in HostState]),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KINDS, st.text(max_size=20), DATA, st.sampled_from(["server", "installer"])), max_size=15))
def test_no_event_makes_a_label_of_its_own(ctx: Context, events: list[tuple[str, str, dict[str, Any], str]]) -> None:
    milestones = Milestones(ctx)
    milestones.follow()
    with ctx.database.write() as session:
        for kind, message, data, source in events:
            record(session, ctx, source=source, kind=kind, message=message, host_id="h", data=data)
    caught_up(milestones)
    labels = {label for key in (*milestones.started, *milestones.finished) for label in key}
    assert labels <= FIRMWARES | LOADERS | OUTCOMES | {OTHER}
    assert set(milestones.errors) <= REASONS | {OTHER}
