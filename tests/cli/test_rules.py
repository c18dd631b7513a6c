"""Rules, racks, edits of many hosts and identities on the command line, on a data directory without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.main import main

Run = Callable[..., Result]
ONE, TWO = "52:54:00:00:00:01", "52:54:00:00:00:02"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words])

    for mac, name in ((ONE, "n1"), (TWO, "n2")):
        assert call("host", "add", "--mac", mac, "--name", name).exit_code == 0
    return call


def test_a_rule_is_tried_added_ordered_applied_and_removed(run: Run) -> None:
    tried = run("rule", "test", "--when", "mac=52:54:00", "--set", "tags=[lab, new]")
    assert "n1: " in tried.output
    assert "tags - -> lab,new" in tried.output
    assert "2 fit" in tried.output
    assert run("rule", "add", "lab", "--when", "mac=52:54:00", "--set", "tags=lab").output == "rule lab is number 1\n"
    run("rule", "add", "first", "--when", "name=n1", "--set", "rack=r1", "--set", "unit=4", "--position", "1")
    assert [row["name"] for row in json.loads(run("rule", "list", "--json").output)] == ["first", "lab"]
    done = run("rule", "apply")
    assert "n1: first: rack r1 unit 4; lab: tags lab" in done.output
    assert "2 of 2 hosts changed" in done.output
    assert "  4  n1 (known)" in run("rack", "show", "r1").output
    assert "rule lab changed" in run("rule", "change", "lab", "--disable", "--when", "name=n*").output
    assert "(disabled)" in run("rule", "show", "lab").output
    assert run("rule", "move", "lab", "1").output == "rule lab is number 1\n"
    run("rule", "remove", "lab")
    assert run("rule", "show", "lab").stderr == "pxeforge: there is no rule 'lab': see `pxeforge rule list`\n"


def test_a_bad_rule_is_refused_in_one_sentence(run: Run) -> None:
    refused = run("rule", "add", "x", "--when", "memory=much", "--set", "tags=a")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "memory: 'much' is no number: write it like 16, >=64G" in refused.stderr
    assert run("rule", "test", "--when", "mac=52").exit_code == 2


def test_many_hosts_are_changed_all_or_none(run: Run) -> None:
    tried = run("host", "set", "--where", "state=known", "--add-tag", "a", "--dry-run")
    assert "2 hosts would be changed" in tried.output
    done = run("host", "set", "n1", "n2", "--add-tag", "a", "disk=first")
    assert "2 hosts changed, 0 are as said already" in done.output
    refused = run("host", "set", "n1", "n2", "--rack", "r1", "--unit", "3")
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.stderr
    assert "n2: n1 stands at r1 unit 3" in refused.stderr
    assert json.loads(run("host", "show", "n1", "--json").output)["settings"] == {"disk": "first"}
    assert "n1 changed" in run("host", "set", "n1", "--rack", "r1", "--unit", "3", "--height", "2").output
    assert run("host", "set", "n1", "n2", "--name", "x").exit_code == 2
    assert run("host", "set", "--add-tag", "x").exit_code == 2


def test_racks_are_told_and_kept_tall_enough(run: Run) -> None:
    run("rack", "set", "r9", "--height", "12", "--note", "by the door")
    assert "r9" in run("rack", "list").output
    too_high = run("host", "set", "n1", "--rack", "r9", "--unit", "12", "--height", "2")
    assert "rack r9 has 12 units" in too_high.stderr
    assert "forgotten" in run("rack", "remove", "r9").output


def test_nics_are_added_moved_and_removed_and_hosts_merged(run: Run) -> None:
    assert f"{ONE}, 52:54:00:00:00:09" in run("host", "nic", "add", "n1", "52-54-00-00-00-09").output
    assert "52:54:00:00:00:09" in run("host", "nic", "move", "52:54:00:00:00:09", "n2").output
    assert f"n2 has the NICs {TWO}" in run("host", "nic", "remove", "52:54:00:00:00:09").output
    assert "Every host is who it says." in run("host", "conflicts").output
    assert f"n1 has the NICs {ONE}, {TWO}" in run("host", "merge", "n1", "n2").output
    assert "there is no open conflict" in run("host", "settle", "12345678").stderr
