"""`pxeforge profile …`: image + answer template + parameters."""

from __future__ import annotations

import json
from typing import Any

import click
import yaml

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json, show_table
from pxeforge.cli.transport import at


@click.group()
def profile() -> None:
    """What a host is installed with."""


def parameters_of(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` pairs; values are YAML, so that `wipe=true` and `ssh_keys=[a, b]` are what they look like."""
    result = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        try:
            result[key] = yaml.safe_load(value) if value else ""
            json.dumps(result[key], allow_nan=False)
        except (TypeError, ValueError):
            raise click.BadParameter(
                f"the value of {key} is no text, number, list or object: put it in quotes"
            ) from None
        except yaml.YAMLError as problem:
            raise click.BadParameter(f"the value of {key} is not valid YAML: {problem}") from None
    return result


@profile.command("list")
@json_option
@click.pass_obj
def list_profiles(session: Any, as_json: bool) -> None:
    """List the profiles."""
    rows = session.api.call("GET", "/profiles")
    if as_json:
        return show_json(rows)
    show_table(
        rows, {"NAME": "name", "IMAGE": "image", "TEMPLATE": "template"},
        empty="No profiles yet: `pxeforge image import debian-13` makes one.",
    )  # fmt: skip
    return None


@profile.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(session: Any, name: str, as_json: bool) -> None:
    """Show a profile with every parameter in force."""
    found = session.api.call("GET", at("/profiles/{}", name))
    if as_json:
        return show_json(found)
    say(f"image     {found['image']}\ntemplate  {found['template']}\nparameters (* set here, others are defaults)")
    for key, value in sorted(found["effective"].items()):
        say(f"  {'*' if key in found['parameters'] else ' '} {key} = {json.dumps(value, ensure_ascii=False)}")
    return None


@profile.command()
@click.argument("name")
@click.option("--image", required=True, help="Image to install.")
@click.option("--template", help="Answer template (default debian.cfg.j2).")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
@click.pass_obj
def create(
    session: Any, name: str, image: str, template: str | None, parameters: tuple[str, ...], as_json: bool
) -> None:
    """Create a profile."""
    body = {"name": name, "image": image, "template": template, "parameters": parameters_of(parameters)}
    made = session.api.call("POST", "/profiles", {key: value for key, value in body.items() if value is not None})
    return show_json(made) if as_json else say(f"profile {name} created")


@profile.command()
@click.argument("name")
@click.argument("new")
@json_option
@click.pass_obj
def clone(session: Any, name: str, new: str, as_json: bool) -> None:
    """Make the profile NEW with the image, template and parameters of NAME."""
    made = session.api.call("POST", at("/profiles/{}/clone", name), {"name": new})
    return show_json(made) if as_json else say(f"profile {new} is a copy of {name}")


@profile.command("set")
@click.argument("name")
@click.option("--unset", multiple=True, metavar="KEY", help="Back to the default.")
@click.option("--image", help="Another image.")
@click.option("--template", help="Another answer template.")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
@click.pass_obj
def set_parameters(
    session: Any,
    name: str,
    unset: tuple[str, ...],
    image: str | None,
    template: str | None,
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Set parameters; hosts that are armed already keep what they were armed with."""
    if not (parameters or unset or image or template):
        raise click.UsageError("say what to set: KEY=VALUE, --unset KEY, --image or --template")
    body = {"parameters": parameters_of(parameters), "unset": list(unset), "image": image, "template": template}
    changed = session.api.call("PATCH", at("/profiles/{}", name), body)
    return show_json(changed) if as_json else say(f"profile {name} changed")


@profile.command()
@click.argument("name")
@click.pass_obj
def remove(session: Any, name: str) -> None:
    """Remove a profile that no armed host needs."""
    session.api.call("DELETE", at("/profiles/{}", name))
    say(f"profile {name} removed")


COMMANDS = (profile,)
