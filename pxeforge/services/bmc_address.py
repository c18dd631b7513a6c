"""To which addresses we connect on behalf of whoever sets a BMC: never to ourselves, nor beyond what power.toml says.

Checked when it is set and at each use, for the address a name stands for just then; that address is connected to.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Final

from pxeforge.domain.inner_address import inner_address
from pxeforge.services.power_config import Network
from pxeforge.services.power_driver import PowerFault
from pxeforge.services.problems import Problem

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA_V6: Final = ipaddress.ip_network("fd00:ec2::254/128")  # a cloud's credentials, as 169.254.169.254
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(\.{_LABEL})*\.?")


def check(text: str, networks: Sequence[Network] | None) -> str:
    """A BMC's address or name as it may be stored; raises Problem."""
    literal = _literal(text)
    if literal is not None:
        _check_allowed(literal, networks)
        return str(literal)
    # A last label of digits alone is an address that was mistyped, or one in a disguise (0x7f.1, 127.1).
    if not _NAME.fullmatch(text) or re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", text.rstrip(".").rsplit(".", 1)[-1]):
        raise Problem(f"{text!r} is neither an IP address nor a name: write e.g. 10.9.0.17, without https:// and port")
    return text.rstrip(".").lower()


def resolve(text: str, networks: Sequence[Network] | None) -> str:
    """The address to connect to now; raises PowerFault (the name is not known), Problem (not allowed)."""
    literal = _literal(text)
    if literal is not None:
        found: list[Address] = [literal]
    else:
        try:
            answers = socket.getaddrinfo(text, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as problem:
            raise PowerFault(f"the BMC's name {text} is not known ({problem}): set its IP address") from None
        found = [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    refusal: Problem | None = None
    for address in found:
        try:
            _check_allowed(address, networks)
        except Problem as problem:
            refusal = refusal or problem
        else:
            return str(address)
    raise refusal or PowerFault(f"the BMC's name {text} has no address: set its IP address")


def _literal(text: str) -> Address | None:
    try:
        return inner_address(ipaddress.ip_address(text)) if "%" not in text else None
    except ValueError:
        return None


def _check_allowed(address: Address, networks: Sequence[Network] | None) -> None:
    address = inner_address(address)
    if networks is not None:
        if not any(address.version == network.version and address in network for network in networks):
            raise Problem(f"{address} is in none of the networks of power.toml: there only are BMCs")
        return
    special = address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local
    if special or address in _METADATA_V6:
        raise Problem(f"{address} cannot be a BMC: give its address on the management network")
    if int(address) == 2**32 - 1 or _is_ours(address):
        raise Problem(f"{address} is this server itself or everybody: give the BMC's address")


def _is_ours(address: Address) -> bool:
    """The kernel would answer from the very address that is called. No packet is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ipaddress.ip_address(str(probe.getsockname()[0])) == address
    except OSError:
        return False  # no way there, or a broadcast address: a connection will not come about either
