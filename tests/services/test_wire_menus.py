"""Menus by MAC: who gets an installer, and who the disk."""

import dataclasses
from collections import Counter
from collections.abc import Callable

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    events,
    hosts,
    registration,
    wire_answers,
    wire_menus,
)
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden
from tests.conftest import FACTS, MAC, PEER, Clock

Tokens = Callable[[str], str]
HOST = MacAddress.parse(MAC)


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def test_an_unknown_host_gets_a_menu_for_its_disk_only(ctx: Context) -> None:
    text = wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    assert "kernel" not in text
    assert "exit" in text


def test_a_known_host_that_is_not_armed_gets_its_disk(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    assert "kernel" not in wire_menus.menu(ctx, HOST, MenuKind.PXELINUX, peer=PEER).lower()


@pytest.mark.parametrize("kind", list(MenuKind))
def test_an_armed_host_gets_its_own_installer(ctx: Context, tokens: Tokens, kind: MenuKind) -> None:
    text = wire_menus.menu(ctx, HOST, kind, peer=PEER)
    assert f"url=http://192.0.2.1:8080/answers/{tokens('answers')}" in text
    assert "images/debian-13/20250803/linux" in text
    assert state(ctx) == "booting"


@pytest.mark.parametrize("kind", list(MenuKind))
def test_a_stranger_on_the_wire_does_not_get_the_menu_of_an_armed_host(
    ctx: Context, tokens: Tokens, kind: MenuKind
) -> None:
    watchful = dataclasses.replace(ctx, neighbour=lambda _address: MacAddress.parse("52:54:00:66:66:66"))
    text = wire_menus.menu(watchful, HOST, kind, peer="192.0.2.66")
    assert tokens("answers") not in text
    assert state(ctx) == "armed"
    last = events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]
    assert last["kind"] == "menu_refused"
    assert "192.0.2.66 (52:54:00:66:66:66), which is not this host" in last["message"]
    itself = dataclasses.replace(ctx, neighbour=lambda _address: HOST)
    assert tokens("answers") in wire_menus.menu(itself, HOST, kind, peer=PEER)


def test_who_asks_again_and_again_fills_no_timeline(ctx: Context, tokens: Callable[[str], str], clock: Clock) -> None:
    for _ in range(3):
        wire_menus.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer=PEER)
        wire_menus.image_fetched(ctx, "linux", peer=PEER, head=False)
        with pytest.raises(Forbidden):
            wire_answers.late(ctx, tokens("installer"), peer=PEER)
    told = Counter(event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"]))
    assert (told["menu_fetched"], told["image_fetched"], told["token_refused"]) == (1, 1, 1)
    clock.now += 61
    wire_menus.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer=PEER)
    told = Counter(event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"]))
    assert told["menu_fetched"] == 2


def test_a_host_on_another_interface_is_told_our_address_there(ctx: Context, tokens: Callable[[str], str]) -> None:
    there = dataclasses.replace(ctx, source=lambda peer: "198.51.100.1" if peer == "198.51.100.7" else None)
    for peer, ours in (("198.51.100.7", "198.51.100.1"), (PEER, "192.0.2.1")):
        assert f"http://{ours}:8080/answers/" in wire_menus.menu(there, HOST, MenuKind.IPXE, peer=peer)
        assert f"tftp,{ours}" in wire_menus.grub_start(there, peer)
    answers = wire_answers.answers(there, tokens("answers"), peer="198.51.100.7")
    assert "http://198.51.100.1:8080/installer/" in answers
    registered = registration.register(there, tokens("installer"), FACTS, peer="198.51.100.7")
    assert registered["agent_url"] == "https://198.51.100.1:8442"
