"""The wire process: DHCP, TFTP and syslog loops around one desk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from pxeforge.app.settings import Settings, parse_range
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.lease import Subnet
from pxeforge.servers.dhcp import DhcpMode, DhcpServer, DhcpSettings
from pxeforge.servers.interfaces import Interface, interface_named
from pxeforge.servers.syslog import SyslogServer, SyslogSettings
from pxeforge.servers.tftp import TftpServer, TftpSettings
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.leases import StoredLeases


class Server(Protocol):
    """A loop that open() has prepared."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


def build_wire(settings: Settings, ctx: Context) -> Mapping[str, Server]:
    """All loops, their sockets open. Raises CannotListen and NoInterface."""
    desk = Desk(ctx)
    interfaces = [interface_named(name) for name in settings.interfaces]
    addresses = tuple(str(interface.address) for interface in interfaces)
    tftp = TftpServer(TftpSettings(listen=addresses, port=settings.tftp_port), desk, time.time)
    syslog = SyslogServer(SyslogSettings(listen=addresses, port=settings.syslog_port), desk, time.time)
    tftp.open()
    syslog.open()
    servers: dict[str, Server] = {"tftp": tftp, "syslog": syslog}
    if settings.dhcp != "off":
        dhcp = DhcpServer(dhcp_settings(settings, interfaces), desk, StoredLeases(ctx), time.time)
        dhcp.open()
        servers["dhcp"] = dhcp
    return servers


def dhcp_settings(settings: Settings, interfaces: list[Interface]) -> DhcpSettings:
    """In server mode our own address is router and DNS server unless others are named: debian-installer asks when
    either is missing, even in a closed network.
    """
    subnets: tuple[Subnet, ...] = ()
    if settings.dhcp == "server" and settings.range is not None:
        first, last = parse_range(settings.range)
        home = next((interface for interface in interfaces if first in interface.network), interfaces[0])
        subnets = (
            Subnet(
                network=home.network, first=first, last=last, router=settings.router or home.address,
                dns=settings.dns or (home.address,), ntp=settings.ntp, domain=settings.domain or "",
                lease_time_s=settings.lease_time_s,
            ),
        )  # fmt: skip
    files = BootFiles(ipxe_menu_url=f"http://{{server}}:{settings.boot_port}/boot/{{mac}}/menu.ipxe")
    return DhcpSettings(
        interfaces=settings.interfaces, mode=DhcpMode(settings.dhcp), files=files, subnets=subnets, force=settings.force
    )
