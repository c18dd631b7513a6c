"""The disk that says a word; that firmware boots it is proven in tests/e2e/test_firmware.py."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pxeforge.lab.word_disk import make_word_disk


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    make_word_disk(path, "the local disk")
    return path


def test_the_first_sector_boots_and_describes_a_file_system(disk: Path) -> None:
    sector = disk.read_bytes()[:512]
    assert (sector[:3], sector[54:59], sector[510:]) == (b"\xeb\x3c\x90", b"FAT16", b"\x55\xaa")
    assert b"\r\nthe local disk\r\n\0" in sector


def test_the_word_is_where_the_code_looks_for_it(disk: Path) -> None:
    sector = disk.read_bytes()[:512]
    pointer = sector.index(b"\xbe", 0x3E) + 1
    at = int.from_bytes(sector[pointer : pointer + 2], "little") - 0x7C00
    assert sector[at:].startswith(b"\r\nthe local disk")


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="mtools is not installed")
def test_the_program_for_uefi_is_a_file_that_others_can_read(disk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.efi"
    subprocess.run(["mcopy", "-i", str(disk), "::EFI/BOOT/BOOTX64.EFI", str(out)], check=True, capture_output=True)
    program = out.read_bytes()
    assert (program[:2], program[0x40:0x44], len(program)) == (b"MZ", b"PE\0\0", 1024)
    assert b"\r\nthe local disk\r\n\0" in program


def test_a_word_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 100 characters"):
        make_word_disk(tmp_path / "x", "x" * 101)
