"""`pxeforge blueprint …` on a data directory without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.main import main
from pxeforge.webapp.api_catalogue import BlueprintInFull
from tests.conftest import MAC

BASE = "name: base-cloud\nsummary: a base\nhosts:\n  - {match: {name: n1}, roles: [base]}\n"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    monkeypatch.setenv("PXEFORGE_OPERATOR_DIR", str(tmp_path / "etc"))

    def call(*words: str, said: str | None = None) -> Result:
        return CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words], input=said)

    return call


@pytest.mark.parametrize(
    "name", ["all-in-one", "ha", "two-nodes", "three-nodes-gre", "two-back-ends", "service-per-host"]
)
def test_a_shipped_blueprint_is_shown_and_is_right(run: Run, name: str) -> None:
    shown = run("blueprint", "show", name)
    assert shown.exit_code == 0, shown.stderr
    assert shown.output.startswith(f"{name}: ")
    assert "  rule     line " in shown.output
    told = json.loads(run("blueprint", "show", name, "--json").output)
    assert set(told) == set(get_type_hints(BlueprintInFull))
    file = told["file"]
    checked = run("blueprint", "check", file)
    assert (checked.exit_code, checked.output) == (0, f"{file}: nothing is wrong in it\n")


def test_a_blueprint_is_shown_with_the_hosts_that_it_takes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "etc" / "blueprints"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(BASE.replace("base-cloud", "mine"))
    assert "n1" in run("blueprint", "show", "mine").output  # no host: that is told too
    run("host", "add", "--mac", MAC, "--name", "n1")
    assert "  host     n1 (known): base\n" in run("blueprint", "show", "mine").output
    assert run("blueprint", "show", "mine", "--text").output == BASE.replace("base-cloud", "mine")
    missing = run("blueprint", "show", "yours")
    assert (missing.exit_code, "known are all-in-one" in missing.stderr) == (1, True)


def test_a_check_tells_file_line_message_and_remedy_and_fails(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(BASE.replace("[base]", "[bse]"))
    found = run("blueprint", "check", str(file))
    assert found.exit_code == 1
    assert found.output.startswith(f"{file}:4: ")
    [row] = json.loads(run("blueprint", "check", str(file), "--json").output)
    assert found.output == f"{row['file']}:{row['line']}: {row['message']}: {row['fix']}\n"
    file.write_text("name: [\n")
    assert run("blueprint", "check", str(file)).output.startswith(f"{file}:")
    assert run("blueprint", "check", "-", said=BASE).exit_code == 0
    file.write_bytes(b"\xff")
    for words, why in (((str(file),), "not UTF-8"), ((str(tmp_path / "two-nodes"),), "blueprint show two-nodes")):
        refused = run("blueprint", "check", *words)
        assert (refused.exit_code, why in refused.stderr, refused.stderr.count("\n")) == (1, True, 1)


def test_what_a_checked_file_extends_is_looked_for_beside_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nsummary: s\nextends: base-cloud\n")
    assert "no blueprint base-cloud" in run("blueprint", "check", str(file)).output
    (tmp_path / "base-cloud.yaml").write_text(BASE.replace("[base]", "[bse]"))
    assert run("blueprint", "check", str(file)).output.startswith(f"{tmp_path / 'base-cloud.yaml'}:4: ")
    (tmp_path / "base-cloud.yaml").write_text(BASE)
    assert run("blueprint", "check", str(file)).exit_code == 0


def test_lint_tells_blueprints_and_roles_from_answers(run: Run, tmp_path: Path) -> None:
    for name, text, said in (
        ("mine.yaml", BASE, f"`pxeforge blueprint check {tmp_path}/mine.yaml`"),
        ("role.yaml", "name: x\nsummary: s\ntasks: []\n", "`pxeforge role list`"),
    ):
        (tmp_path / name).write_text(text)
        found = run("lint", str(tmp_path / name))
        assert (found.exit_code, found.output.count("\n")) == (1, 1)
        assert said in found.output
    (tmp_path / "user-data").write_text("#cloud-config\nautoinstall: {version: 1}\n")
    assert "no answers" not in run("lint", str(tmp_path / "user-data")).output
