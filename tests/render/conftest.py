"""Runs rendered installer scripts in the shells of the trade, with every dangerous command replaced by a recorder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pxeforge.render.answers import AnswersContext

ROOT = Path(__file__).parents[2]
SHELLS = [["sh"]] + ([["busybox", "sh"]] if shutil.which("busybox") else [])
# Shell functions win over applets that busybox has built in, so none of these can ever be the real one. A function
# cannot have a dash in its name: those commands exist in d-i only and are put on PATH.
REPLACED = [
    "anna-install",
    "blkdiscard",
    "blockdev",
    "chroot",
    "curl",
    "debconf-get",
    "debconf-set",
    "in-target",
    "ip",
    "list-devices",
    "logger",
    "mdadm",
    "mount",
    "poweroff",
    "pvs",
    "reboot",
    "sleep",
    "swapoff",
    "sync",
    "udevadm",
    "umount",
    "uname",
    "vgchange",
    "wget",
    "wipefs",
]


@dataclass(frozen=True)
class Ran:
    """How a script ended: exit code, what it printed, and the replaced commands it called, one line each."""

    code: int
    output: str
    calls: list[str]

    def called(self, prefix: str) -> list[str]:
        return [call for call in self.calls if call.startswith(prefix)]


Runner = Callable[..., Ran]


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    """The shell to run scripts with: the system's and busybox (which d-i has)."""
    found: list[str] = request.param
    return found


@pytest.fixture
def run_script(shell: list[str], tmp_path: Path) -> Runner:
    """Returns `run(text, env={}, replies={"list-devices": "echo /dev/vda"})`; replies are shell, the rest succeeds."""

    def run(
        text: str, env: Mapping[str, str] | None = None, replies: Mapping[str, str] | None = None,
        without: Collection[str] = (),
    ) -> Ran:  # fmt: skip
        calls = tmp_path / "calls"
        calls.write_text("")
        programs = tmp_path / "programs"
        programs.mkdir(exist_ok=True)
        prelude = []
        for name in REPLACED:
            if name in without:  # a machine that has no such command
                continue
            body = (replies or {}).get(name, ":")
            recorder = f'echo "{name} $*" >>{calls}\n{body}\n'
            if "-" in name:
                stub = programs / name
                stub.write_text(f'#!/bin/sh\nstub() {{\n{recorder}}}\nstub "$@"\n')
                stub.chmod(0o755)
            else:
                prelude.append(f"{name}() {{\n{recorder}}}")
        script = tmp_path / "script"
        script.write_text("\n".join(prelude) + "\n" + text)
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        done = subprocess.run(
            [*shell, str(script)],
            env={"PATH": f"{programs}:{os.environ['PATH']}", "TMP": str(scratch), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        return Ran(done.returncode, done.stdout, calls.read_text().splitlines())

    return run


@pytest.fixture
def parses(shell: list[str], tmp_path: Path) -> Callable[[str], bool]:
    """Whether the shell can parse the text (`sh -n`)."""

    def check(text: str) -> bool:
        file = tmp_path / "parsed"
        file.write_text(text)
        return subprocess.run([*shell, "-n", str(file)], check=False).returncode == 0

    return check


@pytest.fixture
def preseed_dirs() -> tuple[Path, ...]:
    return (ROOT / "preseed",)


@pytest.fixture
def menu_dirs() -> tuple[Path, ...]:
    return (ROOT / "boot_templates",)


@pytest.fixture
def make_context() -> Callable[..., AnswersContext]:
    """AnswersContext with the few fields that have no default, and whatever the test gives."""

    def make(**fields: object) -> AnswersContext:
        values: dict[str, object] = {
            "hostname": "node1",
            "domain": "rack.example.org",
            "mirror_host": "192.0.2.1:8080",
            "boot_url": "http://192.0.2.1:8080",
            "installer_url": "http://192.0.2.1:8080/installer/t0ken",
        }
        return AnswersContext(**{**values, **fields})  # type: ignore[arg-type]

    return make
