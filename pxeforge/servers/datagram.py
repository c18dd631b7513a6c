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
_NO_PERMISSION = (errno.EACCES, errno.EPERM)


class CannotListen(Exception):
    """A socket cannot be opened; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Received:
    """One datagram: `our_address` is the address it was sent to, for a broadcast the interface's own."""

    data: bytes
    peer: Endpoint
    our_address: str


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


def receive(udp: socket.socket) -> Received | None:
    """The next datagram; None where none is waiting."""
    try:
        data, control, _, peer = udp.recvmsg(_LARGEST, socket.CMSG_SPACE(_PKTINFO.size))
    except (BlockingIOError, InterruptedError):
        return None
    ours = udp.getsockname()[0]
    for level, kind, value in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= _PKTINFO.size:
            ours = socket.inet_ntoa(_PKTINFO.unpack_from(value)[1])
    return Received(data, (str(peer[0]), int(peer[1])), ours)


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
