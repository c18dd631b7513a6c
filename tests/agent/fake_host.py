"""A host of the agent's tests: steps run below a folder, with programs of ours in front of the system's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pxeforge.agent.changes import Changes
from pxeforge.agent.execution import Execution
from pxeforge.agent.task import run_step


def do(
    folder: Path, kind: str, params: dict[str, Any], *, secrets: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """The result of one step. With `root=folder` it works below the folder."""
    path_env = f"{folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    execution = Execution(secrets=secrets, state_folder=folder, path_env=path_env, **more)
    step = {"name": "x", "id": "r.t.x", "type": kind, "params": params}
    return run_step(step, execution, Changes(folder / "changes.json"))


def program(folder: Path, name: str, script: str) -> None:
    """A stand-in for a program of the host, which keeps its state in files of the folder."""
    (folder / "bin").mkdir(exist_ok=True)
    file = folder / "bin" / name
    file.write_text(f"#!/bin/sh\ncd {folder}\n{script}")
    file.chmod(0o755)
