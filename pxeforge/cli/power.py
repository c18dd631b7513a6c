"""`pxeforge power …`: hosts switched on and off, booted from the network, and how their power is reached."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json, show_table
from pxeforge.cli.transport import Refusal, at

_AT_A_TIME: Final = 8  # as many as the server asks: so an answer comes in time
_IN_AN_ORDER: Final = 200  # as many as the server takes
_LOOK_EVERY_S: Final = 0.3
_DRIVERS: Final = ("redfish", "ipmi", "wake-on-lan", "command")
_COLUMNS: Final = {"HOST": "host", "POWER": "state", "DRIVER": "driver", "ADDRESS": "address", "NOTE": "note"}


@click.group()
def power() -> None:
    """Power of hosts, by their BMC. HOST is a MAC in any spelling, a UUID, a name or an id prefix."""


_hosts = click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
_force = click.option("--force", is_flag=True, help="Also where it breaks off an install or a run.")


@power.command()
@_hosts
@json_option
@click.pass_obj
def status(session: Any, hosts: tuple[str, ...], as_json: bool) -> None:
    """Ask whether hosts are on; what cannot be known is said to be unknown."""
    rows: list[Any] = []
    for some in _parts(hosts, _AT_A_TIME):
        if any("," in name for name in some):
            raise Refusal("a host's name has no comma: put blanks between several hosts")
        rows += session.api.call("GET", "/power", query={"hosts": ",".join(some)})
    if as_json:
        show_json(rows)
    else:
        show_table(rows, _COLUMNS, empty="Name a host.")
    _end(rows)


@power.command()
@_hosts
@json_option
@click.pass_obj
def on(session: Any, hosts: tuple[str, ...], as_json: bool) -> None:
    """Switch hosts on."""
    switch(session, hosts, {"action": "on"}, as_json)


@power.command()
@_hosts
@_force
@click.option("--soft", is_flag=True, help="Ask the operating system to shut down.")
@json_option
@click.pass_obj
def off(session: Any, hosts: tuple[str, ...], force: bool, soft: bool, as_json: bool) -> None:
    """Switch hosts off, at once."""
    switch(session, hosts, {"action": "off", "force": force, "soft": soft}, as_json)


@power.command()
@_hosts
@_force
@json_option
@click.pass_obj
def cycle(session: Any, hosts: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Switch hosts off and on again; those that are off, on."""
    switch(session, hosts, {"action": "cycle", "force": force}, as_json)


@power.command()
@_hosts
@_force
@json_option
@click.pass_obj
def pxe(session: Any, hosts: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Boot hosts from the network, once and now."""
    switch(session, hosts, {"action": "pxe", "force": force}, as_json)


def switch(
    session: Any, hosts: Sequence[str], order: dict[str, Any], as_json: bool, *, silent: bool = False
) -> None:  # fmt: skip
    """What was done is told as it is done, unless `silent`; errors on stderr, and exit code 1."""
    rows: list[Any] = []
    for some in _parts(hosts, _IN_AN_ORDER):
        for row in _carried_out(session, {**order, "hosts": list(some)}):
            rows.append(row)
            if row["message"] and not (as_json or silent):
                say(_told(row))
    if as_json:
        show_json(rows)
    _end(rows)


def _carried_out(session: Any, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each host as it is done: the server goes on by itself, also without somebody who waits."""
    found, told = session.api.call("POST", "/power", order), set[int]()
    while True:
        for number, row in enumerate(found["hosts"]):
            if number not in told and row["progress"] not in ("waiting", "underway"):
                told.add(number)
                yield row
        if len(told) == len(found["hosts"]):
            return
        time.sleep(_LOOK_EVERY_S)
        try:
            found = session.api.call("GET", at("/power/orders/{}", found["id"]))
        except Refusal as problem:
            raise Refusal(f"{problem} (what became of the order stands in the timelines of the hosts)") from None


def _told(row: dict[str, Any]) -> str:
    """What was done to a host, in one line."""
    return str(row["message"]) + (f" ({row['note']})" if row["note"] else "")


def _parts(hosts: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    different = list(dict.fromkeys(hosts))
    for start in range(0, len(different), most):
        yield different[start : start + most]


def _end(rows: Sequence[dict[str, Any]]) -> None:
    """Each error on stderr; exit code 1 where there is one."""
    wrong = [row for row in rows if row["error"]]
    for row in wrong:
        click.echo(f"pxeforge: {row['host']}: {row['error']}", err=True)
    if wrong:
        sys.exit(1)


_SETTINGS: Final[tuple[Callable[..., Any], ...]] = (
    click.option("--driver", type=click.Choice(_DRIVERS), required=True, help="What speaks with the BMC."),
    click.option("--address", help="Address or name of the BMC; wake-on-lan: a broadcast address behind a router."),
    click.option("--port", type=int, help="Its port, if not the usual one."),
    click.option("--user", help="User at the BMC."),
    click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
    click.option("--keep-password", is_flag=True, help="Leave the password as it is."),
    click.option("--fingerprint", help="redfish: SHA-256 of the BMC's certificate."),
    click.option("--ca", help="redfish: PEM file in /etc/pxeforge/power-ca."),
    click.option("--system", help="redfish: which system, where the BMC has several."),
    click.option("--login", type=click.Choice(["auto", "session", "basic"]), help="redfish: how to log in."),
    click.option("--privilege", type=click.Choice(["OPERATOR", "ADMINISTRATOR"]), help="ipmi: as what to log in."),
    click.option("--cipher", type=int, help="ipmi: cipher suite, 3 or 17."),
    click.option("--mac", help="wake-on-lan: which NIC; all of them without it."),
    click.option("--command", help="command: which one of /etc/pxeforge/power.toml."),
    click.option("--option", "options", multiple=True, metavar="NAME=VALUE",
                 help="command: for its place NAME (repeatable)."),
    click.option("--netboot", type=click.Choice(["pxe", "http", "always"]),
                 help="How it netboots: by PXE, by UEFI HTTP, or always, by the order its firmware has."),
)  # fmt: skip


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@power.command("set")
@click.argument("host")
@_settings_options
@click.pass_obj
def set_power(
    session: Any, /, host: str, password_stdin: bool, keep_password: bool, options: tuple[str, ...], **settings: Any
) -> None:
    """Say how a host's power is reached (for admins); the password is asked, or read from standard input."""
    body = {key: value for key, value in settings.items() if value is not None}
    if options:
        body["options"] = dict(_pair(option) for option in options)
    password = None if keep_password else _password(password_stdin, needed=body["driver"] in ("redfish", "ipmi"))
    if password is not None:
        body["password"] = password
    found = session.api.call("PUT", at("/hosts/{}/power", host), body)
    say(f"power of {found['host']} is reached by {found['driver']}: try `pxeforge power status {found['host']}`")


@power.command("clear")
@click.argument("host")
@click.pass_obj
def clear(session: Any, host: str) -> None:
    """Forget how a host's power is reached, and the password (for admins)."""
    found = session.api.call("DELETE", at("/hosts/{}/power", host))
    say(f"power of {found['host']} is not reached any more")


def _pair(option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{option!r} is not NAME=VALUE", param_hint="--option")
    return name, value


def _password(from_stdin: bool, *, needed: bool) -> str | None:
    """From a pipe, or asked on a terminal: never on the command line. None: none is given."""
    if from_stdin:
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise Refusal("no password was given: it is one line of standard input, e.g. `… --password-stdin < FILE`")
        return line
    if needed and sys.stdin.isatty():
        return str(click.prompt("Password at the BMC", hide_input=True))
    return None


COMMANDS = (power,)
