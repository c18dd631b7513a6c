"""`pxeforge plan|deploy|verify|run|secret|blueprint`: from roles to running services."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table
from pxeforge.cli.transport import Refusal, at

_POLL_S = 1.0
_LIVE = "running"
_GOOD = "succeeded"


@click.command()
@click.argument("blueprint", required=False)
@click.option("--limit", multiple=True, metavar="HOST", help="Only these hosts.")
@click.option("--dot", is_flag=True, help="As a graph for Graphviz.")
@json_option
@click.pass_obj
def plan(session: Any, blueprint: str | None, limit: tuple[str, ...], dot: bool, as_json: bool) -> None:
    """Show what a deploy would do. Without BLUEPRINT: the roles assigned to the hosts."""
    found = session.api.call("POST", "/plan", {"blueprint": blueprint, "limit": list(limit)})
    if as_json:
        return show_json(found)
    say(found["dot"] if dot else found["text"])
    for problem in found["problems"]:
        say(f"problem: {problem}")
    return None


@click.command()
@click.argument("blueprint", required=False)
@click.option("--check", is_flag=True, help="Dry run: report what would change, change nothing.")
@click.option("--diff", is_flag=True, help="Show differences of files.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only these hosts.")
@click.option("--no-wait", is_flag=True, help="Start it and return.")
@json_option
@click.pass_obj
def deploy(
    session: Any, blueprint: str | None, check: bool, diff: bool, limit: tuple[str, ...], no_wait: bool, as_json: bool
) -> None:
    """Install the assigned roles on all registered hosts, in the right order."""
    started = session.api.call("POST", "/deploy", {"blueprint": blueprint, "check": check, "limit": list(limit)})
    _follow(session, started, wait=not no_wait, as_json=as_json, diff=diff)


@click.command()
@click.argument("blueprint", required=False)
@click.option("--only", metavar="CHECK", help="Only the checks whose name contains this.")
@json_option
@click.pass_obj
def verify(session: Any, blueprint: str | None, only: str | None, as_json: bool) -> None:
    """Prove with real operations that the services work."""
    started = session.api.call("POST", "/verify", {"blueprint": blueprint, "only": only})
    _follow(session, started, wait=True, as_json=as_json, diff=False)


def _follow(session: Any, run: dict[str, Any], *, wait: bool, as_json: bool, diff: bool) -> None:
    """Prints each task as it ends; exit code 1 when the run did not succeed."""
    told: set[str] = set()
    while True:
        if not as_json:
            _tell(run, told, diff)
        if run["state"] != _LIVE or not wait:
            break
        time.sleep(_POLL_S)
        run = session.api.call("GET", f"/runs/{run['id']}")
    if as_json:
        show_json(run)
    elif wait:
        counts = ", ".join(f"{number} {state}" for state, number in sorted(run["counts"].items()))
        say(f"run {run['id']} {run['state']}: {counts}")
    else:
        say(f"run {run['id']} is {run['state']}: follow it with `pxeforge run show {run['id']}`")
    if wait and run["state"] != _GOOD:
        sys.exit(1)


def _tell(run: dict[str, Any], told: set[str], diff: bool) -> None:
    for task in run["tasks"]:
        if task["id"] in told or task["finished_at"] is None:
            continue
        told.add(task["id"])
        took = f"{task['finished_at'] - task['started_at']:.1f} s" if task["started_at"] else "-"
        say(f"{task['host_name']:<16} {task['role'] + ': ' + task['name']:<40} {task['state']:<9} {took}")
        for step in task["result"].get("steps", []):
            if step["status"] == "failed":
                say(f"    {step['name']}: {step.get('output', '').strip()}")
            elif diff and step.get("diff"):
                say("    " + step["diff"].replace("\n", "\n    "))


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
    say(f"run {found['id']} ({found['kind']}) {found['state']}, started {moment(found['created_at'])}")
    for task in found["tasks"]:
        waiting = f"  {task['waiting_for']}" if task.get("waiting_for") else ""
        say(f"  {task['host_name']:<16} {task['role'] + ': ' + task['name']:<40} {task['state']}{waiting}")
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


@click.group()
def secret() -> None:
    """Generated secrets."""


@secret.command("list")
@json_option
@click.pass_obj
def list_secrets(session: Any, as_json: bool) -> None:
    """List names and ages; never values."""
    rows = session.api.call("GET", "/secrets")
    if as_json:
        return show_json(rows)
    show_table(rows, {"NAME": "name", "MADE": "created_at"}, empty="No secrets yet: a deploy makes what it needs.")
    return None


@secret.command("show")
@click.argument("name")
@click.option("--reveal", is_flag=True, help="Print the clear text (the timeline tells who looked).")
@click.pass_obj
def show_secret(session: Any, name: str, reveal: bool) -> None:
    """Show a secret."""
    if not reveal:
        rows = [row for row in session.api.call("GET", "/secrets") if row["name"] == name]
        if not rows:
            raise Refusal(f"there is no secret {name!r}: see `pxeforge secret list`")
        say(f"{name}: made {moment(rows[0]['created_at'])}; add --reveal to see it")
        return
    say(session.api.call("POST", at("/secrets/{}/reveal", name))["value"])


@click.group()
def blueprint() -> None:
    """Topologies: which roles on which hosts, with variables."""


@blueprint.command("list")
@json_option
@click.pass_obj
def list_blueprints(session: Any, as_json: bool) -> None:
    """List the blueprints."""
    rows = session.api.call("GET", "/blueprints")
    if as_json:
        return show_json(rows)
    show_table(rows, {"NAME": "name", "SUMMARY": "summary"}, empty="No blueprints found.")
    return None


COMMANDS = (plan, deploy, verify, run, secret, blueprint)
