"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json` as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for scripts.")(command)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`[HOST]...` and `--where SELECTION` as the argument `chosen`: a part of a request for many hosts."""

    @click.argument("hosts", nargs=-1, metavar="[HOST]...")
    @click.option("--where", metavar="SELECTION", help="Also the hosts that fit, e.g. 'state=known tag=rack1'.")
    @wraps(command)
    def asked(*args: Any, hosts: tuple[str, ...], where: str | None, **given: Any) -> Any:
        if not hosts and not where:
            raise click.UsageError("say which hosts: HOST..., or --where SELECTION")
        chosen = {"hosts": list(dict.fromkeys(hosts)), **({"where": where} if where else {})}
        return command(*args, chosen=chosen, **given)

    return asked
