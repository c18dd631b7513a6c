"""`pxeforge status`: services by host and role, since when they are as they are, and what drifted."""

from __future__ import annotations

import sys
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table

_COLUMNS = {
    "HOST": "host_name", "ROLE": "role", "STATE": "state", "SINCE": "since_at", "CHECKED": "checked_at",
    "CHECKS": "told",
}  # fmt: skip


@click.command()
@click.argument("host", required=False)
@click.option("--role", help="Only this role.")
@click.option("--drift", is_flag=True, help="What differs from the last deploy, as the timer's dry run found it.")
@click.option("--deployed", is_flag=True, help="What was deployed where and not removed since.")
@json_option
@click.pass_obj
def status(session: Any, host: str | None, role: str | None, drift: bool, deployed: bool, as_json: bool) -> None:
    """Show the health of services by host and role: what `verify` last said, and since when.

    Exit code 1 when a service is bad, or with --drift when something differs.
    """
    if drift and deployed:
        raise click.UsageError("say either --drift or --deployed")
    if deployed:
        return _deployed(session, as_json)
    bad = _drift(session, as_json) if drift else _health(session, host, role, as_json)
    sys.exit(1 if bad else 0)


def _health(session: Any, host: str | None, role: str | None, as_json: bool) -> bool:
    wanted = {key: value for key, value in (("host", host), ("role", role)) if value}
    rows = session.api.call("GET", "/health", query=wanted)
    if as_json:
        show_json(rows)
        return any(row["state"] == "bad" for row in rows)
    shown = [{**row, "since_at": row["since"], "told": _checks(row)} for row in rows]
    show_table(shown, _COLUMNS, empty="Nothing was verified yet: `pxeforge verify`, or the setting verify_every_s.")
    return any(row["state"] == "bad" for row in rows)


def _checks(row: dict[str, Any]) -> str:
    """Those that are bad with what they said, else how many are good and how much they prove."""
    bad = [
        f"{check['name']}: {check['message'].strip() or 'failed'}" for check in row["checks"] if check["state"] == "bad"
    ]
    if bad:
        return "; ".join(bad)
    levels = [check["level"] for check in row["checks"] if check["level"] is not None]
    return f"{len(row['checks'])} good" + (f", up to level {max(levels)}" if levels else "")


def _drift(session: Any, as_json: bool) -> bool:
    found = session.api.call("GET", "/drift")
    if as_json:
        show_json(found)
    elif found["run"] is None:
        say("No dry run was made by the timer yet: the setting drift_every_s starts them.")
    elif not found["differs"]:
        say(f"nothing differed at {moment(found['at'])}")
    else:
        for one in found["differs"]:
            what = "cannot be looked at" if one["status"] == "failed" else "differs"
            say(f"{one['host_name']} {one['role']}: {one['task']}: {one['step']} {what}: {one['message']}")
            if one["diff"]:
                say("    " + one["diff"].rstrip().replace("\n", "\n    "))
    return bool(found["differs"])


def _deployed(session: Any, as_json: bool) -> None:
    rows = session.api.call("GET", "/deployed")
    if as_json:
        return show_json(rows)
    shown = [{**row, "since_at": row["since"], "last_at": row["at"]} for row in rows]
    columns = {"HOST": "host_name", "ROLE": "role", "SINCE": "since_at", "LAST DEPLOY": "last_at"}
    show_table(shown, columns, empty="Nothing was deployed yet: `pxeforge deploy`.")
    return None


COMMANDS = (status,)
