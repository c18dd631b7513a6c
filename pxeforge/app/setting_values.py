"""Values of settings as a person writes them, read without the library that checks the settings as a whole."""

from __future__ import annotations

import ipaddress
import re


class BadSettings(Exception):
    """A key or value that cannot be used; names where it stands and what is allowed."""


def parse_range(text: str) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    """`FIRST-LAST`; raises ValueError."""
    first_text, _, last_text = text.partition("-")
    try:
        first, last = ipaddress.IPv4Address(first_text.strip()), ipaddress.IPv4Address(last_text.strip())
    except ipaddress.AddressValueError:
        raise ValueError(f"{text!r} is not a range: write FIRST-LAST, e.g. 10.0.0.50-10.0.0.90") from None
    if last < first:
        raise ValueError(f"the range {text} ends before it begins")
    return first, last


def parse_route(text: str) -> tuple[ipaddress.IPv4Network, ipaddress.IPv4Address]:
    """`DESTINATION/LENGTH via ROUTER`; raises ValueError."""
    destination, _, router = text.partition(" via ")
    try:
        return ipaddress.IPv4Network(destination.strip()), ipaddress.IPv4Address(router.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is not a route: write DESTINATION/LENGTH via ROUTER, e.g. 10.9.0.0/16 via 10.0.0.1"
        ) from None


def parse_option(code: str, text: str) -> tuple[int, bytes]:
    """A DHCP option: number and text, `ip:ADDRESS,…` or `hex:BYTES`; raises ValueError."""
    if not code.isascii() or not code.isdigit() or not 0 < int(code) < 255:
        raise ValueError(f"{code!r} is not the number of a DHCP option: give 1 to 254")
    kind, _, value = text.partition(":")
    try:
        if kind == "hex":
            return int(code), bytes.fromhex(value.replace(":", " "))
        if kind == "ip":
            return int(code), b"".join(ipaddress.IPv4Address(part.strip()).packed for part in value.split(","))
    except ValueError:
        raise ValueError(
            f"option {code}: {text!r} cannot be read: write text, ip:10.0.0.1,10.0.0.2 or hex:01:02:ff"
        ) from None
    return int(code), text.encode()


def split_listen(text: str) -> tuple[str, int]:
    """`ADDRESS:PORT`; raises ValueError."""
    address, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(address.strip("[]"))
        number = int(port)
    except ValueError:
        raise ValueError(f"{text!r} is not ADDRESS:PORT: write e.g. 127.0.0.1:8443") from None
    if not 0 < number < 65536:
        raise ValueError(f"port {number} does not exist: use 1 to 65535")
    return address.strip("[]"), number


def parse_mirror_url(text: str) -> str:
    """The root of a package repository; raises ValueError."""
    if not re.fullmatch(r"(https?|http\+unix)://[^\s/?#]+(/[^\s?#]*)?", text):
        raise ValueError(f"{text!r} is no mirror address: write it like http://mirror.example/debian")
    return text.rstrip("/")


def parse_proxy_url(text: str) -> str:
    """`http://HOST:PORT`; raises ValueError."""
    if not re.fullmatch(r"https?://[^\s/?#]+/?", text):
        raise ValueError(f"{text!r} is no address of an HTTP proxy: write it like http://proxy.example:3128")
    return text.rstrip("/")
