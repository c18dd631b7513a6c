"""`pxeforge host import|export`: hosts from and to the table of a spreadsheet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pxeforge.cli.hosts import host
from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json
from pxeforge.cli.transport import Refusal
from pxeforge.services.context import write_whole
from pxeforge.services.host_csv import read_table, write_table


@host.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Show what would change, change nothing.")
@json_option
@click.pass_obj
def import_hosts(session: Any, file: Path, dry_run: bool, as_json: bool) -> None:
    """Add and change hosts as the table FILE (CSV) says: every line, or none.

    Columns: mac (several separated by blanks), name, tags, roles, disk, wipe, loader, address (reserved for the NICs,
    in server mode), rack, unit, height, profile. An empty cell leaves what is there, `-` clears it. `pxeforge host
    export` writes such a table.
    """
    content = _read(file)
    read_table(content)  # what is wrong with the file itself is said before anything is sent
    body = {"csv": content.decode("utf-8-sig"), "dry_run": dry_run}
    rows = session.api.call("POST", "/hosts/import", body)
    if as_json:
        return show_json(rows)
    for row in rows:
        if row["action"] != "none":
            say(f"line {row['line']}: {row['action']} {row['host']}: {_told(row['changes'])}")
    counts = {action: sum(row["action"] == action for row in rows) for action in ("create", "change", "none")}
    done = "would be " if dry_run else ""
    say(
        f"{counts['create']} hosts {done}created, {counts['change']} {done}changed, "
        f"{counts['none']} are as the file says already"
    )
    return None


def _told(changes: dict[str, list[Any]]) -> str:
    """`tags a -> b; roles base`: what was empty before is not said."""
    told = []
    for key, (old, new) in changes.items():
        if old in (None, []) and new in (None, []):
            continue
        told.append(f"{key} {_shown(old)} -> {_shown(new)}" if old not in (None, []) else f"{key} {_shown(new)}")
    return "; ".join(told)


def _shown(value: Any) -> str:
    return "-" if value in (None, [], "") else " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise Refusal(f"there is no file {file}: name the CSV table to import") from None


@host.command("export")
@click.option(
    "--csv", "file", type=click.Path(path_type=Path, allow_dash=True), default="-", show_default=True, metavar="FILE",
    help="Where to; - is stdout.",
)  # fmt: skip
@click.pass_obj
def export_hosts(session: Any, file: Path) -> None:
    """Write the hosts as a table (CSV) that `host import` reads; no cell can be taken for a formula."""
    table = write_table(session.api.call("GET", "/hosts"))
    if str(file) == "-":
        sys.stdout.write(table)
        return
    try:
        write_whole(file, table.encode())
    except OSError as problem:
        raise Refusal(f"{file} cannot be written ({problem.strerror}): choose another place") from None
    say(f"{table.count(chr(10)) - 1} hosts written to {file}")


COMMANDS: tuple[click.Command, ...] = ()  # they are in the group `host`
