"""The boot decision: what a host gets when it netboots. Silence or local boot unless it is armed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress


class Boot(enum.Enum):
    """What a netbooting host can be told."""

    SILENCE = "silence"  # nothing, in server mode no lease either
    LOCAL = "local"  # proxy mode: silence; server mode: a lease without a boot file
    INSTALL = "install"  # what it is armed for
    DISCOVER = "discover"  # a small system that reports the hardware

    @property
    def sends_file(self) -> bool:
        return self in (Boot.INSTALL, Boot.DISCOVER)


class UnknownHosts(enum.Enum):
    """What hosts get that nobody vouched for."""

    SILENCE = "silence"
    LOCAL = "local"
    DISCOVER = "discover"


class LoaderChoice(enum.Enum):
    """Which boot loader a profile or host asks for; AUTO picks by firmware."""

    AUTO = "auto"
    IPXE = "ipxe"
    PXELINUX = "pxelinux"  # BIOS only; UEFI takes what AUTO gives
    LPXELINUX = "lpxelinux"  # the same with kernel and initrd by HTTP
    GRUB = "grub"  # UEFI only, behind the distribution's signed shim; BIOS takes what AUTO gives


# Firmware of the processors that there are images for: whoever else asks would load a kernel it cannot run.
BOOTABLE: Final = frozenset(firmware for firmware in Firmware if firmware.arch is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRequest:
    """A netbooting firmware as seen in one DHCP message."""

    mac: MacAddress
    firmware: Firmware
    is_ipxe: bool = False
    uuid: str | None = None  # option 97, lower case with dashes
    vendor_class: str = ""  # option 60
    interface: str = ""
    relay: str | None = None  # giaddr: the relay it was heard through
    circuit_id: str | None = None  # what that relay says of its port, as text or hex (option 82.1)
    remote_id: str | None = None  # and of itself (option 82.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHost:
    """What the decision needs to know of a host."""

    state: HostState
    armed_until: float | None  # unix seconds
    loader: LoaderChoice = LoaderChoice.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class BootDecision:
    """What to do and why (the reason is shown in the timeline and by `host explain`)."""

    boot: Boot
    reason: str
    loader: LoaderChoice = LoaderChoice.AUTO


def decide_boot(
    request: BootRequest, host: KnownHost | None, now: float, unknown: UnknownHosts = UnknownHosts.LOCAL
) -> BootDecision:
    """Only a host that is armed, in time and on a firmware we have a loader for is offered an installer.

    `unknown`: what a host gets that nobody vouched for (`host` None); never an installer.
    """
    if host is None:
        if unknown is UnknownHosts.SILENCE:
            return BootDecision(boot=Boot.SILENCE, reason="unknown host: unknown_hosts is silence")
        if unknown is UnknownHosts.DISCOVER and request.firmware in BOOTABLE:
            return BootDecision(boot=Boot.DISCOVER, reason="unknown host: it is to report its hardware")
        return BootDecision(boot=Boot.LOCAL, reason="unknown host: it is never offered an installer")
    if host.state not in (HostState.ARMED, HostState.BOOTING):
        return BootDecision(boot=Boot.LOCAL, reason=f"host is {host.state.value}, not armed")
    if host.armed_until is None or now >= host.armed_until:
        return BootDecision(boot=Boot.LOCAL, reason="the time for which the host was armed is over: arm it again")
    if request.firmware not in BOOTABLE:
        return BootDecision(boot=Boot.LOCAL, reason=f"no installer for {request.firmware.value} firmware")
    return BootDecision(boot=Boot.INSTALL, reason="host is armed", loader=host.loader)
