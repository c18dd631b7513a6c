"""Which steps changed something that a unit has not seen yet; kept on disk, so that nothing is lost by a crash."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pxeforge.agent.whole_file import write_json


class Changes:
    """Steps are marked before they change something; a unit that was restarted has seen all marks until then.

    The marks outlive a run: when a run ends between a change and the restart, the next run still restarts the unit.
    With `dry` nothing is written.
    """

    def __init__(self, file: Path, *, dry: bool = False) -> None:
        self._file = file
        self._dry = dry
        self._data: dict[str, Any] = {"serial": 0, "changed": {}, "seen": {}}
        try:
            loaded = json.loads(file.read_text())
        except (OSError, ValueError):
            return
        if isinstance(loaded, dict) and set(loaded) == set(self._data):
            self._data = loaded

    def mark(self, step_id: str) -> int | None:
        """Returns the mark it had, for `put_back`."""
        former: int | None = self._data["changed"].get(step_id)
        self._data["serial"] += 1
        self._data["changed"][step_id] = self._data["serial"]
        self._save()
        return former

    def put_back(self, step_id: str, former: int | None) -> None:
        """Nothing was changed after all."""
        if former is None:
            self._data["changed"].pop(step_id, None)
        else:
            self._data["changed"][step_id] = former
        self._save()

    def unseen(self, references: Iterable[str], unit_step_id: str) -> list[str]:
        """The references (ids of steps or tasks) that changed after the unit's last restart."""
        last = self._data["seen"].get(unit_step_id, 0)
        news = [step_id for step_id, serial in self._data["changed"].items() if serial > last]
        return [ref for ref in references if any(step_id == ref or step_id.startswith(f"{ref}.") for step_id in news)]

    def seen(self, unit_step_id: str) -> None:
        self._data["seen"][unit_step_id] = self._data["serial"]
        self._save()

    def _save(self) -> None:
        if not self._dry:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(self._file, self._data)
