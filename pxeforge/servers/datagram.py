"""UDP sockets that know by which of our addresses a datagram came in and can answer from that address."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Final

from pxeforge.protocol.tftp.transfer import Endpoint

_IP_PKTINFO: Final = 8  # ip(7); Python 3.11 has no name for it
_PKTINFO: Final = struct.Struct("=i4s4s")  # interface index, our address, destination in the header
_LARGEST: Final = 65535
_ANCILLARY: Final = socket.CMSG_SPACE(_PKTINFO.size)
_SO_RCVBUFFORCE: Final = 33  # socket(7): above net.core.rmem_max, for root only; Python has no name for it
_NO_PERMISSION = (errno.EACCES, errno.EPERM)


class CannotListen(Exception):
    """A socket cannot be opened; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Received:
    """One datagram: `our_address` is the address it was sent to, for a broadcast the interface's own."""

    data: bytes
    peer: Endpoint
    our_address: str
    unicast: bool = False


def listen_udp(address: str, port: int, *, interface: str = "", purpose: str, remedy: str) -> socket.socket:
    """A non-blocking socket on address and port, tied to `interface` if one is named; raises CannotListen.

    SO_REUSEADDR is left off on purpose: UDP does not need it for a restart, and with it two servers would share a
    port without any error, each getting a part of the packets. `remedy` says who may use the
    port and what to do then: it goes on after "port 67 on br0 is in use (".
    """
    where = f"port {port} on {interface or address}"
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        if interface:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        udp.bind((address, port))
    except OSError as error:
        udp.close()
        raise CannotListen(_explain(error, where, purpose, remedy)) from error
    return udp


def make_room(udp: socket.socket, size_bytes: int) -> None:
    """Asks the kernel to keep that much for us while we are busy; gets what it grants (root: all of it)."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size_bytes)
    except PermissionError:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)


def receive(udp: socket.socket, largest: int = _LARGEST) -> Received | None:
    """The next datagram, cut after `largest` bytes; None where none is waiting."""
    try:
        data, control, _, peer = udp.recvmsg(largest, _ANCILLARY)
    except (BlockingIOError, InterruptedError):
        return None
    for level, kind, value in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= _PKTINFO.size:
            _, ours, destination = _PKTINFO.unpack_from(value)
            return Received(data, peer, socket.inet_ntoa(ours), ours == destination)
    return Received(data, peer, udp.getsockname()[0])


def drain(udp: socket.socket, most: int, largest: int) -> list[Received]:
    """What is waiting, `most` datagrams at most: the rest comes with the next call."""
    found = list[Received]()
    while len(found) < most and (received := receive(udp, largest)) is not None:
        found.append(received)
    return found


def send_from(udp: socket.socket, our_address: str, data: bytes, to: Endpoint) -> None:
    """Sends with `our_address` as source; raises OSError."""
    source = _PKTINFO.pack(0, socket.inet_aton(our_address), bytes(4))
    udp.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, source)], 0, to)


def _explain(error: OSError, where: str, purpose: str, remedy: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use ({remedy}"
    if error.errno in _NO_PERMISSION:
        return f"no permission to open {where} for {purpose}: run as root or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot open {where} for {purpose}: this computer does not have that address"
    return f"cannot open {where} for {purpose}: {error.strerror}"
