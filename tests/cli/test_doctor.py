"""The command around the checks: what it shows, in which form, and how it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.app.doctor.table import CHECKS
from pxeforge.cli.main import main

Run = Callable[..., Result]
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "doctor.md"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    monkeypatch.setenv("PXEFORGE_MIRROR", "http://127.0.0.1:9/debian")
    return lambda *words: CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), "doctor", *words])


def test_without_an_interface_it_says_which_there_are_and_fails(run: Run) -> None:
    done = run()
    assert done.exit_code == 1
    assert "no interface is named" in done.output
    assert "→ name that of the boot network with --interface" in done.output
    # One error at least: this computer may have others, such as a port in use.
    assert re.match(r"errors: [1-9]", done.output.splitlines()[-1])


def test_json_is_an_array_with_stable_keys(run: Run) -> None:
    done = run("--json", "--interface", "nowhere0")
    assert done.exit_code == 1
    rows = json.loads(done.output)
    assert {tuple(sorted(row)) for row in rows} == {("advice", "check", "data", "interface", "level", "seen")}
    assert {row["level"] for row in rows} <= {"ok", "note", "warning", "error"}
    assert (rows[0]["check"], rows[0]["level"]) == ("interface", "error")
    assert [row["check"] for row in rows if row["level"] != "ok" and not row["advice"]] == []


def test_nothing_is_made_in_the_data_directory(run: Run, tmp_path: Path) -> None:
    run("--json")
    assert not (tmp_path / "data").exists()


def test_a_wrong_timeout_is_wrong_usage(run: Run) -> None:
    assert run("--timeout", "0").exit_code == 2


def test_a_line_is_never_cut_where_there_is_no_terminal(run: Run) -> None:
    assert "hosts' signatures" in run().output or "the clock is synchronised" in run().output
    assert "run `pxeforge image import debian-13`" in run().output


def test_the_page_in_the_docs_names_every_check() -> None:
    rows = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = [(name.strip(" `"), about.strip()) for name, about in rows]
    assert named == [(check.name, check.about) for check in CHECKS]
