"""What kind of firmware asks: DHCP option 93 (RFC 4578 section 2.1, IANA "Processor Architecture Types")."""

from __future__ import annotations

import enum


class Firmware(enum.Enum):
    """A firmware family; each needs its own boot loader."""

    BIOS = "bios"
    UEFI_IA32 = "uefi-ia32"
    UEFI_X64 = "uefi-x64"
    UEFI_ARM32 = "uefi-arm32"
    UEFI_ARM64 = "uefi-arm64"
    HTTP_X64 = "http-x64"
    HTTP_ARM64 = "http-arm64"
    UNKNOWN = "unknown"

    @property
    def is_uefi(self) -> bool:
        return self not in (Firmware.BIOS, Firmware.UNKNOWN)

    @property
    def is_http(self) -> bool:
        return self in (Firmware.HTTP_X64, Firmware.HTTP_ARM64)


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
}


def firmware_of(architectures: tuple[int, ...]) -> Firmware:
    """The firmware behind the values of option 93 (a list; the first known one counts)."""
    for value in architectures:
        if value in _BY_ARCH:
            return _BY_ARCH[value]
    return Firmware.UNKNOWN
