"""`pxeforge doctor`: preflight before `serve`."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from pxeforge.cli.options import json_option
from pxeforge.cli.output import console_of_stdout, show_json

_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


@click.command()
@click.option("--interface", "interfaces", multiple=True, help="Interface of the boot network (repeatable).")
@click.option("--dhcp", type=click.Choice(["proxy", "server", "off"]), help="Judge for this mode (default: as serve).")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.5, 60), default=5.0, show_default=True, metavar="S",
    help="Seconds to wait for offers on the wire.",
)  # fmt: skip
@json_option
@click.pass_obj
def doctor(session: Any, interfaces: tuple[str, ...], dhcp: str | None, timeout_s: float, as_json: bool) -> None:
    """Examine this computer and its wire before `pxeforge serve`, or a server that runs, as it was started.

    Asks as a plain client and as BIOS, UEFI and HTTP Boot firmware and compares every DHCP and PXE offer; takes none.
    Exit code 1 when there is an error.
    """
    from pxeforge.app.doctor.served import as_served
    from pxeforge.app.doctor.table import examine, has_error

    settings = as_served(session.settings(interfaces=interfaces))
    if dhcp is not None:
        # Not through the flags: server mode can be judged before its range is chosen.
        settings = settings.model_copy(update={"dhcp": dhcp})
    findings = examine(settings, timeout_s)
    rows = [finding.row() for finding in findings]
    if as_json:
        show_json(rows)
    else:
        _show(rows)
    sys.exit(1 if has_error(findings) else 0)


def _show(rows: list[dict[str, Any]]) -> None:
    """A table with what to do below what was seen, and the sum at its end."""
    console = console_of_stdout()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("LEVEL", "CHECK", "ON", "SEEN → WHAT TO DO"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        said = row["seen"] + (f"\n→ {row['advice']}" if row["advice"] else "")
        table.add_row(
            Text(row["level"], style=_STYLES[row["level"]]), row["check"], row["interface"] or "-", Text(said)
        )
    console.print(table)
    count = {level: sum(row["level"] == level for row in rows) for level in ("error", "warning", "note")}
    console.print(Text(", ".join(f"{level}s: {number}" for level, number in count.items())))


COMMANDS = (doctor,)
