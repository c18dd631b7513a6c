"""The firmware matrix as facts: its rows and columns, what makes a cell green, and which cells are known not to work.

A cell is green when a machine with real firmware fetched *its own* menu with the row's boot loader and the kernel came
up with that host's answers on its command line. Pure: what was seen comes in, words come out.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.domain.firmware import Firmware
from pxeforge.lab.keeper import NO_SITE
from pxeforge.lab.site_dhcp import Brand

KERNEL: Final = "kernel"  # how far a machine runs: until its kernel has started, or until an event of its timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A firmware with a boot loader. `files_by` None: kernel and initrd may come by TFTP or HTTP."""

    name: str  # also the machine's name
    title: str
    firmware: Firmware
    menu: str  # the boot loader that fetches the menu, as the timeline calls it
    loader: str = "auto"
    files_by: str | None = None
    secure_boot: bool = False
    plain_rom: bool = False  # the boot ROM does not show that it is iPXE
    file: str = ""  # what it must have fetched by TFTP before its menu
    arch: str = "amd64"
    console: str = "ttyS0,115200n8"
    limit_s: float = 300.0  # alone on a processor it takes a minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Who else is on the wire, and where the machines are."""

    name: str
    title: str
    beside: str = NO_SITE  # a Brand's value: pxeforge is in proxy mode
    behind_relay: bool = False

    @property
    def is_proxy(self) -> bool:
        return self.beside != NO_SITE


ROWS: Final = (
    Row(name="ipxe", title="SeaBIOS, iPXE ROM", firmware=Firmware.BIOS, menu="ipxe", files_by="http"),
    Row(
        name="pxelinux", title="SeaBIOS, PXELINUX", firmware=Firmware.BIOS, menu="pxelinux", loader="pxelinux",
        files_by="tftp",
    ),
    Row(
        name="lpxelinux", title="SeaBIOS, lpxelinux over HTTP", firmware=Firmware.BIOS, menu="lpxelinux",
        loader="lpxelinux", files_by="http",
    ),
    Row(
        name="undionly", title="SeaBIOS, plain PXE ROM, undionly.kpxe", firmware=Firmware.BIOS, menu="ipxe",
        loader="ipxe", files_by="http", plain_rom=True, file="undionly.kpxe",
    ),
    Row(name="ovmf", title="OVMF, PXE", firmware=Firmware.UEFI_X64, menu="grub"),
    Row(
        name="ovmf-http", title="OVMF, HTTP Boot, iPXE", firmware=Firmware.HTTP_X64, menu="ipxe", loader="ipxe",
        files_by="http",
    ),
    Row(
        name="secure-http", title="OVMF, HTTP Boot, Secure Boot enforced", firmware=Firmware.HTTP_X64, menu="grub",
        files_by="http", secure_boot=True,
    ),
    Row(
        name="secure-boot", title="OVMF, PXE, Secure Boot enforced", firmware=Firmware.UEFI_X64, menu="grub",
        secure_boot=True,
    ),
    Row(
        name="aavmf", title="AAVMF (arm64), PXE", firmware=Firmware.UEFI_ARM64, menu="grub", arch="arm64",
        console="ttyAMA0,115200n8", limit_s=600.0,
    ),
)  # fmt: skip
COLUMNS: Final = (
    Column(name="dnsmasq", title="proxy beside dnsmasq", beside=Brand.DNSMASQ.value),
    Column(name="kea", title="proxy beside Kea", beside=Brand.KEA.value),
    Column(name="isc-dhcpd", title="proxy beside ISC dhcpd", beside=Brand.ISC.value),
    Column(name="server", title="server mode"),
    Column(name="relay", title="server mode, behind a relay", behind_relay=True),
    Column(
        name="relay-proxy", title="proxy beside dnsmasq, behind a relay", beside=Brand.DNSMASQ.value, behind_relay=True
    ),
)  # fmt: skip

# Cells that were seen to fail and cannot work, by row and column, each with its reason. They are run all the same.
LIMITS: Final[Mapping[tuple[str, str], str]] = {}


class Outcome(enum.Enum):
    """How a cell ended."""

    GREEN = "yes"
    RED = "failed"
    LIMITED = "no"  # it failed, and stands in LIMITS
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a row in a column. Times are seconds from power-on."""

    row: str
    column: str
    outcome: Outcome
    reason: str = ""
    menu_s: float | None = None
    kernel_s: float | None = None
    note: str = ""  # e.g. why it was run a second time

    def words(self) -> str:
        """One line for people."""
        text = self.outcome.value
        if self.outcome is Outcome.GREEN:
            text += f": menu after {self.menu_s:.0f} s, kernel after {self.kernel_s:.0f} s"
        elif self.reason:
            text += f": {self.reason}"
        return f"{text} ({self.note})" if self.note else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a machine left since its power-on: events of its timeline, and its serial console."""

    events: Sequence[Mapping[str, Any]]
    console: str

    @property
    def menu_at(self) -> float | None:
        """Unix seconds."""
        return next((float(event["at"]) for event in self.events if event["kind"] == "menu_fetched"), None)

    @property
    def kernel_runs(self) -> bool:
        return "Linux version " in self.console and "ommand line: " in self.console

    def has(self, kind: str) -> bool:
        return any(event["kind"] == kind for event in self.events)

    def told(self, source: str | None = None) -> list[str]:
        """Messages of its timeline, of one source or of all."""
        return [str(event["message"]) for event in self.events if source in (None, event["source"])]


def lacking(row: Row, column: Column, seen: Seen, token: str, until: str = KERNEL) -> str | None:
    """What the cell still lacks to be green, in the order of a boot; None when it is. `token`: its own answers'."""
    menus = [str(event["message"]) for event in seen.events if event["kind"] == "menu_fetched"]
    if not menus:
        return "its menu was not fetched"
    if not menus[0].startswith(f"{row.menu} menu"):
        return f"its menu was not fetched by {row.menu}: {menus[0]}"
    if row.file and not any(row.file in message for message in seen.told("tftp")):
        return f"{row.file} was not fetched"
    for file in ("linux", "initrd.gz"):
        if not any(re.search(rf"(^|/){re.escape(file)} ", message) for message in seen.told(row.files_by)):
            return f"{file} was not fetched" + (f" by {row.files_by.upper()}" if row.files_by else "")
    if not seen.kernel_runs:
        return "no kernel on the console"
    if token not in seen.console:
        return "the kernel that started has not this host's answers on its command line"
    if row.secure_boot and "Secure boot enabled" not in seen.console:
        return "the kernel does not say that Secure Boot is on"
    if column.is_proxy and seen.has("leased"):
        return "proxy mode lent it an address"
    if until != KERNEL and not seen.has(until):
        return f"no {until} in its timeline"
    return None


def outcome_of_failure(row: Row, column: Column, why: str) -> tuple[Outcome, str]:
    """A cell that failed: red, or as the table of limits says."""
    limit = LIMITS.get((row.name, column.name))
    return (Outcome.RED, why) if limit is None else (Outcome.LIMITED, limit)
