"""A disk that boots on BIOS and on UEFI and does nothing but say a word on the serial port: who got there boots it.

One FAT file system without partitions (Microsoft FAT specification, 2005): its first sector is also the BIOS boot
sector, and its only file is EFI/BOOT/BOOTX64.EFI, which UEFI starts from any disk.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

_SECTOR: Final = 512
_SECTORS: Final = 8192  # enough clusters to be FAT16
_FAT_SECTORS: Final = 32
_ROOT_ENTRIES: Final = 512
_DATA: Final = 1 + 2 * _FAT_SECTORS + _ROOT_ENTRIES * 32 // _SECTOR  # the sector of cluster 2
_CODE_AT: Final = 0x3E  # behind the parameters of a FAT16 boot sector
_LOADED_AT: Final = 0x7C00
_DIRECTORY, _FILE = 0x10, 0x20
_PE_AT, _TEXT_AT = 0x40, 0x1000


def make_word_disk(path: Path, word: str) -> None:
    """Writes the disk; `word` is at most 100 characters of ASCII. Replaces a file that is there."""
    program = _efi_program(word)
    clusters = len(program) // _SECTOR
    disk = bytearray(_SECTORS * _SECTOR)
    disk[:_SECTOR] = _boot_sector(word)
    last = 0xFFFF
    chain = [0xFFF8, last, last, last, *range(5, 4 + clusters), last]  # EFI is cluster 2, BOOT 3, the program from 4
    fat = struct.pack(f"<{len(chain)}H", *chain)
    for copy in range(2):
        start = (1 + copy * _FAT_SECTORS) * _SECTOR
        disk[start : start + len(fat)] = fat
    root = (1 + 2 * _FAT_SECTORS) * _SECTOR
    _put(disk, root, _entry(b"EFI", b"", _DIRECTORY, 2))
    _put(disk, _sector_of(2), _entry(b".", b"", _DIRECTORY, 2), _entry(b"..", b"", _DIRECTORY, 0),
         _entry(b"BOOT", b"", _DIRECTORY, 3))  # fmt: skip
    _put(disk, _sector_of(3), _entry(b".", b"", _DIRECTORY, 3), _entry(b"..", b"", _DIRECTORY, 2),
         _entry(b"BOOTX64", b"EFI", _FILE, 4, len(program)))  # fmt: skip
    _put(disk, _sector_of(4), program)
    path.write_bytes(disk)


def _sector_of(cluster: int) -> int:
    return (_DATA + cluster - 2) * _SECTOR


def _put(disk: bytearray, start: int, *pieces: bytes) -> None:
    content = b"".join(pieces)
    disk[start : start + len(content)] = content


def _entry(name: bytes, extension: bytes, attributes: int, cluster: int, size: int = 0) -> bytes:
    return struct.pack("<8s3sB14xHI", name.ljust(8), extension.ljust(3), attributes, cluster, size)


def _boot_sector(word: str) -> bytes:
    parameters = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        b"\xeb\x3c\x90", b"PXEFORGE", _SECTOR, 1, 1, 2, _ROOT_ENTRIES, _SECTORS, 0xF8, _FAT_SECTORS, 63, 255, 0, 0,
        0x80, 0, 0x29, 1, b"WORD       ", b"FAT16   ",
    )  # fmt: skip
    #       cli; cld; xor ax, ax; mov ds, ax; mov si, <word>
    start = b"\xfa\xfc\x31\xc0\x8e\xd8\xbe"
    code = _say(b"\xba")
    text_at = _LOADED_AT + _CODE_AT + len(start) + 2 + len(code)
    sector = parameters + start + text_at.to_bytes(2, "little") + code + _text(word)
    return sector.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"


def _efi_program(word: str) -> bytes:
    """A PE32+ image that can be loaded anywhere (UEFI specification 2.10, section 2.1.1)."""
    code = _say(b"\x66\xba")
    #       cli; cld; lea rsi, [rip + <code>]: the word behind it
    text = b"\xfa\xfc\x48\x8d\x35" + len(code).to_bytes(4, "little") + code + _text(word)
    text = text.ljust(_SECTOR, b"\0")
    optional = struct.pack(
        "<HBBIIIIIQIIHHHHHHIIIIHHQQQQII128x",
        0x20B, 0, 0, len(text), 0, 0, _TEXT_AT, _TEXT_AT, 0x400000, 0x1000, _SECTOR, 0, 0, 0, 0, 0, 0, 0,
        2 * _TEXT_AT, _SECTOR, 0, 10, 0, 0x10000, 0x10000, 0, 0, 0, 16,
    )  # fmt: skip
    head = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, len(optional), 0x22)
    section = struct.pack("<8sIIIIIIHHI", b".text", len(text), _TEXT_AT, len(text), _SECTOR, 0, 0, 0, 0, 0x60000020)
    dos = b"MZ".ljust(0x3C, b"\0") + _PE_AT.to_bytes(4, "little")
    return (dos + head + optional + section).ljust(_SECTOR, b"\0") + text


def _say(set_dx: bytes) -> bytes:
    """Machine code, the same for 16 and 64 bits but for `mov dx, …`: sends what SI points to to COM1, then halts."""
    status, data = set_dx + b"\xfd\x03", set_dx + b"\xf8\x03"
    #      mov ah, al; mov dx, 0x3fd; again: in al, dx; test al, 0x20; jz again; mov dx, 0x3f8; mov al, ah; out dx, al
    send = b"\x88\xc4" + status + b"\xec\xa8\x20\x74\xfb" + data + b"\x88\xe0\xee"
    #      next: lodsb; test al, al; jz end; …; jmp next; end: hlt; jmp end
    fetch = b"\xac\x84\xc0\x74" + bytes((len(send) + 2,))
    back = b"\xeb" + (256 - len(fetch) - len(send) - 2).to_bytes(1, "little")
    return fetch + send + back + b"\xf4\xeb\xfd"


def _text(word: str) -> bytes:
    text = f"\r\n{word}\r\n".encode("ascii")
    if len(text) > 104:
        raise ValueError("the word of a disk has at most 100 characters")
    return text + b"\0"
