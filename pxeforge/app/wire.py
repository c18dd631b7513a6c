"""The wire process: DHCP, TFTP and syslog loops around one desk."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from pxeforge.app.subnets import lent_subnets
from pxeforge.app.tftp_helper import largest_blksize
from pxeforge.protocol.dhcp.dialect import DialectBook
from pxeforge.servers.address_check import WAIT_S
from pxeforge.servers.dhcp import DhcpMode, DhcpServer, DhcpSettings
from pxeforge.servers.interfaces import Interface, interface_named
from pxeforge.servers.syslog import SyslogServer, SyslogSettings
from pxeforge.servers.tftp import TftpServer, TftpSettings
from pxeforge.services import loaders
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.leases import StoredLeases
from pxeforge.services.reservations import StoredNetworks

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings


class Server(Protocol):
    """A loop that open() has prepared."""

    counters: Counter[str]

    def run(self) -> None: ...

    def stop(self) -> None: ...


def build_wire(settings: Settings, ctx: Context, helper: socket.socket | None = None) -> Mapping[str, Server]:
    """All loops, their sockets open; `helper`: the channel to the TFTP helper. Raises CannotListen and NoInterface."""
    dialects = DialectBook()
    desk = Desk(ctx, dialects)
    interfaces = [interface_named(name) for name in settings.interfaces]
    addresses = tuple(str(interface.address) for interface in interfaces)
    tftp = TftpServer(
        TftpSettings(listen=addresses, port=settings.tftp_port), desk, time.monotonic,
        helpers=[helper] if helper is not None else (), largest_blksize_for=largest_blksize(settings, ctx),
    )  # fmt: skip
    syslog = SyslogServer(SyslogSettings(listen=addresses, port=settings.syslog_port), desk, time.time)
    tftp.open()
    syslog.open()
    servers: dict[str, Server] = {"tftp": tftp, "syslog": syslog}
    if settings.dhcp != "off":
        dhcp = DhcpServer(
            dhcp_settings(settings, interfaces), desk, StoredLeases(ctx), time.time, dialects, StoredNetworks(ctx)
        )
        dhcp.open()
        servers["dhcp"] = dhcp
    return servers


def dhcp_settings(settings: Settings, interfaces: list[Interface]) -> DhcpSettings:
    """Raises BadSubnet."""
    return DhcpSettings(
        interfaces=settings.interfaces, mode=DhcpMode(settings.dhcp),
        files=loaders.boot_files(settings.data_dir, settings.boot_port), subnets=lent_subnets(settings, interfaces),
        address_check_s=WAIT_S if settings.address_check else 0.0, force=settings.force,
    )  # fmt: skip
