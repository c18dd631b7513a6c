"""A hundred steps on one host that find everything as it should be: what the agent itself costs."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pxeforge.agent.changes import Changes
from pxeforge.agent.execution import Execution
from pxeforge.agent.task import run_step
from pxeforge.engine.step_types import checked_params

_MIX: Final = {
    "file": 30,
    "ini": 20,
    "line": 10,
    "block": 10,
    "command": 20,
    "packages": 10,
}  # about as roles have them


def hundred_steps(folder: Path) -> list[dict[str, Any]]:
    """Commands stand behind a guard that has to be run; the packages are some that every Debian has."""
    ini = "[DEFAULT]\n" + "".join(f"key{key} = value{key}\n" for key in range(40)) + "[database]\nconnection = x\n"
    settings = {"DEFAULT": {"key3": "value3"}, "database": {"connection": "x"}}
    for name, content in {"ini": ini, "lines": "", "blocks": "", "made": ""}.items():
        (folder / name).write_text(content)
    params: dict[str, Callable[[int], dict[str, Any]]] = {
        "file": lambda n: {"path": f"{folder}/file{n}", "content": "listen = 10.0.0.1\n" * 50},
        "ini": lambda _: {"path": f"{folder}/ini", "settings": settings},
        "line": lambda n: {"path": f"{folder}/lines", "match": f"^line {n}$", "line": f"line {n}"},
        "block": lambda n: {"path": f"{folder}/blocks", "label": f"b{n}", "content": "10.0.0.1 c1\n"},
        "command": lambda _: {"argv": ["false"], "unless": f"test -e {folder}/made"},
        "packages": lambda _: {"names": ["dpkg", "bash", "coreutils"]},
    }
    return [_step(f"{kind}{n}", kind, params[kind](n)) for kind, many in _MIX.items() for n in range(many)]


def _step(name: str, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in checked_params(kind, params).items() if value is not None}
    return {"name": name, "id": f"bench.t.{name}", "type": kind, "params": given}


def measure_steps(folder: Path, times: int) -> float:
    """The median of the seconds that all hundred take, when there is nothing to change."""
    steps = hundred_steps(folder)
    _run(folder, steps)
    took = []
    for _ in range(times):
        began = time.perf_counter()
        statuses = {result["status"] for result in _run(folder, steps)}
        took.append(time.perf_counter() - began)
        if statuses != {"ok"}:
            raise ValueError(f"the second time something was still to be done: {statuses}")
    return statistics.median(took)


def _run(folder: Path, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    changes = Changes(folder / "changes.json")
    execution = Execution(state_folder=folder)
    results = [run_step(step, execution, changes) for step in json.loads(json.dumps(steps))]
    failed = next((result for result in results if result["status"] == "failed"), None)
    if failed is not None:
        raise ValueError(f"{failed['name']} failed: {failed['message']}")
    return results
