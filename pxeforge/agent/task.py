"""Runs the steps of one task: check, change, verify; and says what happened to each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pxeforge.agent.ansible_step import AnsibleStep
from pxeforge.agent.changes import Changes
from pxeforge.agent.command_steps import CommandStep, ProbeStep, WaitStep
from pxeforge.agent.disk_step import DiskStep
from pxeforge.agent.execution import Execution, Interrupted, Rebooting, StepFailed
from pxeforge.agent.fetch_step import FetchStep
from pxeforge.agent.file_steps import BlockStep, FileStep, HostnameStep, IniStep, LineStep, SysctlStep
from pxeforge.agent.keystone_step import KeystoneStep
from pxeforge.agent.module_step import ModuleStep
from pxeforge.agent.network_step import NetworkStep
from pxeforge.agent.openstack_step import OpenstackStep
from pxeforge.agent.package_steps import DebconfStep, PackagesStep
from pxeforge.agent.rabbitmq_step import RabbitmqStep
from pxeforge.agent.reboot_step import RebootStep
from pxeforge.agent.sql_step import SqlStep
from pxeforge.agent.step import Finding, Step
from pxeforge.agent.unit_step import UnitStep
from pxeforge.agent.user_step import UserStep

_CLASSES: tuple[type[Step], ...] = (
    *(PackagesStep, DebconfStep, FileStep, IniStep, LineStep, BlockStep, UnitStep),
    *(CommandStep, HostnameStep, SqlStep, WaitStep, ProbeStep, SysctlStep),
    *(ModuleStep, FetchStep, UserStep, RebootStep, DiskStep, NetworkStep, AnsibleStep),
    *(RabbitmqStep, KeystoneStep, OpenstackStep),
)
STEPS: Mapping[str, type[Step]] = {step.type: step for step in _CLASSES}

_GUARD_S = 60.0  # for the question whether a step is to be done at all (fixes of packages)
_OUTPUT_CHARACTERS = 8000
_DIFF_CHARACTERS = 16000


def run_step(step: Mapping[str, Any], execution: Execution, changes: Changes) -> dict[str, Any]:
    """One step's result: name, id, type, status (ok, changed, failed, waiting), message, duration_s, before and after
    (digests), output and diff, both redacted. Raises Interrupted and Rebooting.

    In a dry run nothing changes: `changed` then means "would change", `waiting` "cannot be told before".
    """
    began = time.monotonic()
    kind, step_id = str(step.get("type")), str(step.get("id") or step.get("name") or step.get("type"))
    result: dict[str, Any] = {
        "name": str(step.get("name") or kind),
        "id": step_id,
        "type": kind,
        "status": "failed",
        "message": "",
        "before": "",
        "after": "",
        "output": "",
        "diff": "",
    }
    try:
        if kind not in STEPS:
            raise StepFailed(f"this agent knows no step type {kind}: install a newer agent")
        built = _build(kind, step, execution, changes, step_id)
        guard = step.get("onlyif")
        if guard and execution.run(["/bin/sh", "-c", str(guard)], timeout_s=_GUARD_S).code != 0:
            result.update(status="ok", message="not needed here")
        else:
            _check_change_verify(built, step_id, execution, changes, result)
    except StepFailed as failure:
        result.update(status="failed", message=str(failure), output=failure.output)
    except (Interrupted, Rebooting):
        raise
    except Exception as error:  # a slip in one step type must not take the agent down
        result.update(status="failed", message=f"{type(error).__name__}: {error}")
    result["message"] = execution.redact(result["message"])
    if result["status"] == "failed":  # whoever shows only the output must still see what went wrong
        result["output"] = "\n".join(part for part in (result["message"], result["output"]) if part)
    result["output"] = execution.redact(result["output"])[:_OUTPUT_CHARACTERS]
    result["diff"] = execution.redact(result["diff"])[:_DIFF_CHARACTERS]
    result["duration_s"] = round(time.monotonic() - began, 3)
    return result


def _build(kind: str, step: Mapping[str, Any], execution: Execution, changes: Changes, step_id: str) -> Step:
    params = step.get("params") or {}
    unknown = set(params) - STEPS[kind].parameters
    if unknown:
        raise StepFailed(f"this agent knows no parameter {', '.join(sorted(unknown))} of {kind}: install a newer agent")
    if kind == "unit":
        return UnitStep(params, execution, step_id, changes)
    return STEPS[kind](params, execution, step_id)


def _check_change_verify(
    step: Step, step_id: str, execution: Execution, changes: Changes, result: dict[str, Any]
) -> None:
    if step.acts_at_once and not execution.check_only:
        _act(step, step_id, changes, result)
        return
    found = step.check()
    result.update(before=found.digest, after=found.digest, message=found.reason, diff=found.diff)
    if not found.needed:
        result.update(status="ok", diff="")
        return
    if found.waiting:
        result["status"] = "waiting"
        return
    # Marked before the change: if we are killed in between, the restart must still happen.
    changes.mark(step_id)
    if execution.check_only:
        result["status"] = "changed"
        return
    result["output"] = step.change(found)
    left: Finding = step.verify()
    result["after"] = left.digest
    if left.needed:
        raise StepFailed(f"after the change it is still not right: {left.reason}", result["output"])
    result["status"] = "changed"


def _act(step: Step, step_id: str, changes: Changes, result: dict[str, Any]) -> None:
    """Marked before, as in `_check_change_verify`; a failure leaves the mark, as something may have changed by then."""
    former = changes.mark(step_id)
    result["message"], result["output"] = step.act()
    if result["message"]:
        result["status"] = "changed"
        return
    changes.put_back(step_id, former)
    result["status"] = "ok"


def status_of(results: list[dict[str, Any]]) -> str:
    """The task's status: failed if any step failed, changed if any changed, else ok."""
    statuses = {result["status"] for result in results}
    return "failed" if "failed" in statuses else "changed" if "changed" in statuses else "ok"


def fill_secrets(value: Any, secrets: Mapping[str, str]) -> Any:
    """A copy of the JSON value with every `@@secret:name@@` that has a value replaced."""
    if isinstance(value, str):
        for name, secret in secrets.items():
            value = value.replace(f"@@secret:{name}@@", secret)
        return value
    if isinstance(value, dict):
        return {key: fill_secrets(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_secrets(item, secrets) for item in value]
    return value


Listener = Callable[[str, str, str], None]  # step name, status, message
