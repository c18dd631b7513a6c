"""Power by a command of the operator's: real programs, no shell, and nothing a host could slip in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services import hosts, power
from pxeforge.services.context import Context
from pxeforge.services.power_command import Command
from pxeforge.services.power_driver import Deadline, PowerFault, Target
from pxeforge.services.problems import Problem
from tests.conftest import MAC


@pytest.fixture
def pdu(tmp_path: Path) -> Path:
    """A program that keeps the state of an outlet in a file and writes down how it was called."""
    program = tmp_path / "pdu"
    program.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")\nfor word; do printf \'<%s>\' "$word" >>"$here/calls"; done\n'
        'echo >>"$here/calls"\nenv >"$here/environment"\n'
        'case $2 in status) cat "$here/state";; on|off) echo $2 >"$here/state";; esac\n'
    )
    program.chmod(0o755)
    (tmp_path / "state").write_text("off\n")
    return program


def configure(ctx: Context, program: Path, **options: str) -> None:
    words = {what: [str(program), "{outlet}", what] for what in ("on", "off", "status")}
    lines = "\n".join(f"{what} = {argv!r}" for what, argv in words.items())
    ctx.operator_dir.mkdir(exist_ok=True)
    (ctx.operator_dir / "power.toml").write_text(f"[commands.pdu]\n{lines}\n")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    settings = {"driver": "command", "command": "pdu", "options": options}
    power.set_power(ctx, "n1", settings, password="s3cret", who="root")


def test_a_host_is_switched_by_the_operators_program(
    ctx: Context, pdu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PXEFORGE_TOKEN", "ours")
    configure(ctx, pdu, outlet="7")
    assert power.describe(ctx, "n1")["can"] == ["cycle", "off", "on", "status"]
    assert power.status(ctx, "n1")["state"] == "off"
    assert power.act(ctx, "n1", "on", who="eve")["message"] == "n1 was switched on"
    assert power.act(ctx, "n1", "off", who="eve")["state"] == "off"
    assert (tmp_path / "calls").read_text().splitlines()[2] == "<7><on>"
    environment = (tmp_path / "environment").read_text()
    assert "PXEFORGE_POWER_PASSWORD=s3cret\n" in environment
    assert "ours" not in environment
    with pytest.raises(Problem, match=r"cannot do pxe, only .*set netboot=always"):
        power.act(ctx, "n1", "pxe", who="eve")


@pytest.mark.parametrize("value", ["-f", "a b", "$(id)", "a;b", "", "x\ny", "ü"])
def test_an_option_that_could_mean_more_than_itself_is_refused(ctx: Context, pdu: Path, value: str) -> None:
    with pytest.raises(Problem, match="option outlet may hold"):
        configure(ctx, pdu, outlet=value)


def test_names_of_options_are_not_those_of_what_is_known_anyhow(ctx: Context, pdu: Path) -> None:
    with pytest.raises(Problem, match="'mac' is no name for an option"):
        configure(ctx, pdu, mac="x")


def test_a_missing_option_and_a_command_that_is_gone_are_said(ctx: Context, pdu: Path) -> None:
    configure(ctx, pdu)
    with pytest.raises(PowerFault, match="needs outlet: set it with --option outlet="):
        power.act(ctx, "n1", "on", who="eve")
    (ctx.operator_dir / "power.toml").write_text("")
    with pytest.raises(Problem, match=r"power\.toml has no command pdu any more"):
        power.act(ctx, "n1", "on", who="eve")
    assert power.describe(ctx, "n1")["can"] == []


def command(argv: list[str], seconds: float = 10, **settings: Any) -> Command:
    target = Target(
        host_id="a" * 12, label="n1", macs=(MAC,), uefi=None, driver="command", password=None,
        settings={"command": "pdu", **settings},
    )  # fmt: skip
    return Command(target, dict.fromkeys(PowerAbility, tuple(argv)), Deadline(seconds))


def test_a_program_that_fails_is_told_in_its_own_words() -> None:
    with pytest.raises(PowerFault, match=r"pdu failed to do off \(3\): the lid is open$"):
        command(["/bin/sh", "-c", "echo the lid is open >&2; exit 3"]).switch_off(soft=False)
    with pytest.raises(PowerFault, match="/nonexistent cannot be started"):
        command(["/nonexistent"]).switch_on()
    assert command(["/bin/sh", "-c", "echo perhaps"]).state() is PowerState.UNKNOWN
    assert command(["/bin/sh", "-c", ":"]).state() is PowerState.UNKNOWN


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/child; wait"
    with pytest.raises(PowerFault, match="did not end in time"):
        command(["/bin/sh", "-c", script], seconds=0.5).switch_on()
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < end, "the child of the program lives on"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
