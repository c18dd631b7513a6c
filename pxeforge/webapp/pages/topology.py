"""Hosts of a blueprint on their networks, as a drawing: a bar for each network, a box for each host below. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MOST_HOSTS: Final = 24
_WIDE, _GAP, _LEFT = 150, 18, 12
_BAR, _FIRST_BAR = 34, 30
_LINE: Final = 17
_LONG: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    name: str
    y: int
    tone: int  # one of four colours


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A line from a network down to a host."""

    x: int
    y: int
    tone: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBox:
    id: str
    name: str
    state: str
    roles: tuple[str, ...]
    x: int
    y: int
    wide: int
    high: int
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    bars: tuple[Bar, ...]
    boxes: tuple[HostBox, ...]
    wide: int
    high: int
    left_out: int


def picture_of(hosts: Sequence[Mapping[str, Any]]) -> Picture:
    """`hosts` as blueprints.show gives them: id, name, state, roles, addresses (with their length, if known)."""
    shown = hosts[:MOST_HOSTS]
    networks: dict[str, int] = {}
    for host in shown:
        for name, _address in _networks(host["addresses"]):
            networks.setdefault(name, len(networks))
    bars = tuple(Bar(name=name, y=_FIRST_BAR + at * _BAR, tone=at % 4) for name, at in networks.items())
    top = _FIRST_BAR + len(bars) * _BAR + 8
    high = 2 * _LINE + 12 + _LINE * max((len(host["roles"]) for host in shown), default=0)
    boxes = tuple(
        _box(host, _LEFT + at * (_WIDE + _GAP), top, high, {bar.name: bar for bar in bars})
        for at, host in enumerate(shown)
    )
    wide = _LEFT * 2 + max(1, len(shown)) * (_WIDE + _GAP) - _GAP
    return Picture(bars=bars, boxes=boxes, wide=max(wide, 320), high=top + high + 10, left_out=len(hosts) - len(shown))


def _box(host: Mapping[str, Any], x: int, y: int, high: int, bars: Mapping[str, Bar]) -> HostBox:
    own = _networks(host["addresses"])
    step = _WIDE // (len(own) + 1)
    drops = tuple(
        Drop(x=x + step * at, y=bars[name].y, tone=bars[name].tone, address=address)
        for at, (name, address) in enumerate(own, start=1)
    )
    return HostBox(
        id=str(host["id"]), name=_short(str(host["name"])), state=str(host["state"]), x=x, y=y, wide=_WIDE, high=high,
        roles=tuple(_short(str(role)) for role in host["roles"]), drops=drops,
    )  # fmt: skip


def _networks(addresses: Sequence[str]) -> list[tuple[str, str]]:
    """Network and address; an address without a length stands for a network of its own /24 (/64)."""
    found: dict[str, str] = {}
    for text in addresses:
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError:
            continue
        if interface.ip.is_link_local or interface.ip.is_loopback:
            continue
        if "/" not in text:
            length = 24 if interface.version == 4 else 64
            interface = ipaddress.ip_interface(f"{text}/{length}")
        found.setdefault(str(interface.network), str(interface.ip))
    return list(found.items())


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
