from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from pxeforge import __version__
from pxeforge.engine.agent_bundle import build_agent


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = build_agent(tmp_path / "a.pyz"), build_agent(tmp_path / "b.pyz")
    assert first == second == hashlib.sha256((tmp_path / "a.pyz").read_bytes()).hexdigest()
    assert (tmp_path / "a.pyz").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pyz", "b.pyz"]


def test_the_zipapp_runs_alone(tmp_path: Path) -> None:
    build_agent(tmp_path / "agent.pyz")

    def run(*arguments: str, stdin: str = "") -> str:
        command = [sys.executable, "-I", "-S", str(tmp_path / "agent.pyz"), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, cwd="/").stdout

    assert run("--version") == f"pxeforge-agent {__version__}\n"
    assert json.loads(run("facts"))["kernel"]
    step = {"type": "line", "params": {"path": "/x", "line": "@@secret:s@@"}, "secrets": {"s": "hidden"}}
    result = json.loads(
        run("step", "--root", str(tmp_path), "--state", str(tmp_path / "state"), stdin=json.dumps(step))
    )
    assert result["status"] == "changed"
    assert "hidden" not in json.dumps(result)
    assert (tmp_path / "x").read_text() == "hidden\n"
