"""Datagrams of simulated machines, lost, doubled and late on purpose: DHCP through a relay, and TFTP."""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from tests.soak.world import WIRE

DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
_COOKIE: Final = bytes.fromhex("63825363")
_UEFI: Final = {60: b"PXEClient:Arch:00007:UNDI:003016", 93: b"\0\x07", 94: b"\x01\x03\x10"}
_LOST, _DOUBLED, _LATE = 0.03, 0.03, 0.02  # shares of all datagrams, in each direction
_WAITS_S: Final = (1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a machine reads in a DHCP answer."""

    type: int
    address: str
    server: str
    lease_s: float
    boot_file: str


class Relay:
    """The relay of all machines: one socket, answers handed to whoever waits for their transaction."""

    def __init__(self, chance: random.Random) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((WIRE.relay, 67))
        self._socket.settimeout(0.5)
        self._waiting: dict[int, queue.SimpleQueue[bytes]] = {}
        self._lock, self._chance, self._ended = threading.Lock(), chance, threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def ask(self, mac: str, kind: int, options: dict[int, bytes], *, chance: random.Random) -> Reply | None:
        """Sent again until something comes or the machine gives up."""
        xid = chance.getrandbits(32)
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with self._lock:
            self._waiting[xid] = answers
        packet = _packet(mac, xid, kind, options)
        try:
            for wait_s in _WAITS_S:
                self._send(packet)
                if kind == RELEASE:
                    return None
                with contextlib.suppress(queue.Empty):
                    return _parsed(answers.get(timeout=wait_s))
            return None
        finally:
            with self._lock:
                del self._waiting[xid]

    def _send(self, packet: bytes) -> None:
        with self._lock:
            lost, doubled, late = (self._chance.random() < share for share in (_LOST, _DOUBLED, _LATE))
        if late:  # overtaken by what the machine sends next
            threading.Timer(0.3, self._out, [packet]).start()
        elif not lost:
            self._out(packet)
        if doubled:
            self._out(packet)

    def _out(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendto(packet, (WIRE.server, 67))

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                packet = self._socket.recv(2048)
            except OSError:
                continue
            with self._lock:
                waiting = self._waiting.get(int.from_bytes(packet[4:8]))
                lost = self._chance.random() < _LOST
            if waiting is not None and not lost:
                waiting.put(packet)


def _packet(mac: str, xid: int, kind: int, options: dict[int, bytes]) -> bytes:
    number = bytes.fromhex(mac.replace(":", ""))
    head = struct.pack(
        ">BBBBIHH4s4s4s4s16s64x128x", 1, 1, 6, 1, xid, 0, 0, bytes(4), bytes(4), bytes(4),
        IPv4Address(WIRE.relay).packed, number,
    )  # fmt: skip
    guid = b"\0" + number.rjust(16, b"\0")
    wanted = bytes([1, 3, 6, 51, 54, 60, 66, 67])
    told = {53: bytes([kind]), 55: wanted, 57: b"\x05\xc0", 97: guid, **_UEFI, **options}
    return head + _COOKIE + b"".join(bytes([code, len(value)]) + value for code, value in told.items()) + b"\xff"


def _parsed(packet: bytes) -> Reply:
    options, rest = dict[int, bytes](), packet[240:]
    while rest and rest[0] != 255:
        if rest[0] == 0:
            rest = rest[1:]
            continue
        options[rest[0]], rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
    name = options.get(67) or packet[108:236]
    return Reply(
        type=options.get(53, b"\0")[0], address=str(IPv4Address(packet[16:20])),
        server=str(IPv4Address(options.get(54, bytes(4)))), lease_s=int.from_bytes(options.get(51, b"\0")),
        boot_file=name.rstrip(b"\0").decode(errors="replace"),
    )  # fmt: skip


class TransferLost(Exception):
    """The file did not come; the message says how far it came."""


def fetch(name: str, source: str, chance: random.Random) -> bytes:
    """A file by TFTP in lockstep; raises TransferLost."""
    request = b"\0\x01" + name.encode() + b"\0octet\0blksize\x001428\0"
    content, block, size = bytearray(), 0, 1428
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind((source, 0))
        ours.settimeout(1.5)
        to, sent, tries = (WIRE.server, 69), request, 0
        _put(ours, sent, to, chance)
        while True:
            try:
                packet, peer = ours.recvfrom(2048)
            except OSError:
                tries += 1
                if tries > 5:
                    raise TransferLost(f"silence after {len(content)} bytes") from None
                _put(ours, sent, to, chance)
                continue
            if chance.random() < _LOST / 10:
                continue
            if packet[:2] == b"\0\x05":
                raise TransferLost(packet[4:-1].decode(errors="replace"))
            if packet[:2] == b"\0\x06":  # OACK
                to, sent = peer, b"\0\x04\0\0"
            elif packet[:2] == b"\0\x03":
                number = int.from_bytes(packet[2:4])
                if number == (block + 1) & 0xFFFF:
                    content += packet[4:]
                    block, tries = block + 1, 0
                to, sent = peer, b"\0\x04" + packet[2:4]
                if number == block & 0xFFFF and len(packet) - 4 < size:
                    ours.sendto(sent, to)
                    return bytes(content)
            _put(ours, sent, to, chance)


def _put(ours: socket.socket, packet: bytes, to: tuple[str, int], chance: random.Random) -> None:
    with contextlib.suppress(OSError):
        if chance.random() >= _LOST / 10:
            ours.sendto(packet, to)
        if chance.random() < _DOUBLED / 10:
            ours.sendto(packet, to)


def pause(chance: random.Random, most_s: float) -> None:
    time.sleep(chance.random() * most_s)
