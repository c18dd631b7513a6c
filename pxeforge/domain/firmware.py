"""What kind of firmware asks: DHCP option 93 (RFC 4578 section 2.1, IANA "Processor Architecture Types")."""

from __future__ import annotations

import enum

from pxeforge.domain.mac import MacAddress


class Firmware(enum.Enum):
    """A firmware family; each needs its own boot loader."""

    BIOS = "bios"
    UEFI_IA32 = "uefi-ia32"
    UEFI_X64 = "uefi-x64"
    UEFI_ARM32 = "uefi-arm32"
    UEFI_ARM64 = "uefi-arm64"
    HTTP_X64 = "http-x64"
    HTTP_ARM64 = "http-arm64"
    RASPBERRY_PI = "raspberry-pi"  # its own ROM; with UEFI firmware on its card it is UEFI_ARM64
    UNKNOWN = "unknown"

    @property
    def is_uefi(self) -> bool:
        return self not in (Firmware.BIOS, Firmware.RASPBERRY_PI, Firmware.UNKNOWN)

    @property
    def is_http(self) -> bool:
        return self in (Firmware.HTTP_X64, Firmware.HTTP_ARM64)

    @property
    def arch(self) -> str | None:
        """The Debian architecture of the programs it can start; None where we have none."""
        return _ARCH.get(self)


_ARCH = {
    Firmware.BIOS: "amd64",
    Firmware.UEFI_X64: "amd64",
    Firmware.HTTP_X64: "amd64",
    Firmware.UEFI_ARM64: "arm64",
    Firmware.HTTP_ARM64: "arm64",
}

# RFC 4578 calls 7 "EFI BC" and 9 "EFI x86-64"; real x64 firmware sends 7 (OVMF, vendors) and iPXE builds send 9.
# Both mean the same boot loader here.
_BY_ARCH = {
    0: Firmware.BIOS,
    6: Firmware.UEFI_IA32,
    7: Firmware.UEFI_X64,
    9: Firmware.UEFI_X64,
    10: Firmware.UEFI_ARM32,
    11: Firmware.UEFI_ARM64,
    16: Firmware.HTTP_X64,
    19: Firmware.HTTP_ARM64,
    41: Firmware.RASPBERRY_PI,
}
# Raspberry Pi Trading and Raspberry Pi Ltd (IEEE). Their ROM says 0, the architecture of PCs, where 41 is theirs.
_PI_OUIS = ("28cdc1", "2ccf67", "88a29e", "b827eb", "d83add", "dca632", "e45f01")
_RASPBERRY_PI_OUIS = frozenset(bytes.fromhex(oui) for oui in _PI_OUIS)


def firmware_of(architectures: tuple[int, ...], mac: MacAddress | None = None) -> Firmware:
    """The firmware behind the values of option 93 (a list; the first known one counts) and, for the Pi, the MAC."""
    for value in architectures:
        found = _BY_ARCH.get(value)
        if found is Firmware.BIOS and mac is not None and mac.octets[:3] in _RASPBERRY_PI_OUIS:
            return Firmware.RASPBERRY_PI
        if found is not None:
            return found
    return Firmware.UNKNOWN


def architecture_of(firmware: Firmware) -> int | None:
    """The value of option 93 that this firmware sends; None for UNKNOWN."""
    return next((value for value, known in _BY_ARCH.items() if known is firmware), None)
