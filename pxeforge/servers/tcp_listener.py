"""Listening TCP sockets, one or several on a port."""

from __future__ import annotations

import socket
from typing import Final

_BACKLOG: Final = 4096


def listen_tcp(address: str, port: int) -> socket.socket:
    """A listening socket; raises OSError."""
    return listen_shared(address, port, 1)[0]


def listen_shared(address: str, port: int, count: int) -> list[socket.socket]:
    """Listening sockets on one port, for as many processes: the kernel deals the clients out by address and port.

    With one socket for all of them whoever happens to run would take nearly all clients. SO_REUSEPORT is set after the
    port is ours: before, another server of our user could have it already. Raises OSError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(socket.socket(family, socket.SOCK_STREAM))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(sockets) > 1:
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sockets[-1].bind((address, port))
            if count > 1:
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            port = sockets[0].getsockname()[1]
        for each in sockets:
            each.listen(_BACKLOG)
            each.setblocking(False)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets
