"""Sends a window of equal blocks by one call: the kernel cuts it into datagrams (UDP_SEGMENT, Linux 4.18)."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from pxeforge.protocol.tftp.transfer import Outgoing, Window

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103  # udp(7); Python has no name for it
_MOST_BLOCKS: Final = 64  # UDP_MAX_SEGMENTS before Linux 6.9
_MOST_BYTES: Final = 65507  # what one IPv4 UDP datagram can hold before it is cut
_LEAST_BLOCK_BYTES: Final = 512  # OACK and ERROR are shorter: nothing but a window is ever cut


class WindowSender:
    """The sending side of one transfer's socket, which is connected to the client.

    The kernel refuses to cut where a block does not fit the MTU of the way (EINVAL, EMSGSIZE: IP would have to fragment
    it) or where the network card cannot do checksums (EIO). That depends on the way to the client, so it is remembered
    for the transfer; the blocks then go one by one. What finds the socket's buffer full is kept for resume().
    """

    def __init__(self, udp: socket.socket, block_bytes: int) -> None:
        """`block_bytes` is the length of a window's full DATA packets, 0 for a transfer without windows."""
        self._udp, self._block_bytes = udp, block_bytes
        self.cuts = False  # whether the kernel cuts windows
        self._most = 0
        self._waiting: list[bytes] = []
        if block_bytes >= _LEAST_BLOCK_BYTES:
            with contextlib.suppress(OSError):  # an older kernel
                udp.setsockopt(_SOL_UDP, _UDP_SEGMENT, block_bytes)
                self._most = min(_MOST_BLOCKS, _MOST_BYTES // block_bytes) * block_bytes
                self.cuts = True

    @property
    def blocked(self) -> bool:
        """Whether something waits for room in the socket's buffer: call resume() then."""
        return bool(self._waiting)

    def send(self, outgoing: Outgoing) -> None:
        """Raises OSError; what comes after the packet that failed is not sent. What still waits is out of date."""
        if self.cuts and isinstance(outgoing, Window):
            self._push(_cut(outgoing.joined, self._most))
        else:
            self._push([payload for payload, _ in outgoing])

    def resume(self) -> None:
        """Goes on where the buffer was full; raises OSError."""
        self._push(self._waiting)

    def _push(self, parts: list[bytes]) -> None:
        self._waiting = []
        for position, part in enumerate(parts):
            try:
                self._send_one(part)
            except BlockingIOError:
                self._waiting = parts[position:]
                return
            except OSError:
                if not self.cuts:
                    raise
                # Nothing of the part has left. If the reason was another one, the next sends fail as well.
                self._udp.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
                self.cuts = False
                self._push([block for rest in parts[position:] for block in _cut(rest, self._block_bytes)])
                return

    def _send_one(self, part: bytes) -> None:
        try:
            self._udp.send(part)
        except ConnectionRefusedError:
            self._udp.send(part)  # the client's answer to an earlier packet, told now: this one was not tried


def _cut(content: bytes, length: int) -> list[bytes]:
    return [content[start : start + length] for start in range(0, len(content), length)]
