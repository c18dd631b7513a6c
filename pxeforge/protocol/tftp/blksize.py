"""Which clients get smaller blocks than they ask for: rules of the operator, for firmware that asks for too much."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from pxeforge.domain.mac import MacAddress

LEAST, MOST = 512, 8968  # jumbo frames: 9000 less IP, UDP and TFTP headers
USUAL: Final = 1468  # one Ethernet frame: 1500 less the headers
_MAC_START = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,5}")


class BadBlksize(ValueError):
    """A rule that means nothing; the message says how to write one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlksizeRules:
    """`for_all`, unless the client's address or the start of its MAC address is named; the longest one counts."""

    for_all: int = USUAL
    by_address: dict[str, int]
    by_mac: dict[str, int]  # the first octets, aa:bb:cc

    def largest_for(self, address: str, mac: MacAddress | None) -> int:
        if address in self.by_address:
            return self.by_address[address]
        text = str(mac) if mac is not None else ""
        starts = [start for start in self.by_mac if text.startswith(start)]
        return self.by_mac[max(starts, key=len)] if starts else self.for_all


def parse_rules(texts: Iterable[str]) -> BlksizeRules:
    """`1024` (all), `10.0.0.7=1024`, `52:54:00=1024` (all MAC addresses that begin so); raises BadBlksize."""
    for_all, by_address, by_mac = USUAL, dict[str, int](), dict[str, int]()
    for text in texts:
        whom, _, size = text.strip().lower().rpartition("=")
        blksize = _size(size, text)
        if not whom:
            for_all = blksize
        elif _MAC_START.fullmatch(whom):
            by_mac[whom] = blksize
        else:
            by_address[_address(whom, text)] = blksize
    return BlksizeRules(for_all=for_all, by_address=by_address, by_mac=by_mac)


def _size(size: str, text: str) -> int:
    if not (size.isdecimal() and len(size) < 6 and LEAST <= int(size) <= MOST):
        raise BadBlksize(f"{text!r} names no block size: give {LEAST} to {MOST} bytes, e.g. 1024 or 52:54:00=1024")
    return int(size)


def _address(whom: str, text: str) -> str:
    try:
        return str(IPv4Address(whom))
    except AddressValueError:
        raise BadBlksize(
            f"{text!r} names nobody: write an IPv4 address or the start of a MAC address before the =, "
            "e.g. 10.0.0.7=1024 or 52:54:00=1024"
        ) from None
