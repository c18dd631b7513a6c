"""`pxeforge host timeline|rescue|wipe|retire|revive|enrol|rearm`: what a host did, how its use begins and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pxeforge.cli.durations import duration_s
from pxeforge.cli.options import json_option, selection_options
from pxeforge.cli.output import moment, say, show_json
from pxeforge.cli.ssh_login import Login, keys_for, run_as_root
from pxeforge.cli.transport import Refusal, at


@click.command()
@click.argument("host")
@click.option("--stages", is_flag=True, help="How long each stage took, since the host was armed last.")
@click.option("--attempts", type=click.IntRange(1, 50), default=1, show_default=True, help="Armings told by --stages.")
@json_option
@click.pass_obj
def timeline(session: Any, host: str, stages: bool, attempts: int, as_json: bool) -> None:
    """Every event of a host, with the seconds between them; the last line says what holds it up, and the remedy."""
    if stages:
        rows = session.api.call("GET", at("/hosts/{}/stages", host), query={"attempts": attempts})
    else:
        rows = session.api.call("GET", at("/hosts/{}/timeline", host))
    if as_json:
        return show_json(rows)
    if stages:
        _show_stages(rows)
    else:
        _show_events(rows)
    return say(_where_it_stands(session.api.call("GET", at("/hosts/{}", host))))


def _show_events(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        say(f"{moment(row['at'])} {'+' + format(row['since_s'], '.1f'):>9} s  {row['source']:<9} {row['message']}")
    if not rows:
        say("Nothing has happened to this host yet.")


def _where_it_stands(found: dict[str, Any]) -> str:
    held_up = found["diagnosis"]
    if held_up is None:
        return f"diagnosis: nothing is known to hold {found['name'] or found['id']} up: it is {found['state']}"
    return f"diagnosis: {held_up['sentence']} (since {moment(held_up['since'])}): {held_up['remedy']}"


def _show_stages(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        lasted = "…" if row["ended_at"] is None else f"{row['ended_at'] - row['began_at']:.1f}"
        say(f"{moment(row['began_at'])} {lasted:>9} s  {row['state']:<7}  {row['stage']:<34} {row['note']}".rstrip())
    if not rows:
        say("This host was never armed: `pxeforge host arm HOST --profile …`.")


@click.command()
@click.argument("host")
@click.option("--profile", help="Whose rescue system is started.")
@click.option("--for", "armed_for", default="2h", show_default=True, help="How long the host stays armed.")
@click.option("--done", is_flag=True, help="The rescue is over.")
@click.pass_obj
def rescue(session: Any, host: str, profile: str | None, armed_for: str, done: bool) -> None:
    """Arm a host for the rescue system of a profile's image, once; with --done end it.

    It also ends when the host netboots again or its agent connects, and after the time budget `rescue`.
    """
    if done == bool(profile):
        raise click.UsageError("say either --profile PROFILE (see `pxeforge profile list`) or --done")
    if done:
        found = session.api.call("POST", at("/hosts/{}/rescue-over", host))
        return say(f"host {found['name'] or found['id']} is {found['state']}")
    body = {"boot": "rescue", "profile": profile, "for_s": duration_s(armed_for)}
    found = session.api.call("POST", at("/hosts/{}/arm", host), body)
    return say(f"host {found['name'] or found['id']} is armed for rescue until {moment(found['armed_until'])}")


@click.command()
@click.argument("host")
@click.option("--disk", "serials", multiple=True, metavar="SERIAL", help="Serial of a disk to erase (repeatable).")
@click.option("--all-disks", is_flag=True, help="Every disk that the host has reported; each must have a serial.")
@click.option("--yes-wipe", "confirmed", required=True, metavar="NAME", help="The host's name once more.")
@click.option("--overwrite", is_flag=True, help="Overwrite every byte; takes hours for a large disk.")
@click.option("--reboot", is_flag=True, help="Reboot at the end. Default: power off.")
@click.option("--retire", is_flag=True, help="The host is retired once its disks are erased.")
@click.option("--profile", help="Whose installer does it. Default: the one that the host was armed for last.")
@click.option("--for", "armed_for", default="2h", show_default=True, help="How long the host stays armed.")
@click.pass_obj
def wipe(
    session: Any,
    host: str,
    serials: tuple[str, ...],
    all_disks: bool,
    confirmed: str,
    overwrite: bool,
    reboot: bool,
    retire: bool,
    profile: str | None,
    armed_for: str,
) -> None:
    """Erase disks: the next netboot of the host erases those that are named by serial, once, and no others.

    Both ends of each disk and of its partitions are zeroed and its blocks discarded where it can do that. When a disk
    is missing, or two have the same serial, nothing is erased at all. Each disk is reported.
    """
    if all_disks == bool(serials):
        raise click.UsageError("say which disks to erase: either --disk SERIAL (repeatable) or --all-disks")
    body: dict[str, Any] = {
        "confirmed": confirmed, "serials": list(serials), "all_disks": all_disks, "overwrite": overwrite,
        "retire": retire, "power": "reboot" if reboot else "poweroff", "for_s": duration_s(armed_for),
    }  # fmt: skip
    body |= {"profile": profile} if profile else {}
    found = session.api.call("POST", at("/hosts/{}/wipe", host), body)
    for warning in found["warnings"]:
        click.echo(f"pxeforge: warning: {warning}", err=True)
    name = found["name"] or found["id"]
    say(f"host {name} is armed until {moment(found['armed_until'])}: it erases {', '.join(found['erases'])}")


@click.command()
@selection_options
@click.option("--why", default="", help="Kept in the timeline.")
@json_option
@click.pass_obj
def retire(session: Any, chosen: dict[str, Any], why: str, as_json: bool) -> None:
    """Take hosts out of use, all of them or none: they cannot be armed, nothing runs on them, no agent is let in."""
    rows = session.api.call("POST", "/hosts/retire", {**chosen, **({"why": why} if why else {})})
    if as_json:
        return show_json(rows)
    for one in rows:
        say(f"host {one['name'] or one['id']} is {one['state']}")
    return None


@click.command()
@click.argument("host")
@click.pass_obj
def revive(session: Any, host: str) -> None:
    """Bring a retired host back into use."""
    found = session.api.call("POST", at("/hosts/{}/revive", host))
    say(f"host {found['name'] or found['id']} is {found['state']}")


@click.command()
@click.argument("host")
@click.option("--for", "good_for", default="1h", show_default=True, help="How long the command is good.")
@json_option
@click.pass_obj
def enrol(session: Any, host: str, good_for: str, as_json: bool) -> None:
    """Print a command that makes a host with a system of its own one of ours: no netboot, no install.

    Run it there as root, once. It fetches the agent, checks it, registers the host and starts the agent. It also gives
    a host a new agent whose old one is dead.
    """
    found = session.api.call("POST", at("/hosts/{}/enrol", host), {"for_s": duration_s(good_for)})
    if as_json:
        return show_json(found)
    click.echo(f"good until {moment(found['expires_at'])}, once; run it as root on the host:", err=True)
    return say(found["command"])


@click.command()
@click.argument("host")
@click.option(
    "--ssh-user", default="root", show_default=True, help="Who logs in: root, or who may `sudo` without a password."
)
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Default: your SSH agent.")
@click.option("--port", type=click.IntRange(1, 65535), default=22, show_default=True)
@click.pass_obj
def rearm(session: Any, host: str, ssh_user: str, key: Path | None, port: int) -> None:
    """Give a host whose agent is dead a new one, over SSH.

    Only a host that shows the SSH host key it registered with is trusted. From here, with your key, the command of
    `pxeforge host enrol` is run there as root.
    """
    found = session.api.call("GET", at("/hosts/{}", host))
    name, address = found["name"] or found["id"], found["address"]
    if not address:
        raise Refusal(f"no address is known of {name}: it was never seen")
    known = keys_for(session.api.call("GET", "/inventory/known-hosts")["text"], address)
    if not known:
        raise Refusal(f"{name} has reported no SSH host key: run the command of `pxeforge host enrol {name}` there")
    command = session.api.call("POST", at("/hosts/{}/enrol", host), {})["command"]
    login = Login(address=address, user=ssh_user, known_hosts=known, port=port, key=key)
    for line in run_as_root(login, command).strip().splitlines():
        say(f"  {line}")
    say(f"{name} has a new agent: it connects within seconds, and goes on with its run if there is one")


COMMANDS = (timeline, rescue, wipe, retire, revive, enrol, rearm)
