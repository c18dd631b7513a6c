"""`pxeforge user`, `token` and `audit` without a server: the same routes on the data directory, as root."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result

from pxeforge.cli.main import main
from pxeforge.cli.transport import Bearer, Refusal, login_of, open_server
from tests.conftest import MAC

PASSWORD = "correct horse battery\n"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    return lambda *words, said="": CliRunner().invoke(
        main, ["--data-dir", str(tmp_path / "data"), *words], input=said
    )  # fmt: skip


def test_users_get_a_role_and_another(run: Run) -> None:
    assert (
        run("user", "add", "boss", "--role", "admin", said=PASSWORD).output
        == "user boss added as admin; the next login asks for another password\n"
    )
    assert run("user", "add", "ann", "--for-good", said=PASSWORD).output == "user ann added as viewer\n"
    assert run("user", "role", "ann", "operator").output == "user ann is operator\n"
    assert run("user", "role", "boss", "viewer").stderr.startswith("pxeforge: the last admin cannot be made less")
    assert run("user", "role", "ann", "god").exit_code == 2
    assert run("user", "logout", "ann").output == "user ann logged out of 0 browsers\n"
    listed = json.loads(run("user", "list", "--json").output)
    assert [(one["name"], one["role"]) for one in listed] == [("ann", "operator"), ("boss", "admin")]
    assert run("user", "remove", "boss").exit_code == 1


def test_a_user_is_disabled_and_enabled_again(run: Run) -> None:
    run("user", "add", "boss", "--role", "admin", said=PASSWORD)
    run("user", "add", "ann", said=PASSWORD)
    assert run("user", "disable", "ann").output.startswith("user ann is disabled")
    assert "disabled" in run("user", "list").output.splitlines()[1]
    assert run("user", "disable", "boss").stderr.startswith("pxeforge: the last admin cannot be disabled")
    assert run("user", "enable", "ann").output == "user ann may log in again\n"
    assert [one["disabled"] for one in json.loads(run("user", "list", "--json").output)] == [False, False]
    assert "there is no user eve" in run("user", "disable", "eve").stderr


@pytest.mark.parametrize("group", [("token",), ("user", "token")])
def test_a_token_is_alone_on_stdout_and_shown_once(run: Run, group: tuple[str, ...]) -> None:
    made = run(*group, "create", "--name", "ci", "--role", "viewer", "--expires", "30d")
    assert (made.exit_code, made.stdout[:4], made.stdout.count("\n")) == (0, "pxf_", 1)
    assert "viewer token ci of root" in made.stderr
    [listed] = json.loads(run(*group, "list", "--json").output)
    assert listed["expires_at"] - listed["created_at"] == pytest.approx(30 * 86400)
    assert made.stdout.strip() not in json.dumps(listed)
    assert run(*group, "revoke", "ci").output == "token ci of root revoked\n"
    assert "No tokens yet" in run(*group, "list").output
    assert "there is no token 'ci'" in run(*group, "revoke", "ci").stderr
    assert "366 days" in run(*group, "create", "--name", "x", "--expires", "9999d").stderr
    assert run(*group, "create", "--name", "x", "--expires", "soon").exit_code == 2


def test_the_audit_log_tells_what_was_done(run: Run) -> None:
    run("host", "add", "--mac", MAC, "--name", "n1")
    run("user", "add", "ann", said=PASSWORD)
    told = json.loads(run("audit", "--who", "root", "--json").output)
    assert [one["kind"] for one in told] == ["user_added", "changed", "adopt"]
    assert {(one["via"], one["address"]) for one in told} == {("local", None)}
    assert [one["kind"] for one in json.loads(run("audit", "--limit", "2", "--json").output)] == [
        "user_added",
        "changed",
    ]
    assert "user ann added as viewer by root" in run("audit", "--kind", "user_added", "--since", "1h").output
    assert "Nothing fits" in run("audit", "--who", "nobody").output
    assert run("audit", "--host", "ghost").exit_code == 1


def test_a_token_from_the_environment_logs_in_where_no_user_is_named() -> None:
    login = login_of(None, {"PXEFORGE_TOKEN": "pxf_abc\n"})
    assert isinstance(login, Bearer)
    prepared = requests.Request("GET", "https://192.0.2.1/", auth=login).prepare()
    assert prepared.headers["Authorization"] == "Bearer pxf_abc"
    assert login_of("ann", {"PXEFORGE_TOKEN": "pxf_abc", "PXEFORGE_PASSWORD": "x"}) == ("ann", "x")
    assert login_of(None, {}) is None
    with pytest.raises(Refusal, match="holds no API token"):
        login_of(None, {"PXEFORGE_TOKEN": "a b\r\nX-Evil: 1"})


def test_a_token_is_not_sent_in_clear() -> None:
    with pytest.raises(Refusal, match="not sent in clear"):
        open_server("http://192.0.2.1:8443", Bearer("pxf_abc"), True)


def test_a_password_is_set_for_once_or_for_good(run: Run) -> None:
    run("user", "add", "ann", said=PASSWORD)
    once = run("user", "passwd", "ann", said="another phrase of mine\n")
    assert once.output == "password of ann changed; the next login asks for another password\n"
    assert run("user", "passwd", "ann", "--for-good", said=PASSWORD).output == "password of ann changed\n"
    assert [one["must_change"] for one in json.loads(run("user", "list", "--json").output)] == [False]
    assert "say whose is meant" in run("user", "passwd", said=PASSWORD).stderr
    assert "tried first" in run("user", "passwd", "ann", said="password123\n").stderr


@pytest.mark.parametrize("words", [("user", "add", "bob"), ("user", "passwd", "ann")])
def test_without_a_terminal_and_a_password_it_is_said_how_one_is_given(run: Run, words: tuple[str, ...]) -> None:
    run("user", "add", "ann", said=PASSWORD)
    for said in ("", "\n"):
        refused = run(*words, said=said)
        assert refused.exit_code == 1
        assert "without a terminal it is one line of standard input" in refused.stderr
        assert f"`pxeforge {words[0]} {words[1]} … < FILE`" in refused.stderr
        assert refused.stderr.count("\n") == 1
