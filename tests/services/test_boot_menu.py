"""Arming for something else than an install at once: rescue system, memory test, and the menu at the console."""

from __future__ import annotations

import shutil

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.render.kernel_args import init_words
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    arming,
    events,
    expiry,
    hosts,
    install_ends,
    install_tokens,
    previews,
    profiles,
    registration,
    wire_answers,
    wire_menus,
)
from pxeforge.services.budgets import DEFAULT_BUDGETS
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from tests.conftest import ACCOUNT, FACTS, MAC, PEER, Clock, write_image

HOST = MacAddress.parse(MAC)


@pytest.fixture(autouse=True)
def _host(ctx: Context, profile: str) -> None:
    """A known host, two profiles and a memory test."""
    profiles.create(ctx, "other", image=profile, parameters={"accounts": [ACCOUNT], "disk": "serial=X"}, who="test")
    write_image(ctx.data_dir, "7.20", {"memtest.bin": b"b", "memtest.efi": b"e"}, name="memtest")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def menu(ctx: Context, kind: MenuKind = MenuKind.PXELINUX) -> str:
    return wire_menus.menu(ctx, HOST, kind, peer=PEER)


def answers_token(text: str, label: str) -> str:
    """The token that the entry with this label carries."""
    entry = text.split(f"LABEL {label}\n")[1].split("LABEL ")[0]
    return entry.split("/answers/")[1].split()[0]


def last_message(ctx: Context) -> str:
    return str(events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]["message"])


class TestRescueAndMemoryTest:
    def test_the_rescue_system_starts_at_once_and_can_neither_partition_nor_call_back(self, ctx: Context) -> None:
        arming.arm_program(ctx, "n1", boot="rescue", profile="debian-13", who="test")
        text = menu(ctx)
        assert "DEFAULT 1\nPROMPT 0" in text
        assert "rescue/enable=true" in text
        assert "mirror/http/hostname=192.0.2.1:8080" in text
        for never in ("/answers/", "auto=true", "url=", "partman", "preseed"):
            assert never not in text
        args = next(line for line in text.splitlines() if "rescue/enable" in line)
        assert init_words(args) <= 30

    @pytest.mark.parametrize("kind", list(MenuKind))
    def test_the_memory_test_starts_at_once(self, ctx: Context, kind: MenuKind) -> None:
        arming.arm_program(ctx, "n1", boot="memtest", who="test")
        assert "images/memtest/7.20/memtest." in menu(ctx, kind)

    def test_it_is_served_once_and_ends_without_an_install(self, ctx: Context, clock: Clock) -> None:
        arming.arm_program(ctx, "n1", boot="rescue", profile="debian-13", for_s=3600, who="test")
        clock.now += 600
        assert "rescue/enable" in menu(ctx)
        clock.now += 60
        assert "rescue/enable" in menu(ctx)  # the loader asked twice
        clock.now += 61
        assert "rescue/enable" not in menu(ctx)  # asking again does not make it longer
        expiry.expire(ctx)
        assert state(ctx) == "rescue"
        assert "handed out, once" in last_message(ctx)
        clock.now += DEFAULT_BUDGETS["rescue"] + 1
        expiry.expire(ctx)
        assert state(ctx) == "known"
        kinds = [event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"])]
        assert "answers_fetched" not in kinds
        assert "gave_up" not in kinds

    def test_who_never_netboots_gives_up_as_with_an_install(self, ctx: Context, clock: Clock) -> None:
        arming.arm_program(ctx, "n1", boot="memtest", who="test")
        clock.now += arming.ARMED_FOR_S + 1
        expiry.expire(ctx)
        assert "never netbooted" in last_message(ctx)

    @pytest.mark.parametrize("what", ["answers", "early", "disks", "late"])
    def test_there_are_no_answers_to_look_at(self, ctx: Context, what: str) -> None:
        arming.arm_program(ctx, "n1", boot="memtest", who="test")
        assert "memtest.efi" in previews.preview(ctx, "n1", what="menu.grub")
        with pytest.raises(Conflict, match="fetches no answers"):
            previews.preview(ctx, "n1", what=what)

    def test_it_supersedes_an_install(self, ctx: Context) -> None:
        arming.arm(ctx, "n1", profile="debian-13", who="test")
        token = answers_token(menu(ctx), "1")
        arming.arm_program(ctx, "n1", boot="memtest", who="test")
        with pytest.raises(Forbidden, match="superseded"):
            wire_answers.answers(ctx, token, peer=PEER)

    def test_what_is_missing_is_named_and_nothing_changed(self, ctx: Context) -> None:
        with pytest.raises(Problem, match="say which profile"):
            arming.arm_program(ctx, "n1", boot="rescue", who="test")
        with pytest.raises(Problem, match="'windows' cannot be booted: use rescue or memtest"):
            arming.arm_program(ctx, "n1", boot="windows", who="test")
        profiles.create(ctx, "bad", image="memtest", parameters={"accounts": [ACCOUNT]}, who="test")
        with pytest.raises(Problem, match="no installer"):
            arming.arm(ctx, "n1", profile="bad", who="test")
        with pytest.raises(NotFound, match="there is no profile 'nope'"):
            arming.arm_program(ctx, "n1", boot="rescue", profile="nope", who="test")
        assert (state(ctx), hosts.show(ctx, "n1")["attempt"]) == ("known", None)


class TestTheMenuAtTheConsole:
    @pytest.fixture
    def shown(self, ctx: Context) -> str:
        arming.arm_menu(ctx, "n1", profiles=["debian-13", "other"], timeout_s=90, who="test")
        return menu(ctx)

    def test_the_local_disk_is_the_default_after_the_timeout(self, shown: str) -> None:
        assert "DEFAULT 100\nPROMPT 1" in shown
        assert "TIMEOUT 900" in shown
        labels = [line.split()[1] for line in shown.splitlines() if line.startswith("LABEL")]
        assert labels == ["1", "2", "98", "99", "100"]

    @pytest.mark.parametrize("kind", list(MenuKind))
    def test_every_loader_shows_every_number(self, ctx: Context, shown: str, kind: MenuKind) -> None:
        text = menu(ctx, kind)
        for number in ("1", "2"):
            assert f"/answers/{answers_token(shown, number)}" in text
        assert "rescue/enable=true" in text
        assert "memtest" in text

    @pytest.mark.parametrize(("number", "disk"), [("1", "first"), ("2", "serial=X")])
    def test_the_number_typed_installs_its_profile_and_spends_the_others(
        self, ctx: Context, shown: str, number: str, disk: str
    ) -> None:
        chosen = answers_token(shown, number)
        wire_answers.answers(ctx, chosen, peer=PEER)
        found = hosts.show(ctx, "n1")
        profile = {"1": "debian-13", "2": "other"}[number]
        assert (found["state"], found["attempt"]["profile"]) == ("installing", profile)
        with pytest.raises(Forbidden, match="not chosen"):
            wire_answers.answers(ctx, answers_token(shown, "2" if number == "1" else "1"), peer=PEER)
        installer = install_tokens.token_of(ctx, found["attempt"]["id"], "installer")
        script = wire_answers.disks(ctx, installer, peer=PEER)
        assert ("pick serial X 0 0" in script) is (disk == "serial=X")
        registration.register(ctx, installer, FACTS, peer=PEER)
        assert state(ctx) == "registered"
        assert "LABEL 1\n" not in menu(ctx)

    def test_nothing_chosen_wipes_nothing_and_is_no_failure(self, ctx: Context, shown: str, clock: Clock) -> None:
        clock.now += arming.ARMED_FOR_S - 1
        assert "DEFAULT 100" in menu(ctx)  # the menu is there at every netboot until its time is over
        clock.now += 2
        expiry.expire(ctx)
        assert state(ctx) == "known"
        assert "nobody chose" in last_message(ctx)
        for number in ("1", "2"):
            with pytest.raises(Forbidden):
                wire_answers.answers(ctx, answers_token(shown, number), peer=PEER)

    def test_disarming_spends_every_choice(self, ctx: Context, shown: str) -> None:
        install_ends.disarm(ctx, "n1", who="test")
        for number in ("1", "2"):
            with pytest.raises(Forbidden, match="disarmed"):
                wire_answers.answers(ctx, answers_token(shown, number), peer=PEER)

    def test_a_preview_shows_no_token(self, ctx: Context, shown: str) -> None:
        text = previews.preview(ctx, "n1", what="menu.pxelinux")
        assert answers_token(text, "1") == answers_token(text, "2") == "0" * 32

    def test_without_a_memory_test_on_the_server_none_is_offered(self, ctx: Context) -> None:
        shutil.rmtree(ctx.data_dir / "images" / "memtest")
        arming.arm_menu(ctx, "n1", profiles=["debian-13"], who="test")
        assert "LABEL 99" not in menu(ctx)

    @pytest.mark.parametrize("names", [[], ["debian-13", "debian-13"], ["debian-13"] * 21])
    def test_odd_lists_of_profiles_are_refused(self, ctx: Context, names: list[str]) -> None:
        with pytest.raises(Problem, match="1 to 20 different profiles"):
            arming.arm_menu(ctx, "n1", profiles=names, who="test")

    @pytest.mark.parametrize("timeout_s", [0, 4, 3501])
    def test_a_menu_that_nobody_could_answer_or_that_waits_for_ever_is_refused(
        self, ctx: Context, timeout_s: int
    ) -> None:
        with pytest.raises(Problem, match="5 to 3500 seconds"):
            arming.arm_menu(ctx, "n1", profiles=["debian-13"], timeout_s=timeout_s, who="test")

    def test_an_install_that_runs_is_not_armed_over(self, ctx: Context, shown: str) -> None:
        wire_answers.answers(ctx, answers_token(shown, "1"), peer=PEER)
        with pytest.raises(Conflict, match="installing cannot take arm"):
            arming.arm_menu(ctx, "n1", profiles=["other"], who="test")
        assert state(ctx) == "installing"
        assert hosts.show(ctx, "n1")["attempt"]["outcome"] is None


class TestAnotherProcessor:
    @pytest.fixture(autouse=True)
    def _arm64(self, ctx: Context) -> None:
        write_image(ctx.data_dir, name="debian-13-arm64")
        profiles.create(ctx, "arm", image="debian-13-arm64", parameters={"accounts": [ACCOUNT]}, who="test")

    @pytest.mark.parametrize(
        ("firmware", "chosen", "fits"),
        [
            ("uefi-x64", "arm", False), ("uefi-arm64", "arm", True), ("uefi-arm64", "debian-13", False),
            (None, "arm", True),
        ],
    )  # fmt: skip
    def test_a_host_is_not_armed_with_an_image_it_cannot_run(
        self, ctx: Context, firmware: str | None, chosen: str, fits: bool
    ) -> None:
        with ctx.database.write() as session:
            hosts.find(session, "n1").firmware = firmware
        if fits:
            assert arming.arm(ctx, "n1", profile=chosen, who="test")["state"] == "armed"
        else:
            with pytest.raises(Problem, match=f"netboots by {firmware} and cannot run"):
                arming.arm(ctx, "n1", profile=chosen, who="test")

    def test_a_pc_that_was_not_seen_before_gets_its_disk_instead(self, ctx: Context) -> None:
        arming.arm(ctx, "n1", profile="arm", who="test")
        assert "LINUX" not in menu(ctx)
        assert "images/debian-13-arm64" in menu(ctx, MenuKind.GRUB)
