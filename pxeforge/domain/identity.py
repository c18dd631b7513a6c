"""What tells one host from another: UUIDs and serial numbers, and those that say nothing."""

from __future__ import annotations

import functools
import re
import uuid
from typing import Final

# What boards say whose maker never wrote an identity into them; also in the other byte order of the first fields.
_USELESS_UUIDS: Final = frozenset(
    {
        "03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc", "78563412-3412-7856-90ab-cddeefaabbcc",
        "01234567-89ab-cdef-0123-456789abcdef", "67452301-ab89-efcd-0123-456789abcdef",
        "fefefefe-fefe-fefe-fefe-fefefefefefe", "00010203-0405-0607-0809-0a0b0c0d0e0f",
    }
)  # fmt: skip
_USELESS_WORDS: Final = frozenset(
    {
        "default string", "to be filled by o.e.m.", "to be filled by oem", "to be filled by o.e.m", "not specified",
        "system serial number",
        "chassis serial number", "base board serial number", "not available", "not applicable", "none",
        "n/a", "na", "unknown", "serial", "serial number", "empty", "invalid", "oem", "o.e.m.", "123456789",
        "1234567890", "0123456789", "xxxxxxxxxx", "system product name", "system manufacturer",
    }
)  # fmt: skip
_PLACEHOLDER: Final = re.compile(r"(.)\1*|[0 .:_-]*|\.+", re.DOTALL)  # one character again and again

_MOST_KEPT: Final = 32_768  # all hosts are compared with each look at conflicts


def useful_uuid(text: str | None) -> str | None:
    """The UUID in its usual spelling, or None: it is none, or one that many boards share."""
    try:
        found = uuid.UUID((text or "").strip())
    except ValueError:
        return None
    return None if len(set(found.bytes)) == 1 or str(found) in _USELESS_UUIDS else str(found)


@functools.lru_cache(maxsize=_MOST_KEPT)
def useful_serial(text: str | None) -> str | None:
    """The serial number, or None: it is empty, or what a maker left unfilled."""
    said = (text or "").strip()
    is_useless = said.lower() in _USELESS_WORDS or _PLACEHOLDER.fullmatch(said) is not None
    return None if is_useless else said


def useful_word(text: object) -> str:
    """A vendor or product as it stands, or nothing where it says nothing."""
    said = " ".join(str(text or "").split())
    return "" if said.lower() in _USELESS_WORDS else said


def both_orders(text: str) -> tuple[str, str]:
    """A UUID in the two byte orders in which one board may tell it.

    SMBIOS 2.6 says that the first three fields are little-endian: Linux and iPXE turn them, EDK2 sends them as they
    lie in memory (option 97), and BIOS boot ROMs do either. `text` in the usual spelling, as useful_uuid gives it.
    """
    a, b, c = text[0:8], text[9:13], text[14:18]
    turned = f"{a[6:8]}{a[4:6]}{a[2:4]}{a[0:2]}-{b[2:4]}{b[0:2]}-{c[2:4]}{c[0:2]}{text[18:]}"
    return text, turned


@functools.lru_cache(maxsize=_MOST_KEPT)
def identity_of(text: str | None) -> str | None:
    """One spelling for both byte orders of a useful UUID, to compare by."""
    useful = useful_uuid(text)
    return min(both_orders(useful)) if useful else None


def told_id(value: bytes, most: int = 128) -> str:
    """A relay's circuit-id or remote-id as text: printable ASCII as it is, anything else in hex behind `0x`."""
    shown = value[:most]
    is_text = all(32 <= byte < 127 for byte in shown) and not shown.startswith(b"0x")
    return shown.decode("ascii") if is_text else f"0x{shown.hex()}"
