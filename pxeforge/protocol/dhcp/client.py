"""Who asks: tells a netbooting firmware from every other DHCP client by options 60, 93, 77, 175 and 97."""

from __future__ import annotations

import re
import uuid

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import firmware_of
from pxeforge.domain.identity import told_id, useful_uuid
from pxeforge.protocol.cursor import Cursor, Malformed
from pxeforge.protocol.dhcp.exchange import Ignored
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, Option, spelled, sub_options

_NETBOOT_CLASSES = (b"PXEClient", b"HTTPClient")
_ARCH_IN_CLASS = re.compile(rb"Client:Arch:(\d{5})")
_IPXE = b"iPXE"


def classify(message: DhcpMessage, *, interface: str = "") -> BootRequest | Ignored:
    """The boot request inside a message, or why it is none.

    Neither option 94 nor 97 is needed: there are boot ROMs that leave them out.
    """
    vendor_class = message.options.get(Option.VENDOR_CLASS, b"")
    is_ipxe = _is_ipxe(message)
    if not vendor_class.startswith(_NETBOOT_CLASSES) and not is_ipxe:
        return Ignored("not a netboot client: option 60 is neither PXEClient nor HTTPClient")
    if message.mac is None:
        return Ignored(f"the hardware address has {len(message.chaddr)} bytes and is no MAC address")
    architectures = _architectures(message, vendor_class)
    if not architectures:
        return Ignored("neither option 93 nor option 60 tells the architecture")
    return BootRequest(
        mac=message.mac,
        firmware=firmware_of(architectures, message.mac),
        is_ipxe=is_ipxe,
        uuid=_uuid(message.options.get(Option.CLIENT_UUID, b"")),
        vendor_class=_printable(vendor_class),
        interface=interface,
        **_place(message),
    )


def _place(message: DhcpMessage) -> dict[str, str | None]:
    """Through which relay it came, and what that says of the port (RFC 3046); nothing where nobody relayed it."""
    if message.giaddr == ANY:
        return {}
    try:
        told = sub_options(message.options.get(Option.RELAY_AGENT, b""))
    except Malformed:
        told = {}
    ids = {name: told_id(told[code]) for name, code in (("circuit_id", 1), ("remote_id", 2)) if told.get(code)}
    return {"relay": spelled(message.giaddr), **ids}


def _architectures(message: DhcpMessage, vendor_class: bytes) -> tuple[int, ...]:
    """Option 93 is a list of 16-bit numbers (RFC 4578 section 2.1); option 60 repeats the first one as text."""
    value = message.options.get(Option.ARCHITECTURE, b"")
    listed = tuple(int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value) - 1, 2))
    if listed:
        return listed
    in_class = _ARCH_IN_CLASS.search(vendor_class)
    return (int(in_class[1]),) if in_class else ()


def _is_ipxe(message: DhcpMessage) -> bool:
    """iPXE sends its user class raw; others wrap it as RFC 3004 says. Option 175 is iPXE's own."""
    value = message.options.get(Option.USER_CLASS, b"")
    if Option.IPXE in message.options:
        return True
    return bool(value) and (value == _IPXE or _IPXE in _user_classes(value))


def _user_classes(value: bytes) -> list[bytes]:
    """RFC 3004 section 4: each class is preceded by its length. Empty where the value has another form."""
    cursor, found = Cursor(value), list[bytes]()
    try:
        while cursor.left:
            found.append(cursor.take(cursor.number(1, "class length"), "user class"))
    except Malformed:
        return []
    return found


def _uuid(value: bytes) -> str | None:
    """Option 97: type 0 and 16 bytes. What many boards share is none."""
    if len(value) != 17 or value[0] != 0:
        return None
    return useful_uuid(str(uuid.UUID(bytes=value[1:])))


def _printable(value: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in value)
