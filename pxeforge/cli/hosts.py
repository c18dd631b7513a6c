"""`pxeforge host …`, `role`: the hosts and what they become."""

from __future__ import annotations

from typing import Any, Final

import click

from pxeforge.cli import host_life
from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_fields, show_json, show_table
from pxeforge.cli.transport import Refusal, at

_SORTS: Final = ("name", "state", "address", "serial", "firmware", "seen_at", "created_at", "registered_at")


@click.group()
def host() -> None:
    """Hosts. HOST is a MAC in any spelling, a UUID, a name or an id prefix."""


@host.command("list")
@click.argument("words", nargs=-1)
@click.option("--state", multiple=True, help="Only hosts in this state (repeatable: in any of them).")
@click.option("--tag", help="Only hosts with this tag.")
@click.option("--role", help="Only hosts with this role (-: without any).")
@click.option("--rack", help="Only hosts in this rack (-: without a place).")
@click.option("--firmware", help="Only hosts with this firmware, e.g. uefi-x64 (-: that told none).")
@click.option("--serial", help="Only the host with this serial number.")
@click.option("--attention", is_flag=True, help="Only hosts that need somebody.")
@click.option("--sort", type=click.Choice(_SORTS), help="In this order (default: name).")
@click.option("--reverse", is_flag=True, help="In the other direction.")
@json_option
@click.pass_obj
def list_hosts(
    session: Any, /, words: tuple[str, ...], state: tuple[str, ...], attention: bool, reverse: bool, as_json: bool,
    **asked: str | None,
) -> None:  # fmt: skip
    """List the hosts: all, or those in which all WORDS occur (name, state, address, serial, MAC, role or tag)."""
    fits = {"q": " ".join(words), "state": ",".join(state), "attention": "true" if attention else "", **asked}
    sort = fits.pop("sort", None)
    fits = {key: value for key, value in fits.items() if value}
    query = fits | ({"sort": sort} if sort else {}) | ({"order": "down"} if reverse else {})
    rows = session.api.call("GET", "/hosts", query=query)
    if as_json:
        return show_json(rows)
    columns = {
        "ID": "id", "NAME": "name", "STATE": "state", "MAC": "macs", "ADDRESS": "address", "ROLES": "roles",
        "SEEN": "seen_at", "AGENT": "agent_seen_at", "DIAGNOSIS": "held_up_by",
    }  # fmt: skip
    for row in rows:
        row["held_up_by"] = (row.get("diagnosis") or {}).get("sentence")
    none_yet = "No hosts yet: let one netboot, or `pxeforge host add --mac …`."
    show_table(rows, columns, empty="No host fits: `pxeforge host list` shows all of them." if fits else none_yet)
    return None


@host.command()
@click.argument("host")
@json_option
@click.pass_obj
def show(session: Any, host: str, as_json: bool) -> None:
    """Show one host: identity, state, facts."""
    found = session.api.call("GET", at("/hosts/{}", host))
    if as_json:
        return show_json(found)
    facts, held_up = found.pop("facts"), found.pop("diagnosis", None)
    if held_up:
        say(f"{'diagnosis':>14}  {held_up['sentence']} (since {moment(held_up['since'])})")
        say(f"{'remedy':>14}  {held_up['remedy']}")
        for event in held_up["evidence"]:
            say(f"{'evidence':>14}  {moment(event['at'])} {event['message']}")
    show_fields(found)
    show_fields({f"fact {key}": value for key, value in sorted(facts.items())}, width=24)
    return None


@host.command()
@click.option("--mac", "macs", multiple=True, required=True, help="MAC address (repeatable).")
@click.option("--name", help="Host name.")
@click.option("--role", "roles", multiple=True, help="Role (repeatable).")
@click.option("--tag", "tags", multiple=True, help="Tag (repeatable).")
@click.pass_obj
def add(session: Any, macs: tuple[str, ...], name: str | None, roles: tuple[str, ...], tags: tuple[str, ...]) -> None:
    """Add a host before it was ever seen, or adopt one that was."""
    body = {"macs": list(macs), "name": name, "roles": list(roles), "tags": list(tags)}
    found = session.api.call("POST", "/hosts", body)
    say(f"host {found['name'] or found['id']} is {found['state']}")


@host.command()
@click.argument("host")
@click.pass_obj
def forget(session: Any, host: str) -> None:
    """Forget a host (one that is armed or installing is refused)."""
    session.api.call("DELETE", at("/hosts/{}", host))
    say(f"host {host} forgotten")


@host.command()
@click.argument("host")
@json_option
@click.pass_obj
def attempts(session: Any, host: str, as_json: bool) -> None:
    """What a host was armed for, newest first."""
    rows = session.api.call("GET", at("/hosts/{}/attempts", host))
    if as_json:
        return show_json(rows)
    columns = {
        "ID": "id", "ARMED": "armed_at", "BY": "armed_by", "FOR": "purpose", "PROFILE": "profile", "IMAGE": "image",
        "OUTCOME": "outcome",
    }  # fmt: skip
    show_table(rows, columns, empty="This host was never armed: `pxeforge host arm HOST --profile …`.")
    return None


@host.command()
@click.argument("host")
@click.option("--firmware", help="As if it netbooted by this firmware, e.g. bios, uefi-x64, http-x64, uefi-arm64.")
@json_option
@click.pass_obj
def explain(session: Any, host: str, firmware: str | None, as_json: bool) -> None:
    """The packets, files and texts this host would get if it netbooted now, and why; no host needed."""
    query = {"firmware": firmware} if firmware else None
    found = session.api.call("GET", at("/hosts/{}/explain", host), query=query)
    if as_json:
        return show_json(found)
    relay = f" over the relay {found['relay']}" if found["relay"] else ""
    say(f"nic       {found['nic']}{relay}, told of {found['our_address']}: {found['our_address_reason']}")
    say(f"firmware  {found['firmware']}\ndecision  {found['decision']}: {found['reason']}\nloader    {found['loader']}")
    for step in found["steps"]:
        say(f"\n=== {step['title']}\n{step['reason']}")
        for line in step["decoded"]:
            say(f"    {line}")
        for at_byte in range(0, len(step["hex"]), 64):
            say(f"    {at_byte // 2:04x}  {step['hex'][at_byte : at_byte + 64]}")
        if step["text"]:
            say(step["text"].rstrip())
    for name, text in found["files"].items():
        say(f"\n--- {name}\n{text.rstrip()}")
    return None


@click.group()
def role() -> None:
    """What a host can become."""


@role.command("list")
@json_option
@click.pass_obj
def list_roles(session: Any, as_json: bool) -> None:
    """List the roles."""
    rows = session.api.call("GET", "/roles")
    if as_json:
        return show_json(rows)
    show_table(rows, {"NAME": "name", "REQUIRES": "requires", "SUMMARY": "summary"}, empty="No roles found.")
    return None


@role.command("show")
@click.argument("name")
@json_option
@click.pass_obj
def show_role(session: Any, name: str, as_json: bool) -> None:
    """Show one role with its variables."""
    rows = [row for row in session.api.call("GET", "/roles") if row["name"] == name]
    if not rows:
        raise Refusal(f"there is no role {name!r}: see `pxeforge role list`")
    if as_json:
        return show_json(rows[0])
    say(f"{name}: {rows[0]['summary']}")
    for variable in rows[0]["variables"]:
        kind = ", ".join(filter(None, [variable["type"], f"default {variable['default']!r}", variable["allowed"]]))
        say(f"  {variable['name']} ({kind}): {variable['help']}")
    return None


for command in host_life.COMMANDS:
    host.add_command(command)

COMMANDS = (host, role)
