"""The reboot step: reboots once when its `unless` does not hold; the task goes on after it, with `unless` true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import Rebooting, StepFailed
from pxeforge.agent.step import Finding, Step
from pxeforge.agent.whole_file import write_json

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class RebootStep(Step):
    """The record of the reboot in hand stands in the agent's state folder; with it the host does not reboot twice."""

    type = "reboot"
    parameters = frozenset({"reason", "unless"})

    def check(self) -> Finding:
        record = self._record()
        if record is not None and record["boot_id"] != self._boot_id():
            return Finding(True, "rebooted", f"the host was rebooted: {self.params['reason']}")
        needed = not self._holds()
        return Finding(needed, ["unless", not needed], f"a reboot is needed: {self.params['reason']}" if needed else "")

    def change(self, found: Finding) -> str:
        if found.state == "rebooted":
            self._file().unlink(missing_ok=True)  # a failure from here on may be tried again by hand
            return "rebooted"
        if self.execution.state_folder is None:
            raise StepFailed("this agent keeps no state: it cannot go on after a reboot")
        write_json(self._file(), {"step": self.step_id, "boot_id": self._boot_id()})
        ran = self.execution.run(["systemctl", "reboot"], timeout_s=60)
        if ran.code != 0:
            self._file().unlink(missing_ok=True)
            raise StepFailed("systemctl reboot did not succeed", ran.output)
        raise Rebooting(str(self.params["reason"]))

    def verify(self) -> Finding:
        holds = self._holds()
        reason = "" if holds else f"the host was rebooted, but `unless` ({self.params['unless']}) still fails"
        return Finding(not holds, ["unless", holds], reason)

    def _holds(self) -> bool:
        return self.execution.run(["/bin/sh", "-c", self.params["unless"]], timeout_s=300).code == 0

    def _boot_id(self) -> str:
        return self.execution.path(_BOOT_ID).read_text().strip()

    def _file(self) -> Path:
        assert self.execution.state_folder is not None
        return self.execution.state_folder / "reboot.json"

    def _record(self) -> dict[str, Any] | None:
        """What we wrote before a reboot for this very step."""
        if self.execution.state_folder is None:
            return None
        try:
            record = json.loads(self._file().read_text())
        except (OSError, ValueError):
            return None
        fits = isinstance(record, dict) and record.get("step") == self.step_id and "boot_id" in record
        return record if fits else None
