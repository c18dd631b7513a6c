"""Tells when links or addresses of this computer change: the kernel's notices by netlink, without their details.

Who is told looks at the interfaces himself: notices can be lost when many come at once, the state cannot.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)
_LINKS_AND_ADDRESSES: Final = 0x1 | 0x10  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR (linux/rtnetlink.h)


class LinkWatch:
    """A readable socket; readable() calls `changed` once for all notices that are waiting."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Raises OSError."""
        self._changed = changed
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self.socket.setblocking(False)
        self.socket.bind((0, _LINKS_AND_ADDRESSES))

    def close(self) -> None:
        self.socket.close()

    def readable(self) -> None:
        while True:
            try:
                self.socket.recv(65536)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as problem:  # ENOBUFS: more notices came than there was room for
                log.debug("notices of the kernel were lost", reason=str(problem))
        self._changed()
