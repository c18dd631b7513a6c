"""Two minutes of machines, operators and accidents on a running server: whatever was promised holds afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("gcc") is None, reason="needs root for network namespaces, and gcc"
)


def test_everything_holds_after_two_minutes_of_boots_edits_and_accidents() -> None:
    # Not in tmp_path: with several processes of pytest it is too long for the path of a unix socket.
    command = [sys.executable, "-m", "tests.soak", "--minutes", "2", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything held" in done.stdout
