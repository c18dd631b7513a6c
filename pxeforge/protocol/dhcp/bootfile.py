"""Which boot file a client gets: a pure choice by firmware, loader choice and what is there to hand out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from pxeforge.domain.boot import BootDecision, BootRequest, LoaderChoice
from pxeforge.domain.firmware import Firmware

Loaders = Mapping[Firmware, str]
_PXELINUXES = (LoaderChoice.PXELINUX, LoaderChoice.LPXELINUX)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """What can be handed out. UEFI gets GRUB (which passes Secure Boot) unless iPXE is asked for, and what there is
    where only one of them is at hand; a firmware that neither mapping names is left alone.

    Every name and URL is a template with `{mac}` (aa:bb:…), `{dashed}` (aa-bb-…) and `{server}` (the TFTP server).
    A boot file of its own per host makes iPXE ask for `autoexec.ipxe` of that host: it looks beside its own file.
    """

    ipxe_menu_url: str
    tftp_server: IPv4Address | None = None  # None: our address on the interface the client is on
    bios_file: str = "pxelinux.0"
    bios_files: Mapping[LoaderChoice, str] = field(default_factory=dict)  # for BIOS ROMs, where a host asks for it
    grub_files: Loaders = field(default_factory=dict)  # per UEFI firmware: TFTP name, or URL for HTTP Boot
    ipxe_files: Loaders = field(default_factory=dict)

    def server_for(self, our_address: IPv4Address) -> IPv4Address:
        return self.tftp_server or our_address


def choose_boot_file(
    request: BootRequest, decision: BootDecision, files: BootFiles, our_address: IPv4Address
) -> str | None:
    """A TFTP name or a URL; None where the client gets no boot file."""
    if not decision.boot.sends_file:
        return None
    template = _ipxe_menu(request, decision, files) or _loader(request, decision, files)
    if template is None:
        return None
    mac = request.mac
    return template.format(mac=mac, dashed=mac.dashed, server=files.server_for(our_address))


def _ipxe_menu(request: BootRequest, decision: BootDecision, files: BootFiles) -> str | None:
    """iPXE gets its menu (so a ROM that is sent to iPXE cannot loop), unless the host asks for a BIOS loader."""
    wants_pxelinux = decision.loader in _PXELINUXES and request.firmware is Firmware.BIOS
    return files.ipxe_menu_url if request.is_ipxe and not wants_pxelinux else None


def _loader(request: BootRequest, decision: BootDecision, files: BootFiles) -> str | None:
    firmware, loader = request.firmware, decision.loader
    if firmware is Firmware.BIOS:
        return files.bios_files.get(loader, files.bios_file)
    grub, ipxe = files.grub_files.get(firmware), files.ipxe_files.get(firmware)
    return (ipxe or grub) if loader is LoaderChoice.IPXE else (grub or ipxe)
