"""The firmware that the machines of a lab have, by the names that `pxeforge lab up --firmware` takes."""

from __future__ import annotations

import enum
from typing import Final

from pxeforge.domain.firmware import Firmware


class MachineFirmware(enum.StrEnum):
    """What a machine netboots by."""

    BIOS = "bios"
    UEFI = "uefi"
    SECUREBOOT = "secureboot"
    UEFI_HTTP = "uefi-http"
    ARM64 = "arm64"

    @property
    def firmware(self) -> Firmware:
        return _FIRMWARE[self]

    @property
    def secure_boot(self) -> bool:
        """Whether it is enforced."""
        return self is MachineFirmware.SECUREBOOT

    @property
    def images(self) -> tuple[str, ...]:
        """What the machines are installed from; the first one says which of the installer's packages are needed."""
        return ("debian-13", "debian-13-arm64") if self is MachineFirmware.ARM64 else ("debian-13",)


_FIRMWARE: Final = {
    MachineFirmware.BIOS: Firmware.BIOS,
    MachineFirmware.UEFI: Firmware.UEFI_X64,
    MachineFirmware.SECUREBOOT: Firmware.UEFI_X64,
    MachineFirmware.UEFI_HTTP: Firmware.HTTP_X64,
    MachineFirmware.ARM64: Firmware.UEFI_ARM64,
}
