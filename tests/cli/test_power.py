"""`pxeforge power` as an operator types it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.cli.main import main
from pxeforge.services import power_orders
from tests.conftest import ACCOUNT, MAC, write_image

Run = Callable[..., Result]
SWITCH = (
    '#!/bin/sh\necho "$1" >>{0}.log\ncase $1 in status) cat {0};; on|off) echo $1 >{0};; cycle) echo on >{0};; esac\n'
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two hosts, n1 and n2, that a command of the operator's switches; n1 is off."""
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    monkeypatch.setenv("PXEFORGE_OPERATOR_DIR", str(tmp_path / "etc"))
    (tmp_path / "etc").mkdir()
    lines = []
    for name in ("n1", "n2"):
        program = tmp_path / f"switch-{name}"
        program.write_text(SWITCH.format(tmp_path / f"state-{name}"))
        program.chmod(0o755)
        (tmp_path / f"state-{name}").write_text("off")
        lines.append(f"[commands.{name}]")
        lines += [f"{what} = {[str(program), what]!r}" for what in ("on", "off", "cycle", "status", "pxe")]
    (tmp_path / "etc" / "power.toml").write_text("\n".join(lines))

    def call(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words], input=stdin)

    for number, name in enumerate(("n1", "n2")):
        assert call("host", "add", "--mac", f"52:54:00:12:34:{56 + number}", "--name", name).exit_code == 0
        assert call("power", "set", name, "--driver", "command", "--command", name).exit_code == 0
    return call


def test_hosts_are_switched_and_each_is_told(run: Run) -> None:
    assert sorted(run("power", "on", "n1", "n2").output.splitlines()) == ["n1 was switched on", "n2 was switched on"]
    assert run("power", "on", "n1").output == "n1 is on already\n"
    rows = json.loads(run("power", "status", "n1", "n2", "--json").output)
    assert [(row["host"], row["state"], row["error"]) for row in rows] == [("n1", "on", None), ("n2", "on", None)]
    assert "n1" in run("power", "status", "n1").output
    done = run("power", "pxe", "n1").output
    assert done.startswith("n1 was switched off and on again, to boot from the network (it is not armed")
    assert "power pxe asked by root (command)" in run("host", "timeline", "n1").output
    assert run("power", "off", MAC, "--json").exit_code == 0


def test_what_fails_is_an_error_of_its_own_and_the_others_go_on(run: Run) -> None:
    answer = run("power", "on", "n1", "ghost", "n2")
    assert answer.exit_code == 1
    assert sorted(answer.stdout.splitlines()) == ["n1 was switched on", "n2 was switched on"]
    assert answer.stderr == "pxeforge: ghost: no host is known as 'ghost': see `pxeforge host list`\n"
    unknown = run("power", "status", "ghost")
    assert (unknown.exit_code, "unknown" in unknown.stdout, "ghost" in unknown.stderr) == (1, True, True)
    assert run("power", "explode", "n1").exit_code == 2
    assert run("power", "on").exit_code == 2


def test_many_hosts_are_one_order(run: Run) -> None:
    names = [f"m{number}" for number in range(20)]
    answer = run("power", "on", *names, "n1", "n1")
    assert answer.exit_code == 1
    assert answer.stderr.count("\n") == 20
    assert answer.stdout == "n1 was switched on\n"
    rows = json.loads(run("power", "on", *names, "n1", "--json").stdout)
    assert [row["progress"] for row in rows if row["host"] == "n1"] == ["done"]
    status = run("power", "status", *names, "n1", "--json")
    assert len(json.loads(status.stdout)) == 21


def test_what_is_under_way_when_the_command_is_killed_is_in_the_timeline(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "switch-n1"
    program.write_text(f"#!/bin/sh\ncase $1 in status) echo off;; *) touch {tmp_path}/begun; exec sleep 20;; esac\n")
    words = ["--data-dir", str(tmp_path / "data"), "power", "on", "n1"]
    command = subprocess.Popen([sys.executable, "-m", "pxeforge", *words])
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        command.kill()
        command.wait()
    ctx = open_context(Settings(data_dir=tmp_path / "data"), upgrade=False)
    assert power_orders.give_up(ctx) == 1
    ctx.database.close()
    assert "power on ordered by root was broken off: the server ended meanwhile" in run("host", "timeline", "n1").output


def test_a_password_comes_from_standard_input_and_is_nowhere_shown(run: Run) -> None:
    words = ("power", "set", "n1", "--driver", "ipmi", "--address", "10.9.0.17", "--user", "ops")
    refused = run(*words)
    assert (refused.exit_code, "needs the BMC's password" in refused.stderr) == (1, True)
    empty = run(*words, "--password-stdin", stdin="")
    assert (empty.exit_code, "one line of standard input" in empty.stderr) == (1, True)
    done = run(*words, "--password-stdin", stdin="s3cret-BMC\n")
    assert done.output == "power of n1 is reached by ipmi: try `pxeforge power status n1`\n"
    shown = run("host", "show", "n1").output + run("host", "timeline", "n1").output + run("audit").output
    assert "10.9.0.17" in shown
    assert "s3cret-BMC" not in shown
    assert run("secret", "list").output.count("power-") == 1
    assert run("power", "clear", "n1").output == "power of n1 is not reached any more\n"
    assert "power-" not in run("secret", "list").output


def test_an_armed_host_can_be_booted_at_once(run: Run, tmp_path: Path) -> None:
    write_image(tmp_path / "data")
    made = run("profile", "create", "debian-13", "--image", "debian-13", f"accounts={json.dumps([ACCOUNT])}")
    assert made.exit_code == 0, made.stderr
    done = run("host", "arm", "n1", "--profile", "debian-13", "--power")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith("n1 was switched on, to boot from the network\n")
    assert (tmp_path / "state-n1.log").read_text().split() == ["pxe", "status", "on", "status"]
