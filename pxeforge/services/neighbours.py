"""Who is behind an address on our own wire, and how it sees us: the kernel's ARP table and routes, over netlink."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from pxeforge.domain.mac import MacAddress, NotAMac

T = TypeVar("T")
KEPT_S: Final = 10.0
_MOST: Final = 10_000  # addresses remembered; beyond it all are forgotten


class Neighbours:
    """Asks the kernel for one address (never for the whole table: it grows with the rack) and remembers for KEPT_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[MacAddress | None, float]] = {}
        self._sources: dict[str, tuple[str | None, float]] = {}
        self._netlink: socket.socket | None = None
        self._one_at_a_time = threading.Lock()

    def __call__(self, address: str) -> MacAddress | None:
        """The MAC address that answers for an IPv4 address; None for ourselves, for routed peers and when unknown."""
        now = self._clock()
        known = self._known.get(address)
        if known is not None and now - known[1] < KEPT_S:
            return known[0]
        try:
            mac = self._ask(address)
        except _StillUnknown:
            return None
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[address] = (mac, now)
        return mac

    def source(self, address: str) -> str | None:
        """Our own address as this one sees us; None for ourselves and for one that cannot be reached."""
        now = self._clock()
        known = self._sources.get(address)
        if known is not None and now - known[1] < KEPT_S:
            return known[0]
        try:
            way = self._guarded(_route, address)
        except _StillUnknown:
            return None
        ours = way.source if way is not None else None
        if len(self._sources) >= _MOST:
            self._sources.clear()
        self._sources[address] = (ours, now)
        return ours

    def _ask(self, address: str) -> MacAddress | None:
        """Raises _StillUnknown."""
        return self._guarded(_neighbour, address)

    def _guarded(self, question: Callable[[socket.socket, bytes], T], address: str) -> T:
        try:
            with self._one_at_a_time:
                netlink = self._netlink = self._netlink or _open()
                return question(netlink, socket.inet_aton(address))
        except (OSError, NotAMac, struct.error) as problem:
            structlog.get_logger().warning("the kernel does not tell about a neighbour", reason=str(problem))
            self._netlink = None
            raise _StillUnknown from None


class _StillUnknown(Exception):
    """It is on our wire and the kernel has not heard of it yet: ask again next time."""


def _open() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
    netlink.settimeout(1.0)  # the kernel answers in the same call
    return netlink


@dataclass(frozen=True, slots=True)
class _Way:
    """How an address is reached: by which interface, with which address of ours, over a router or not."""

    interface: int
    source: str | None
    is_routed: bool


def _route(netlink: socket.socket, address: bytes) -> _Way | None:
    """None for ourselves and where there is no way."""
    found = _request(netlink, _GET_ROUTE, _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0), address)
    if found is None:
        return None
    body, attributes = found
    if _ROUTE.unpack_from(body)[7] == _LOCAL or _ROUTE_INTERFACE not in attributes:
        return None
    source = attributes.get(_ROUTE_SOURCE)
    return _Way(
        interface=int.from_bytes(attributes[_ROUTE_INTERFACE], sys.byteorder),
        source=socket.inet_ntoa(source) if source else None, is_routed=_ROUTE_GATEWAY in attributes,
    )  # fmt: skip


def _neighbour(netlink: socket.socket, address: bytes) -> MacAddress | None:
    """None for one who is not on our wire; raises _StillUnknown."""
    way = _route(netlink, address)
    if way is None or way.is_routed:
        return None
    found = _request(netlink, _GET_NEIGHBOUR, _NEIGHBOUR.pack(socket.AF_INET, way.interface, 0, 0, 0), address)
    if found is None:
        raise _StillUnknown
    body, attributes = found
    if _NEIGHBOUR.unpack_from(body)[2] & _UNUSABLE or len(attributes.get(_NEIGHBOUR_MAC, b"")) != 6:
        raise _StillUnknown
    return MacAddress(attributes[_NEIGHBOUR_MAC])


def _request(netlink: socket.socket, kind: int, body: bytes, address: bytes) -> tuple[bytes, dict[int, bytes]] | None:
    """One question about one address: the answer's fixed part and its attributes, or None for "there is none"."""
    question = body + _ATTRIBUTE.pack(_ATTRIBUTE.size + 4, 1) + address  # RTA_DST and NDA_DST are both 1
    netlink.send(_HEADER.pack(_HEADER.size + len(question), kind, 1, 0, 0) + question)  # NLM_F_REQUEST
    answer = netlink.recv(8192)
    length, answered, _, _, _ = _HEADER.unpack_from(answer)
    if answered == _ERROR:
        return None
    at, attributes = _HEADER.size + len(body), dict[int, bytes]()
    while at + _ATTRIBUTE.size <= length:
        size, code = _ATTRIBUTE.unpack_from(answer, at)
        if size < _ATTRIBUTE.size:
            break
        attributes[code] = answer[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return answer[_HEADER.size : _HEADER.size + len(body)], attributes


# linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h. (pyroute2 knows them too, at 8 MB for each process that asks,
# a second to load it and 0.5 ms a question.)
_HEADER: Final = struct.Struct("=IHHII")  # length, kind, flags, sequence, sender
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, kind
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # rtmsg; the eighth is its type
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")  # ndmsg: family, interface, state, flags, type
_ERROR: Final = 2
_GET_ROUTE, _GET_NEIGHBOUR = 26, 30
_ROUTE_INTERFACE, _ROUTE_GATEWAY, _ROUTE_SOURCE, _NEIGHBOUR_MAC = 4, 5, 7, 2
_LOCAL: Final = 2  # RTN_LOCAL
_UNUSABLE: Final = 0x01 | 0x20  # NUD_INCOMPLETE, NUD_FAILED
