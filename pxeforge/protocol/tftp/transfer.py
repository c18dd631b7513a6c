"""One file on its way to one client: options, windows, retries. It is told the time and says when to wake it.

RFC 1350, 2347, 2348 (blksize), 2349 (tsize, timeout), 7440 (windowsize). A datagram is sent again only when time is up,
never because of a repeated ACK (RFC 1123 section 4.2.3.1): a doubled ACK would double every packet after it. With
windows the receiver tells of a lost first block by repeating its last ACK (RFC 7440 section 4): that is believed once
per window, and only when it cannot be a copy of the ACK that made us send.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.tftp.packet import Ack, Error, ErrorCode, Opcode, OptionAck, Packet, Request, encode, parse

Endpoint = tuple[str, int]
Read = Callable[[int, int], bytes]  # (offset, length) → that many bytes of the file

DEFAULT_BLKSIZE: Final = 512
_DATA_HEADER_BYTES: Final = 4
_WRAP: Final = 0x10000
_DATA: Final = int(Opcode.DATA) << 16
_TWO_WORDS: Final = struct.Struct("!HH")
_ACK_OPCODE: Final = int(Opcode.ACK).to_bytes(2, "big")
AHEAD_BYTES: Final = 1 << 15
_LONGEST_WAIT_S: Final = 8.0
_QUICK_WAIT_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a client's wishes are followed."""

    largest_blksize: int = 1468  # one Ethernet frame: 1500 less IP, UDP and TFTP headers
    largest_window: int = 64
    first_wait_s: float = 1.0
    retries: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """The terms of a transfer; `accepted` is what the OACK says (empty: no OACK)."""

    blksize: int = DEFAULT_BLKSIZE
    windowsize: int = 1
    wait_s: float
    accepted: Mapping[str, str]


class Outcome(enum.Enum):
    """How a transfer ended."""

    COMPLETE = "complete"
    PROBED = "probed"  # the client only wanted to know the size: normal for boot ROMs
    ABORTED = "aborted by the client"
    TIMED_OUT = "the client stopped answering"
    FAILED = "the file could not be read"


class Datagram(NamedTuple):
    """Bytes for somebody."""

    payload: bytes
    to: Endpoint


@dataclass(frozen=True, slots=True)
class Window:
    """The DATA packets of one window end to end, as one call can send them; all but the last are `block_bytes` long.

    Iterating gives them one by one.
    """

    joined: bytes
    block_bytes: int  # header and payload
    to: Endpoint

    def __len__(self) -> int:
        return -(-len(self.joined) // self.block_bytes)

    def __iter__(self) -> Iterator[Datagram]:
        for start in range(0, len(self.joined), self.block_bytes):
            yield Datagram(self.joined[start : start + self.block_bytes], self.to)


Outgoing = list[Datagram] | Window


class _CannotRead(Exception):
    """The file gives less than it should; the text says why."""


def negotiate(options: Mapping[str, str], size: int, limits: Limits) -> Agreed:
    """What we agree to: known options with sensible values, never more than asked for, all others left out."""
    accepted: dict[str, str] = {}
    blksize, windowsize, wait_s = DEFAULT_BLKSIZE, 1, limits.first_wait_s
    if (wanted := _number(options.get("blksize"), 8, 65464)) is not None:
        blksize = min(wanted, limits.largest_blksize)
        accepted["blksize"] = str(blksize)
    if (wanted := _number(options.get("windowsize"), 1, 65535)) is not None:
        windowsize = min(wanted, limits.largest_window)
        accepted["windowsize"] = str(windowsize)
    if (wanted := _number(options.get("timeout"), 1, 255)) is not None:
        wait_s = float(wanted)
        accepted["timeout"] = str(wanted)
    if "tsize" in options:
        accepted["tsize"] = str(size)
    return Agreed(blksize=blksize, windowsize=windowsize, wait_s=wait_s, accepted=accepted)


def _number(text: str | None, least: int, most: int) -> int | None:
    if text is None or not text.isdecimal() or len(text) > 9:
        return None
    value = int(text)
    return value if least <= value <= most else None


class Download:
    """A transfer to `peer`. Call start() once, received() for every datagram, expired() at `deadline`; send what they
    return. It is over when `outcome` is set.
    """

    def __init__(
        self, request: Request, peer: Endpoint, *, size: int, read: Read, limits: Limits | None = None,
        ahead_bytes: int = AHEAD_BYTES,
    ) -> None:  # fmt: skip
        """`ahead_bytes`: how much of a file sent in lockstep is cut into packets at once."""
        self.peer, self.size, self._read = peer, size, read
        self.outcome: Outcome | None = None
        self.problem: str | None = None  # for people; None where all is well
        self.deadline: float | None = None  # in the clock given to start()
        self._limits, self._ahead_bytes = limits or Limits(), ahead_bytes
        self.agreed = negotiate(request.options, size, self._limits)
        self._blksize, self._windowsize = self.agreed.blksize, self.agreed.windowsize
        self._last_block = size // self._blksize + 1  # a shorter, maybe empty block ends the file
        self._acked = 0  # blocks are counted without wrapping; only the wire has 16 bits
        self._sent = 0  # the highest block ever sent
        self._negotiating = bool(self.agreed.accepted)
        self._tries = 0
        self._wait_s = self.agreed.wait_s
        self._longest_wait_s = max(_LONGEST_WAIT_S, self.agreed.wait_s)
        self._spoke_at = 0.0  # when the last new window was sent
        self._round_trip_s = self.agreed.wait_s  # the shortest seen
        self._hasty = False  # whether this window may still be sent again before the ordinary wait is over
        # Lockstep, the usual way, has a short cut: the packets to come and the one ACK that asks for the next of them.
        self._ready: Iterator[bytes] = iter(())
        self._awaited = b""

    @property
    def window_block_bytes(self) -> int:
        """How long the full DATA packets of a Window will be; 0 for a transfer without windows."""
        return _DATA_HEADER_BYTES + self._blksize if self._windowsize > 1 else 0

    @property
    def lone_block(self) -> int:
        """In lockstep the block that is under way, counted from 1 without wrapping: its ACK asks for the next one. 0:
        there is none, or the transfer has windows.
        """
        is_out = self._windowsize == 1 and not self._negotiating and self.outcome is None
        return self._acked + 1 if is_out else 0

    def went_on(self, sent: int, now: float) -> None:
        """Somebody else answered ACKs of the peer in lockstep; `sent` is the block under way now."""
        if sent > self._acked + 1 and self.outcome is None:
            self._acked, self._sent, self._tries = sent - 1, sent, 0
            self._ready, self._awaited = iter(()), b""
            self.deadline = now + self._wait_s

    @property
    def untouched(self) -> bool:
        """Whether the client has not answered yet: a repeated request then is a retry, not a new transfer."""
        return self._acked == 0 and (self._negotiating or not self.agreed.accepted)

    def is_lively(self, now: float) -> bool:
        """Whether the client has just answered: a request that it repeated before may come in only now."""
        return self.outcome is None and self._tries == 0 and self.deadline is not None and now < self.deadline

    @property
    def bytes_acked(self) -> int:
        return min(self._acked * self.agreed.blksize, self.size)

    def start(self, now: float) -> Outgoing:
        self._spoke_at = now
        self._rest(now)
        return self._speak()

    def repeat(self) -> Outgoing:
        """The first datagram again, for a client that repeats its request."""
        return self._speak()

    def expired(self, now: float) -> Outgoing:
        """Sends again what is not acknowledged, with growing pauses; gives up after the last retry."""
        if self.outcome is not None or self.deadline is None or now < self.deadline:
            return []
        if self._hasty:
            # The end of a window was lost, so nothing told the client of a gap. One early try; patience stays the same.
            self._hasty = False
            self._rest(now)
            return self._speak()
        if self._tries >= self._limits.retries:
            where = "the options" if self._negotiating else f"block {self._acked + 1} of {self._last_block}"
            return self._finish(Outcome.TIMED_OUT, f"the client stopped answering at {where}")
        self._tries += 1
        self._rest(now)
        return self._speak()

    def next_packet(self, datagram: bytes, now: float) -> bytes | None:
        """The short cut for a client in lockstep: the packet for the peer that a datagram of the peer asks for.

        None where it is not simply the awaited ACK with more at hand: nothing has happened then, ask received().
        """
        if datagram != self._awaited:
            return None
        packet = next(self._ready, None)
        if packet is None:
            return None
        self._acked, self._tries = self._sent, 0
        self._sent += 1
        self._awaited = _ACK_OPCODE + packet[2:4]
        self.deadline = now + self._wait_s
        return packet

    def received(self, datagram: bytes, sender: Endpoint, now: float) -> Outgoing:
        """Handles a datagram; one of a stranger is turned away and changes nothing."""
        if sender != self.peer:
            return [Datagram(encode(Error(ErrorCode.UNKNOWN_TRANSFER, "not your transfer")), sender)]
        if self.outcome is not None:
            return []
        if len(datagram) == 4:  # almost everything that ever comes
            opcode, block = _TWO_WORDS.unpack(datagram)
            if opcode == Opcode.ACK:
                return self._acknowledged(block, now)
        try:
            packet = parse(datagram)
        except Malformed:
            return []
        match packet:
            case Ack(block):
                return self._acknowledged(block, now)
            case Error():
                return self._told_to_stop(packet)
        if isinstance(packet, Request):
            return []  # a retry that took another way; the timer takes care
        text = "only ACK and ERROR are understood during a download"
        return [*self._finish(Outcome.ABORTED, text), self._datagram(Error(ErrorCode.ILLEGAL_OPERATION, text))]

    def _acknowledged(self, block: int, now: float) -> Outgoing:
        if self._negotiating:
            if block != 0:
                return []
            self._negotiating = False
        else:
            news = (block - self._acked) % _WRAP
            if not 0 < news <= self._sent - self._acked:
                return self._gap_at_the_start(now) if news == 0 else []  # old or never sent
            self._acked += news
        if self._acked == self._last_block:
            return self._finish(Outcome.COMPLETE, None)
        self._tries = 0
        if self._windowsize > 1:
            self._learn_round_trip(now)
        self._rest(now)
        # An ACK inside the window tells of a gap: go on after the last block that arrived (RFC 7440 section 4).
        return self._speak()

    def _learn_round_trip(self, now: float) -> None:
        self._round_trip_s = min(self._round_trip_s, now - self._spoke_at)
        self._spoke_at = now
        self._hasty = True

    def _gap_at_the_start(self, now: float) -> Outgoing:
        # A copy of the former ACK comes at its heels, the news of a gap takes at least a round trip.
        if not self._hasty or now - self._spoke_at <= self._round_trip_s / 2:
            return []
        self._hasty = False
        self._rest(now)
        return self._speak()

    def _told_to_stop(self, error: Error) -> list[Datagram]:
        # Boot ROMs ask for the size, abort, and ask again: in the middle of the options that is no failure.
        if self._acked == 0 and "tsize" in self.agreed.accepted:
            return self._finish(Outcome.PROBED, None)
        return self._finish(Outcome.ABORTED, f"the client aborted: {error.message[:80]!r} (error {error.code})")

    def _speak(self) -> Outgoing:
        if self._negotiating:
            return [self._datagram(OptionAck(self.agreed.accepted))]
        try:
            return self._window() if self._windowsize > 1 else [Datagram(self._lone_block(), self.peer)]
        except _CannotRead as problem:
            return self._fail(str(problem))

    def _lone_block(self) -> bytes:
        """The packet after the last block acknowledged; those behind it are kept ready for next_packet()."""
        packets = self._packets(max(self._ahead_bytes // self._blksize, 1))
        self._ready = iter(packets[1:])
        self._sent = self._acked + 1
        self._awaited = _ACK_OPCODE + packets[0][2:4]
        return packets[0]

    def _window(self) -> Outgoing:
        packets = self._packets(self._windowsize)
        self._sent = max(self._sent, self._acked + len(packets))
        if len(packets) == 1:
            return [Datagram(packets[0], self.peer)]
        return Window(b"".join(packets), _DATA_HEADER_BYTES + self._blksize, self.peer)

    def _packets(self, most: int) -> list[bytes]:
        """Up to `most` DATA packets after the last block acknowledged; all full but for the file's end."""
        blksize, before = self._blksize, self._acked
        offset, last = before * blksize, min(before + most, self._last_block)
        expected = min(most * blksize, self.size - offset)
        try:
            content = self._read(offset, expected)
        except OSError as error:
            raise _CannotRead(f"the file could not be read: {error.strerror}") from error
        if len(content) != expected:
            # A short block would look like the end of the file to the client.
            raise _CannotRead("the file became shorter during the transfer")
        return [
            (_DATA | block % _WRAP).to_bytes(4, "big") + content[start : start + blksize]
            for block, start in zip(range(before + 1, last + 1), range(0, expected + 1, blksize), strict=False)
        ]

    def _rest(self, now: float) -> None:
        if self._hasty and "timeout" not in self.agreed.accepted:
            self.deadline = now + min(max(_QUICK_WAIT_S, 4 * self._round_trip_s), self.agreed.wait_s)
        elif self._tries == 0:
            self.deadline = now + self.agreed.wait_s
        else:
            self.deadline = now + min(self.agreed.wait_s * 2**self._tries, self._longest_wait_s)

    def _fail(self, problem: str) -> list[Datagram]:
        return [*self._finish(Outcome.FAILED, problem), self._datagram(Error(ErrorCode.NOT_DEFINED, problem))]

    def _finish(self, outcome: Outcome, problem: str | None) -> list[Datagram]:
        self.outcome, self.problem, self.deadline = outcome, problem, None
        self._ready = iter(())
        return []

    def _datagram(self, packet: Packet) -> Datagram:
        return Datagram(encode(packet), self.peer)
