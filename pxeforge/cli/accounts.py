"""`pxeforge user …`."""

from __future__ import annotations

import sys
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json, show_table
from pxeforge.cli.transport import at


@click.group()
def user() -> None:
    """Operators who may log in."""


def _password() -> str:
    """Asked twice on a terminal, one line of standard input elsewhere: never on the command line."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


@user.command("list")
@json_option
@click.pass_obj
def list_users(session: Any, as_json: bool) -> None:
    """List the users."""
    rows = session.api.call("GET", "/users")
    if as_json:
        return show_json(rows)
    show_table(
        rows, {"NAME": "name", "SINCE": "created_at"}, empty="No users yet: the first `pxeforge serve` makes one."
    )
    return None


@user.command()
@click.argument("name")
@click.pass_obj
def add(session: Any, name: str) -> None:
    """Add a user; the password is asked, or read from standard input."""
    session.api.call("POST", "/users", {"name": name, "password": _password()})
    say(f"user {name} added")


@user.command()
@click.argument("name")
@click.pass_obj
def passwd(session: Any, name: str) -> None:
    """Set a user's password and end the user's sessions."""
    session.api.call("POST", at("/users/{}/password", name), {"password": _password()})
    say(f"password of {name} changed")


@user.command()
@click.argument("name")
@click.pass_obj
def remove(session: Any, name: str) -> None:
    """Remove a user."""
    session.api.call("DELETE", at("/users/{}", name))
    say(f"user {name} removed")


COMMANDS = (user,)
