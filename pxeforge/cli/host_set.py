"""`pxeforge host set`: one host changed, or many at once."""

from __future__ import annotations

from typing import Any

import click

from pxeforge.cli.host_networks import network_of, reservations_of
from pxeforge.cli.hosts import host
from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json
from pxeforge.cli.profiles import parameters_of
from pxeforge.cli.transport import at

_LOADERS = ["auto", "ipxe", "pxelinux", "lpxelinux", "grub"]


@host.command("set")
@click.argument("words", nargs=-1, metavar="[HOST]... [KEY=VALUE]...")
@click.option("--where", metavar="SELECTION", help="Also the hosts that fit, e.g. 'state=known tag=rack1 memory>=64G'.")
@click.option("--dry-run", is_flag=True, help="Show what would change, change nothing.")
@click.option("--name", help="Host name.")
@click.option("--tag", "tags", multiple=True, help="Tags (they replace the ones before).")
@click.option("--add-tag", "add_tags", multiple=True, help="A further tag (repeatable).")
@click.option("--remove-tag", "remove_tags", multiple=True, help="Take a tag away (repeatable).")
@click.option("--add-role", "add_roles", multiple=True, help="A further role (repeatable).")
@click.option("--remove-role", "remove_roles", multiple=True, help="Take a role away (repeatable).")
@click.option("--rack", help="The rack it stands in (none: no rack).")
@click.option("--unit", type=int, help="The lowest unit it takes there.")
@click.option("--height", type=int, help="How many units it takes.")
@click.option("--profile", help="What it is meant to be installed with.")
@click.option("--loader", type=click.Choice(_LOADERS), help="Boot loader to use.")
@click.option(
    "--reserve",
    multiple=True,
    metavar="[MAC=]ADDRESS",
    help="Lend this NIC always this address, in server mode (repeatable; none: any). MAC is needed where there are "
    "several NICs.",
)
@click.option(
    "--dhcp",
    multiple=True,
    metavar="KEY=VALUE",
    help="What DHCP tells this host otherwise: router, dns, ntp, domain, search, mtu, lease-time (repeatable; lists "
    "with commas; none: as the subnet says).",
)
@json_option
@click.pass_obj
def set_host(
    session: Any, /, words: tuple[str, ...], where: str | None, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Name a host, place it, set its network and what its answers need (disk=serial=X, wipe=true, parameters='{…}').

    Several HOSTs, or --where: all of them are changed, or none is.
    """
    names = [word for word in words if "=" not in word]
    settings = _settings(tuple(word for word in words if "=" in word), given)
    lists = {
        key: list(given[key]) for key in ("tags", "add_tags", "remove_tags", "add_roles", "remove_roles") if given[key]
    }
    if not names and not where:
        raise click.UsageError("say which host: HOST, or --where SELECTION")
    alone = {key: value for key, value in (("name", given["name"]), ("reserve", _reserve(given))) if value}
    changes: dict[str, Any] = {**lists, **({"loader": given["loader"]} if given["loader"] else {})}
    if not (alone or changes or settings):
        raise click.UsageError("say what to set: --name, --tag, --rack, --loader, --reserve, --dhcp or KEY=VALUE")
    one_by_name = len(names) == 1 and not where and not dry_run and set(lists) <= {"tags"}
    if alone and not one_by_name:
        raise click.UsageError(_why_not_alone(" and ".join(f"--{key}" for key in alone), names, where, dry_run))
    if one_by_name:
        body = {**alone, **changes, **({"settings": settings} if settings else {})}
        found = session.api.call("PATCH", at("/hosts/{}", names[0]), body)
        return show_json(found) if as_json else say(f"host {found['name'] or found['id']} changed")
    body = {"hosts": names, "changes": {**changes, **({"settings": settings} if settings else {})}, "dry_run": dry_run}
    done = session.api.call("POST", "/hosts/bulk", {**body, **({"where": where} if where else {})})
    return show_json(done) if as_json else _tell(done)


def _why_not_alone(given: str, names: list[str], where: str | None, dry_run: bool) -> str:
    """Why what is for one host cannot be set here, by what is in the way."""
    if len(names) > 1:
        return f"{given} can be set for one host at a time, and these are {len(names)}: {', '.join(names)}"
    other = "--where" if where else "--dry-run" if dry_run else "--add-… and --remove-…"
    return f"{given} can be set for one host at a time, and not together with {other}: leave that away"


def _settings(pairs: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    settings = parameters_of(pairs)
    if given["dhcp"]:
        settings["network"] = network_of(given["dhcp"])
    if given["rack"] == "none":
        settings["rack"] = None
    elif given["rack"]:
        settings["rack"] = {"name": given["rack"], "unit": given["unit"], "height": given["height"] or 1}
    elif given["unit"] or given["height"]:
        raise click.UsageError("--unit and --height need --rack")
    if given["profile"]:
        settings["profile"] = None if given["profile"] == "none" else given["profile"]
    return settings


def _reserve(given: dict[str, Any]) -> dict[str, str | None] | None:
    return reservations_of(given["reserve"]) if given["reserve"] else None


def _tell(done: dict[str, Any]) -> None:
    for one in done["hosts"]:
        changes = "; ".join(f"{key} {old} -> {new}" for key, (old, new) in sorted(one["changes"].items()))
        if changes:
            say(f"{one['host']}: {changes}")
    would = "would be " if done["dry_run"] else ""
    say(f"{done['changed']} hosts {would}changed, {done['matched'] - done['changed']} are as said already")


COMMANDS: tuple[click.Command, ...] = ()  # it is in the group `host`
