"""`pxeforge secret`: generated secrets, their age, and new values for them."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table
from pxeforge.cli.transport import Refusal, at

_DAY_S: Final = 86400
_HOUR_S: Final = 3600
_TOLD: Final = 20


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
    shown = [{**row, "age": _age(row["age_s"])} for row in rows]
    columns = {"NAME": "name", "MADE": "created_at", "AGE": "age"}
    show_table(shown, columns, empty="No secrets yet: a deploy makes what it needs.")
    return None


@secret.command("show")
@click.argument("name")
@click.option("--reveal", is_flag=True, help="Print the clear text (the timeline tells who looked).")
@click.pass_obj
def show_secret(session: Any, name: str, reveal: bool) -> None:
    """Show a secret."""
    if not reveal:
        say(f"{name}: made {moment(_known(session, name)['created_at'])}; add --reveal to see it")
        return
    say(session.api.call("POST", at("/secrets/{}/reveal", name))["value"])


@secret.command("rotate")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def rotate(session: Any, name: str, yes: bool, as_json: bool) -> None:
    """Make a new value; hosts get it with the next deploy, whose tasks are told.

    Until that deploy has ended, services that use the secret go on with the old value.
    """
    if not yes:
        _known(session, name)
        if not sys.stdin.isatty():
            raise click.UsageError(f"a new value for {name} ends the old one: without a terminal say --yes")
        click.confirm(f"Replace {name}? The old value is lost", abort=True, err=True)
    found = session.api.call("POST", at("/secrets/{}/rotate", name))
    if as_json:
        return show_json(found)
    tasks = found["tasks"]
    if not tasks:
        return say(f"{name} has a new value; the last deploy used it nowhere")
    more = f" and {len(tasks) - _TOLD} more" if len(tasks) > _TOLD else ""
    say(f"{name} has a new value. These tasks put it on their hosts: {', '.join(tasks[:_TOLD])}{more}")
    return say(f"Now run: pxeforge deploy{' ' + found['blueprint'] if found['blueprint'] else ''}")


def _known(session: Any, name: str) -> dict[str, Any]:
    """The secret as it is listed; raises Refusal."""
    rows: list[dict[str, Any]] = [row for row in session.api.call("GET", "/secrets") if row["name"] == name]
    if not rows:
        raise Refusal(f"there is no secret {name!r}: see `pxeforge secret list`")
    return rows[0]


def _age(seconds: float) -> str:
    days, rest = divmod(int(seconds), _DAY_S)
    return f"{days} d" if days else f"{rest // _HOUR_S} h"


COMMANDS = (secret,)
