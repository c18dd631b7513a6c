"""Which switch and port a NIC is plugged into: LLDP frames (IEEE 802.1AB) read and listened for."""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

ETHERTYPE = 0x88CC
_VLAN_TAGS = (0x8100, 0x88A8)
_LONGEST = 255  # characters of a text that is kept
_MOST_NEIGHBOURS = 64
_SOL_PACKET, _ADD_MEMBERSHIP, _MR_ALLMULTI = 263, 1, 2  # <linux/if_packet.h>
_END, _CHASSIS, _PORT, _PORT_DESCRIPTION, _SYSTEM, _DESCRIPTION, _ADDRESS, _ORGANISATION = 0, 1, 2, 4, 5, 6, 8, 127
_TEXTS = {_PORT_DESCRIPTION: "port_description", _SYSTEM: "system", _DESCRIPTION: "description"}
_DOT1 = b"\x00\x80\xc2"


class NotLldp(ValueError):
    """The frame is no LLDP, or it is cut off; the message says where."""


def parse(frame: bytes) -> dict[str, Any]:
    """Of an Ethernet frame: {chassis, port, ttl_s} and, where told, {system, port_description, description, address,
    vlan}. Raises NotLldp and nothing else. Texts are printable and short.
    """
    found: dict[str, Any] = {}
    body = _payload(frame)
    at = 0
    while at < len(body):
        if at + 2 > len(body):
            raise NotLldp("the head of a TLV is cut off")
        (head,) = struct.unpack_from("!H", body, at)
        kind, length = head >> 9, head & 0x1FF
        value = body[at + 2 : at + 2 + length]
        if len(value) < length:
            raise NotLldp(f"TLV {kind} has {length} bytes, {len(value)} are left")
        at += 2 + length
        if kind == _END:
            break
        _take(kind, value, found)
    if not {"chassis", "port"} <= set(found):
        raise NotLldp("chassis and port are missing")
    return found


def _payload(frame: bytes) -> bytes:
    at = 12
    for _ in range(3):
        if len(frame) < at + 2:
            raise NotLldp("the frame is too short")
        (ethertype,) = struct.unpack_from("!H", frame, at)
        if ethertype == ETHERTYPE:
            return frame[at + 2 :]
        if ethertype not in _VLAN_TAGS:
            raise NotLldp(f"ethertype {ethertype:#06x} is not LLDP")
        at += 4
    raise NotLldp("too many VLAN tags")


def _take(kind: int, value: bytes, found: dict[str, Any]) -> None:
    """The first TLV of a kind counts; what means nothing here is passed over."""
    if kind == _CHASSIS and value:
        found.setdefault("chassis", _identity(value[0], value[1:], mac=4, address=5))
    elif kind == _PORT and value:
        found.setdefault("port", _identity(value[0], value[1:], mac=3, address=4))
    elif kind == 3 and len(value) >= 2:
        found.setdefault("ttl_s", int.from_bytes(value[:2], "big"))
    elif kind in _TEXTS:
        found.setdefault(_TEXTS[kind], _text(value))
    elif kind == _ADDRESS and len(value) > 1:
        address = _address(value[1 : 1 + value[0]])
        if address:
            found.setdefault("address", address)
    elif kind == _ORGANISATION and value[:4] == _DOT1 + b"\x01" and len(value) >= 6:
        found.setdefault("vlan", int.from_bytes(value[4:6], "big"))


def _identity(subtype: int, value: bytes, mac: int, address: int) -> str:
    if subtype == mac and len(value) == 6:
        return value.hex(":")
    if subtype == address:
        return _address(value) or value.hex()[:_LONGEST]
    return _text(value)


def _address(value: bytes) -> str:
    """A management or network address: its family (1: IPv4, 2: IPv6), then its bytes; nothing for others."""
    with contextlib.suppress(ValueError, IndexError):
        if (value[0], len(value)) in ((1, 5), (2, 17)):
            return str(ipaddress.ip_address(value[1:]))
    return ""


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_LONGEST]


def neighbours(
    nics: Iterable[str], listen_s: float = 30.0, clock: Callable[[], float] = time.monotonic
) -> list[dict[str, Any]]:
    """Who says something on these NICs within `listen_s` (switches say it every 30 s): {nic, chassis, port, …}."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    with selectors.DefaultSelector() as selector:
        sockets = [listener for name in nics if (listener := _listen(name)) is not None]
        try:
            for listener in sockets:
                selector.register(listener, selectors.EVENT_READ)
            end = clock() + listen_s
            while sockets and (left := end - clock()) > 0 and len(found) < _MOST_NEIGHBOURS:
                for key, _ in selector.select(left):
                    _hear(key.fileobj, found)  # type: ignore[arg-type]
        finally:
            for listener in sockets:
                listener.close()
    return list(found.values())


def _listen(name: str) -> socket.socket | None:
    """A socket that gets the NIC's LLDP frames; None where the NIC is gone."""
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    try:
        listener.setblocking(False)
        listener.bind((name, ETHERTYPE))
        request = struct.pack("=iHH8s", socket.if_nametoindex(name), _MR_ALLMULTI, 0, b"")
        listener.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
    except OSError:
        listener.close()
        return None
    return listener


def _hear(listener: socket.socket, found: dict[tuple[str, str, str], dict[str, Any]]) -> None:
    try:
        frame, (name, *_) = listener.recvfrom(4096)
    except OSError:
        return
    with contextlib.suppress(NotLldp):
        told = parse(frame)
        found.setdefault((name, told["chassis"], told["port"]), {"nic": name, **told})
