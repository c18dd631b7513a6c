"""Previews show what the host would get, without secrets, with the linter's words at their lines."""

from __future__ import annotations

import pytest

from pxeforge.services import answer_preview, arming, attempts, hosts, install_ends, install_tokens, profiles
from pxeforge.services.answer_preview import TEXTS, Source
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound, Problem
from tests.conftest import ACCOUNT, MAC, Clock

HASH = "$6$saltsalt$" + "a" * 86


@pytest.fixture(autouse=True)
def _host(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")


def text(ctx: Context, source: Source, what: str = "answers") -> str:
    return answer_preview.preview(ctx, source, what=what).text


@pytest.mark.parametrize("what", list(TEXTS))
def test_every_text_is_shown_for_a_host_and_for_a_profile_alone(ctx: Context, what: str) -> None:
    assert text(ctx, Source(host="n1", profile="debian-13"), what)
    assert text(ctx, Source(profile="debian-13"), what)


def test_the_texts_of_an_armed_host_hold_no_token(ctx: Context) -> None:
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    attempt = hosts.show(ctx, "n1")["attempt"]
    for what in TEXTS:
        shown = text(ctx, Source(host="n1"), what)
        for purpose in ("answers", "installer"):
            assert install_tokens.token_of(ctx, attempt["id"], purpose) not in shown


def test_a_password_hash_is_not_shown(ctx: Context) -> None:
    profiles.change(ctx, "debian-13", parameters={"accounts": [{**ACCOUNT, "password_hash": HASH}]}, who="test")
    for what in TEXTS:
        assert HASH not in text(ctx, Source(host="n1", profile="debian-13"), what)
    assert "(hidden " in text(ctx, Source(host="n1", profile="debian-13"))


def test_the_linter_speaks_of_the_line_that_is_shown(ctx: Context) -> None:
    profiles.change(ctx, "debian-13", parameters={"extra_lines": ["d-i netcfg/enable boolean maybe"]}, who="test")
    shown = answer_preview.preview(ctx, Source(profile="debian-13"), what="answers")
    [found] = shown.findings
    assert shown.text.splitlines()[found.line - 1] == "d-i netcfg/enable boolean maybe"
    assert "must be true or false" in found.message


def test_kernel_arguments_stand_below_the_title_of_their_entry(ctx: Context) -> None:
    lines = text(ctx, Source(host="n1", profile="debian-13"), "kernel-args").splitlines()
    assert lines[0].startswith("# 1  Install")
    assert "hostname=n1" in lines[1].split()


def test_an_earlier_arming_can_be_compared_with_now(ctx: Context, clock: Clock) -> None:
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    [earlier] = attempts.of_host(ctx, "n1")
    profiles.change(ctx, "debian-13", parameters={"timezone": "Europe/Vienna"}, who="test")
    assert "time/zone string UTC" in text(ctx, Source(host="n1"))
    clock.now += 60
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    before, after = answer_preview.compare(
        ctx, Source(host="n1", attempt=earlier["id"]), Source(host="n1"), what="answers"
    )
    assert "time/zone string UTC" in before.text
    assert "time/zone string Europe/Vienna" in after.text
    assert "as armed 2027-01-15 08:00 UTC" in before.title


def test_a_host_that_is_not_armed_is_compared_as_it_was_armed_last(ctx: Context) -> None:
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    install_ends.disarm(ctx, "n1", who="test")
    before, _now = answer_preview.compare(
        ctx, Source(host="n1"), Source(host="n1", profile="debian-13"), what="answers"
    )
    assert "as armed" in before.title


def test_a_host_that_was_never_armed_has_nothing_to_compare(ctx: Context) -> None:
    with pytest.raises(Conflict, match="name a profile"):
        answer_preview.compare(ctx, Source(host="n1"), Source(host="n1", profile="debian-13"), what="answers")


def test_the_attempt_of_another_host_is_not_shown(ctx: Context) -> None:
    hosts.add(ctx, macs=["52:54:00:12:34:99"], name="n2", who="test")
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    [one] = attempts.of_host(ctx, "n1")
    with pytest.raises(NotFound):
        text(ctx, Source(host="n2", attempt=one["id"]))


def test_a_rescue_system_has_a_menu_and_no_answers(ctx: Context) -> None:
    arming.arm_program(ctx, "n1", boot="rescue", profile="debian-13", who="test")
    assert "rescue/enable=true" in text(ctx, Source(host="n1"), "kernel-args")
    with pytest.raises(Conflict, match="fetches no answers"):
        text(ctx, Source(host="n1"))


def test_other_hosts_are_offered_by_name_up_to_a_limit(ctx: Context) -> None:
    for number in range(5):
        hosts.add(ctx, macs=[f"52:54:00:00:01:{number:02}"], name=f"m{number}", who="test")
    hosts.add(ctx, macs=["52:54:00:00:01:99"], who="test")
    own = hosts.show(ctx, "m1")["id"]
    assert answer_preview.names_beside(ctx, own, limit=3) == ["m0", "m2", "m3"]


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("profile/p/answers", "answers"),
        ("host/n1/menu.ipxe", "menu"),
        ("host/n1/menu.grub", "menu.grub"),
        ("profile/p/kernel-args", "kernel-args"),
        ("profile/p/late", "late"),
        ("preseed/partman.cfg.j2", "answers"),
    ],
)
def test_the_file_of_a_finding_tells_which_text_it_is_in(file: str, what: str) -> None:
    assert answer_preview.what_of(file) == what


@pytest.mark.parametrize(
    "source",
    [
        Source(host="n1"),
        Source(host="n1", profile="debian-13"),
        Source(host="n1", attempt="0123456789ab"),
        Source(profile="debian-13"),
    ],
)
def test_a_source_is_read_as_it_was_written(source: Source) -> None:
    assert Source.parse(str(source)) == source


@pytest.mark.parametrize("wrong", ["", "n1", "host=", "profile=", "host=a,profile=b,attempt=c", "attempt=x"])
def test_what_names_no_text_is_refused(wrong: str) -> None:
    with pytest.raises(Problem, match="names no text"):
        Source.parse(wrong)
