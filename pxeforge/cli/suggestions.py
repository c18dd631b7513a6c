"""What a shell suggests for a HOST, a profile, a role …: asked of the running server, or nothing at all.

Whoever presses Tab waits: it is asked for a second at most, over the socket on this computer, and every trouble (no
server, no right to ask) suggests nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from pxeforge.app.settings import BadSettings, load_settings
from pxeforge.cli.transport import HttpApi, Refusal, open_socket
from pxeforge.domain.lifecycle import HostState

_LONGEST_S: Final = 1.0
_MOST: Final = 200
_A_MAC: Final = re.compile(r"[0-9a-f]{2}[:-]", re.IGNORECASE)
Suggest = Callable[[HttpApi, str], Iterable[str]]


def _names_of(path: str, key: str = "name") -> Suggest:
    return lambda api, _begun: [str(row[key]) for row in api.call("GET", path, timeout_s=_LONGEST_S)]


def _hosts(api: HttpApi, begun: str) -> Iterator[str]:
    """By name; one that has none, or whose MAC address is being written, by that."""
    query = {"limit": _MOST, **({"q": begun} if begun else {})}
    for row in api.call("GET", "/hosts", query=query, timeout_s=_LONGEST_S):
        yield from row["macs"] if _A_MAC.match(begun) or not row["name"] else [row["name"]]


def _runs(api: HttpApi, _begun: str) -> list[str]:
    return [row["id"] for row in api.call("GET", "/runs", query={"limit": _MOST}, timeout_s=_LONGEST_S)]


def _states(_api: HttpApi, _begun: str) -> list[str]:
    return [state.value for state in HostState]


_profiles, _images = _names_of("/profiles"), _names_of("/images")
_roles, _blueprints, _secrets = _names_of("/roles"), _names_of("/blueprints"), _names_of("/secrets")


def _hosts_and_roles(api: HttpApi, begun: str) -> Iterator[str]:
    yield from _hosts(api, begun)
    yield from _roles(api, begun)


_BY_NAME: Final[Mapping[str, Suggest]] = {
    "host": _hosts, "hosts": _hosts, "other": _hosts, "words": _hosts, "profile": _profiles, "profiles": _profiles,
    "image": _images, "blueprint": _blueprints, "role": _roles, "roles": _roles, "add_roles": _roles,
    "remove_roles": _roles, "state": _states, "states": _states, "run_id": _runs,
}  # fmt: skip
_BY_COMMAND: Final[Mapping[tuple[str, ...], Suggest]] = {
    **dict.fromkeys([("image", one, "name") for one in ("show", "verify", "remove")], _images),
    **dict.fromkeys([("profile", one, "name") for one in ("show", "set", "clone", "remove")], _profiles),
    **dict.fromkeys([("secret", one, "name") for one in ("show", "rotate")], _secrets),
    **dict.fromkeys([("host", one, "words") for one in ("assign", "unassign")], _hosts_and_roles),
    ("role", "show", "name"): _roles,
    ("blueprint", "show", "name"): _blueprints,
}


class Known(click.types.StringParamType):
    """Any text; a shell is told what is known."""

    def __init__(self, suggest: Suggest) -> None:
        self._suggest = suggest

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del param
        try:
            api = _server(ctx.find_root().params)
            found = [] if api is None else list(self._suggest(api, incomplete))
        except (Refusal, BadSettings, OSError, KeyError, TypeError):
            return []
        return [CompletionItem(one) for one in dict.fromkeys(found) if one.startswith(incomplete)]


def _server(given: Mapping[str, Any]) -> HttpApi | None:
    """The one that runs here; a server elsewhere (--server) is not asked for every Tab."""
    if given.get("server"):
        return None
    flags = {"data_dir": given["data_dir"]} if given.get("data_dir") else {}
    return open_socket(load_settings(flags, config=given.get("config")).data_dir)


def suggest_in(command: click.Command, path: tuple[str, ...] = ()) -> None:
    """Tells every parameter below `command` what is known for it, by its name and by its command's."""
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            suggest_in(sub, (*path, name))
    for param in command.params:
        name = "host" if param.metavar == "HOST" else param.name or ""
        suggest = _BY_COMMAND.get((*path, name)) or _BY_NAME.get(name)
        if path and suggest is not None and type(param.type) is click.types.StringParamType:
            param.type = Known(suggest)
