"""The task in hand, on disk: what is needed to go on, or to report, after a restart or reboot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pxeforge.agent.whole_file import write_json


class Checkpoint:
    """One file, readable by root only (steps may hold secrets), there only while a task is in hand."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = folder / "task.json"

    def load(self) -> dict[str, Any] | None:
        """{"claim": …, "results": […], "starts": how often it was started, "result": final report or None}."""
        try:
            value = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return None
        fits = isinstance(value, dict) and {"claim", "results", "starts", "result"} <= set(value)
        return value if fits else None

    def save(
        self,
        claim: dict[str, Any],
        results: list[dict[str, Any]],
        starts: int,
        result: dict[str, Any] | None = None,
        *,
        durable: bool = True,
    ) -> None:
        """`durable`: after a power cut too. A task that has changed nothing yet may then begin anew."""
        values = {"claim": claim, "results": results, "starts": starts, "result": result}
        write_json(self._file, values, durable=durable)

    def clear(self) -> None:
        self._file.unlink(missing_ok=True)
