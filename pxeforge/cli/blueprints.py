"""`pxeforge blueprint …`: the topologies at hand, and whether one is right."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json, show_table
from pxeforge.cli.transport import Refusal, at

_EXTENDS: Final = re.compile(r"^extends:\s*[\"']?([A-Za-z0-9_.-]+)", re.MULTILINE)
_MOST_EXTENDED: Final = 20


@click.group()
def blueprint() -> None:
    """Topologies: which roles on which hosts, with variables."""


@blueprint.command("list")
@json_option
@click.pass_obj
def list_blueprints(session: Any, as_json: bool) -> None:
    """List the blueprints."""
    rows = session.api.call("GET", "/blueprints")
    if as_json:
        return show_json(rows)
    show_table(rows, {"NAME": "name", "SUMMARY": "summary"}, empty="No blueprints found.")
    return None


@blueprint.command()
@click.argument("name")
@click.option("--text", is_flag=True, help="Only the file itself.")
@json_option
@click.pass_obj
def show(session: Any, name: str, text: bool, as_json: bool) -> None:
    """Show a blueprint: its rules, the hosts that they take now, its networks and variables, what is wrong in it."""
    found = session.api.call("GET", at("/blueprints/{}", name))
    if as_json:
        return show_json(found)
    if text:
        return say(found["text"].rstrip("\n"))
    say(f"{found['name']}: {found['summary']}".rstrip(": "))
    say(f"  file     {found['file']}")
    if found["release"]:
        say(f"  release  {found['release']}")
    for rule in found["rules"]:
        say(f"  rule     line {rule['line']}: {_rule(rule)}")
    for network in found["networks"]:
        say(f"  network  {_network(network)}")
    for vip in found["vips"]:
        say(f"  vip      {vip['name']}: {vip['address']} in {vip['network']} for {', '.join(vip['roles'])}")
    for role, tolerance in found["tolerance"].items():
        say(f"  may lose {tolerance} of {role}")
    for key, value in sorted(found["variables"].items()):
        say(f"  variable {key} = {value!r}")
    for host in found["hosts"]:
        say(f"  host     {host['name']} ({host['state']}): {', '.join(host['roles'])}")
    _tell(found["findings"])
    return None


def _rule(rule: dict[str, Any]) -> str:
    """`name n1, zone a: base, mariadb` or `2 hosts: …`."""
    whom = " ".join(f"{key} {value}" for key, value in rule["match"].items())
    count = f"{rule['count']} hosts" if rule["count"] else ""
    zone = f"zone {rule['zone']}" if rule["zone"] else ""
    return f"{', '.join(word for word in (whom, count, zone) if word) or 'any host'}: {', '.join(rule['roles'])}"


def _network(network: dict[str, Any]) -> str:
    told = [network["cidr"], *(f"{key} {network[key]}" for key in ("vlan", "mtu", "gateway", "pool") if network[key])]
    purposes = ", ".join(network["purposes"])
    return f"{network['name']}: {' '.join(word for word in told if word)} for {purposes}"


@blueprint.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@json_option
@click.pass_obj
def check(session: Any, file: Path, as_json: bool) -> None:
    """Check a blueprint FILE before it is used: `file:line: what is wrong: how it is mended`.

    It is checked against the roles and releases of the server; what it extends is looked for beside it and there.
    Exit code 1 when something is wrong. How a blueprint fits the hosts is told by `blueprint show` and `plan`.
    """
    text = _read(file)
    body = {"text": text, "file": str(file), "beside": {} if str(file) == "-" else _beside(file, text)}
    findings = session.api.call("POST", "/blueprints/check", body)["findings"]
    if as_json:
        show_json(findings)
    elif findings:
        _tell(findings)
    else:
        say(f"{file}: nothing is wrong in it")
    sys.exit(1 if findings else 0)


def _tell(findings: list[dict[str, Any]]) -> None:
    for one in findings:
        say(f"{one['file']}:{one['line']}: {one['message']}: {one['fix']}")


def _read(file: Path) -> str:
    """Raises Refusal."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return content.decode()
    except FileNotFoundError:
        known = f"; one at hand is told of by `pxeforge blueprint show {file.stem}`"
        raise Refusal(f"there is no file {file}: name the file of the blueprint{known}") from None
    except OSError as problem:
        raise Refusal(f"{file} cannot be read ({problem.strerror}): make it readable") from None
    except UnicodeDecodeError:
        raise Refusal(f"{file} is not UTF-8: write plain text") from None


def _beside(file: Path, text: str) -> dict[str, str]:
    """By name, the files of the same folder that the blueprint extends, one after the other."""
    found: dict[str, str] = {}
    while (wanted := _EXTENDS.search(text)) is not None and len(found) < _MOST_EXTENDED:
        path = file.parent / f"{wanted[1]}.yaml"
        if wanted[1] in found or path == file or not path.is_file():
            break
        text = found[wanted[1]] = _read(path)
    return found


COMMANDS = (blueprint,)
