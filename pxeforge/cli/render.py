"""`pxeforge render`: what a host would be given, and how that differs from another host, profile or earlier arming."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from pxeforge.cli.options import json_option
from pxeforge.cli.output import printable, say, show_json
from pxeforge.cli.transport import at

_TEXTS = [
    "menu", "menu.pxelinux", "menu.lpxelinux", "menu.grub", "kernel-args", "answers", "early", "disks", "late",
    "meta-data", "vendor-data",
]  # fmt: skip
_SAMPLE = "-"
_COLOURS = (("@@", "cyan"), ("+++", "bold"), ("---", "bold"), ("+", "green"), ("-", "red"))


@click.command()
@click.argument("host")
@click.argument("what", type=click.Choice(_TEXTS))
@click.option("--profile", help="As if armed for this profile.")
@click.option("--attempt", metavar="ID", help="As in an earlier arming: see `pxeforge host attempts HOST`.")
@click.option(
    "--diff",
    "other",
    is_flag=False,
    flag_value="",
    metavar="[OTHERHOST]",
    help="Compare with another host; without its name, what HOST is armed with now (or was last) with --profile or "
    "--attempt.",
)
@json_option
@click.pass_obj
def render(
    session: Any, host: str, what: str, profile: str | None, attempt: str | None, other: str | None, as_json: bool
) -> None:
    """Print what a host would be given. Tokens are left out, password hashes are marks: equal ones for equal hashes.

    HOST `-` is a host that has nothing of its own: it needs --profile. Without --profile and --attempt: what the host
    is armed with now.
    """
    _check_usage(host, profile, attempt, other)
    chosen = {key: value for key, value in (("profile", profile), ("attempt", attempt)) if value}
    if other is None:
        if host == _SAMPLE:
            found = session.api.call("GET", at("/profiles/{}/render/{}", profile or "", what))
        else:
            found = session.api.call("GET", at("/hosts/{}/render/{}", host, what), query=chosen)
        return show_json(found) if as_json else say(found["text"].rstrip("\n"))
    wanted = _source(host, **chosen)
    sides = (wanted, _source(other, **({"profile": profile} if profile else {}))) if other else (f"host={host}", wanted)
    left, right = sides if other or profile else reversed(sides)
    found = session.api.call("GET", at("/diff/{}", what), query={"left": left, "right": right})
    if as_json:
        return show_json(found)
    return _show_diff(found["unified"]) if found["unified"] else say("both are the same")


def _check_usage(host: str, profile: str | None, attempt: str | None, other: str | None) -> None:
    if profile and attempt:
        raise click.UsageError("--profile and --attempt exclude each other")
    if host == _SAMPLE and (attempt or other == "" or not profile):
        raise click.UsageError("HOST - has no attempts and is never armed: say --profile PROFILE")
    if other == "" and not (profile or attempt):
        raise click.UsageError("say what to compare with: --diff OTHERHOST, or --diff with --profile or --attempt")


def _source(host: str, **chosen: str) -> str:
    """As the REST API names a text."""
    named = chosen if host == _SAMPLE else {"host": host, **chosen}
    return ",".join(f"{key}={value}" for key, value in named.items())


def _show_diff(text: str) -> None:
    """In colour on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        return say(text)
    console = Console(highlight=False, soft_wrap=True)
    for line in printable(text).splitlines():
        console.print(Text(line, style=next((style for start, style in _COLOURS if line.startswith(start)), "")))
    return None


COMMANDS = (render,)
