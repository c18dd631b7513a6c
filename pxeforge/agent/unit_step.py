"""The unit step: a systemd unit enabled, running, restarted when needed, and still active after it has settled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pxeforge.agent.changes import Changes
from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.step import Finding, Step

_PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "InvocationID", "NeedDaemonReload")
_ASKED_AGAIN_S = (1.0, 5.0)
_BECOMING = frozenset({"activating", "reloading"})


class UnitStep(Step):
    """`restart_on` names steps and tasks whose changes this unit has to see."""

    type = "unit"
    parameters = frozenset({"name", "running", "enabled", "restart_on", "settle_s"})

    def __init__(
        self, params: Mapping[str, Any], execution: Execution, step_id: str = "", changes: Changes | None = None
    ) -> None:
        super().__init__(params, execution, step_id)
        self._changes = changes

    def check(self) -> Finding:
        state = self._show()
        problems = []
        wanted_running, wanted_enabled = self.params.get("running"), self.params.get("enabled")
        if state["LoadState"] in ("not-found", "") and (wanted_running or wanted_enabled):
            problems.append("does not exist")
        if wanted_running is not None and (state["ActiveState"] == "active") != wanted_running:
            problems.append(f"is {state['ActiveState']}")
        if wanted_running is False and state["ActiveState"] == "failed":
            problems.append("is failed")
        if wanted_enabled is not None and (state["UnitFileState"] in ("enabled", "alias", "static")) != wanted_enabled:
            problems.append(f"is {state['UnitFileState'] or 'not enabled'}")
        causes = self._causes()
        if causes:
            problems.append(f"has not seen the changes of {', '.join(causes)}")
        digested = {key: state[key] for key in ("ActiveState", "UnitFileState", "InvocationID")}
        return Finding(bool(problems), digested, f"{self.params['name']} {', '.join(problems)}" if problems else "")

    def _causes(self) -> list[str]:
        if self._changes is None:
            return []
        return self._changes.unseen(self.params.get("restart_on") or (), self.step_id)

    def change(self, found: Finding) -> str:  # noqa: ARG002
        state = self._show()
        name = self.params["name"]
        if state["NeedDaemonReload"] == "yes" or state["LoadState"] == "not-found":
            self._systemctl("daemon-reload")
        if self.params.get("enabled") is not None:
            self._systemctl("enable" if self.params["enabled"] else "disable", name)
        if self.params.get("running") is True:
            if self._causes() and state["ActiveState"] in ("active", *_BECOMING):
                self._systemctl("restart", name)
            elif state["ActiveState"] != "active":
                self.execution.run(["systemctl", "reset-failed", name])  # else its start limit may refuse
                self._systemctl("start", name)
            self._settle()
            if self._changes is not None:
                self._changes.seen(self.step_id)
        elif self.params.get("running") is False:
            if state["ActiveState"] != "failed":
                self._systemctl("stop", name)
            # A service that ends badly when it is told to would be called failed, even when its package is gone.
            self.execution.run(["systemctl", "reset-failed", name])
        return ""

    def _settle(self) -> None:
        """Fails when the unit is not active now and, by the same start, until settle_s later."""
        first: dict[str, str] | None = None
        end = time.monotonic() + float(self.params.get("settle_s", 8.0))
        while first is None or time.monotonic() < end:
            state = self._show()
            if state["ActiveState"] == "active":
                first = first or state
                if any(first[key] != state[key] for key in ("InvocationID", "NRestarts")):
                    self._give_up(f"{self.params['name']} did not stay active: systemd had to restart it")
            elif first is not None or state["ActiveState"] not in _BECOMING or state["SubState"] == "auto-restart":
                verb = "become" if first is None else "stay"
                self._give_up(f"{self.params['name']} did not {verb} active: it is {state['ActiveState']}")
            self.execution.pause(0.25)

    def _systemctl(self, verb: str, *names: str) -> None:
        ran = self.execution.run(["systemctl", verb, *names])
        if ran.code != 0:
            self._give_up(f"systemctl {' '.join((verb, *names))} did not succeed", ran.output)

    def _give_up(self, message: str, printed: str = "") -> None:
        status = self.execution.run(["systemctl", "status", "--no-pager", "--full", "--lines=25", self.params["name"]])
        raise StepFailed(message, "\n".join(part for part in (printed, status.output) if part))

    def _show(self) -> dict[str, str]:
        command = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", self.params["name"]]
        ran = self.execution.run(command)
        for pause_s in _ASKED_AGAIN_S:  # a systemd that executes itself anew, or is very slow, drops who asks
            if ran.code == 0:
                break
            self.execution.pause(pause_s)
            ran = self.execution.run(command)
        if ran.code != 0:
            raise StepFailed(f"systemctl cannot tell the state of {self.params['name']}", ran.output)
        found = dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line)
        return {key: found.get(key, "") for key in _PROPERTIES}
