"""`pxeforge host arm|disarm|retire|assign|unassign` for one host, several and selections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.cli.main import main
from pxeforge.services import hosts, profiles
from tests.conftest import ACCOUNT, write_image

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """n1 and n2 in rack1, n3 elsewhere; n1 has reported its disk, and p names it."""
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    folder = tmp_path / "data"
    ctx = open_context(Settings(data_dir=folder), upgrade=True)
    write_image(folder)
    profiles.create(ctx, "p", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    for number in (1, 2, 3):
        tags = ["rack1"] if number < 3 else []
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], name=f"n{number}", tags=tags, who="test")
    hosts.change(ctx, "n1", settings={"disk": "serial=A1", "wipe": True}, who="test")
    with ctx.database.write() as session:
        hosts.find(session, "n1").facts = {"disks": [{"name": "sda", "size_bytes": 480 * 10**9, "serial": "A1"}]}
    ctx.database.close()
    return lambda *words: CliRunner().invoke(main, ["--data-dir", str(folder), *words])


def states(run: Run) -> list[str]:
    return [row["state"] for row in json.loads(run("host", "list", "--json").output)]


def test_a_rack_is_armed_by_one_command_that_names_the_disks(run: Run) -> None:
    tried = run("host", "arm", "--where", "tag=rack1", "--profile", "p", "--dry-run")
    assert tried.exit_code == 0, tried.stderr
    assert "host n1 would be armed for p until" in tried.output
    assert "  p overwrites sda (serial A1, 480 GB). It is wiped even if it carries data.\n" in tried.output
    assert "p overwrites the first disk that is not removable" in tried.output  # of n2 nothing is known
    assert states(run) == ["known"] * 3
    armed = run("host", "arm", "n3", "--where", "tag=rack1", "--profile", "p")
    assert [line for line in armed.output.splitlines() if line.startswith("host n3 is armed for p")]
    assert states(run) == ["armed"] * 3
    assert run("host", "disarm", "n1", "n3").output == "host n1 is known\nhost n3 is known\n"
    again = run("host", "disarm", "n2", "n3")
    assert (again.exit_code, "n3: " in again.stderr, states(run)[1]) == (1, True, "armed")


def test_json_tells_each_host_with_its_disks(run: Run) -> None:
    [armed] = json.loads(run("host", "arm", "n1", "--profile", "p", "--json").output)
    [disks] = armed["overwrites"]
    assert (disks["sure"], disks["disks"]) == (True, [{"name": "sda", "serial": "A1", "size_bytes": 480 * 10**9}])
    assert json.loads(run("host", "disarm", "n1", "--json").output)[0]["state"] == "known"


def test_nobody_is_armed_where_one_host_refuses(run: Run) -> None:
    assert run("host", "retire", "--where", "tag=rack1", "--why", "sold").output == (
        "host n1 is retired\nhost n2 is retired\n"
    )
    refused = run("host", "arm", "n2", "n3", "--profile", "p")
    assert (refused.exit_code, "nothing was changed" in refused.stderr, "n2: " in refused.stderr) == (1, True, True)
    assert states(run) == ["retired", "retired", "known"]
    for words in (("arm", "--profile", "p"), ("disarm",), ("retire",)):
        assert run("host", *words).exit_code == 2
    nobody = run("host", "arm", "--where", "tag=nowhere", "--profile", "p")
    assert (nobody.exit_code, "no host fits" in nobody.stderr) == (1, True)


def test_roles_are_given_to_one_host_to_several_and_to_a_selection(run: Run) -> None:
    assert run("host", "assign", "n1", "base").output == "host n1 has the roles base\n"
    wrong = run("host", "assign", "n2", "n3", "base")
    assert wrong.exit_code == 1
    assert "no role 'n3'" in wrong.stderr
    assert "for several hosts say `pxeforge host assign n2 n3 --role base`" in wrong.stderr
    many = run("host", "assign", "n2", "n3", "--role", "base")
    assert many.output == (
        "host n2 has the roles base\nhost n3 has the roles base\n2 hosts changed, 0 are as said already\n"
    )
    rack = run("host", "assign", "--where", "tag=rack1", "mariadb")
    assert "host n1 has the roles base, mariadb\n" in rack.output
    assert "2 hosts changed" in run("host", "unassign", "mariadb", "--where", "tag=rack1").output
    assert "2 hosts changed" in run("host", "unassign", "n1", "n2", "--role", "base").output
    assert [row["roles"] for row in json.loads(run("host", "list", "--json").output)] == [[], [], ["base"]]
    nobody = run("host", "assign", "n1", "n2", "--role", "ghost")
    assert (nobody.exit_code, "there is no role 'ghost'" in nobody.stderr) == (1, True)
    for words in (("n1",), ("--role", "base"), ()):
        assert run("host", "assign", *words).exit_code == 2
