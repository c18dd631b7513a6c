from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from pxeforge.domain.boot import Boot, BootDecision, BootRequest, LoaderChoice
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.bootfile import BootFiles, choose_boot_file

from .packets import MAC, OURS

FILES = BootFiles(
    ipxe_menu_url="http://{server}:8080/boot/{mac}/menu.ipxe",
    grub_files={
        Firmware.UEFI_X64: "boot/{dashed}/shim.efi",
        Firmware.HTTP_X64: "http://{server}:8080/boot/{mac}/shim.efi",
        Firmware.UEFI_ARM64: "boot/{dashed}/shimaa64.efi",
    },
    ipxe_files={
        Firmware.UEFI_X64: "boot/{dashed}/snponly.efi",
        Firmware.HTTP_ARM64: "http://{server}:8080/boot/{mac}/ipxe-arm64.efi",
    },
    bios_files={LoaderChoice.LPXELINUX: "boot/{dashed}/lpxelinux/lpxelinux.0"},
)
LPXELINUX, SHIM_ARM64 = "boot/52-54-00-12-34-56/lpxelinux/lpxelinux.0", "boot/52-54-00-12-34-56/shimaa64.efi"
SHIM, SNPONLY = "boot/52-54-00-12-34-56/shim.efi", "boot/52-54-00-12-34-56/snponly.efi"
SHIM_URL = "http://10.77.0.1:8080/boot/52:54:00:12:34:56/shim.efi"
MENU = "http://10.77.0.1:8080/boot/52:54:00:12:34:56/menu.ipxe"


def choose(firmware: Firmware, loader: LoaderChoice, *, is_ipxe: bool = False, files: BootFiles = FILES) -> str | None:
    request = BootRequest(mac=MacAddress(MAC), firmware=firmware, is_ipxe=is_ipxe)
    return choose_boot_file(request, BootDecision(boot=Boot.INSTALL, reason="test", loader=loader), files, OURS)


@pytest.mark.parametrize(
    ("firmware", "is_ipxe", "loader", "file"),
    [
        (Firmware.BIOS, False, LoaderChoice.AUTO, "pxelinux.0"),
        (Firmware.BIOS, False, LoaderChoice.PXELINUX, "pxelinux.0"),
        (Firmware.BIOS, False, LoaderChoice.LPXELINUX, LPXELINUX),
        (Firmware.BIOS, True, LoaderChoice.LPXELINUX, LPXELINUX),
        (Firmware.UEFI_X64, False, LoaderChoice.LPXELINUX, SHIM),
        (Firmware.UEFI_X64, True, LoaderChoice.LPXELINUX, MENU),
        (Firmware.BIOS, True, LoaderChoice.AUTO, MENU),
        (Firmware.BIOS, True, LoaderChoice.IPXE, MENU),
        (Firmware.BIOS, True, LoaderChoice.PXELINUX, "pxelinux.0"),
        (Firmware.UEFI_X64, True, LoaderChoice.PXELINUX, MENU),
        (Firmware.BIOS, True, LoaderChoice.GRUB, MENU),
        (Firmware.BIOS, False, LoaderChoice.GRUB, "pxelinux.0"),
        (Firmware.UEFI_X64, True, LoaderChoice.GRUB, MENU),
        (Firmware.UEFI_X64, False, LoaderChoice.AUTO, SHIM),
        (Firmware.UEFI_X64, False, LoaderChoice.PXELINUX, SHIM),
        (Firmware.UEFI_X64, False, LoaderChoice.GRUB, SHIM),
        (Firmware.UEFI_X64, False, LoaderChoice.IPXE, SNPONLY),
        (Firmware.HTTP_X64, False, LoaderChoice.AUTO, SHIM_URL),
        (Firmware.HTTP_X64, False, LoaderChoice.IPXE, SHIM_URL),
        (Firmware.UEFI_ARM64, False, LoaderChoice.AUTO, SHIM_ARM64),
        (Firmware.UEFI_ARM64, False, LoaderChoice.IPXE, SHIM_ARM64),
        (Firmware.HTTP_ARM64, False, LoaderChoice.AUTO, "http://10.77.0.1:8080/boot/52:54:00:12:34:56/ipxe-arm64.efi"),
        (Firmware.HTTP_ARM64, True, LoaderChoice.AUTO, MENU),
        (Firmware.RASPBERRY_PI, False, LoaderChoice.AUTO, None),
        (Firmware.UNKNOWN, False, LoaderChoice.AUTO, None),
    ],
)
def test_the_choice_follows_firmware_and_loader(
    firmware: Firmware, is_ipxe: bool, loader: LoaderChoice, file: str | None
) -> None:
    assert choose(firmware, loader, is_ipxe=is_ipxe) == file


def test_a_bios_rom_is_chained_to_ipxe_where_asked_and_possible() -> None:
    files = BootFiles(ipxe_menu_url="http://x/", bios_files={LoaderChoice.IPXE: "undionly.kpxe"})
    assert choose(Firmware.BIOS, LoaderChoice.IPXE, files=files) == "undionly.kpxe"


def test_a_loader_that_is_missing_is_replaced_by_the_other_one() -> None:
    assert choose(Firmware.UEFI_X64, LoaderChoice.IPXE, files=replace(FILES, ipxe_files={})) == SHIM
    for loader in (LoaderChoice.AUTO, LoaderChoice.GRUB):
        assert choose(Firmware.UEFI_X64, loader, files=replace(FILES, grub_files={})) == SNPONLY


def test_a_host_that_is_not_to_install_gets_nothing() -> None:
    request = BootRequest(mac=MacAddress(MAC), firmware=Firmware.BIOS, is_ipxe=True)
    assert choose_boot_file(request, BootDecision(boot=Boot.LOCAL, reason="not armed"), FILES, OURS) is None


def test_a_named_tftp_server_goes_into_the_url() -> None:
    files = BootFiles(ipxe_menu_url="http://{server}/{dashed}", tftp_server=IPv4Address("10.0.0.9"))
    assert choose(Firmware.BIOS, LoaderChoice.AUTO, is_ipxe=True, files=files) == "http://10.0.0.9/52-54-00-12-34-56"
