"""`power.toml` in the operator's folder: in which networks BMCs are, and the operator's own power commands.

    networks = ["10.9.0.0/24"]

    [commands.pdu]
    on     = ["/usr/local/sbin/pdu", "{outlet}", "on"]
    off    = ["/usr/local/sbin/pdu", "{outlet}", "off"]
    status = ["/usr/local/sbin/pdu", "{outlet}", "status"]

It is read at each use: only who may write this folder says which programs run. Other keys are mistakes.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pxeforge.domain.power import PowerAbility
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_PLACE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True, slots=True)
class PowerConfig:
    """`networks` is None where the file does not say; `commands`: argv by command and ability."""

    networks: tuple[Network, ...] | None = None
    commands: Mapping[str, Mapping[PowerAbility, tuple[str, ...]]] = field(default_factory=dict)


def load(ctx: Context) -> PowerConfig:
    """Raises Problem with the file's name for whatever is wrong in it."""
    path = ctx.operator_dir / "power.toml"
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return PowerConfig()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise Problem(f"{path} cannot be read ({problem}): mend it") from None
    return _checked(path, content)


def places(argv: tuple[str, ...]) -> list[str]:
    """The names between braces, which a host's settings fill."""
    return [name for word in argv for name in _PLACE.findall(word)]


def filled(argv: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """Each place replaced, once: a value with braces stays as it is. Every place must have its value."""
    return [_PLACE.sub(lambda found: values[found[1]], word) for word in argv]


def _checked(path: Path, content: dict[str, Any]) -> PowerConfig:
    if unknown := set(content) - {"networks", "commands"}:
        raise Problem(f"{path}: unknown key {min(unknown)!r}: known are networks and commands")
    commands = content.get("commands", {})
    if not isinstance(commands, dict):
        raise Problem(f"{path}: commands must be tables like [commands.pdu]")
    return PowerConfig(
        networks=_networks(path, content["networks"]) if "networks" in content else None,
        commands={name: _command(path, name, table) for name, table in commands.items()},
    )


def _networks(path: Path, value: Any) -> tuple[Network, ...]:
    mistake = f'{path}: networks must be a list like ["10.9.0.0/24"]'
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Problem(mistake)
    try:
        return tuple(ipaddress.ip_network(one) for one in value)
    except ValueError as problem:
        raise Problem(f"{mistake} ({problem})") from None


def _command(path: Path, name: str, table: Any) -> dict[PowerAbility, tuple[str, ...]]:
    where = f"{path}: [commands.{name}]"
    if not NAME.fullmatch(name):
        raise Problem(f"{where}: a command's name is made of a-z 0-9 _ -")
    if not isinstance(table, dict) or not table:
        raise Problem(f'{where} must say how to switch, e.g. on = ["/usr/local/sbin/pdu", "{{outlet}}", "on"]')
    if unknown := set(table) - {one.value for one in PowerAbility}:
        known = ", ".join(one.value for one in PowerAbility)
        raise Problem(f"{where}: unknown key {min(unknown)!r}: known are {known}")
    return {PowerAbility(key): _argv(f"{where}: {key}", argv) for key, argv in table.items()}


def _argv(where: str, value: Any) -> tuple[str, ...]:
    words = value if isinstance(value, list) else []
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise Problem(f"{where} must be a list of words: the program and its arguments (no shell reads it)")
    argv = tuple(words)
    if not argv[0].startswith("/") or places(argv[:1]):
        raise Problem(f"{where}: write the program with its whole path, e.g. /usr/local/sbin/pdu")
    if wrong := [name for name in places(argv) if not _PLACE_NAME.fullmatch(name)]:
        raise Problem(f"{where}: {{{wrong[0]}}} is no place for a value: its name is made of a-z 0-9 _")
    return argv
