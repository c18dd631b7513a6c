"""The wire process: DHCP, TFTP and syslog loops around one desk; and the process that helps with TFTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Protocol

from pxeforge.app.settings import Settings, parse_range, parse_route
from pxeforge.domain.firmware import Firmware
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.dialect import DialectBook
from pxeforge.protocol.dhcp.lease import Subnet
from pxeforge.servers.dhcp import DhcpMode, DhcpServer, DhcpSettings
from pxeforge.servers.interfaces import Interface, interface_named
from pxeforge.servers.syslog import SyslogServer, SyslogSettings
from pxeforge.servers.tftp import TftpServer, TftpSettings
from pxeforge.services import loaders
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.leases import StoredLeases


class Server(Protocol):
    """A loop that open() has prepared."""

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
        helpers=[helper] if helper is not None else (),
    )  # fmt: skip
    syslog = SyslogServer(SyslogSettings(listen=addresses, port=settings.syslog_port), desk, time.time)
    tftp.open()
    syslog.open()
    servers: dict[str, Server] = {"tftp": tftp, "syslog": syslog}
    if settings.dhcp != "off":
        dhcp = DhcpServer(dhcp_settings(settings, interfaces), desk, StoredLeases(ctx), time.time, dialects)
        dhcp.open()
        servers["dhcp"] = dhcp
    return servers


def build_tftp_helper(ctx: Context, requests: socket.socket) -> Mapping[str, Server]:
    """The loop of the second TFTP process: it listens nowhere, the wire hands it files to send."""
    tftp = TftpServer(TftpSettings(listen=()), Desk(ctx), time.monotonic, requests=requests)
    tftp.open()
    return {"tftp": tftp}


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
                lease_time_s=settings.lease_time_s, mtu=settings.mtu,
                routes=tuple(parse_route(route) for route in settings.routes),
            ),
        )  # fmt: skip
    return DhcpSettings(
        interfaces=settings.interfaces, mode=DhcpMode(settings.dhcp), files=boot_files(settings), subnets=subnets,
        force=settings.force,
    )  # fmt: skip


def boot_files(settings: Settings) -> BootFiles:
    """What there is to hand out. Every loader but PXELINUX has a name of its own per host."""
    by_tftp, by_http = "boot/{dashed}/", f"http://{{server}}:{settings.boot_port}/boot/{{mac}}/"
    ipxe = next((name for name in ("snponly.efi", "ipxe.efi") if (loaders.IPXE_DIR / name).is_file()), None)
    undionly = "undionly.kpxe" if (loaders.IPXE_DIR / "undionly.kpxe").is_file() else None
    return BootFiles(
        ipxe_menu_url=f"{by_http}menu.ipxe",
        bios_ipxe_file=f"{by_tftp}{undionly}" if undionly else None,
        grub_files={Firmware.UEFI_X64: f"{by_tftp}{loaders.SHIM}"},  # GRUB cannot read our HTTP: decision 20
        ipxe_files={Firmware.UEFI_X64: f"{by_tftp}{ipxe}", Firmware.HTTP_X64: f"{by_http}{ipxe}"} if ipxe else {},
    )
