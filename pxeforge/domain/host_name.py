"""What a host may be called: a name that its own /etc/hosts, every resolver and our addresses take for this host."""

from __future__ import annotations

import re
from typing import Final

RESERVED_NAMES: Final = frozenset(  # addresses of the API, beside those of hosts
    {"arm", "assign", "bulk", "disarm", "export", "import", "retire"}
)
_FORM: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OWN_COMPUTER: Final = re.compile(r"localhost[46]?(\..*)?|ip6-.*")  # what every system calls itself in /etc/hosts
_AN_ADDRESS: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # inet_aton takes these for IPv4 addresses


def why_no_host_name(name: str) -> str | None:
    """The sentence why no host can be called so; None: it can."""
    if _OWN_COMPUTER.fullmatch(name.lower()):
        return f"{name} is what every computer calls itself in /etc/hosts: choose another name for the host"
    if not _FORM.fullmatch(name):
        return f"{name!r} is not a host name: use a-z, 0-9 and -, at most 63 characters (RFC 1123)"
    if _AN_ADDRESS.fullmatch(name):
        return f"{name} would be taken for an address, as it is nothing but a number: put a letter into the name"
    if name in RESERVED_NAMES:
        return f"{name} is a word of the API's addresses: choose another name for the host"
    return None
