"""What hosts were armed for, and who still needs a profile or an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import arming, attempts, hosts, install_ends, profiles, registration, wire_answers, wire_menus
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from tests.conftest import ACCOUNT, MAC, PEER, Clock, write_image

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def _host(ctx: Context, profile: str) -> None:
    profiles.create(ctx, "other", image=profile, parameters={"accounts": [ACCOUNT]}, who="test")
    write_image(ctx.data_dir, "7.20", {"memtest.bin": b"b", "memtest.efi": b"e"}, name="memtest")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")


def test_each_arming_is_listed_once_newest_first(ctx: Context, clock: Clock) -> None:
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    clock.now += 10
    arming.arm_program(ctx, "n1", boot="rescue", profile="other", who="test")
    clock.now += 10
    arming.arm_program(ctx, "n1", boot="memtest", who="test")
    clock.now += 10
    arming.arm_menu(ctx, "n1", profiles=["debian-13", "other"], who="test")
    found = attempts.of_host(ctx, "n1")
    assert [row["purpose"] for row in found] == ["menu", "memtest", "rescue", "install"]
    assert [row["outcome"] for row in found] == [None, "superseded", "superseded", "superseded"]


def test_the_choice_that_was_made_from_a_menu_is_listed(ctx: Context) -> None:
    arming.arm_menu(ctx, "n1", profiles=["debian-13", "other"], who="test")
    [menu] = attempts.of_host(ctx, "n1")
    text = wire_menus.menu(ctx, MacAddress.parse(MAC), MenuKind.PXELINUX, peer=PEER)
    second = text.split("LABEL 2\n")[1].split("/answers/")[1].split()[0]
    wire_answers.answers(ctx, second, peer=PEER)
    assert {row["profile"] for row in attempts.of_host(ctx, "n1")} == {menu["profile"], "other"}


def test_a_menu_of_many_profiles_is_one_entry_however_few_are_asked_for(ctx: Context) -> None:
    for number in range(12):
        profiles.create(ctx, f"p{number}", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    arming.arm_menu(ctx, "n1", profiles=[f"p{number}" for number in range(12)], who="test")
    [menu] = attempts.of_host(ctx, "n1", limit=3)
    assert (menu["purpose"], menu["profile"]) == ("menu", "p0")


def test_an_attempt_is_shown_to_its_own_host_only(ctx: Context) -> None:
    hosts.add(ctx, macs=["52:54:00:12:34:99"], name="n2", who="test")
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    [one] = attempts.of_host(ctx, "n1")
    assert attempts.show(ctx, "n1", one["id"]) == one
    with pytest.raises(NotFound, match="n2 has no attempt"):
        attempts.show(ctx, "n2", one["id"])


def test_who_uses_an_image_or_a_profile_is_known_while_the_host_is_armed(ctx: Context) -> None:
    assert not attempts.using_profile(ctx, "debian-13")
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    uses = attempts.using_images(ctx)
    assert uses["debian-13"].profiles == ("debian-13", "other")
    assert [host["name"] for host in uses["debian-13"].hosts] == ["n1"]
    assert [host["mac"] for host in uses["debian-13/20250803"].hosts] == [MAC]
    assert [host["name"] for host in attempts.using_profile(ctx, "debian-13").hosts] == ["n1"]
    assert not attempts.using_profile(ctx, "other")
    install_ends.disarm(ctx, "n1", who="test")
    assert attempts.using_images(ctx)["debian-13"].hosts == ()


def test_a_registered_host_needs_its_image_no_more(ctx: Context, tokens: Callable[[str], str]) -> None:
    facts: dict[str, Any] = {"hostname": "n1", "nics": [{"name": "e", "mac": MAC, "addresses": []}]}
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    assert attempts.using_profile(ctx, "debian-13")
    registration.register(ctx, tokens("installer"), facts, peer=PEER)
    assert not attempts.using_profile(ctx, "debian-13")
