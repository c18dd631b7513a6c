"""A blueprint as a picture (SVG): its networks as bars, its hosts as boxes below, VIPs as marks on the bars. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pxeforge.engine.blueprint import Blueprint, HostRule
from pxeforge.engine.layout import Network
from pxeforge.engine.role_order import role_order
from pxeforge.engine.roles import Role

_WIDE, _GAP, _EDGE = 230, 24, 20  # of a box, between boxes, around all
_LINE = 17  # of text
_BAR = 54  # from one network to the next
_HEAD = 64
_LETTER = 7.2  # about the width of one, in pixels
_COLOURS = ("#1f6feb", "#2da44e", "#bf8700", "#8250df", "#cf222e", "#57606a")
_OWN = Network(name="the hosts' own addresses", purposes=())


@dataclass(frozen=True, slots=True)
class _Box:
    """Hosts of one rule."""

    title: str
    lines: tuple[str, ...]
    networks: tuple[Network, ...]
    many: bool  # drawn as a pile


def blueprint_svg(blueprint: Blueprint, roles: Mapping[str, Role]) -> str:
    """The whole picture as text; the same blueprint always gives the same picture."""
    networks = blueprint.networks or (_OWN,)
    boxes = [_box(rule, networks, roles) for rule in blueprint.rules]
    top = _HEAD + len(networks) * _BAR + 10
    high = 30 + _LINE * max(len(box.lines) for box in boxes)
    labels = {network.name: _label(blueprint, network) for network in networks}
    summary = _cut(blueprint.summary, 100)
    width = max(
        _EDGE * 2 + len(boxes) * (_WIDE + _GAP),
        _EDGE * 2 + int(len(summary) * _LETTER),
        *(label.width for label in labels.values()),
    )
    parts = [
        f'<text x="{_EDGE}" y="26" class="t">{escape(blueprint.name)}</text>',
        f'<text x="{_EDGE}" y="44" class="d">{escape(summary)}</text>',
    ]
    for number in range(len(networks)):
        y = _HEAD + number * _BAR + 24
        parts.append(
            f'<rect x="{_EDGE}" y="{y}" width="{width - 2 * _EDGE}" height="5" rx="2" fill="{_colour(number)}"/>'
        )
    for number, box in enumerate(boxes):
        parts += _drawn(box, networks, _EDGE + number * (_WIDE + _GAP), top, high)
    for number, network in enumerate(networks):
        parts += _told(network.name, labels[network.name], _colour(number), _HEAD + number * _BAR + 18, width)
    return _document(blueprint, parts, width, top + high + _EDGE)


def _document(blueprint: Blueprint, parts: Sequence[str], width: int, height: int) -> str:
    style = (
        "text{font:13px sans-serif;fill:#1f2328}.t{font-size:17px;font-weight:bold}.b{font-weight:bold}"
        ".d{fill:#57606a;font-size:12px}.h{paint-order:stroke;stroke:#ffffff;stroke-width:5px}.box{fill:#f6f8fa;stroke:#57606a}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(blueprint.name)}: {escape(blueprint.summary)}</title>",
            f"<style>{style}</style>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _box(rule: HostRule, networks: Sequence[Network], roles: Mapping[str, Role]) -> _Box:
    needed = {purpose for name in role_order(rule.roles, roles) for purpose in roles[name].networks}
    needed |= {"api", *rule.place.addresses, *rule.place.nics}
    on = tuple(network for network in networks if network is _OWN or needed & {network.name, *network.purposes})
    lines = list(rule.roles)
    if rule.place.zone:
        lines.append(f"zone {rule.place.zone}")
    lines += [f"disk {purpose}: {_disk(rule, purpose)}" for purpose in rule.place.disks]
    if rule.count is not None:
        title = f"{rule.count} host{'s' if rule.count > 1 else ''}"
    else:
        wanted = (("name", rule.name), ("mac", rule.mac), ("tag", rule.tag))
        title = ", ".join(f"{key} {value}" for key, value in wanted if value) + (", if any" if rule.optional else "")
    return _Box(title, tuple(lines), on, (rule.count or 0) > 1 or "*" in (rule.name or ""))


def _disk(rule: HostRule, purpose: str) -> str:
    choice = rule.place.disks[purpose]
    return f"serial {choice.serial}" if choice.serial else f"{choice.min_bytes // 10**9} GB or more"


@dataclass(frozen=True, slots=True)
class _Label:
    """What stands over the bar of a network: text at the left, VIPs (text and roles) at the right."""

    text: str
    vips: tuple[tuple[str, str], ...]
    width: int  # of a picture in which it has room


def _label(blueprint: Blueprint, network: Network) -> _Label:
    told = [str(network.cidr)] if network.cidr else []
    told += [f"for {', '.join(network.purposes)}"] if network.purposes not in ((), (network.name,)) else []
    told += [f"{word} {value}" for word, value in (("VLAN", network.vlan), ("MTU", network.mtu)) if value is not None]
    told += [f"gateway {network.gateway}"] if network.gateway else []
    told += [f"pool {' to '.join(network.pool)}"] if network.pool else []
    vips = [
        (f"VIP {vip.name} {vip.address}", ", ".join(vip.roles)) for vip in blueprint.vips if vip.network == network.name
    ]
    letters = len(network.name) + len(" · ".join(told)) + sum(len(text) for text, _ in vips)
    return _Label(" · ".join(told), tuple(vips), int(letters * _LETTER) + 2 * _EDGE + 40 + 24 * len(vips))


def _told(name: str, label: _Label, colour: str, y: int, width: int) -> list[str]:
    x = _EDGE + int(len(name) * _LETTER * 1.1) + 14
    parts = [
        f'<text x="{_EDGE}" y="{y}" class="b h">{escape(name)}</text>',
        f'<text x="{x}" y="{y}" class="d h">{escape(label.text)}</text>',
    ]
    right = width - _EDGE
    for text, roles in label.vips:
        wide = int(len(text) * _LETTER) + 16
        right -= wide
        parts += [
            f'<rect x="{right}" y="{y - 16}" width="{wide}" height="18" rx="9" fill="{colour}" fill-opacity="0.15"/>',
            f'<text x="{right + 8}" y="{y - 3}"><title>{escape(roles)}</title>{escape(text)}</text>',
        ]
        right -= 8
    return parts


def _drawn(box: _Box, networks: Sequence[Network], x: int, y: int, high: int) -> list[str]:
    parts = []
    for at, network in enumerate(box.networks):
        number = list(networks).index(network)
        line_x = x + 24 + at * 26
        bar_y = _HEAD + number * _BAR + 26
        parts += [
            f'<line x1="{line_x}" y1="{bar_y}" x2="{line_x}" y2="{y}" stroke="{_colour(number)}" stroke-width="2"/>',
            f'<circle cx="{line_x}" cy="{bar_y}" r="5" fill="{_colour(number)}"/>',
        ]
    if box.many:
        parts.append(f'<rect x="{x + 6}" y="{y - 6}" width="{_WIDE}" height="{high}" rx="8" class="box"/>')
    parts += [
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{high}" rx="8" class="box"/>',
        f'<text x="{x + 12}" y="{y + 20}" class="b">{escape(_cut(box.title))}</text>',
    ]
    for number, line in enumerate(box.lines, 1):
        parts.append(f'<text x="{x + 12}" y="{y + 20 + number * _LINE}">{escape(_cut(line))}</text>')
    return parts


def _cut(text: str, most: int = int((_WIDE - 24) / _LETTER)) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
