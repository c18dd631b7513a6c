from __future__ import annotations

import itertools
import uuid
from pathlib import Path

import pytest

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.lab.newer_qemu import Processor, QemuMissing, asked, version_of
from pxeforge.lab.qemu import Machine, MachineError, further_disk, make_disk, processor_of
from pxeforge.lab.rack import Rack


def machine(tmp_path: Path, **more: object) -> Machine:
    settings: dict[str, object] = {
        "rack": Rack("test"),
        "tap": "tap0",
        "mac": MacAddress.parse("52:54:00:77:00:01"),
        "disk": tmp_path / "n1.img",
        "qemu": ("qemu",),
    }
    return Machine(**(settings | more))  # type: ignore[arg-type]


def option(command: list[str], name: str, having: str = "") -> str:
    return next(value for key, value in itertools.pairwise(command) if key == name and having in value)


def test_the_machine_boots_from_its_nic_first_and_then_from_its_disk(tmp_path: Path) -> None:
    command = machine(tmp_path).command()
    assert "bootindex=1" in option(command, "-device", "virtio-net-pci")
    assert "bootindex=2" in option(command, "-device", "virtio-blk-pci")


def test_the_machine_has_the_identity_that_it_was_given(tmp_path: Path) -> None:
    known = uuid.UUID(int=7)
    command = machine(tmp_path, uuid=known, serial="SN,1", product="R1").command()
    assert option(command, "-smbios") == f"type=1,manufacturer=pxeforge,product=R1,serial=SN,,1,uuid={known}"
    assert "serial=SN,,1" in option(command, "-device", "virtio-blk")
    assert "mac=52:54:00:77:00:01" in option(command, "-device", "virtio-net")


def test_the_frames_of_a_plain_rom_go_through_our_hands(tmp_path: Path) -> None:
    command = machine(tmp_path, plain_rom=True).command()
    assert "vnet_hdr=off" in option(command, "-netdev", "tap")
    assert option(command, "-object", "filter-redirector").startswith("filter-redirector,id=rom,netdev=nic,queue=rx")
    assert "-object" not in machine(tmp_path).command()


def test_u_boot_takes_the_place_of_aavmf(tmp_path: Path) -> None:
    command = machine(tmp_path, firmware=Firmware.UEFI_ARM64, u_boot=Path("/u-boot.bin")).command()
    assert option(command, "-bios") == "/u-boot.bin"
    assert not any("pflash" in word for word in command)


def test_a_reboot_of_the_guest_is_a_reboot_unless_asked_otherwise(tmp_path: Path) -> None:
    assert "-no-reboot" not in machine(tmp_path).command()
    assert "-no-reboot" in machine(tmp_path, no_reboot=True).command()


def test_a_machine_that_was_not_started_is_off_and_says_nothing(tmp_path: Path) -> None:
    off = machine(tmp_path)
    assert (off.is_running, off.status(), off.console_text(), off.pid) == (False, "off", "", None)
    off.power_off()


def test_firmware_without_a_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no uefi-ia32 machines"):
        machine(tmp_path, firmware=Firmware.UEFI_IA32)
    for firmware in (Firmware.BIOS, Firmware.UEFI_ARM64):
        with pytest.raises(MachineError, match="only UEFI x64"):
            machine(tmp_path, firmware=firmware, secure_boot=True)


def test_a_uefi_machine_has_flash_of_its_own_and_no_option_rom(tmp_path: Path) -> None:
    command = machine(tmp_path, firmware=Firmware.UEFI_X64).command()
    assert "readonly=on" in option(command, "-drive", "OVMF_CODE")
    assert option(command, "-drive", "n1.vars").endswith("n1.vars")
    assert option(command, "-device", "virtio-net-pci").endswith(",romfile=")
    assert not [word for word in machine(tmp_path).command() if "pflash" in word or "romfile" in word]


def test_secure_boot_is_guarded_by_the_machine(tmp_path: Path) -> None:
    command = machine(tmp_path, firmware=Firmware.UEFI_X64, secure_boot=True).command()
    assert "smm=on" in option(command, "-machine")
    assert "secboot" in option(command, "-drive", "readonly=on")
    assert option(command, "-global") == "driver=cfi.pflash01,property=secure,value=on"


def test_an_arm64_machine_has_a_board_and_flash_of_its_own(tmp_path: Path) -> None:
    command = machine(tmp_path, firmware=Firmware.UEFI_ARM64).command()
    assert option(command, "-machine") == "virt"
    assert "AAVMF" in option(command, "-drive", "readonly=on")
    assert option(command, "-drive", "n1.vars").endswith("n1.vars")
    assert option(command, "-device", "virtio-net-pci").endswith(",romfile=")
    assert processor_of(Firmware.UEFI_ARM64) is Processor.ARM64
    assert processor_of(Firmware.BIOS) is processor_of(Firmware.HTTP_X64) is Processor.AMD64


def test_firmware_that_is_not_installed_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for firmware, package in ((Firmware.UEFI_X64, "ovmf"), (Firmware.UEFI_ARM64, "qemu-efi-aarch64")):
        monkeypatch.setattr(f"pxeforge.lab.qemu.{'_OVMF' if package == 'ovmf' else '_AAVMF'}", tmp_path)
        with pytest.raises(MachineError, match=f"install the package {package}"):
            machine(tmp_path, firmware=firmware).start()


def test_a_machine_for_http_boot_has_no_pxe(tmp_path: Path) -> None:
    command = machine(tmp_path, firmware=Firmware.HTTP_X64).command()
    for version in (4, 6):
        assert option(command, "-fw_cfg", f"IPv{version}") == f"name=opt/org.tianocore/IPv{version}PXESupport,string=no"


def test_a_machine_that_boots_by_pxe_does_not_wait_for_ipv6(tmp_path: Path) -> None:
    words = " ".join(machine(tmp_path, firmware=Firmware.UEFI_X64).command())
    assert "name=opt/org.tianocore/IPv6PXESupport,string=no" in words
    assert "IPv4PXESupport" not in words


def test_a_disk_is_sparse_and_empty(tmp_path: Path) -> None:
    disk = tmp_path / "d.img"
    disk.write_bytes(b"old")
    make_disk(disk, size_gb=3)
    info = disk.stat()
    assert (info.st_size, info.st_blocks) == (3 * 2**30, 0)


def test_the_version_is_read_from_what_qemu_says() -> None:
    assert version_of("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright ...") == (10, 0, 2)
    assert version_of("QEMU emulator version 9.2 (v9.2.0)") == (9, 2)
    with pytest.raises(QemuMissing):
        version_of("command not found")


def test_a_program_that_does_not_run_is_not_a_qemu(tmp_path: Path) -> None:
    with pytest.raises(QemuMissing, match="does not run"):
        asked((str(tmp_path / "nothing"),))


def test_a_further_disk_has_a_serial_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a,b.img"
    make_disk(path, 0.25)
    assert path.stat().st_size == 1 << 28
    drive, device = further_disk(path, "DATA1")[1::2]
    assert drive.startswith(f"file={tmp_path}/a,,b.img,if=none,id=disk-data1,")
    assert device == "virtio-blk-pci,drive=disk-data1,serial=DATA1"
