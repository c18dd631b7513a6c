"""Names as firmware spells them → one clean relative name, or a refusal. Nothing here touches a file system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LONGEST_NAME: Final = 512


class BadName(ValueError):
    """The name is not served; the message says why. The client's fault."""


def normalise(raw: bytes, *, roots: Sequence[str] = ()) -> str:
    """`\\boot\\x`, `/srv/tftp/boot//x` (with that root) and `boot/x\\xff` all mean `boot/x`; raises BadName.

    `roots` are absolute folders that clients may put in front (a site's old DHCP settings often do).
    """
    trimmed = raw.rstrip(b"\xff\0")  # ROMs that read option 67 one byte too far
    if len(trimmed) > LONGEST_NAME:
        raise BadName(f"the name has {len(trimmed)} bytes, more than {LONGEST_NAME}")
    try:
        text = trimmed.decode("utf-8").replace("\\", "/")
    except UnicodeDecodeError:
        raise BadName("the name is not UTF-8") from None
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise BadName("the name holds control characters")
    parts = _parts(text)
    if ".." in parts:
        raise BadName("the name climbs out with '..'")
    for root in roots:
        prefix = _parts(root)
        # Whole parts are compared: /srv/tftp-old is not inside /srv/tftp.
        if text.startswith("/") and prefix and parts[: len(prefix)] == prefix:
            parts = parts[len(prefix) :]
            break
    if not parts:
        raise BadName("the name is empty")
    return "/".join(parts)


def _parts(text: str) -> list[str]:
    return [part for part in text.split("/") if part not in ("", ".")]
