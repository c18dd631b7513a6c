"""TFTP packets: bytes ↔ values (RFC 1350; options RFC 2347)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from tftpy.TftpShared import TftpErrors

from pxeforge.protocol.cursor import Cursor, Malformed


class Opcode(enum.IntEnum):
    """What a packet is."""

    READ = 1
    WRITE = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OPTION_ACK = 6


class ErrorCode(enum.IntEnum):
    """Why a transfer does not go on."""

    NOT_DEFINED = TftpErrors.NotDefined
    FILE_NOT_FOUND = TftpErrors.FileNotFound
    ACCESS_VIOLATION = TftpErrors.AccessViolation
    DISK_FULL = TftpErrors.DiskFull
    ILLEGAL_OPERATION = TftpErrors.IllegalTftpOp
    UNKNOWN_TRANSFER = TftpErrors.UnknownTID
    FILE_EXISTS = TftpErrors.FileAlreadyExists
    NO_SUCH_USER = TftpErrors.NoSuchUser
    FAILED_NEGOTIATION = TftpErrors.FailedNegotiation


@dataclass(frozen=True, slots=True)
class Request:
    """A read or a write request. The name is as sent; mode and option names are lower case."""

    opcode: Opcode  # READ or WRITE
    name: bytes
    mode: str = "octet"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """One block; `block` is the 16-bit number on the wire."""

    block: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """All blocks up to this one have arrived."""

    block: int


@dataclass(frozen=True, slots=True)
class Error:
    """The end of a transfer. Codes outside ErrorCode do occur."""

    code: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class OptionAck:
    """The options the server agreed to."""

    options: Mapping[str, str]


Packet = Request | Data | Ack | Error | OptionAck


def encode(packet: Packet) -> bytes:
    """The datagram of a packet."""
    match packet:
        case Request(opcode, name, mode, options):
            return _word(opcode) + name + b"\0" + mode.encode() + b"\0" + _encode_options(options)
        case Data(block, payload):
            return _word(Opcode.DATA) + _word(block) + payload
        case Ack(block):
            return _word(Opcode.ACK) + _word(block)
        case Error(code, message):
            return _word(Opcode.ERROR) + _word(code) + message.encode().replace(b"\0", b"") + b"\0"
        case OptionAck(options):
            return _word(Opcode.OPTION_ACK) + _encode_options(options)
        case _:
            assert_never(packet)


def parse(datagram: bytes) -> Packet:
    """The packet in a datagram; raises Malformed and nothing else."""
    cursor = Cursor(datagram)
    opcode = cursor.number(2, "opcode")
    match opcode:
        case Opcode.READ | Opcode.WRITE:
            name = cursor.text_until_nul("file name")
            mode = _ascii(cursor.text_until_nul("mode"), "mode").lower()
            return Request(Opcode(opcode), name, mode, _parse_options(cursor))
        case Opcode.DATA:
            return Data(cursor.number(2, "block"), cursor.take(cursor.left, "payload"))
        case Opcode.ACK:
            return Ack(cursor.number(2, "block"))
        case Opcode.ERROR:
            code = cursor.number(2, "error code")
            # Some firmware leaves the final NUL out.
            message = cursor.take(cursor.left, "message").split(b"\0", 1)[0]
            return Error(code, message.decode(errors="replace"))
        case Opcode.OPTION_ACK:
            return OptionAck(_parse_options(cursor))
    raise Malformed(f"there is no TFTP opcode {opcode}")


def _word(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _ascii(value: bytes, what: str) -> str:
    if not value.isascii():
        raise Malformed(f"{what} is not ASCII")
    return value.decode("ascii")


def _encode_options(options: Mapping[str, str]) -> bytes:
    return b"".join(text.encode() + b"\0" for pair in options.items() for text in pair)


def _parse_options(cursor: Cursor) -> dict[str, str]:
    """Pairs of name and value; of a repeated name the first counts. Boot ROMs pad with NULs: those end the list."""
    options: dict[str, str] = {}
    while cursor.left:
        name = cursor.text_until_nul("option name")
        if not name:
            break
        value = cursor.text_until_nul("option value")
        options.setdefault(_ascii(name, "option name").lower(), _ascii(value, "option value"))
    return options
