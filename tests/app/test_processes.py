from __future__ import annotations

import os
import subprocess
import sys

from pxeforge.app.processes import PARENT_VARIABLE

CODE = "from pxeforge.app.processes import die_with_parent; die_with_parent(); print('serves')"


def child(parent: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, PARENT_VARIABLE: str(parent)}
    return subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=False)


def test_a_child_serves_under_its_supervisor() -> None:
    assert child(os.getpid()).stdout == "serves\n"


def test_a_child_whose_supervisor_was_killed_before_it_could_ask_to_die_with_it_ends_itself() -> None:
    ended = child(os.getppid())
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "the supervisor is gone" in ended.stderr
