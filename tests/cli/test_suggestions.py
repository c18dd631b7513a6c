"""What a shell is told when somebody presses Tab."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from werkzeug.serving import make_server

from pxeforge.app.processes import socket_path
from pxeforge.cli import suggestions
from pxeforge.cli.main import main
from pxeforge.cli.suggestions import Known
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.webapp.admin import create_admin
from tests.conftest import write_image

Suggest = Callable[..., list[str]]
NAMELESS = "52:54:00:00:00:09"


@pytest.fixture
def tab(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Suggest:
    """The suggestions for the last word."""
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    monkeypatch.delenv("PXEFORGE_SERVER", raising=False)
    monkeypatch.setattr(suggestions, "_LONGEST_S", 60.0)  # however busy this computer is

    def press(*words: str, before: tuple[str, ...] = ()) -> list[str]:
        shell = ShellComplete(main, {}, "pxeforge", "_PXEFORGE_COMPLETE")
        args = ["--data-dir", str(ctx.data_dir), *before, *words[:-1]]
        return [one.value for one in shell.get_completions(args, words[-1])]

    return press


@pytest.fixture
def server(ctx: Context, profile: str) -> Iterator[str]:
    """On the socket of the data directory; the name of a profile."""
    write_image(ctx.data_dir)
    hosts.add(ctx, macs=["52:54:00:00:00:01"], name="db-01", who="test")
    hosts.add(ctx, macs=["52:54:00:00:00:02"], name="web-01", who="test")
    hosts.add(ctx, macs=[NAMELESS], who="test")
    app = create_admin(ctx, trusted_socket=True)
    real = make_server(f"unix://{socket_path(ctx.data_dir)}", 0, app, threaded=True)
    thread = threading.Thread(target=real.serve_forever, daemon=True)
    thread.start()
    yield profile
    real.shutdown()
    thread.join()
    real.server_close()


def test_hosts_are_suggested_by_name_and_by_mac_where_they_have_none(tab: Suggest, server: str) -> None:
    assert tab("host", "show", "") == ["db-01", "web-01", NAMELESS]
    assert tab("host", "show", "db") == ["db-01"]
    assert tab("host", "show", "52:54:00:00:00:01") == ["52:54:00:00:00:01"]
    for words in (("host", "arm", "web-01"), ("host", "set", "x"), ("power", "on"), ("render",), ("lint", "--host")):
        assert "db-01" in tab(*words, ""), words
    assert tab("deploy", "--limit", "we") == ["web-01"]
    assert tab("host", "assign", "db-01", "mari") == ["mariadb"]


def test_profiles_roles_states_images_and_blueprints_are_suggested(tab: Suggest, server: str) -> None:
    assert tab("host", "arm", "x", "--profile", "") == [server]
    assert tab("profile", "show", "") == [server]
    assert tab("host", "list", "--state", "in") == [s.value for s in HostState if s.value.startswith("in")]
    assert "keystone" in tab("host", "add", "--role", "key")
    assert tab("role", "show", "keys") == ["keystone"]
    assert tab("image", "verify", "deb") == ["debian-13"]
    assert tab("deploy", "two") == ["two-back-ends", "two-nodes"]
    assert tab("blueprint", "show", "two-n") == ["two-nodes"]


def test_without_a_server_or_for_one_elsewhere_nothing_is_suggested_and_nothing_is_made(
    tab: Suggest, ctx: Context, tmp_path: Path
) -> None:
    assert tab("host", "show", "") == []
    assert tab("host", "show", "", before=("--server", "https://192.0.2.1:8443")) == []
    assert tab("host", "show", "", before=("--data-dir", str(tmp_path / "none"))) == []
    assert not (tmp_path / "none").exists()
    assert "show" in tab("host", "sh")  # commands are


def test_a_server_that_does_not_answer_is_not_waited_for(
    tab: Suggest, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(suggestions, "_LONGEST_S", 0.01)
    monkeypatch.setattr("pxeforge.services.host_list.rows_after", lambda *_a, **_k: time.sleep(0.5) or [])
    assert tab("host", "show", "") == []


def test_every_host_argument_has_suggestions() -> None:
    def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
        for name, sub in command.commands.items() if isinstance(command, click.Group) else ():
            yield from walk(sub, (*path, name))
        yield from ((path, param) for param in command.params)

    plain = [
        path for path, param in walk(main, ()) if param.name in ("host", "hosts") and not isinstance(param.type, Known)
    ]
    assert plain == [("lab", "up")]  # a number
