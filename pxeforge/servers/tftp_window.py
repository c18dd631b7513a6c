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
    """The sending side of one transfer's socket.

    The kernel refuses to cut where a block does not fit the MTU of the way (EINVAL, EMSGSIZE: IP would have to fragment
    it) or where the network card cannot do checksums (EIO). That depends on the way to the client, so it is remembered
    for the transfer; the blocks then go one by one.
    """

    def __init__(self, udp: socket.socket, block_bytes: int) -> None:
        """`block_bytes` is the length of a window's full DATA packets, 0 for a transfer without windows."""
        self._udp = udp
        self.cuts = False  # whether the kernel cuts windows
        self._most = 0
        if block_bytes >= _LEAST_BLOCK_BYTES:
            with contextlib.suppress(OSError):  # an older kernel
                udp.setsockopt(_SOL_UDP, _UDP_SEGMENT, block_bytes)
                self._most = min(_MOST_BLOCKS, _MOST_BYTES // block_bytes) * block_bytes
                self.cuts = True

    def send(self, outgoing: Outgoing) -> None:
        """Raises OSError; what comes after the datagram that failed is not sent."""
        if self.cuts and isinstance(outgoing, Window):
            for start in range(0, len(outgoing.joined), self._most):
                self._send_part(outgoing, start)
        else:
            for payload, to in outgoing:
                self._udp.sendto(payload, to)

    def _send_part(self, window: Window, start: int) -> None:
        part = window.joined[start : start + self._most]
        if self.cuts:
            try:
                self._udp.sendto(part, window.to)
                return
            except BlockingIOError:
                raise
            except OSError:
                # Nothing of the part has left. If the reason was another one, the next sends fail as well.
                self._udp.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
                self.cuts = False
        for payload, to in Window(part, window.block_bytes, window.to):
            self._udp.sendto(payload, to)
