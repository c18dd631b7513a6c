"""Events and webhooks on the command line, on a data directory without a server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.main import main

Run = Callable[..., Result]
MAC = "52:54:00:00:00:01"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)

    def call(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words], input=stdin)

    return call


def test_events_are_shown_the_newest_last(run: Run) -> None:
    assert "Nothing fits" in run("events").output
    run("host", "add", "--mac", MAC, "--name", "n1")
    run("host", "set", "n1", "--tag", "x")
    rows = json.loads(run("events", "--host", "n1", "--json").output)
    assert [row["kind"] for row in rows] == ["adopt", "changed", "changed"]
    assert len(json.loads(run("events", "--limit", "1", "--json").output)) == 1
    assert len(json.loads(run("events", "--since", "1h", "--json").output)) == 3
    assert run("events", "--since", "soon").exit_code == 2
    assert "tags changed" in run("events", "--kind", "changed").output
    assert "no host is known" in run("events", "--host", "ghost").stderr


def test_only_the_last_while_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("host", "add", "--mac", MAC, "--name", "n1")
    now = time.time()
    monkeypatch.setattr("pxeforge.cli.events.time", SimpleNamespace(time=lambda: now + 7200))
    assert json.loads(run("events", "--since", "1h", "--json").output) == []
    assert json.loads(run("events", "--since", "3h", "--json").output) != []


def test_without_a_server_nothing_can_be_followed(run: Run) -> None:
    refused = run("events", "--follow")
    assert (refused.exit_code, "no server runs" in refused.stderr) == (1, True)


def test_a_webhook_is_added_listed_tried_and_removed(run: Run) -> None:
    assert "No webhooks" in run("webhook", "list").output
    refused = run("webhook", "add", "http://127.0.0.1:9/hook")
    assert (refused.exit_code, "this computer itself" in refused.stderr) == (1, True)
    made = json.loads(run("webhook", "add", "http://203.0.113.76:9/hook", "--event", "operator.arm", "--json").output)
    own = "whsec_" + "QUJD" * 10
    other = run("webhook", "add", "http://203.0.113.77:9/", "--secret-stdin", stdin=own + "\n")
    assert f"this once: {own}" in other.output
    first, *_ = json.loads(run("webhook", "list", "--json").output)
    assert (first["url"], first["waiting"]) == (made["url"], 0)
    assert "Nothing was sent yet" in run("webhook", "deliveries", made["id"]).output
    assert "there is no delivery" in run("webhook", "retry", made["id"], "msg_x").stderr
    assert run("webhook", "remove", made["id"]).output == f"webhook {made['id']} removed\n"
    assert "there is no webhook" in run("webhook", "test", made["id"]).stderr
