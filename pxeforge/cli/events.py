"""`pxeforge events`: what happened to all hosts, and what happens."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from pxeforge.cli.durations import duration_s
from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table

_MOST = 1000


@click.command()
@click.option("--host", metavar="HOST", help="Only what happened to this host.")
@click.option("--source", metavar="SOURCE", help="Only from: dhcp, tftp, http, installer, agent, engine, operator, …")
@click.option("--kind", metavar="KIND", help="Only this kind of event, e.g. netboot.")
@click.option("--run", metavar="RUN", help="Only what this run did.")
@click.option("--since", metavar="TIME", help="Only the last while, e.g. 2h or 7d.")
@click.option(
    "--limit", type=click.IntRange(0, _MOST), default=50, show_default=True, help="At most so many past ones."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@json_option
@click.pass_obj
def events(
    session: Any, /, since: str | None, limit: int, follow: bool, as_json: bool, **conditions: str | None
) -> None:  # fmt: skip
    """Show what happened, the newest last; with `--follow --json` one object per line."""
    query: dict[str, Any] = {key: value for key, value in conditions.items() if value is not None}
    past = {**query, "limit": max(limit, 1), **({"since": time.time() - duration_s(since)} if since else {})}
    rows = session.api.call("GET", "/events", query=past)[:limit]
    rows.reverse()
    if not follow:
        return _show(rows, as_json)
    last_id = rows[-1]["id"] if rows else None
    for row in rows:
        _line(row, as_json)
    try:
        for row in session.api.follow("/events/stream", query, last_id):
            _line(row, as_json)
    except KeyboardInterrupt:
        return None


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        return show_json(rows)
    show_table(
        [{**row, "done_at": row["at"]} for row in rows],
        {"AT": "done_at", "SOURCE": "source", "WHAT": "kind", "WHO": "who", "TOLD": "message"},
        empty="Nothing fits: take a condition away.",
    )  # fmt: skip
    return None


def _line(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(row, sort_keys=True) + "\n")
        sys.stdout.flush()
        return
    say(f"{moment(row['at'])}  {row['source']}.{row['kind']}  {row['message']}")


COMMANDS = (events,)
