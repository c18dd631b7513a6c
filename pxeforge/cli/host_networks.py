"""What `pxeforge host set` says of a host's network, as the API takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from pxeforge.cli.durations import duration_s

CLEARED: Final = "none"


def reservations_of(words: Sequence[str]) -> dict[str, str | None]:
    """Addresses by MAC from each `--reserve [MAC=]ADDRESS`; the empty MAC is the host's only NIC, None gives back."""
    reserved: dict[str, str | None] = {}
    for word in words:
        mac, _, address = word.rpartition("=")
        reserved[mac] = None if address == CLEARED else address
    return reserved


def network_of(words: Sequence[str]) -> dict[str, Any]:
    """The host setting `network`, from each `--dhcp KEY=VALUE`; `none` takes a value away."""
    network: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in _READERS:
            raise click.BadParameter(
                f"{word!r} is not KEY=VALUE with KEY one of {', '.join(_READERS)}", param_hint="--dhcp"
            )
        name = "lease_time_s" if key == "lease-time" else key
        network[name] = None if text == CLEARED else _READERS[key](text)
    return network


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise click.BadParameter(f"{text!r} is not a number", param_hint="--dhcp")
    return int(text)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "router": str, "dns": _list, "ntp": _list, "domain": str, "search": _list, "mtu": _number,
    "lease-time": duration_s,
}  # fmt: skip
