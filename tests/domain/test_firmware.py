import pytest

from pxeforge.domain.firmware import Firmware, architecture_of, firmware_of
from pxeforge.domain.mac import MacAddress


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0,), Firmware.BIOS), ((7,), Firmware.UEFI_X64), ((9,), Firmware.UEFI_X64), ((11,), Firmware.UEFI_ARM64),
     ((16,), Firmware.HTTP_X64), ((), Firmware.UNKNOWN), ((4711,), Firmware.UNKNOWN), ((4711, 7), Firmware.UEFI_X64)],
)  # fmt: skip
def test_option_93_tells_the_firmware(values: tuple[int, ...], expected: Firmware) -> None:
    assert firmware_of(values) is expected


def test_http_boot_is_uefi() -> None:
    assert Firmware.HTTP_X64.is_http
    assert Firmware.HTTP_X64.is_uefi
    assert not Firmware.BIOS.is_uefi


@pytest.mark.parametrize(("mac", "is_pi"), [("dc:a6:32:00:00:01", True), ("52:54:00:00:00:01", False)])
def test_the_rom_of_a_raspberry_pi_is_no_pc_though_it_says_so(mac: str, is_pi: bool) -> None:
    assert (firmware_of((0,), MacAddress.parse(mac)) is Firmware.RASPBERRY_PI) is is_pi
    assert firmware_of((11,), MacAddress.parse(mac)) is Firmware.UEFI_ARM64
    assert firmware_of((41,)) is Firmware.RASPBERRY_PI


@pytest.mark.parametrize("firmware", [each for each in Firmware if each is not Firmware.UNKNOWN])
def test_every_firmware_is_known_by_what_it_sends(firmware: Firmware) -> None:
    number = architecture_of(firmware)
    assert number is not None
    assert firmware_of((number,)) is firmware
