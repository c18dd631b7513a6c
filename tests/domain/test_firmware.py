import pytest

from pxeforge.domain.firmware import Firmware, firmware_of


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
