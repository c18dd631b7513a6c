"""The DHCP message: bytes ↔ fields and options (RFC 2131; long options RFC 3396; overload RFC 2132 section 9.3)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.cursor import Malformed

BROADCAST_FLAG: Final = 0x8000
ANY: Final = IPv4Address("0.0.0.0")  # noqa: S104  (the "no address" value, nothing is bound to it)
BROADCAST: Final = IPv4Address("255.255.255.255")
COOKIE: Final = bytes((99, 130, 83, 99))
LEAST_SIZE: Final = 300  # BOOTP's size: old boot ROMs drop anything shorter
DEFAULT_LIMIT: Final = 576 - 28  # what every client must take (RFC 2131 section 2), without IP and UDP headers
LARGEST_LIMIT: Final = 1500 - 28
GUID_SIZE: Final = 16  # EDK2 can send the machine's GUID as hardware address (PXE 2.1 section 2.2.1, SendGUID)
_SNAME_SIZE, _FILE_SIZE, _CHADDR_SIZE = 64, 128, 16
_PAD, _END = 0, 255
# op, htype, hlen, hops, xid, secs, flags; ciaddr, yiaddr, siaddr, giaddr; chaddr, sname, file; cookie
_FIXED: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_NO_ADDRESS: Final = bytes(4)


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
    SUBNET_SELECTION = 118
    SEARCH = 119
    ROUTES = 121
    IPXE = 175


_RELAY_AGENT: Final = int(Option.RELAY_AGENT)
_BOOT_FILE: Final = int(Option.BOOT_FILE)
_OPS: Final = {op.value: op for op in Op}
_TYPES: Final = {bytes((kind,)): kind for kind in MessageType}


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
    known_as: MacAddress | None = None  # not on the wire: whose GUID the hardware address is

    @property
    def message_type(self) -> MessageType | None:
        return _TYPES.get(self.options.get(Option.MESSAGE_TYPE, b""))

    @property
    def mac(self) -> MacAddress | None:
        """The hardware address where it is one of Ethernet's kind; else what is known of the sender."""
        if len(self.chaddr) == 6 and any(self.chaddr):
            return MacAddress(self.chaddr)
        return self.known_as

    @property
    def guid(self) -> bytes:
        """The machine's GUID where it stands in place of the hardware address (EDK2 SendGUID), else empty."""
        # All zeros and all ones are what boards say that have none.
        return self.chaddr if len(self.chaddr) == GUID_SIZE and len(set(self.chaddr)) > 1 else b""

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
        fixed = _FIXED.pack(
            self.op, self.htype, len(self.chaddr), self.hops, self.xid, self.secs, self.flags,
            self.ciaddr.packed, self.yiaddr.packed, self.siaddr.packed, self.giaddr.packed,
            self.chaddr, self.sname, self.file, COOKIE,
        )  # fmt: skip
        # The relay agent's option goes last, unchanged (RFC 3046 section 2.2).
        parts = [fixed]
        for code, value in self.options.items():
            if code == _RELAY_AGENT:
                continue
            if len(value) > 255 or code == _BOOT_FILE:
                parts.append(_encode_option(code, value))
            else:
                parts.append(bytes((code, len(value))) + value)
        if _RELAY_AGENT in self.options:
            parts.append(_encode_option(_RELAY_AGENT, self.options[_RELAY_AGENT]))
        parts.append(b"\xff")
        encoded = b"".join(parts)
        if len(encoded) > limit:
            raise TooLong(f"the DHCP message has {len(encoded)} bytes, the client takes {limit}")
        return encoded.ljust(LEAST_SIZE, b"\0")

    @classmethod
    def parse(cls, data: bytes) -> DhcpMessage:
        """Reads a datagram; raises Malformed and nothing else."""
        if len(data) < _FIXED.size:
            raise Malformed(f"a DHCP message needs {_FIXED.size} bytes, this one has {len(data)}")
        (
            op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, cookie,
        ) = _FIXED.unpack_from(data)  # fmt: skip
        if op not in _OPS:
            raise Malformed(f"op is {op}, not 1 or 2")
        if hlen > _CHADDR_SIZE:
            raise Malformed(f"hlen is {hlen}, more than 16")
        if cookie != COOKIE:
            raise Malformed("the DHCP magic cookie is missing")
        options: dict[int, bytes] = {}
        _parse_options(data, options, _FIXED.size)
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
            op=_OPS[op],
            htype=htype,
            hops=hops,
            xid=xid,
            secs=secs,
            flags=flags,
            ciaddr=_address(ciaddr),
            yiaddr=_address(yiaddr),
            siaddr=_address(siaddr),
            giaddr=_address(giaddr),
            chaddr=chaddr[:hlen],
            sname=sname.split(b"\0", 1)[0],
            file=file.split(b"\0", 1)[0],
            options=options,
        )


def spelled(address: IPv4Address) -> str:
    """`str(address)` in a third of its time: every reply spells some."""
    return "{}.{}.{}.{}".format(*address.packed)


def _address(packed: bytes) -> IPv4Address:
    return ANY if packed == _NO_ADDRESS else IPv4Address(packed)


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
    if len(value) <= 255:
        return bytes((code, len(value))) + value
    pieces = [value[start : start + 255] for start in range(0, len(value), 255)]
    return b"".join(bytes((code, len(piece))) + piece for piece in pieces)


def _parse_options(data: bytes, into: dict[int, bytes], at: int = 0) -> None:
    """Adds the options in `data` from `at` on; a repeated option continues its value (RFC 3396 section 7)."""
    end = len(data)
    while at < end:
        code = data[at]
        at += 1
        if code == _PAD:
            continue
        if code == _END:
            return
        if at == end:
            raise Malformed(f"the length of option {code} is missing")
        start = at + 1
        at = start + data[at]
        if at > end:
            raise Malformed(f"option {code} needs {at - start} bytes, {end - start} are left")
        into[code] = into[code] + data[start:at] if code in into else data[start:at]
