"""`pxeforge rule …`, `rack …`: what hosts of a kind are given by themselves, and where they stand."""

from __future__ import annotations

from typing import Any

import click
import yaml

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json, show_table
from pxeforge.cli.transport import at
from pxeforge.domain.host_rules import CRITERIA, FIELDS

_WHEN = "A criterion, e.g. mac=52:54:00 or 'memory=>=64G' (repeatable; [a, b]: one or the other)."
_GIVES = "What it gives: name, tags, roles, profile, rack, unit, height, attach, arm (repeatable)."


@click.group()
def rule() -> None:
    """Rules that name, tag, rack and profile hosts and give them roles, when something new is known of them."""


def _pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`key=value`; a value in brackets is a YAML list, every other one a text. An empty value: take it away."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        if value.startswith("["):
            try:
                found[key] = [str(one) for one in yaml.safe_load(value)]
            except (yaml.YAMLError, TypeError) as problem:
                raise click.BadParameter(f"the value of {key} is no list: {problem}") from None
        else:
            found[key] = value or None
    return found


@rule.command("list")
@json_option
@click.pass_obj
def list_rules(session: Any, as_json: bool) -> None:
    """List the rules in the order in which they are asked."""
    rows = session.api.call("GET", "/rules")
    if as_json:
        return show_json(rows)
    shown = [{**row, "when": _told(row["when"]), "set": _told(row["set"])} for row in rows]
    columns = {"": "position", "NAME": "name", "ENABLED": "enabled", "WHEN": "when", "SET": "set", "APPLIED": "applied"}
    show_table(shown, columns, empty="No rules yet: `pxeforge rule add NAME --when … --set …`.")
    return None


def _told(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={','.join(map(str, v)) if isinstance(v, list) else v}" for key, v in values.items())


@rule.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(session: Any, name: str, as_json: bool) -> None:
    """Show one rule."""
    found = session.api.call("GET", at("/rules/{}", name))
    if as_json:
        return show_json(found)
    state = "" if found["enabled"] else " (disabled)"
    say(f"{found['position']}. {found['name']}{state}: has changed {found['applied']} hosts, {found['most']} at most")
    for key, value in found["when"].items():
        say(f"  when {key:<16} {' or '.join(value)}")
    for key, value in found["set"].items():
        say(f"  set  {key:<16} {', '.join(value) if isinstance(value, list) else value}")
    return None


@rule.command()
@click.argument("name")
@click.option("--when", multiple=True, required=True, metavar="KEY=VALUE", help=_WHEN)
@click.option("--set", "gives", multiple=True, required=True, metavar="KEY=VALUE", help=_GIVES)
@click.option("--position", type=int, help="Its place in the order (default: behind the others).")
@click.option("--most", type=int, help="How many hosts it may change by itself (default 1000).")
@click.option("--disabled", is_flag=True, help="Keep it, do not apply it.")
@json_option
@click.pass_obj
def add(
    session: Any, name: str, when: tuple[str, ...], gives: tuple[str, ...], position: int | None, most: int | None,
    disabled: bool, as_json: bool,
) -> None:  # fmt: skip
    """Add a rule. Try it first: `pxeforge rule test --when … --set …`."""
    body = {"name": name, "when": _pairs(when), "set": _pairs(gives), "enabled": not disabled}
    body |= {key: value for key, value in (("position", position), ("most", most)) if value is not None}
    made = session.api.call("POST", "/rules", body)
    return show_json(made) if as_json else say(f"rule {name} is number {made['position']}")


add.help = (
    "Add a rule. Try it first: `pxeforge rule test --when … --set …`.\n\nCriteria: "
    + "; ".join(f"{key} ({kind.help})" for key, kind in CRITERIA.items())
    + ". Texts take * and ?, and ! in front for what must not be.\n\nNames, racks and units are templates: "
    + "; ".join(f"{{{key}}} ({text})" for key, text in FIELDS.items())
    + ". {n:03} is 001, 002 …"
)


@rule.command()
@click.argument("name")
@click.option("--when", multiple=True, metavar="KEY=[VALUE]", help=f"{_WHEN} Without a value: take it away.")
@click.option("--set", "gives", multiple=True, metavar="KEY=[VALUE]", help=f"{_GIVES} Without a value: take it away.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it is applied.")
@click.option("--most", type=int, help="How many hosts it may change by itself.")
@click.option("--name", "new_name", help="Another name.")
@json_option
@click.pass_obj
def change(
    session: Any, name: str, when: tuple[str, ...], gives: tuple[str, ...], enabled: bool | None, most: int | None,
    new_name: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Change a rule: what is named is set, the rest stays."""
    told = {
        "when": _pairs(when) or None, "set": _pairs(gives) or None, "enabled": enabled, "most": most, "name": new_name
    }  # fmt: skip
    body = {key: value for key, value in told.items() if value is not None}
    if not body:
        raise click.UsageError("say what to change: --when, --set, --enable, --disable, --most or --name")
    made = session.api.call("PATCH", at("/rules/{}", name), body)
    return show_json(made) if as_json else say(f"rule {made['name']} changed")


@rule.command()
@click.argument("name")
@click.pass_obj
def remove(session: Any, name: str) -> None:
    """Remove a rule; what it gave to hosts stays with them."""
    session.api.call("DELETE", at("/rules/{}", name))
    say(f"rule {name} removed")


@rule.command()
@click.argument("name")
@click.argument("position", type=int)
@click.pass_obj
def move(session: Any, name: str, position: int) -> None:
    """Put a rule at another place in the order."""
    made = session.api.call("POST", at("/rules/{}/move", name), {"position": position})
    say(f"rule {name} is number {made['position']}")


@rule.command()
@click.argument("name", required=False)
@click.option("--when", multiple=True, metavar="KEY=VALUE", help=_WHEN)
@click.option("--set", "gives", multiple=True, metavar="KEY=VALUE", help=_GIVES)
@click.option("--where", metavar="SELECTION", help="Only these hosts, e.g. 'state=discovered'.")
@click.option("--replace", is_flag=True, help="As if `rule apply --replace` were called.")
@json_option
@click.pass_obj
def test(
    session: Any, name: str | None, when: tuple[str, ...], gives: tuple[str, ...], where: str | None, replace: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show which hosts a rule fits and what would change; nothing is changed.

    NAME is a rule that is kept; with --when and --set one that is not. Without either: all rules.
    """
    if bool(when) is not bool(gives) or (name and when):
        raise click.UsageError("name a rule, or give both --when and --set")
    body: dict[str, Any] = {
        "replace": replace,
        **({"where": where} if where else {}),
        **({"rule": name} if name else {}),
    }
    if when:
        body |= {"when": _pairs(when), "set": _pairs(gives)}
    rows = session.api.call("POST", "/rules/test", body)
    if as_json:
        return show_json(rows)
    for row in rows:
        say(f"{row['host']}: {row['rule'] + ': ' if not name else ''}{_would(row)}")
    fits = sum(row["matches"] for row in rows)
    say(f"{fits} fit, {len(rows) - fits} nearly (all but one criterion); nothing was changed")
    return None


def _would(row: dict[str, Any]) -> str:
    if not row["matches"]:
        return f"does not fit: {'; '.join(row['missing'])}"
    told = [f"{key} {_value(old)} -> {_value(new)}" for key, (old, new) in row["changes"].items()]
    told += [f"becomes a NIC of {row['attach_to']}"] if row["attach_to"] else []
    told += [f"is armed for {row['arm']}"] if row["arm"] else []
    return "; ".join([*told, *row["notes"]]) or "fits, nothing would change"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['name']} unit {value['unit']}" if value.get("unit") else str(value["name"])
    return ",".join(map(str, value)) or "-" if isinstance(value, list) else str(value or "-")


@rule.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--rule", "name", help="Only this rule, also if it is disabled.")
@click.option("--where", metavar="SELECTION", help="Only these hosts, e.g. 'state=discovered'.")
@click.option("--replace", is_flag=True, help="Also change the rack position and profile that hosts have already.")
@json_option
@click.pass_obj
def apply(
    session: Any, hosts: tuple[str, ...], name: str | None, where: str | None, replace: bool, as_json: bool
) -> None:
    """Apply the rules now, to all hosts or to these."""
    body: dict[str, Any] = {"replace": replace, "hosts": list(hosts)}
    body |= {key: value for key, value in (("rule", name), ("where", where)) if value}
    done = session.api.call("POST", "/rules/apply", body)
    if as_json:
        return show_json(done)
    for one in done["hosts"]:
        given = "; ".join(
            f"{by}: {' '.join(f'{k} {_value(v)}' for k, v in what.items())}" for by, what in one["given"].items()
        )
        say(f"{one['host']}: {given}")
    for one in done["problems"]:
        click.echo(f"pxeforge: {one['host']}: {one['message']}", err=True)
    for label in done["armed"]:
        say(f"{label} is armed")
    say(f"{done['changed']} of {done['looked_at']} hosts changed")
    return None


@click.group()
def rack() -> None:
    """Racks, and who stands where (`pxeforge host set HOST --rack NAME --unit N`)."""


@rack.command("list")
@json_option
@click.pass_obj
def list_racks(session: Any, as_json: bool) -> None:
    """List the racks."""
    rows = session.api.call("GET", "/racks")
    if as_json:
        return show_json(rows)
    shown = [{**row, "hosts": len(row["units"]) + len(row["unplaced"])} for row in rows]
    columns = {"RACK": "rack", "UNITS": "height", "HOSTS": "hosts", "NOTE": "note"}
    show_table(shown, columns, empty="No racks yet: `pxeforge host set HOST --rack NAME --unit N`.")
    return None


@rack.command("show")
@click.argument("name")
@json_option
@click.pass_obj
def show_rack(session: Any, name: str, as_json: bool) -> None:
    """Show who stands in a rack, from the top."""
    found = session.api.call("GET", at("/racks/{}", name))
    if as_json:
        return show_json(found)
    taken = {unit: one for one in found["units"] for unit in range(one["unit"], one["unit"] + one["height"])}
    for unit in range(found["height"], 0, -1):
        one = taken.get(unit)
        say(f"{unit:>3}  {one['host']} ({one['state']})" if one else f"{unit:>3}")
    for one in found["unplaced"]:
        say(f"  ?  {one['host']} ({one['state']})")
    return None


@rack.command("set")
@click.argument("name")
@click.option("--height", type=int, help="Units it has (42 unless said otherwise).")
@click.option("--note", help="A word about it.")
@click.pass_obj
def set_rack(session: Any, name: str, height: int | None, note: str | None) -> None:
    """Say how tall a rack is, or a word about it."""
    body = {key: value for key, value in (("height", height), ("note", note)) if value is not None}
    if not body:
        raise click.UsageError("say what to set: --height or --note")
    found = session.api.call("PUT", at("/racks/{}", name), body)
    say(f"rack {name} has {found['height']} units")


@rack.command("remove")
@click.argument("name")
@click.pass_obj
def remove_rack(session: Any, name: str) -> None:
    """Forget what was said of a rack that nobody stands in."""
    session.api.call("DELETE", at("/racks/{}", name))
    say(f"rack {name} forgotten")


COMMANDS = (rule, rack)
