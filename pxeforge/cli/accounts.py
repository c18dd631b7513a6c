"""`pxeforge user …`, `pxeforge token …` and `pxeforge audit`: who may come in, and what they did."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from pxeforge.cli.durations import duration_s
from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table
from pxeforge.cli.transport import Refusal, at
from pxeforge.domain.user_role import UserRole

_ROLES = click.Choice([role.value for role in UserRole])
_PAGE = 1000
_FOR_ONCE = "; the next login asks for another password"


@click.group()
def user() -> None:
    """Users who may log in, and their API tokens."""


def _password() -> str:
    """Asked twice on a terminal, one line of standard input elsewhere: never on the command line. Raises Refusal."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        command = click.get_current_context().command_path.partition(" ")[2]
        raise Refusal(
            "no password was given: without a terminal it is one line of standard input, e.g. "
            f"`pxeforge {command} … < FILE`"
        )
    return line


@user.command("list")
@json_option
@click.pass_obj
def list_users(session: Any, as_json: bool) -> None:
    """List the users."""
    rows = session.api.call("GET", "/users")
    if as_json:
        return show_json(rows)
    for row in rows:
        row["disabled"] = "disabled" if row["disabled"] else None
    show_table(
        rows, {"NAME": "name", "ROLE": "role", "SINCE": "created_at", "DISABLED": "disabled"},
        empty="No users yet: the first `pxeforge serve` makes one.",
    )  # fmt: skip
    return None


@user.command()
@click.argument("name")
@click.option("--role", type=_ROLES, default="viewer", show_default=True, help="What the user may do.")
@click.option("--for-good", is_flag=True, help="The user may keep this password.")
@click.pass_obj
def add(session: Any, name: str, role: str, for_good: bool) -> None:
    """Add a user; the password, for the first login only, is asked, or read from standard input."""
    body = {"name": name, "password": _password(), "role": role, "must_change": not for_good}
    session.api.call("POST", "/users", body)
    say(f"user {name} added as {role}{_FOR_ONCE if not for_good else ''}")


@user.command("role")
@click.argument("name")
@click.argument("role", type=_ROLES)
@click.pass_obj
def set_role(session: Any, name: str, role: str) -> None:
    """Say what a user may do; counts at once."""
    session.api.call("PATCH", at("/users/{}", name), {"role": role})
    say(f"user {name} is {role}")


@user.command()
@click.argument("name", required=False)
@click.option("--for-good", is_flag=True, help="The user may keep this password.")
@click.pass_obj
def passwd(session: Any, name: str | None, for_good: bool) -> None:
    """Set a user's password, for the next login only, and end the user's sessions. Without NAME: your own."""
    if name is None:
        if not isinstance(session.login, tuple):
            raise Refusal("root has no password here: say whose is meant, or log in with --server URL --user NAME")
        session.api.call("POST", "/me/password", {"password": _password()})
        return say("your password is changed")
    body = {"password": _password(), **({"must_change": False} if for_good else {})}
    done = session.api.call("POST", at("/users/{}/password", name), body)
    return say(f"password of {name} changed{_FOR_ONCE if done['must_change'] else ''}")


@user.command()
@click.argument("name")
@click.pass_obj
def logout(session: Any, name: str) -> None:
    """End the user's sessions on the pages; API tokens go on."""
    ended = session.api.call("POST", at("/users/{}/logout", name))["sessions"]
    say(f"user {name} logged out of {ended} browser{'' if ended == 1 else 's'}")


@user.command()
@click.argument("name")
@click.pass_obj
def disable(session: Any, name: str) -> None:
    """Let nobody in as this user: sessions end, API tokens do not count, until `user enable`."""
    session.api.call("POST", at("/users/{}/disable", name))
    say(f"user {name} is disabled: sessions have ended, API tokens do not count")


@user.command()
@click.argument("name")
@click.pass_obj
def enable(session: Any, name: str) -> None:
    """Let a disabled user in again, with the password and the API tokens of before."""
    session.api.call("POST", at("/users/{}/enable", name))
    say(f"user {name} may log in again")


@user.command()
@click.argument("name")
@click.pass_obj
def remove(session: Any, name: str) -> None:
    """Remove a user, with sessions and API tokens."""
    session.api.call("DELETE", at("/users/{}", name))
    say(f"user {name} removed")


@click.group()
def token() -> None:
    """API tokens: a way in for programs, with no more rights than they need."""


@token.command()
@click.option("--name", required=True, help="What it is for, e.g. ci.")
@click.option(
    "--role", type=_ROLES, default="viewer", show_default=True, help="What it may do: at most what its user may."
)
@click.option(
    "--expires", default="90d", show_default=True, metavar="TIME", help="When it ends, e.g. 12h or 30d; 366d at most."
)
@click.option("--of", "owner", metavar="USER", help="Whose it is [default: whoever makes it; root's on the socket].")
@json_option
@click.pass_obj
def create(session: Any, name: str, role: str, expires: str, owner: str | None, as_json: bool) -> None:
    """Make an API token and show it once; programs send it as `Authorization: Bearer …`."""
    body = {"name": name, "role": role, "for_s": duration_s(expires), "user": owner}
    made = session.api.call("POST", "/tokens", {key: value for key, value in body.items() if value is not None})
    if as_json:
        return show_json(made)
    say(made["token"])
    click.echo(
        f"{made['role']} token {made['name']} of {made['user']}, until {moment(made['expires_at'])}; "
        "it is not shown again",
        err=True,
    )
    return None


@token.command("list")
@json_option
@click.pass_obj
def list_tokens(session: Any, as_json: bool) -> None:
    """List your API tokens; an admin sees everybody's."""
    rows = session.api.call("GET", "/tokens")
    if as_json:
        return show_json(rows)
    show_table(
        [{**row, "role": "expired" if row["expired"] else row["role"]} for row in rows],
        {"ID": "id", "NAME": "name", "USER": "user", "ROLE": "role", "EXPIRES": "expires_at", "USED": "used_at"},
        empty="No tokens yet: `pxeforge token create --name ci` makes one.",
    )
    return None


@token.command()
@click.argument("token")
@click.pass_obj
def revoke(session: Any, token: str) -> None:
    """End a token at once; TOKEN is its id, or its name where only one has it."""
    gone = session.api.call("DELETE", at("/tokens/{}", token))
    say(f"token {gone['name']} of {gone['user']} revoked")


user.add_command(token)


@click.command()
@click.option("--who", metavar="NAME", help="Only what this user (or root) did.")
@click.option("--kind", metavar="KIND", help="Only this kind of change, e.g. arm.")
@click.option("--host", metavar="HOST", help="Only changes of this host.")
@click.option("--via", metavar="WAY", help="Only through: session, password, token, local.")
@click.option("--address", help="Only from this address.")
@click.option("--since", metavar="TIME", help="Only the last while, e.g. 2h or 7d.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many entries.")
@json_option
@click.pass_obj
def audit(session: Any, /, since: str | None, limit: int, as_json: bool, **conditions: str | None) -> None:
    """Who changed what, from where, newest first; `--json` tells before and after."""
    query: dict[str, Any] = {key: value for key, value in conditions.items() if value is not None}
    if since is not None:
        query["since"] = time.time() - duration_s(since)
    rows: list[dict[str, Any]] = []
    while len(rows) < limit:
        asked = min(limit - len(rows), _PAGE)
        page = session.api.call("GET", "/audit", query={**query, "limit": asked})
        rows += page
        if len(page) < asked:
            break
        query["before"] = page[-1]["id"]
    if as_json:
        return show_json(rows)
    show_table(
        [{**row, "done_at": row["at"]} for row in rows],
        {"AT": "done_at", "WHO": "who", "VIA": "via", "FROM": "address", "WHAT": "kind", "TOLD": "message"},
        empty="Nothing fits: take a condition away.",
    )  # fmt: skip
    return None


COMMANDS = (user, token, audit)
