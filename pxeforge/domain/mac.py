"""A MAC address: one value for every spelling that people and firmware use."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEPARATORS = re.compile(r"[:\-. ]")


class NotAMac(ValueError):
    """The text is no MAC address; the message shows the text and an example."""


@dataclass(frozen=True, slots=True, order=True)
class MacAddress:
    """Six bytes; `str()` gives the canonical form `aa:bb:cc:dd:ee:ff`."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 6:
            raise NotAMac(f"a MAC address has 6 bytes, not {len(self.octets)}")

    @classmethod
    def parse(cls, text: str) -> MacAddress:
        """Reads `aa:bb:…`, `AA-BB-…`, `aabb.ccdd.eeff` and `aabbccddeeff`; raises NotAMac."""
        digits = _SEPARATORS.sub("", text.strip())
        if not re.fullmatch(r"[0-9a-fA-F]{12}", digits):
            raise NotAMac(f"{text!r} is not a MAC address: write it like 52:54:00:12:34:56")
        return cls(bytes.fromhex(digits))

    def __str__(self) -> str:
        return self.octets.hex(":")

    @property
    def dashed(self) -> str:
        """`aa-bb-cc-dd-ee-ff`, as in `pxelinux.cfg/01-aa-bb-cc-dd-ee-ff`."""
        return self.octets.hex("-")
