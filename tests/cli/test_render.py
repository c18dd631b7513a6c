"""`pxeforge render`, `profile clone` and `host attempts`: texts without secrets, and how they differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli import render
from pxeforge.cli.main import main
from tests.conftest import KEY, MAC, write_image

Run = Callable[..., Result]
HASH = "$6$saltsalt$" + "a" * 86


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    return lambda *words: CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words])


@pytest.fixture(autouse=True)
def _two_hosts_and_two_profiles(run: Run, tmp_path: Path) -> None:
    run("host", "add", "--mac", MAC, "--name", "n1")
    run("host", "add", "--mac", "52:54:00:12:34:99", "--name", "n2")
    write_image(tmp_path / "data")
    accounts = f"accounts=[{{name: ops, ssh_keys: ['{KEY}'], password_hash: {HASH}}}]"
    assert run("profile", "create", "p", "--image", "debian-13", accounts).exit_code == 0


def test_a_clone_differs_in_what_is_set_afterwards(run: Run) -> None:
    assert run("profile", "clone", "p", "q").output == "profile q is a copy of p\n"
    changed = json.loads(run("profile", "set", "q", "timezone=Europe/Vienna", "--json").output)
    assert (changed["name"], changed["parameters"]["timezone"]) == ("q", "Europe/Vienna")
    assert run("profile", "clone", "p", "q").exit_code == 1
    made = json.loads(run("profile", "clone", "p", "r", "--json").output)
    assert made["parameters"] == json.loads(run("profile", "show", "p", "--json").output)["parameters"]


def test_a_text_is_printed_for_a_profile_alone(run: Run) -> None:
    assert "netcfg/hostname string sample" in run("render", "-", "answers", "--profile", "p").output
    assert "hostname=sample" in run("render", "-", "kernel-args", "--profile", "p").output


def test_a_password_hash_is_a_mark(run: Run) -> None:
    text = run("render", "n1", "answers", "--profile", "p").output
    assert HASH not in text
    assert "(hidden " in text
    shown = json.loads(run("render", "n1", "answers", "--profile", "p", "--json").output)
    assert HASH not in str(shown)
    assert shown["title"] == "n1 for p"


def test_two_hosts_are_compared(run: Run) -> None:
    told = run("render", "n1", "answers", "--diff", "n2", "--profile", "p").output.splitlines()
    assert told[:2] == ["--- n1 for p", "+++ n2 for p"]
    assert "-d-i netcfg/hostname string n1" in told
    assert "+d-i netcfg/hostname string n2" in told
    assert "\x1b" not in "".join(told)


def test_what_a_host_is_armed_with_is_compared_with_a_profile_and_an_earlier_arming(run: Run) -> None:
    run("profile", "clone", "p", "q")
    run("profile", "set", "q", "timezone=Europe/Vienna")
    assert run("host", "arm", "n1", "--profile", "p").exit_code == 0
    assert run("host", "arm", "n1", "--profile", "q").exit_code == 0
    rows = json.loads(run("host", "attempts", "n1", "--json").output)
    assert [row["profile"] for row in rows] == ["q", "p"]
    assert "superseded" in run("host", "attempts", "n1").output
    before = run("render", "n1", "answers", "--diff", "--attempt", rows[1]["id"]).output.splitlines()
    assert "-d-i time/zone string UTC" in before
    assert "+d-i time/zone string Europe/Vienna" in before
    other = run("render", "n1", "answers", "--diff", "--profile", "p").output.splitlines()
    assert "-d-i time/zone string Europe/Vienna" in other
    assert "+d-i time/zone string UTC" in other
    assert "time/zone string UTC" in run("render", "n1", "answers", "--attempt", rows[1]["id"]).output
    assert run("render", "n1", "answers", "--diff", "--profile", "q").output == "both are the same\n"
    assert json.loads(run("render", "n1", "answers", "--diff", "--profile", "q", "--json").output)["unified"] == ""


@pytest.mark.parametrize(
    "words",
    [
        ("-", "answers"),
        ("-", "answers", "--attempt", "x"),
        ("-", "answers", "--profile", "p", "--diff"),
        ("n1", "answers", "--diff"),
        ("n1", "answers", "--profile", "p", "--attempt", "x"),
        ("n1", "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, words: tuple[str, ...]) -> None:
    assert run("render", *words).exit_code == 2


def test_a_host_that_was_never_armed_is_one_sentence(run: Run) -> None:
    for words in (("n1", "answers"), ("n1", "answers", "--diff", "n2"), ("n1", "answers", "--attempt", "x")):
        answer = run("render", *words)
        assert (answer.exit_code, answer.stderr.count("\n")) == (1, 1)
    assert "never armed" in run("host", "attempts", "n1").output


def test_a_comparison_on_a_terminal_is_in_colour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    render._show_diff("--- a\n+++ b\n@@ -1 +1 @@\n-one\n+\x1b[31mtwo")
    shown = capsys.readouterr().out
    assert "\x1b[31m-one\x1b[0m" in shown
    assert "\x1b[32m+?[31mtwo\x1b[0m" in shown
