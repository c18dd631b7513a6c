"""Several TFTP processes behind one port: the listener decides what a client gets; helpers send files to their clients.

Not SO_REUSEPORT: with it a stranger could bind the port beside us, and the kernel's choice by port number would let one
client be counted in every process. The client's address decides, so that a repeated request finds its transfer.
"""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pxeforge.servers.datagram import Received

_ENVELOPE: Final = struct.Struct("!4sH4sH")  # client address, client port, our address, length of the file's path
_LONGEST: Final = 65535


def channel() -> tuple[socket.socket, socket.socket]:
    """(the listener's end, the helper's end); both non-blocking. Requests keep their borders and wait for a restart."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


class Sharer:
    """Chooses who serves a client: ourselves or one of the helpers behind `channels`."""

    def __init__(self, channels: Sequence[socket.socket] = ()) -> None:
        self._channels = tuple(channels)

    def hand_over(self, received: Received, file: Path) -> bool:
        """False: send it yourself, the client is yours or its helper takes nothing now."""
        turn = zlib.crc32(received.peer[0].encode()) % (len(self._channels) + 1)
        if turn == 0:
            return False
        try:
            self._channels[turn - 1].send(envelope(received, file))
        except OSError:
            return False
        return True


def envelope(received: Received, file: Path) -> bytes:
    """A request and the file that answers it, as they go through a channel."""
    address, ours, path = socket.inet_aton(received.peer[0]), socket.inet_aton(received.our_address), os.fsencode(file)
    return _ENVELOPE.pack(address, received.peer[1], ours, len(path)) + path + received.data


class Abandoned(Exception):
    """The listener is gone for good: no request will come any more."""


def receive_shared(channel: socket.socket) -> tuple[Received, Path] | None:
    """The next request handed to this helper and its file; None where none is waiting. Raises Abandoned."""
    try:
        message = channel.recv(_LONGEST)
    except (BlockingIOError, InterruptedError):
        return None
    if len(message) < _ENVELOPE.size:
        raise Abandoned("the TFTP listener is gone")
    address, port, ours, length = _ENVELOPE.unpack_from(message)
    path, data = message[_ENVELOPE.size :][:length], message[_ENVELOPE.size + length :]
    received = Received(data, (socket.inet_ntoa(address), port), socket.inet_ntoa(ours))
    return received, Path(os.fsdecode(path))
