"""The DHCP message: bytes ↔ fields and options (RFC 2131; long options RFC 3396; overload RFC 2132 section 9.3)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.cursor import Cursor, Malformed

BROADCAST_FLAG: Final = 0x8000
ANY: Final = IPv4Address("0.0.0.0")  # noqa: S104  (the "no address" value, nothing is bound to it)
BROADCAST: Final = IPv4Address("255.255.255.255")
COOKIE: Final = bytes((99, 130, 83, 99))
LEAST_SIZE: Final = 300  # BOOTP's size: old boot ROMs drop anything shorter
DEFAULT_LIMIT: Final = 576 - 28  # what every client must take (RFC 2131 section 2), without IP and UDP headers
LARGEST_LIMIT: Final = 1500 - 28
_SNAME_SIZE, _FILE_SIZE, _CHADDR_SIZE = 64, 128, 16
_PAD, _END = 0, 255


class Op(enum.IntEnum):
    """Who speaks."""

    REQUEST = 1
    REPLY = 2


class MessageType(enum.IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(enum.IntEnum):
    """The options this program reads or writes."""

    SUBNET_MASK = 1
    ROUTER = 3
    DNS = 6
    HOST_NAME = 12
    DOMAIN = 15
    MTU = 26
    BROADCAST = 28
    NTP = 42
    VENDOR = 43
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    PARAMETERS = 55
    MESSAGE = 56
    MAX_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    VENDOR_CLASS = 60
    CLIENT_ID = 61
    SERVER_NAME = 66
    BOOT_FILE = 67
    USER_CLASS = 77
    RELAY_AGENT = 82
    ARCHITECTURE = 93
    CLIENT_UUID = 97
    ROUTES = 121
    IPXE = 175


class TooLong(Exception):
    """The message does not fit into what the client takes; the text gives both sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpMessage:
    """One message. `options` keeps the order of the wire; repeated options are already joined, 52 is already undone.

    `sname` and `file` end before their first NUL, option 67 has no trailing NUL (encoding adds one: EDK2 writes one
    after the option and would overwrite the next byte).
    """

    op: Op
    xid: int
    htype: int = 1
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = ANY
    yiaddr: IPv4Address = ANY
    siaddr: IPv4Address = ANY
    giaddr: IPv4Address = ANY
    chaddr: bytes  # hlen bytes, up to 16
    sname: bytes = b""
    file: bytes = b""
    options: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def message_type(self) -> MessageType | None:
        value = self.options.get(Option.MESSAGE_TYPE, b"")
        if len(value) == 1 and value[0] in MessageType._value2member_map_:
            return MessageType(value[0])
        return None

    @property
    def mac(self) -> MacAddress | None:
        """The hardware address where it is one of Ethernet's kind (EDK2 can send a GUID of 16 bytes instead)."""
        return MacAddress(self.chaddr) if len(self.chaddr) == 6 and any(self.chaddr) else None

    def address(self, code: int) -> IPv4Address | None:
        """An option that holds one address; None where it is absent or of another length."""
        value = self.options.get(code, b"")
        return IPv4Address(value) if len(value) == 4 else None

    @property
    def reply_limit(self) -> int:
        """How many bytes a reply to this message may have (option 57 counts the IP and UDP headers)."""
        value = int.from_bytes(self.options.get(Option.MAX_SIZE, b"")[:2], "big")
        return min(max(value - 28, DEFAULT_LIMIT), LARGEST_LIMIT)

    def encode(self, limit: int = LARGEST_LIMIT) -> bytes:
        """The datagram, padded to 300 bytes; raises TooLong above `limit` bytes or for over-long fixed fields."""
        if len(self.sname) > _SNAME_SIZE or len(self.file) > _FILE_SIZE or len(self.chaddr) > _CHADDR_SIZE:
            raise TooLong("sname takes 64 bytes, file 128 and the hardware address 16")
        fixed = b"".join(
            (
                bytes((self.op, self.htype, len(self.chaddr), self.hops)),
                self.xid.to_bytes(4, "big"),
                self.secs.to_bytes(2, "big"),
                self.flags.to_bytes(2, "big"),
                self.ciaddr.packed + self.yiaddr.packed + self.siaddr.packed + self.giaddr.packed,
                self.chaddr.ljust(_CHADDR_SIZE, b"\0"),
                self.sname.ljust(_SNAME_SIZE, b"\0"),
                self.file.ljust(_FILE_SIZE, b"\0"),
            )
        )
        # The relay agent's option goes last, unchanged (RFC 3046 section 2.2).
        ordered = sorted(self.options.items(), key=lambda item: item[0] == Option.RELAY_AGENT)
        encoded = fixed + COOKIE + b"".join(_encode_option(code, value) for code, value in ordered) + bytes((_END,))
        if len(encoded) > limit:
            raise TooLong(f"the DHCP message has {len(encoded)} bytes, the client takes {limit}")
        return encoded.ljust(LEAST_SIZE, b"\0")

    @classmethod
    def parse(cls, data: bytes) -> DhcpMessage:
        """Reads a datagram; raises Malformed and nothing else."""
        cursor = Cursor(data)
        op = cursor.number(1, "op")
        if op not in Op._value2member_map_:
            raise Malformed(f"op is {op}, not 1 or 2")
        htype, hlen, hops = cursor.number(1, "htype"), cursor.number(1, "hlen"), cursor.number(1, "hops")
        if hlen > _CHADDR_SIZE:
            raise Malformed(f"hlen is {hlen}, more than 16")
        xid, secs, flags = cursor.number(4, "xid"), cursor.number(2, "secs"), cursor.number(2, "flags")
        ciaddr, yiaddr, siaddr, giaddr = (IPv4Address(cursor.take(4, "address")) for _ in range(4))
        chaddr = cursor.take(_CHADDR_SIZE, "chaddr")[:hlen]
        sname, file = cursor.take(_SNAME_SIZE, "sname"), cursor.take(_FILE_SIZE, "file")
        if cursor.take(4, "cookie") != COOKIE:
            raise Malformed("the DHCP magic cookie is missing")
        options: dict[int, bytes] = {}
        _parse_options(cursor.take(cursor.left, "options"), options)
        overload = options.pop(Option.OVERLOAD, b"\0")[:1]
        if overload in (b"\1", b"\3"):
            _parse_options(file, options)
            file = b""
        if overload in (b"\2", b"\3"):
            _parse_options(sname, options)
            sname = b""
        options.pop(Option.OVERLOAD, None)  # an overloaded field must not overload again
        if Option.BOOT_FILE in options:
            options[Option.BOOT_FILE] = options[Option.BOOT_FILE].rstrip(b"\0")
        return cls(
            op=Op(op),
            htype=htype,
            hops=hops,
            xid=xid,
            secs=secs,
            flags=flags,
            ciaddr=ciaddr,
            yiaddr=yiaddr,
            siaddr=siaddr,
            giaddr=giaddr,
            chaddr=chaddr,
            sname=sname.split(b"\0", 1)[0],
            file=file.split(b"\0", 1)[0],
            options=options,
        )


def sub_options(value: bytes) -> dict[int, bytes]:
    """The options inside an option (43, 82, 175); raises Malformed."""
    found: dict[int, bytes] = {}
    _parse_options(value, found)
    return found


def encode_sub_options(options: Mapping[int, bytes], *, end: bool = True) -> bytes:
    """The inside of an option; PXE's option 43 ends with 255, others have no end mark."""
    return b"".join(_encode_option(code, value) for code, value in options.items()) + (b"\xff" if end else b"")


def _encode_option(code: int, value: bytes) -> bytes:
    if code == Option.BOOT_FILE and not value.endswith(b"\0"):
        value += b"\0"
    pieces = [value[start : start + 255] for start in range(0, len(value), 255)] or [b""]
    return b"".join(bytes((code, len(piece))) + piece for piece in pieces)


def _parse_options(data: bytes, into: dict[int, bytes]) -> None:
    """Adds the options in `data`; a repeated option continues its value (RFC 3396 section 7)."""
    cursor = Cursor(data)
    while cursor.left:
        code = cursor.number(1, "option code")
        if code == _PAD:
            continue
        if code == _END:
            return
        length = cursor.number(1, f"length of option {code}")
        into[code] = into.get(code, b"") + cursor.take(length, f"option {code}")
