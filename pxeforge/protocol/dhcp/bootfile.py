"""Which boot file a client gets: a pure choice by firmware, loader choice and what is there to hand out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from pxeforge.domain.boot import Boot, BootDecision, BootRequest, LoaderChoice
from pxeforge.domain.firmware import Firmware


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """What can be handed out.

    `ipxe_menu_url` is a template with `{mac}` (aa:bb:…), `{dashed}` (aa-bb-…) and `{server}` (the TFTP server).
    `uefi_files` names a loader per UEFI firmware; a firmware that is not in it is left alone.
    """

    ipxe_menu_url: str
    tftp_server: IPv4Address | None = None  # None: our address on the interface the client is on
    bios_file: str = "pxelinux.0"
    bios_ipxe_file: str | None = None  # iPXE for BIOS ROMs, where a profile asks for it
    uefi_files: Mapping[Firmware, str] = field(default_factory=dict)

    def server_for(self, our_address: IPv4Address) -> IPv4Address:
        return self.tftp_server or our_address


def choose_boot_file(
    request: BootRequest, decision: BootDecision, files: BootFiles, our_address: IPv4Address
) -> str | None:
    """A TFTP name or a URL; None where the client gets no boot file."""
    if decision.boot is not Boot.INSTALL:
        return None
    is_bios = request.firmware is Firmware.BIOS
    wants_pxelinux = decision.loader is LoaderChoice.PXELINUX and is_bios  # pxelinux.0 runs on BIOS only
    if request.is_ipxe and not wants_pxelinux:
        mac = request.mac
        return files.ipxe_menu_url.format(mac=mac, dashed=mac.dashed, server=files.server_for(our_address))
    if not is_bios:
        return files.uefi_files.get(request.firmware)
    if decision.loader is LoaderChoice.IPXE and files.bios_ipxe_file:
        return files.bios_ipxe_file
    return files.bios_file
