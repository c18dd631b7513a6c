"""`pxeforge host arm|disarm`: one host, several or a selection."""

from __future__ import annotations

from typing import Any

import click

from pxeforge.cli.durations import duration_s
from pxeforge.cli.hosts import host
from pxeforge.cli.options import json_option, selection_options
from pxeforge.cli.output import moment, say, show_json
from pxeforge.cli.power import switch


@host.command()
@selection_options
@click.option("--profile", "profiles", multiple=True, help="What to install (with --menu: repeatable).")
@click.option("--boot", type=click.Choice(["rescue", "memtest"]), help="Start this instead of an installer.")
@click.option("--discover", is_flag=True, help="Start a small system that reports the hardware, and touches no disk.")
@click.option("--menu", is_flag=True, help="Let somebody at the host's console choose by number.")
@click.option("--timeout", default="90s", show_default=True, help="How long the menu waits for a choice.")
@click.option("--for", "armed_for", default="2h", show_default=True, help="How long the host stays armed.")
@click.option("--power", "boots_now", is_flag=True, help="Boot it from the network now (see `pxeforge power`).")
@click.option("--dry-run", is_flag=True, help="Only say which disks would be overwritten, and what refuses.")
@json_option
@click.pass_obj
def arm(
    session: Any, chosen: dict[str, Any], profiles: tuple[str, ...], boot: str | None, discover: bool, menu: bool,
    timeout: str, armed_for: str, boots_now: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Arm hosts: the next netboot of each installs, once. The install disk is wiped; it is named.

    Several HOSTs, or --where: all of them are armed, or none is. Without --profile it is the one that the host is meant
    for (`host set --profile`). With --boot nothing is installed and no disk is touched: rescue starts the rescue system
    of the profile's image, memtest a memory test. --discover reports the hardware. With --menu the local disk boots
    unless somebody chooses in time.
    """
    boot = "discover" if discover and boot is None else boot
    if discover and (profiles or boot != "discover"):
        raise click.UsageError("--discover installs nothing: leave --profile and --boot away")
    if not profiles and (menu or boot == "rescue"):
        raise click.UsageError("say from which profile: --profile PROFILE (see `pxeforge profile list`)")
    if (boot and menu) or (len(profiles) > 1 and not menu):
        raise click.UsageError("--boot and --menu exclude each other; several --profile need --menu")
    if boots_now and dry_run:
        raise click.UsageError("--power switches hosts on, and --dry-run changes nothing: leave one of them away")
    body: dict[str, Any] = {**chosen, "for_s": duration_s(armed_for), "dry_run": dry_run}
    if menu:
        body |= {"profiles": list(profiles), "timeout_s": duration_s(timeout)}
    else:
        body |= {"profile": profiles[0]} if profiles else {}
        body |= {"boot": boot} if boot else {}
    found = session.api.call("POST", "/hosts/arm", body, timeout_s=_PATIENCE_S)
    if as_json:
        show_json(found["hosts"])
    else:
        for one in found["hosts"]:
            _tell(one, f"a menu of {', '.join(profiles)}" if menu else boot, dry_run)
    if boots_now:
        switch(session, [one["id"] for one in found["hosts"]], {"action": "pxe"}, as_json=False, silent=as_json)


_PATIENCE_S = 300  # a rack is rendered and linted host by host


def _tell(one: dict[str, Any], what: str | None, dry_run: bool) -> None:
    what = what or " or ".join(disks["profile"] for disks in one["overwrites"])
    would = "would be" if dry_run else "is"
    for warning in one["warnings"]:
        click.echo(f"pxeforge: warning: {one['name']}: {warning}", err=True)
    say(f"host {one['name'] or one['id']} {would} armed for {what} until {moment(one['armed_until'])}")
    for disks in one["overwrites"]:
        say(f"  {disks['profile']} overwrites {_disks(disks)}. {disks['may_lose_data']}")


def _disks(told: dict[str, Any]) -> str:
    """`sda (serial S1, 480 GB)`, or what chooses the disk where that is not known yet."""
    words = []
    for disk in told["disks"]:
        serial = f"serial {disk['serial']}" if disk["serial"] else "no serial"
        size = f", {disk['size_bytes'] / 1e9:.0f} GB" if disk["size_bytes"] else ""
        words.append(f"{disk['name']} ({serial}{size})")
    if told["sure"]:
        return " and ".join(words)
    which = f", one of {', '.join(words)}" if words else ", none of which it has reported yet"
    return f"{told['means']} ({told['rule']}){which}"


@host.command()
@selection_options
@json_option
@click.pass_obj
def disarm(session: Any, chosen: dict[str, Any], as_json: bool) -> None:
    """Disarm hosts, or give up their running installs: all of them or none."""
    rows = session.api.call("POST", "/hosts/disarm", chosen)
    if as_json:
        return show_json(rows)
    for one in rows:
        say(f"host {one['name'] or one['id']} is {one['state']}")
    return None


COMMANDS: tuple[click.Command, ...] = ()  # they are in the group `host`
