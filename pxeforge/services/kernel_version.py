"""What a kernel image tells of itself: its version, and whether UEFI can start it."""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from pathlib import Path
from typing import IO, Final

_BANNER: Final = re.compile(rb"Linux version ([0-9][\x21-\x7e]{0,126}) \(")
_LONGEST_BANNER: Final = 256
_CHUNK: Final = 1 << 20
_MAX_BYTES: Final = 256 << 20
_ABI: Final = re.compile(r"[0-9]+\.[0-9]+\S*-[a-z][a-z0-9]*")


def kernel_version(linux: Path) -> str | None:
    """The version like 6.12.107+deb13-amd64, else None."""
    with linux.open("rb") as stream:
        head = stream.read(0x210)
        if len(head) >= 0x210 and head[0x202:0x206] == b"HdrS":
            # A bzImage points to a text (Linux, arch/x86/boot.rst, kernel_version).
            stream.seek(int.from_bytes(head[0x20E:0x210], "little") + 0x200)
            text = stream.read(128).split(b"\0")[0].decode("ascii", errors="replace")
            return text.split(" ")[0] or None
        stream.seek(0)
        if head[:2] == b"\x1f\x8b":
            with contextlib.suppress(OSError, EOFError, zlib.error), gzip.GzipFile(fileobj=stream) as unpacked:
                return _banner(unpacked)  # type: ignore[arg-type]
            return None
        return _banner(stream)


def is_abi(version: str | None) -> bool:
    """Whether a version has a flavour at its end, as the names of Debian's and Ubuntu's kernel modules have it."""
    return version is not None and _ABI.fullmatch(version) is not None


def starts_by_uefi(linux: Path) -> bool:
    """Whether firmware can start it as a program: kernels have been built so since 3.3 (EFI stub)."""
    with linux.open("rb") as stream:
        return stream.read(2) == b"MZ"


def _banner(stream: IO[bytes]) -> str | None:
    """An image for ARM has the version only in the banner that it prints."""
    kept, done = b"", 0
    while done < _MAX_BYTES and (chunk := stream.read(_CHUNK)):
        found = _BANNER.search(kept + chunk)
        if found is not None:
            return found[1].decode("ascii")
        kept, done = chunk[-_LONGEST_BANNER:], done + len(chunk)
    return None
