"""`pxeforge host timeline`, `rescue`, `wipe`, `retire`, `revive` on a data directory without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.cli.main import main
from pxeforge.services import diagnosis_watch, hosts, profiles
from tests.conftest import ACCOUNT, MAC, write_image


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with the host n1 and the profile p."""
    folder = tmp_path / "data"
    ctx = open_context(Settings(data_dir=folder), upgrade=True)
    write_image(folder)
    profiles.create(ctx, "p", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    with ctx.database.write() as session:
        hosts.find(session, "n1").facts = {"disks": [{"name": "sda", "size_bytes": 1, "serial": "A1"}]}
    ctx.database.close()
    return folder


def cli(data_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--data-dir", str(data_dir), *words])


def said(data_dir: Path, *words: str) -> str:
    done = cli(data_dir, *words)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_wipe_names_the_disks_it_will_erase(data_dir: Path) -> None:
    assert "it erases A1" in said(data_dir, "host", "wipe", "n1", "--all-disks", "--yes-wipe", "n1")
    assert '"state": "armed"' in said(data_dir, "host", "show", "n1", "--json")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--yes-wipe", "n1"], "say which disks to erase"),
        (["--all-disks", "--disk", "A1", "--yes-wipe", "n1"], "say which disks to erase"),
        (["--disk", "A1"], "--yes-wipe"),
        (["--disk", "A1", "--yes-wipe", "n2"], "say n1 once more"),
    ],
)
def test_a_wipe_that_is_not_clear_is_refused(data_dir: Path, words: list[str], why: str) -> None:
    done = cli(data_dir, "host", "wipe", "n1", *words)
    assert done.exit_code != 0
    assert why in done.output
    assert '"state": "known"' in said(data_dir, "host", "show", "n1", "--json")


def test_the_stages_of_a_host_are_told_as_a_table_and_as_json(data_dir: Path) -> None:
    assert "never armed" in said(data_dir, "host", "timeline", "n1", "--stages")
    said(data_dir, "host", "rescue", "n1", "--profile", "p")
    assert "running" in said(data_dir, "host", "timeline", "n1", "--stages")
    [stage] = json.loads(said(data_dir, "host", "timeline", "n1", "--stages", "--json"))
    assert (stage["stage"], stage["state"], stage["ended_at"]) == ("armed", "running", None)


def test_a_rescue_is_armed_or_ended_and_not_both(data_dir: Path) -> None:
    assert cli(data_dir, "host", "rescue", "n1").exit_code == 2
    assert cli(data_dir, "host", "rescue", "n1", "--profile", "p", "--done").exit_code == 2
    done = cli(data_dir, "host", "rescue", "n1", "--done")
    assert (done.exit_code, "known cannot take rescue_over" in done.output) == (1, True)


def test_a_host_is_retired_and_brought_back(data_dir: Path) -> None:
    assert "host n1 is retired" in said(data_dir, "host", "retire", "n1", "--why", "sold")
    assert "retired by" in said(data_dir, "host", "timeline", "n1")
    assert "host n1 is known" in said(data_dir, "host", "revive", "n1")


def test_a_timeline_ends_with_what_holds_the_host_up_and_the_remedy(data_dir: Path) -> None:
    last = said(data_dir, "host", "timeline", "n1").splitlines()[-1]
    assert last == "diagnosis: nothing is known to hold n1 up: it is known"
    said(data_dir, "host", "arm", "n1", "--profile", "p")
    ctx = open_context(Settings(data_dir=data_dir), upgrade=True)
    found = hosts.show(ctx, "n1")
    ctx = replace(ctx, clock=lambda: found["armed_until"] - 1)
    diagnosis_watch.look(ctx)
    told = hosts.show(ctx, "n1")["diagnosis"]
    ctx.database.close()
    for words in ((), ("--stages",)):
        last = said(data_dir, "host", "timeline", "n1", *words).splitlines()[-1]
        assert last.startswith(f"diagnosis: {told['sentence']} (since ")
        assert last.endswith(f"): {told['remedy']}")
