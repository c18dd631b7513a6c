"""Whether an EFI program carries a signature (PE/COFF, section "The Attribute Certificate Table").

Whether the firmware trusts the signer, nobody but the firmware can say.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

_HEAD_BYTES: Final = 4096
_SECURITY: Final = 4  # the data directory of certificates
_DIRECTORIES_AT: Final = {0x10B: 96, 0x20B: 112}  # after the start of the optional header: PE32, PE32+


def is_signed(program: Path) -> bool:
    """False for what is no EFI program as well."""
    try:
        with program.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    try:
        if head[:2] != b"MZ":
            return False
        (start,) = struct.unpack_from("<I", head, 0x3C)
        if head[start : start + 4] != b"PE\0\0":
            return False
        optional = start + 24
        (magic,) = struct.unpack_from("<H", head, optional)
        directories = optional + _DIRECTORIES_AT[magic]
        (count,) = struct.unpack_from("<I", head, directories - 4)
        offset, size = struct.unpack_from("<II", head, directories + 8 * _SECURITY)
    except (struct.error, KeyError):
        return False
    return bool(count > _SECURITY and offset and size)
