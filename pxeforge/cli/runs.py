"""`pxeforge plan|deploy|verify|run`: from roles to running services."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table
from pxeforge.cli.transport import at

_POLL_S = 1.0
_LIVE = "running"
_GOOD = "succeeded"
_FROM = "Begin at this role, role.task or role.task@host: what stands before it counts as done, and is told."
_NEVER_TOLD = 10
_REMOVES = "Take roles from hosts that had them deployed and no longer have them."


@click.command()
@click.argument("blueprint", required=False)
@click.option("--limit", multiple=True, metavar="HOST", help="Only these hosts.")
@click.option("--remove-unassigned", is_flag=True, help=_REMOVES)
@click.option("--from", "from_step", metavar="STEP", help=_FROM)
@click.option("--dot", is_flag=True, help="As a graph for Graphviz.")
@json_option
@click.pass_obj
def plan(
    session: Any, blueprint: str | None, limit: tuple[str, ...], remove_unassigned: bool, from_step: str | None,
    dot: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show what a deploy would do. Without BLUEPRINT: the roles assigned to the hosts."""
    asked = {"blueprint": blueprint, "limit": list(limit), "remove_unassigned": remove_unassigned}
    found = session.api.call("POST", "/plan", {**asked, **({"from_step": from_step} if from_step else {})})
    if as_json:
        return show_json(found)
    say(found["dot"] if dot else found["text"])
    if from_step:
        _tell_left_out(found["left_out"], from_step)
    for problem in found["problems"]:
        say(f"problem: {problem}")
    for row in [] if remove_unassigned else found["leftover"]:
        say(f"left on {row['host_name']}: {', '.join(row['roles'])}: --remove-unassigned takes it away")
    return None


@click.command()
@click.argument("blueprint", required=False)
@click.option("--check", is_flag=True, help="Dry run: report what would change, change nothing.")
@click.option("--diff", is_flag=True, help="Show differences of files.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only these hosts.")
@click.option("--remove-unassigned", is_flag=True, help=f"{_REMOVES} Look at `pxeforge plan` with it first.")
@click.option("--from", "from_step", metavar="STEP", help=_FROM)
@click.option("--no-wait", is_flag=True, help="Start it and return.")
@json_option
@click.pass_obj
def deploy(
    session: Any,
    blueprint: str | None,
    check: bool,
    diff: bool,
    limit: tuple[str, ...],
    remove_unassigned: bool,
    from_step: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Install the assigned roles on all registered hosts, in the right order."""
    asked = {"blueprint": blueprint, "check": check, "limit": list(limit), "remove_unassigned": remove_unassigned}
    started = session.api.call("POST", "/deploy", {**asked, **({"from_step": from_step} if from_step else {})})
    if from_step and not as_json:
        _tell_left_out(started["left_out"], from_step)
    _follow(session, started, wait=not no_wait, as_json=as_json, diff=diff)


@click.command()
@click.argument("blueprint", required=False)
@click.option("--only", metavar="CHECK", help="Only the checks whose name contains this.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only these hosts.")
@json_option
@click.pass_obj
def verify(session: Any, blueprint: str | None, only: str | None, limit: tuple[str, ...], as_json: bool) -> None:
    """Prove with real operations that the services work."""
    started = session.api.call("POST", "/verify", {"blueprint": blueprint, "only": only, "limit": list(limit)})
    _follow(session, started, wait=True, as_json=as_json, diff=False)


def _tell_left_out(left_out: list[dict[str, Any]], from_step: str) -> None:
    """What a deploy does not do because it begins behind it; on stderr what no deploy ever did."""
    if not left_out:
        return say(f"nothing stands before {from_step}: nothing is left out")
    for one in left_out:
        say(f"left out, as it stands before {from_step}: {one['task']}")
    never = [one["task"] for one in left_out if one["done_at"] is None]
    if never:
        more = f" and {len(never) - _NEVER_TOLD} more" if len(never) > _NEVER_TOLD else ""
        click.echo(
            f"pxeforge: warning: no deploy has done {', '.join(never[:_NEVER_TOLD])}{more} yet: if that is not meant, "
            "deploy without --from",
            err=True,
        )
    return None


def _follow(session: Any, run: dict[str, Any], *, wait: bool, as_json: bool, diff: bool) -> None:
    """Prints each task as it ends; exit code 1 when the run did not succeed."""
    told: set[str] = set()
    begun = {"left_out": run["left_out"]} if "left_out" in run else {}
    while True:
        if not as_json:
            _tell(run, told, diff)
        if run["state"] != _LIVE or not wait:
            break
        time.sleep(_POLL_S)
        run = {**session.api.call("GET", f"/runs/{run['id']}"), **begun}
    if as_json:
        show_json(run)
    elif wait:
        counts = ", ".join(f"{number} {state}" for state, number in sorted(run["counts"].items()))
        say(f"run {run['id']} {_ended(run)}: {counts}")
        _tell_losses(run)
    else:
        say(f"run {run['id']} is {run['state']}: follow it with `pxeforge run show {run['id']}`")
    if wait and run["state"] != _GOOD:
        sys.exit(1)


def _ended(run: dict[str, Any]) -> str:
    return f"{run['state']} with losses" if run.get("losses") else str(run["state"])


def _tell_losses(run: dict[str, Any]) -> None:
    for loss in run.get("losses") or []:
        say(f"  without {loss['host_name']}: {loss['why']}")
    if run.get("losses"):
        say(f"  take them up again with `pxeforge run resume {run['id']}`")


def _tell(run: dict[str, Any], told: set[str], diff: bool) -> None:
    for task in run["tasks"]:
        if task["id"] in told or task["finished_at"] is None:
            continue
        told.add(task["id"])
        took = f"{task['finished_at'] - task['started_at']:.1f} s" if task["started_at"] else "-"
        say(f"{task['host_name']:<16} {task['role'] + ': ' + task['name']:<40} {task['state']:<9} {took}")
        for step in task["result"].get("steps", []):
            if step["status"] == "failed":
                say(f"    {step['name']}: {(step.get('output') or step.get('message', '')).strip()}")
            elif diff and step["status"] == "changed" and not step.get("diff"):
                say(f"    {step['name']} ({step['type']}): {step.get('message', '').strip() or 'changes'}")
            elif diff and step.get("diff"):
                say(f"    {step['name']} ({step['type']}):")
                say("      " + step["diff"].rstrip().replace("\n", "\n      "))


@click.group()
def run() -> None:
    """Runs: deploys and verifications."""


@run.command("list")
@json_option
@click.pass_obj
def list_runs(session: Any, as_json: bool) -> None:
    """List the runs, newest first."""
    rows = session.api.call("GET", "/runs")
    if as_json:
        return show_json(rows)
    rows = [{**row, "state": _ended(row)} for row in rows]
    columns = {"ID": "id", "KIND": "kind", "STATE": "state", "BY": "started_by", "STARTED": "created_at"}
    show_table(rows, columns, empty="No runs yet: `pxeforge deploy` starts one.")
    return None


@run.command("show")
@click.argument("run_id")
@json_option
@click.pass_obj
def show_run(session: Any, run_id: str, as_json: bool) -> None:
    """Show a run task by task, and what each waits for."""
    found = session.api.call("GET", at("/runs/{}", run_id))
    if as_json:
        return show_json(found)
    left = f", about {found['left_s']:.0f} s left" if found.get("left_s") else ""
    say(f"run {found['id']} ({found['kind']}) {_ended(found)}, started {moment(found['created_at'])}{left}")
    _tell_losses(found)
    for task in found["tasks"]:
        say(f"  {task['host_name']:<16} {task['role'] + ': ' + task['name']:<40} {task['state']}{_beside(task)}")
    return None


def _beside(task: dict[str, Any]) -> str:
    """What a task that is not over waits for, or does, and how long it usually takes."""
    usual = f"usually {task['usual_s']:.0f} s" if task.get("usual_s") is not None else ""
    told = [task.get("waiting_for") or "", task.get("said") or "", usual]
    return "".join(f"  {each}" for each in told if each)


@run.command("why")
@click.argument("run_id")
@click.argument("task", required=False)
@json_option
@click.pass_obj
def why_run(session: Any, run_id: str, task: str | None, as_json: bool) -> None:
    """Say why a run, or a TASK of it, is not over: who holds which lease, what was said last, how long it may take."""
    found = session.api.call("GET", at("/runs/{}/why", run_id), query={"task": task} if task else {})
    if as_json:
        return show_json(found)
    say(found["sentence"])
    for one in found["held_by"]:
        usual = f" of usually {one['usual_s']:.0f} s (most {one['most_s']:.0f} s)" if one["usual_s"] is not None else ""
        lease = f", lease for {one['lease_ends_s']:.0f} s more" if one["lease_ends_s"] is not None else ""
        say(f"  {one['task']}: {one['host_name']} has it for {one['running_s']:.0f} s{usual}{lease}")
        if one["said"]:
            say(f"    last said: {one['said']}")
    if found["left_s"]:
        say(f"  about {found['left_s']:.0f} s left, as earlier runs show")
    return None


@run.command()
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True, help="Until the run ends.")
@click.pass_obj
def logs(session: Any, run_id: str, follow: bool) -> None:
    """Print what each step did."""
    told: set[str] = set()
    while True:
        found = session.api.call("GET", at("/runs/{}", run_id))
        for task in found["tasks"]:
            if task["finished_at"] is None or task["id"] in told:
                continue
            told.add(task["id"])
            say(f"== {task['host_name']} {task['role']}: {task['name']}: {task['state']}")
            for step in task["result"].get("steps", []):
                say(f"   {step['name']} ({step['type']}) {step['status']} {step['duration_s']:.1f} s")
                if step.get("output"):
                    say("      " + step["output"].strip().replace("\n", "\n      "))
        if not follow or found["state"] != _LIVE:
            return
        time.sleep(_POLL_S)


@run.command()
@click.argument("run_id")
@click.pass_obj
def cancel(session: Any, run_id: str) -> None:
    """Cancel a run: tasks under way end, no new one starts."""
    say(f"run {run_id} is {session.api.call('POST', at('/runs/{}/cancel', run_id))['state']}")


@run.command()
@click.argument("run_id")
@click.option(
    "--task", metavar="TASK", help="Do this one again, with all that wait for it: e.g. mariadb.install@db-01."
)
@click.pass_obj
def resume(session: Any, run_id: str, task: str | None) -> None:
    """Take up a failed or cancelled run at its first unfinished task."""
    body = {} if task is None else {"task": task}
    _follow(
        session, session.api.call("POST", at("/runs/{}/resume", run_id), body), wait=True, as_json=False, diff=False
    )


COMMANDS = (plan, deploy, verify, run)
