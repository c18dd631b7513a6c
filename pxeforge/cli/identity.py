"""`pxeforge host conflicts|settle|merge|nic`: who is who, and how it is settled."""

from __future__ import annotations

from typing import Any

import click

from pxeforge.cli.hosts import host
from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json
from pxeforge.cli.transport import at


@host.command()
@click.argument("host", required=False)
@click.option("--settled", is_flag=True, help="Also what was accepted.")
@json_option
@click.pass_obj
def conflicts(session: Any, host: str | None, settled: bool, as_json: bool) -> None:
    """What does not fit together: shared identities, NICs and hosts that were moved; with what to do about it."""
    query = {**({"host": host} if host else {}), **({"settled": "true"} if settled else {})}
    rows = session.api.call("GET", "/conflicts", query=query)
    if as_json:
        return show_json(rows)
    for row in rows:
        accepted = f" (accepted by {row['settled_by']})" if row["settled_at"] else ""
        say(f"{row['id']}  {moment(row['since'])}  {row['sentence']}{accepted}")
        if not row["settled_at"]:
            say(f"          {row['remedy']}:")
            for command in row["commands"]:
                say(f"            {command}")
    if not rows:
        say("Every host is who it says.")
    return None


@host.command()
@click.argument("conflict")
@click.pass_obj
def settle(session: Any, conflict: str) -> None:
    """Accept a conflict as it is; it comes back when something about it changes."""
    found = session.api.call("POST", at("/conflicts/{}/settle", conflict))
    say(f"accepted: {found['sentence']}")


@host.command()
@click.argument("host")
@click.argument("other")
@click.pass_obj
def merge(session: Any, host: str, other: str) -> None:
    """Make one host of two: HOST gets the NICs, tags and events of OTHER, and keeps its name, roles and settings."""
    found = session.api.call("POST", at("/hosts/{}/merge", host), {"host": other})
    say(f"host {found['name'] or found['id']} has the NICs {', '.join(found['macs'])}")


@host.group()
def nic() -> None:
    """The NICs of a host."""


@nic.command("add")
@click.argument("host")
@click.argument("mac")
@click.pass_obj
def nic_add(session: Any, host: str, mac: str) -> None:
    """Give a host a further NIC."""
    found = session.api.call("POST", at("/hosts/{}/nics", host), {"mac": mac})
    say(f"host {found['name'] or found['id']} has the NICs {', '.join(found['macs'])}")


@nic.command("move")
@click.argument("mac")
@click.argument("host")
@click.pass_obj
def nic_move(session: Any, mac: str, host: str) -> None:
    """Say that a NIC was put into HOST."""
    found = session.api.call("POST", at("/nics/{}/move", mac), {"host": host})
    say(f"host {found['name'] or found['id']} has the NICs {', '.join(found['macs'])}")


@nic.command("remove")
@click.argument("mac")
@click.pass_obj
def nic_remove(session: Any, mac: str) -> None:
    """Say that a NIC is gone."""
    found = session.api.call("DELETE", at("/nics/{}", mac))
    say(f"host {found['name'] or found['id']} has the NICs {', '.join(found['macs'])}")


COMMANDS: tuple[click.Command, ...] = ()  # they are in the group `host`
