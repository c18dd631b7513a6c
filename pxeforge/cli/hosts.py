"""`pxeforge host …`, `role`: the hosts and what they become."""

from __future__ import annotations

from typing import Any

import click

from pxeforge.cli import host_life
from pxeforge.cli.durations import duration_s
from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table
from pxeforge.cli.power import told
from pxeforge.cli.transport import Refusal, at


@click.group()
def host() -> None:
    """Hosts. HOST is a MAC in any spelling, a UUID, a name or an id prefix."""


@host.command("list")
@click.option("--state", help="Only hosts in this state.")
@click.option("--tag", help="Only hosts with this tag.")
@click.option("--role", help="Only hosts with this role.")
@json_option
@click.pass_obj
def list_hosts(session: Any, state: str | None, tag: str | None, role: str | None, as_json: bool) -> None:
    """List the hosts."""
    query = {key: value for key, value in (("state", state), ("tag", tag), ("role", role)) if value}
    rows = session.api.call("GET", "/hosts", query=query)
    if as_json:
        return show_json(rows)
    columns = {
        "ID": "id", "NAME": "name", "STATE": "state", "MAC": "macs", "ADDRESS": "address", "ROLES": "roles",
        "SEEN": "seen_at", "AGENT": "agent_seen_at", "DIAGNOSIS": "held_up_by",
    }  # fmt: skip
    for row in rows:
        row["held_up_by"] = (row.get("diagnosis") or {}).get("sentence")
    show_table(rows, columns, empty="No hosts yet: let one netboot, or `pxeforge host add --mac …`.")
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
    for key, value in found.items():
        if value not in (None, "", [], {}):
            say(f"{key:>14}  {moment(value) if key.endswith(('_at', '_until')) else value}")
    for key, value in sorted(facts.items()):
        say(f"{'fact ' + key:>24}  {value}")
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
    """Forget a host (one that is installing is refused)."""
    session.api.call("DELETE", at("/hosts/{}", host))
    say(f"host {host} forgotten")


@host.command()
@click.argument("host")
@click.option("--profile", "profiles", multiple=True, help="What to install (with --menu: repeatable).")
@click.option("--boot", type=click.Choice(["rescue", "memtest"]), help="Start this instead of an installer.")
@click.option("--discover", is_flag=True, help="Start a small system that reports the hardware, and touches no disk.")
@click.option("--menu", is_flag=True, help="Let somebody at the host's console choose by number.")
@click.option("--timeout", default="90s", show_default=True, help="How long the menu waits for a choice.")
@click.option("--for", "armed_for", default="2h", show_default=True, help="How long the host stays armed.")
@click.option("--power", "boots_now", is_flag=True, help="Boot it from the network now (see `pxeforge power`).")
@click.pass_obj
def arm(
    session: Any, host: str, profiles: tuple[str, ...], boot: str | None, discover: bool, menu: bool, timeout: str,
    armed_for: str, boots_now: bool,
) -> None:  # fmt: skip
    """Arm a host: its next netboot installs, once. The install disk is wiped.

    Without --profile it is the one that the host is meant for (`host set --profile`). With --boot nothing is installed
    and no disk is touched: rescue starts the rescue system of the profile's image, memtest a memory test. --discover
    reports the hardware. With --menu the local disk boots unless somebody chooses in time.
    """
    boot = "discover" if discover and boot is None else boot
    if discover and (profiles or boot != "discover"):
        raise click.UsageError("--discover installs nothing: leave --profile and --boot away")
    if not profiles and (menu or boot == "rescue"):
        raise click.UsageError("say from which profile: --profile PROFILE (see `pxeforge profile list`)")
    if (boot and menu) or (len(profiles) > 1 and not menu):
        raise click.UsageError("--boot and --menu exclude each other; several --profile need --menu")
    body: dict[str, Any] = {"for_s": duration_s(armed_for)}
    if menu:
        body |= {"profiles": list(profiles), "timeout_s": duration_s(timeout)}
    else:
        body |= {"profile": profiles[0]} if profiles else {}
        body |= {"boot": boot} if boot else {}
    found = session.api.call("POST", at("/hosts/{}/arm", host), body)
    alone = profiles[0] if profiles else found["settings"].get("profile")
    what = f"a menu of {', '.join(profiles)}" if menu else boot or alone
    for warning in found.get("warnings", ()):
        click.echo(f"pxeforge: warning: {warning}", err=True)
    say(f"host {found['name'] or found['id']} is armed for {what} until {moment(found['armed_until'])}")
    if boots_now:
        say(told(session.api.call("POST", at("/hosts/{}/power", host), {"action": "pxe"})))


@host.command()
@click.argument("host")
@click.pass_obj
def disarm(session: Any, host: str) -> None:
    """Disarm a host, or give up its running install."""
    found = session.api.call("POST", at("/hosts/{}/disarm", host))
    say(f"host {found['name'] or found['id']} is {found['state']}")


@host.command()
@click.argument("host")
@click.argument("roles", nargs=-1, required=True)
@click.pass_obj
def assign(session: Any, host: str, roles: tuple[str, ...]) -> None:
    """Give roles to a host."""
    [found] = session.api.call("POST", "/hosts/assign", {"hosts": [host], "roles": list(roles)})
    say(f"host {found['name'] or found['id']} has the roles {', '.join(found['roles'])}")


@host.command()
@click.argument("host")
@click.argument("roles", nargs=-1, required=True)
@click.pass_obj
def unassign(session: Any, host: str, roles: tuple[str, ...]) -> None:
    """Take roles away from a host."""
    found = session.api.call("POST", at("/hosts/{}/unassign", host), {"roles": list(roles)})
    say(f"host {found['name'] or found['id']} has the roles {', '.join(found['roles']) or 'none'}")


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
        say(f"  {variable['name']} ({variable['type']}, default {variable['default']!r}): {variable['help']}")
    return None


for command in host_life.COMMANDS:
    host.add_command(command)

COMMANDS = (host, role)
