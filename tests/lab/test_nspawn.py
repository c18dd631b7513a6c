"""What can be known of a system without booting one; tests/e2e/test_nspawn_systems.py boots them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.nspawn import NspawnError, System, make_base
from pxeforge.lab.rack import Rack, Site


class Told(Rack):
    """A rack on which debootstrap does what it is told."""

    def __init__(self, code: int) -> None:
        super().__init__("told")
        self.code, self.commands = code, []

    def run(self, command, *, check=True, timeout_s=60):  # type: ignore[no-untyped-def]
        self.commands.append(list(command))
        tree = Path(command[-2])
        for part in ("etc/apt/apt.conf.d", "etc/ssh", "etc/systemd/system"):
            (tree / part).mkdir(parents=True)
        (tree / "etc/ssh/ssh_host_rsa_key").touch()
        return subprocess.CompletedProcess(command, self.code, "I: working", "E: no such suite\n")


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "systemd-nspawn" else program)
    assert nspawn.why_not() == "install the package systemd-container"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert nspawn.why_not() == "systemd-nspawn needs root"


def test_a_tree_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(NspawnError, match=r"debootstrap failed: .*E: no such suite"):
        make_base(Told(1), tmp_path, "trixie", "http://192.0.2.1/debian", Path("/keys"))
    assert not (tmp_path / "trixie").exists()
    rack = Told(0)
    base = make_base(rack, tmp_path, "trixie", "http://192.0.2.1/debian", Path("/keys"))
    assert (base / "etc/apt/sources.list").read_text() == "deb [signed-by=/keys] http://192.0.2.1/debian trixie main\n"
    assert not list((base / "etc/ssh").iterdir())
    assert make_base(rack, tmp_path, "trixie", "http://192.0.2.1/debian", Path("/keys")) == base
    assert len(rack.commands) == 1


def test_what_does_not_run_says_so(tmp_path: Path) -> None:
    site = Site("x", Rack("x").subnet[20], Rack("x").subnet)
    system = System(name="n1", site=site, base=tmp_path / "base", folder=tmp_path / "n1")
    assert not system.is_running
    with pytest.raises(NspawnError, match="n1 does not run"):
        system.run(["true"])
    system.stop()
    system.remove()
