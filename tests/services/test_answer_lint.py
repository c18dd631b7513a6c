"""Lint finds what would stop an install, in files, for a host and for every profile."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from pxeforge.render.lint import Severity
from pxeforge.services import profiles
from pxeforge.services.answer_lint import lint_answers, lint_host, lint_profiles
from pxeforge.services.answers_check import BINARY
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound
from tests.conftest import ACCOUNT


def errors(findings: list[Any]) -> list[str]:
    return [str(one) for one in findings if one.severity is Severity.ERROR]


def test_a_finding_names_file_line_severity_and_message() -> None:
    [finding] = lint_answers("a.cfg", "# note\nd-i netcfg/enable boolean maybe\n")
    assert str(finding) == (
        "a.cfg:2: error: netcfg/enable is a boolean: its value must be true or false "
        "in «d-i netcfg/enable boolean maybe»"
    )


@pytest.mark.skipif(shutil.which(BINARY) is None, reason="needs debconf")
def test_debconf_is_asked_too_but_a_line_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from pxeforge.services import answer_findings

    assert len(lint_answers("a.cfg", "d-i a/b foo bar\n")) == 1
    monkeypatch.setattr(answer_findings, "lint_text", lambda *_: [])
    found = lint_answers("a.cfg", "d-i a/c string x\nd-i a/b foo bar\nnonsense\n")
    assert [(one.line, one.severity) for one in found] == [(2, Severity.WARNING), (3, Severity.ERROR)]
    assert found[0].message.startswith(f"{BINARY}: Unknown type foo")


def test_the_answers_of_an_armed_host_are_linted(ctx: Context, armed: dict[str, Any]) -> None:
    assert errors(lint_host(ctx, "n1")) == []


def test_a_host_is_linted_for_a_profile_it_is_not_armed_for(ctx: Context, armed: dict[str, Any]) -> None:
    profiles.create(
        ctx, "bad", image="debian-13", parameters={"accounts": [ACCOUNT], "extra_lines": ["d-i x/y boolean maybe"]},
        who="test",
    )  # fmt: skip
    [said] = errors(lint_host(ctx, "n1", profile="bad"))
    assert said.startswith("host/n1/answers:")
    assert "x/y is a boolean" in said


def test_a_host_that_is_not_armed_needs_a_profile(ctx: Context, profile: str) -> None:
    from pxeforge.services import hosts

    hosts.add(ctx, macs=["52:54:00:00:00:01"], name="n2", who="test")
    with pytest.raises(Conflict, match="name a profile"):
        lint_host(ctx, "n2")
    assert errors(lint_host(ctx, "n2", profile=profile)) == []
    with pytest.raises(NotFound):
        lint_host(ctx, "ghost")


def test_every_profile_is_linted_and_one_that_is_broken_does_not_hide_the_next(ctx: Context, profile: str) -> None:
    folder = ctx.operator_dir / "preseed"
    folder.mkdir(parents=True)
    (folder / "broken.cfg.j2").write_text("d-i a/b string x\n{{ nothing_of_this_name }}\n")
    profiles.create(ctx, "a-broken", image="debian-13", template="broken.cfg.j2", parameters={}, who="test")
    profiles.create(ctx, "b-no-image", image="debian-99", parameters={}, who="test")
    profiles.create(ctx, "c-nobody", image="debian-13", parameters={}, who="test")
    profiles.create(
        ctx, "d-bad", image="debian-13", parameters={"accounts": [ACCOUNT], "extra_lines": ["glued/question string x"]},
        who="test",
    )  # fmt: skip
    found = lint_profiles(ctx)
    first, second, third = errors(found)
    assert first.startswith("broken.cfg.j2:2: error:") or "broken.cfg.j2:2: error:" in first
    assert second.startswith("profile/b-no-image:1: error: there is no image debian-99")
    assert third.startswith("profile/d-bad/answers:")
    assert "nobody could log in" in next(one.message for one in found if one.file == "profile/c-nobody")
    assert not any(one.file.startswith("profile/debian-13") and one.severity is Severity.ERROR for one in found)
