"""The sockets of one transfer: one connected to its client, which is cheaper, and one that hears strangers."""

from __future__ import annotations

import socket
from typing import Final

from pxeforge.protocol.tftp.transfer import Endpoint

_IP_MTU: Final = 14  # ip(7); Python has no name for it
_HEADERS_BYTES: Final = 20 + 8 + 4  # IP, UDP, TFTP


def transfer_sockets(our_address: str, peer: Endpoint) -> tuple[socket.socket, socket.socket]:
    """(the client's, the strangers'), non-blocking, both on one fresh port; raises OSError.

    SO_REUSEPORT lets nobody but processes of our own user onto the port. It is set after the port was chosen: before,
    the kernel could choose one that another transfer has.
    """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    strangers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        udp.bind((our_address, 0))
        for each in (udp, strangers):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        udp.connect(peer)
        strangers.bind(udp.getsockname())
    except OSError:
        udp.close()
        strangers.close()
        raise
    return udp, strangers


def largest_blksize(udp: socket.socket) -> int:
    """What fits into one packet on the way to the client, as far as the kernel knows: boot ROMs do not reassemble."""
    return udp.getsockopt(socket.IPPROTO_IP, _IP_MTU) - _HEADERS_BYTES
