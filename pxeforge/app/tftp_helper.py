"""The second TFTP process: it listens nowhere, the wire hands it files to send."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pxeforge.protocol.tftp.blksize import parse_rules
from pxeforge.servers.tftp import TftpServer, TftpSettings
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings


def build_tftp_helper(settings: Settings, ctx: Context, requests: socket.socket) -> dict[str, TftpServer]:
    """Its loop, open, by name."""
    tftp = TftpServer(
        TftpSettings(listen=()), Desk(ctx), time.monotonic, requests=requests,
        largest_blksize_for=largest_blksize(settings, ctx),
    )  # fmt: skip
    tftp.open()
    return {"tftp": tftp}


def largest_blksize(settings: Settings, ctx: Context) -> Callable[[str], int]:
    """The operator's rules; who is behind an address is asked only where a rule names MAC addresses."""
    rules = parse_rules(settings.tftp_blksize)
    return lambda peer_ip: rules.largest_for(peer_ip, ctx.neighbour(peer_ip) if rules.by_mac else None)
