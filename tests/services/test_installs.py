"""Arming, the wire's questions, the installer's tokens and the registration, as one story per test."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.services import agents, events, hosts, installs, profiles
from pxeforge.services.context import Context
from pxeforge.services.installs import MenuKind
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from tests.conftest import ACCOUNT, FACTS, MAC, PEER, Clock, write_image

Tokens = Callable[[str], str]
HOST = MacAddress.parse(MAC)


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def kinds(ctx: Context) -> list[str]:
    return [event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"])]


def test_an_unknown_host_gets_a_menu_for_its_disk_only(ctx: Context) -> None:
    text = installs.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    assert "kernel" not in text
    assert "exit" in text


def test_a_known_host_that_is_not_armed_gets_its_disk(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    assert "kernel" not in installs.menu(ctx, HOST, MenuKind.PXELINUX, peer=PEER).lower()


@pytest.mark.parametrize("kind", list(MenuKind))
def test_an_armed_host_gets_its_own_installer(ctx: Context, tokens: Tokens, kind: MenuKind) -> None:
    text = installs.menu(ctx, HOST, kind, peer=PEER)
    assert f"url=http://192.0.2.1:8080/answers/{tokens('answers')}" in text
    assert "images/debian-13/20250803/linux" in text
    assert state(ctx) == "booting"


@pytest.mark.parametrize("kind", list(MenuKind))
def test_a_stranger_on_the_wire_does_not_get_the_menu_of_an_armed_host(
    ctx: Context, tokens: Tokens, kind: MenuKind
) -> None:
    watchful = dataclasses.replace(ctx, neighbour=lambda _address: MacAddress.parse("52:54:00:66:66:66"))
    text = installs.menu(watchful, HOST, kind, peer="192.0.2.66")
    assert tokens("answers") not in text
    assert state(ctx) == "armed"
    last = events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]
    assert last["kind"] == "menu_refused"
    assert "192.0.2.66 (52:54:00:66:66:66), which is not this host" in last["message"]
    itself = dataclasses.replace(ctx, neighbour=lambda _address: HOST)
    assert tokens("answers") in installs.menu(itself, HOST, kind, peer=PEER)


def test_the_answers_name_the_host_and_disarm_it(ctx: Context, tokens: Tokens) -> None:
    text = installs.answers(ctx, tokens("answers"), peer=PEER)
    assert "d-i netcfg/hostname string n1" in text
    assert tokens("installer") in text
    assert state(ctx) == "installing"
    assert "kernel" not in installs.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)


def test_the_answers_may_be_read_again_for_a_short_while_only(ctx: Context, tokens: Tokens, clock: Clock) -> None:
    first = installs.answers(ctx, tokens("answers"), peer=PEER)
    clock.now += installs.ANSWERS_GRACE_S - 1
    assert installs.answers(ctx, tokens("answers"), peer=PEER) == first
    clock.now += 2
    with pytest.raises(Forbidden, match="fetched before"):
        installs.answers(ctx, tokens("answers"), peer=PEER)


def test_a_made_up_token_opens_nothing(ctx: Context, armed: dict[str, Any]) -> None:
    for ask in (installs.answers, installs.early, installs.disks, installs.late):
        with pytest.raises(Forbidden, match="not known"):
            ask(ctx, "0" * 32, peer=PEER)


def test_a_token_opens_only_what_it_is_for(ctx: Context, tokens: Tokens) -> None:
    with pytest.raises(Forbidden):
        installs.answers(ctx, tokens("installer"), peer=PEER)
    installs.answers(ctx, tokens("answers"), peer=PEER)
    with pytest.raises(Forbidden):
        installs.late(ctx, tokens("answers"), peer=PEER)


def test_the_installer_token_opens_nothing_before_the_answers(ctx: Context, tokens: Tokens) -> None:
    with pytest.raises(Forbidden, match="the host is armed"):
        installs.register(ctx, tokens("installer"), FACTS, peer=PEER)


def test_registration_stores_facts_disarms_and_gives_a_credential(ctx: Context, registered: dict[str, Any]) -> None:
    host = hosts.show(ctx, "n1")
    assert host["state"] == "registered"
    assert host["armed_until"] is None
    assert host["uuid"] == FACTS["uuid"]
    assert host["facts"]["ssh_host_keys"] == FACTS["ssh_host_keys"]
    assert registered["agent_url"] == "https://192.0.2.1:8442"
    assert registered["certificate_pem"].startswith("-----BEGIN")
    assert len(registered["agent_token"]) >= 32


def test_a_second_registration_is_refused_and_logged(ctx: Context, registered: dict[str, Any], tokens: Tokens) -> None:
    with pytest.raises(Forbidden, match="used already"):
        installs.register(ctx, tokens("installer"), FACTS, peer="192.0.2.66")
    last = events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]
    assert last["kind"] == "token_refused"
    assert "192.0.2.66" in last["message"]


def test_bad_facts_are_refused_and_the_token_stays_good(ctx: Context, tokens: Tokens) -> None:
    installs.answers(ctx, tokens("answers"), peer=PEER)
    with pytest.raises(Problem, match=r"disks\.0\.size_bytes"):
        installs.register(ctx, tokens("installer"), {**FACTS, "disks": [{"name": "x", "size_bytes": -1}]}, peer=PEER)
    assert installs.register(ctx, tokens("installer"), FACTS, peer=PEER)["host_name"] == "n1"


def test_the_clear_tokens_are_not_in_the_database(ctx: Context, tokens: Tokens) -> None:
    dump = (ctx.data_dir / "pxeforge.db").read_bytes() + (ctx.data_dir / "pxeforge.db-wal").read_bytes()
    assert tokens("answers").encode() not in dump
    assert tokens("installer").encode() not in dump


def test_arming_lasts_as_long_as_was_said(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    clock.now += installs.ARMED_FOR_S + 1
    assert "kernel" not in installs.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    installs.expire(ctx)
    assert state(ctx) == "known"
    assert "gave_up" in kinds(ctx)


def test_an_install_that_never_calls_back_fails_with_a_diagnosis(ctx: Context, tokens: Tokens, clock: Clock) -> None:
    installs.answers(ctx, tokens("answers"), peer=PEER)
    clock.now += installs.INSTALL_BUDGET_S + 1
    installs.expire(ctx)
    assert state(ctx) == "failed"
    assert "late_command never called" in events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]["message"]
    with pytest.raises(Forbidden, match="gave up"):
        installs.register(ctx, tokens("installer"), FACTS, peer=PEER)


def test_the_disk_guard_ends_the_install_with_its_reason(ctx: Context, tokens: Tokens) -> None:
    installs.answers(ctx, tokens("answers"), peer=PEER)
    installs.failed(ctx, tokens("installer"), "disks", "no disk matches the rule serial=X", peer=PEER)
    assert state(ctx) == "failed"
    assert "no disk matches the rule" in events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]["message"]


def test_a_late_failure_is_told_and_does_not_stop_the_registration(ctx: Context, tokens: Tokens) -> None:
    installs.answers(ctx, tokens("answers"), peer=PEER)
    installs.failed(ctx, tokens("installer"), "late", "snippet x ended with 1", peer=PEER)
    assert state(ctx) == "installing"
    installs.register(ctx, tokens("installer"), FACTS, peer=PEER)
    assert state(ctx) == "registered"


def test_disarming_kills_the_tokens(ctx: Context, tokens: Tokens) -> None:
    answers = tokens("answers")
    installs.disarm(ctx, "n1", who="test")
    assert state(ctx) == "known"
    with pytest.raises(Forbidden, match="disarmed"):
        installs.answers(ctx, answers, peer=PEER)


def test_arming_again_kills_the_tokens_of_before(ctx: Context, tokens: Tokens, profile: str) -> None:
    answers = tokens("answers")
    installs.arm(ctx, "n1", profile=profile, who="test")
    with pytest.raises(Forbidden, match="superseded"):
        installs.answers(ctx, answers, peer=PEER)


def test_a_running_install_is_not_armed_over(ctx: Context, tokens: Tokens, profile: str) -> None:
    installs.answers(ctx, tokens("answers"), peer=PEER)
    with pytest.raises(Conflict, match="installing cannot take arm"):
        installs.arm(ctx, "n1", profile=profile, who="test")


def test_an_image_update_leaves_an_armed_host_alone(ctx: Context, armed: dict[str, Any]) -> None:
    write_image(ctx.data_dir, "20990101")
    assert "debian-13/20250803/linux" in installs.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)


class TestArmingIsRefused:
    """And nothing is changed by the try."""

    @pytest.fixture(autouse=True)
    def _host(self, ctx: Context) -> None:
        hosts.add(ctx, macs=[MAC], name="n1", who="test")

    def refused(self, ctx: Context, profile: str) -> str:
        with pytest.raises(Problem) as caught:
            installs.arm(ctx, "n1", profile=profile, who="test")
        assert state(ctx) == "known"
        assert hosts.show(ctx, "n1")["attempt"] is None
        return str(caught.value)

    def test_for_an_unknown_profile(self, ctx: Context) -> None:
        assert "there is no profile 'nope'" in self.refused(ctx, "nope")

    def test_without_an_image(self, ctx: Context) -> None:
        profiles.create(ctx, "p", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
        assert "run `pxeforge image import debian-13` first" in self.refused(ctx, "p")

    def test_when_nobody_could_log_in(self, ctx: Context) -> None:
        write_image(ctx.data_dir)
        profiles.create(ctx, "p", image="debian-13", parameters={}, who="test")
        assert "lets nobody log in" in self.refused(ctx, "p")

    def test_for_a_template_error_with_file_and_line(self, ctx: Context, profile: str) -> None:
        folder = ctx.operator_dir / "preseed"
        folder.mkdir(parents=True)
        (folder / "mine.cfg.j2").write_text("d-i time/zone string UTC\nd-i x/y string {{ disk_ruel }}\n")
        profiles.change(ctx, profile, parameters={}, template="mine.cfg.j2", who="test")
        assert "preseed/mine.cfg.j2:2: 'disk_ruel' is undefined" in self.refused(ctx, profile)

    def test_for_answers_that_the_linter_rejects(self, ctx: Context, profile: str) -> None:
        folder = ctx.operator_dir / "preseed"
        folder.mkdir(parents=True)
        (folder / "mine.cfg.j2").write_text("d-i passwd/user-password password secret\n")
        profiles.change(ctx, profile, parameters={}, template="mine.cfg.j2", who="test")
        said = self.refused(ctx, profile)
        assert "answers:1: error" in said
        assert "[from preseed/mine.cfg.j2:1]" in said
        assert "secret" not in said

    @pytest.mark.parametrize("for_s", [0, -5, 59, 8 * 86400])
    def test_for_a_time_that_makes_no_sense(self, ctx: Context, profile: str, for_s: float) -> None:
        with pytest.raises(Problem, match="a minute to a week"):
            installs.arm(ctx, "n1", profile=profile, for_s=for_s, who="test")


def test_a_preview_shows_no_token(ctx: Context, tokens: Tokens) -> None:
    for what in ("menu", "menu.pxelinux", "answers", "early", "disks", "late"):
        text = installs.preview(ctx, "n1", what=what)
        assert tokens("answers") not in text
        assert tokens("installer") not in text


def test_what_cannot_be_rendered_is_named(ctx: Context, armed: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="'nonsense' cannot be rendered"):
        installs.preview(ctx, "n1", what="nonsense")


def test_a_head_request_begins_nothing(ctx: Context, tokens: Callable[[str], str]) -> None:
    before = len(events.timeline(ctx, hosts.show(ctx, "n1")["id"]))
    assert tokens("answers") in installs.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer=PEER, head=True)
    assert installs.answers(ctx, tokens("answers"), peer=PEER, head=True)
    assert hosts.show(ctx, "n1")["state"] == "armed"
    assert len(events.timeline(ctx, hosts.show(ctx, "n1")["id"])) == before


def test_who_asks_again_and_again_fills_no_timeline(ctx: Context, tokens: Callable[[str], str], clock: Clock) -> None:
    for _ in range(3):
        installs.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer=PEER)
        installs.image_fetched(ctx, "linux", peer=PEER, head=False)
        with pytest.raises(Forbidden):
            installs.late(ctx, tokens("installer"), peer=PEER)
    told = Counter(event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"]))
    assert (told["menu_fetched"], told["image_fetched"], told["token_refused"]) == (1, 1, 1)
    clock.now += 61
    installs.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer=PEER)
    told = Counter(event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"]))
    assert told["menu_fetched"] == 2


def test_a_new_install_ends_the_old_agents_credential(
    ctx: Context, registered: dict[str, Any], tokens: Callable[[str], str]
) -> None:
    installs.arm(ctx, "n1", profile="debian-13", who="test")
    installs.answers(ctx, tokens("answers"), peer=PEER)
    again = installs.register(ctx, tokens("installer"), FACTS, peer=PEER)
    assert agents.authenticate(ctx, again["agent_token"]) == registered["host_id"]
    with pytest.raises(Forbidden):
        agents.authenticate(ctx, registered["agent_token"])


def test_an_answer_lost_on_the_way_is_given_again_to_the_same_host_only(
    ctx: Context, tokens: Callable[[str], str]
) -> None:
    installs.answers(ctx, tokens("answers"), peer=PEER)
    token, nonce = tokens("installer"), {"registration_nonce": "ab" * 32}
    first = installs.register(ctx, token, {**FACTS, **nonce}, peer=PEER)
    assert installs.register(ctx, token, {**FACTS, **nonce}, peer=PEER) == first
    for stranger in ({}, {"registration_nonce": "cd" * 32}, {"registration_nonce": ""}):
        with pytest.raises(Forbidden, match="used already"):
            installs.register(ctx, token, {**FACTS, **stranger}, peer=PEER)
    assert "registration_nonce" not in hosts.show(ctx, "n1")["facts"]
    assert agents.authenticate(ctx, first["agent_token"]) == first["host_id"]  # its agent is here: never again
    with pytest.raises(Forbidden, match="used already"):
        installs.register(ctx, token, {**FACTS, **nonce}, peer=PEER)


def test_a_host_on_another_interface_is_told_our_address_there(ctx: Context, tokens: Callable[[str], str]) -> None:
    there = dataclasses.replace(ctx, source=lambda peer: "198.51.100.1" if peer == "198.51.100.7" else None)
    for peer, ours in (("198.51.100.7", "198.51.100.1"), (PEER, "192.0.2.1")):
        assert f"http://{ours}:8080/answers/" in installs.menu(there, HOST, installs.MenuKind.IPXE, peer=peer)
        assert f"tftp,{ours}" in installs.grub_start(there, peer)
    answers = installs.answers(there, tokens("answers"), peer="198.51.100.7")
    assert "http://198.51.100.1:8080/installer/" in answers
    registered = installs.register(there, tokens("installer"), FACTS, peer="198.51.100.7")
    assert registered["agent_url"] == "https://198.51.100.1:8442"
