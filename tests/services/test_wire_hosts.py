"""Hosts as the wire asks for them, read from a real database."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    arming,
    boot_desk,
    boot_texts,
    events,
    hosts,
    install_ends,
    leases,
    profiles,
    wire_answers,
    wire_hosts,
    wire_menus,
)
from pxeforge.services.context import Context, digest
from pxeforge.services.problems import Forbidden
from tests.conftest import ACCOUNT, MAC, PEER, Clock
from tests.database_views import whole_scans

pytestmark = pytest.mark.both_databases
HOST = MacAddress.parse(MAC)


def test_a_host_is_read_with_its_attempt_by_any_of_its_macs(ctx: Context, profile: str, clock: Clock) -> None:
    hosts.add(ctx, macs=[MAC, "52:54:00:00:00:99"], name="n1", who="test")
    armed = arming.arm(ctx, "n1", profile=profile, who="test")
    host = wire_hosts.by_mac(ctx, MacAddress.parse("52:54:00:00:00:99"))
    assert host is not None
    assert (host.id, host.name, host.state) == (armed["id"], "n1", HostState.ARMED)
    assert set(host.macs) == {MAC, "52:54:00:00:00:99"}
    attempt = host.live_attempt(clock())
    assert attempt is not None
    assert attempt.image == "debian-13/20250803"
    assert attempt.parameters["accounts"][0]["name"] == "ops"
    assert host.live_attempt(armed["armed_until"]) is None


def test_an_unknown_mac_is_nobody(ctx: Context) -> None:
    assert wire_hosts.by_mac(ctx, HOST) is None
    assert wire_hosts.decision_facts(ctx, HOST) is None


def test_a_fetched_menu_moves_the_host_with_its_address_and_event(ctx: Context, armed: dict[str, Any]) -> None:
    wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    now = hosts.show(ctx, MAC)
    assert (now["state"], now["address"]) == ("booting", PEER)
    event = events.timeline(ctx, now["id"])[-1]
    assert (event["kind"], event["source"]) == ("menu_fetched", "http")
    assert event["data"] == {"from": "armed", "to": "booting"}


def test_a_host_that_is_disarmed_while_its_menu_is_rendered_gets_the_local_disk(
    ctx: Context, armed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = wire_hosts.by_mac

    def disarmed_after_the_read(context: Context, mac: MacAddress) -> wire_hosts.WireHost | None:
        host = read(context, mac)
        if host is not None and host.state is HostState.ARMED:
            install_ends.disarm(context, "n1", who="test")
        return host

    monkeypatch.setattr(wire_hosts, "by_mac", disarmed_after_the_read)
    assert "initrd" not in wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    assert hosts.show(ctx, MAC)["state"] == "known"
    assert not [one for one in events.timeline(ctx, hosts.show(ctx, MAC)["id"]) if one["kind"] == "menu_fetched"]


def test_what_is_fetched_right_after_the_menu_is_known_by_the_address_alone(
    ctx: Context, armed: dict[str, Any]
) -> None:
    wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    assert wire_hosts.id_behind(ctx.database.look_up, None, PEER) == armed["id"]  # also for another process


def test_an_install_that_is_given_up_while_its_answers_are_rendered_gets_none(
    ctx: Context, tokens: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens("answers")
    render = boot_texts.render

    def disarmed_meanwhile(*args: Any) -> str:
        text = render(*args)
        install_ends.disarm(ctx, "n1", who="test")
        return text

    monkeypatch.setattr(wire_answers, "render", disarmed_meanwhile)
    with pytest.raises(Forbidden, match="over"):
        wire_answers.answers(ctx, token, peer=PEER)
    assert hosts.show(ctx, MAC)["state"] == "known"


WRITES = [
    *wire_answers._BEGIN_STATEMENTS,
    *wire_menus._MENU_STATEMENTS,
    boot_desk._SEEN,
    events._NOTE,
    events._NOTE_BY_MAC,
    leases._TAKE_ADDRESS,
]


@pytest.mark.parametrize("statement", WRITES)
def test_no_change_of_the_wire_reads_a_whole_table(ctx: Context, statement: str) -> None:
    assert whole_scans(ctx.database, statement, {"mac": MAC, "address": PEER, "rows": "[]"}) == []


@pytest.mark.parametrize("query", ["_BY_MAC", "_BY_TOKEN", "_DECISION_BY_MAC", "_BY_ADDRESS", "_STANDINGS"])
def test_no_look_up_reads_a_whole_table(ctx: Context, query: str) -> None:
    """What a packet asks must not grow with the fleet."""
    values = {"mac": MAC, "digest": "0", "address": PEER, "rows": "[]"}
    assert whole_scans(ctx.database, getattr(wire_hosts, query), values) == []


def test_of_two_choices_whose_answers_are_fetched_at_once_one_counts(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    profiles.create(ctx, "other", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    arming.arm_menu(ctx, "n1", profiles=[profile, "other"], timeout_s=90, who="test")
    text = wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    tokens = list(dict.fromkeys(re.findall(r"/answers/([0-9a-f]{32})", text)))
    assert len(tokens) == 2
    begins = [wire_answers._Begin(digest(token), PEER, ctx.clock(), 60) for token in (*tokens, tokens[0])]
    begun = ctx.database.change(lambda change: wire_answers._begin_installs(change, begins))
    assert begun == [True, False, True]
    host = hosts.show(ctx, MAC)
    assert (host["state"], host["attempt"]["profile"]) == ("installing", profile)
    with pytest.raises(Forbidden, match="not chosen"):
        wire_answers.answers(ctx, tokens[1], peer=PEER)


def test_an_address_belongs_to_the_host_that_was_seen_with_it_last(ctx: Context, clock: Clock) -> None:
    for number in (1, 2):
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], name=f"n{number}", who="test")
        clock.now += 1
        with ctx.database.write() as session:
            host = hosts.find(session, f"n{number}")
            host.seen_at, host.nics[0].address = clock.now, "192.0.2.7"
    found = wire_hosts.id_behind(ctx.database.look_up, None, "192.0.2.7")
    assert found == hosts.show(ctx, "n2")["id"]
