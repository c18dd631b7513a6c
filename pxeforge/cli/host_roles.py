"""`pxeforge host assign|unassign`: roles given to hosts and taken from them."""

from __future__ import annotations

from typing import Any

import click

from pxeforge.cli.hosts import host
from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json
from pxeforge.cli.transport import Refusal, at

_words = click.argument("words", nargs=-1, metavar="HOST ROLE... | HOST... --role ROLE")
_roles = click.option("--role", "roles", multiple=True, help="A role (repeatable); every word is a HOST then.")
_where = click.option(
    "--where", metavar="SELECTION", help="Also the hosts that fit, e.g. 'tag=rack1'; the words are ROLEs then."
)


@host.command()
@_words
@_roles
@_where
@json_option
@click.pass_obj
def assign(
    session: Any, words: tuple[str, ...], roles: tuple[str, ...], where: str | None, as_json: bool
) -> None:  # fmt: skip
    """Give roles to a host; with --role to several hosts, with --where to a selection: to all of them or to none."""
    names, wanted = _read(words, roles, where)
    if len(names) == 1 and where is None:
        try:
            found = session.api.call("POST", "/hosts/assign", {"hosts": names, "roles": wanted})
        except Refusal as problem:
            raise _with_hint(problem, words, roles, "assign") from None
        return _tell(found, as_json)
    return _many(session, names, where, {"add_roles": wanted}, as_json)


@host.command()
@_words
@_roles
@_where
@json_option
@click.pass_obj
def unassign(
    session: Any, words: tuple[str, ...], roles: tuple[str, ...], where: str | None, as_json: bool
) -> None:  # fmt: skip
    """Take roles away from a host; with --role from several hosts, with --where from a selection: all or none."""
    names, wanted = _read(words, roles, where)
    if len(names) == 1 and where is None:
        try:
            found = session.api.call("POST", at("/hosts/{}/unassign", names[0]), {"roles": wanted})
        except Refusal as problem:
            raise _with_hint(problem, words, roles, "unassign") from None
        return _tell([found], as_json)
    return _many(session, names, where, {"remove_roles": wanted}, as_json)


def _read(words: tuple[str, ...], roles: tuple[str, ...], where: str | None) -> tuple[list[str], list[str]]:
    """Hosts and roles; raises UsageError."""
    if roles:
        names, wanted = list(words), list(roles)
    elif where:
        names, wanted = [], list(words)
    else:
        names, wanted = list(words[:1]), list(words[1:])
    if not wanted:
        raise click.UsageError("say which roles: HOST ROLE..., or --role ROLE (see `pxeforge role list`)")
    if not names and not where:
        raise click.UsageError("say which hosts: HOST... --role ROLE, or --where SELECTION")
    return names, wanted


def _with_hint(problem: Refusal, words: tuple[str, ...], roles: tuple[str, ...], command: str) -> Refusal:
    """Whoever wrote HOST HOST ROLE is told how that is said."""
    if roles or len(words) < 3 or "role" not in str(problem):  # a host and one role is no misunderstanding
        return problem
    meant = f"pxeforge host {command} {' '.join(words[:-1])} --role {words[-1]}"
    return Refusal(f"{problem}; the first word is the host: for several hosts say `{meant}`")


def _tell(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        return show_json(rows)
    for one in rows:
        say(f"host {one['name'] or one['id']} has the roles {', '.join(one['roles']) or 'none'}")
    return None


def _many(session: Any, names: list[str], where: str | None, changes: dict[str, Any], as_json: bool) -> None:
    body = {"hosts": names, "changes": changes, **({"where": where} if where else {})}
    done = session.api.call("POST", "/hosts/bulk", body)
    if as_json:
        return show_json(done["hosts"])
    for one in done["hosts"]:
        if "roles" in one["changes"]:
            say(f"host {one['host']} has the roles {', '.join(one['changes']['roles'][1]) or 'none'}")
    return say(f"{done['changed']} hosts changed, {done['matched'] - done['changed']} are as said already")


COMMANDS: tuple[click.Command, ...] = ()  # they are in the group `host`
