"""The netascii mode of TFTP: line ends as telnet has them (RFC 764 by way of RFC 1350 section 1)."""

from __future__ import annotations


def to_netascii(content: bytes) -> bytes:
    """LF becomes CR LF; a CR that stands for itself becomes CR NUL."""
    return content.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
