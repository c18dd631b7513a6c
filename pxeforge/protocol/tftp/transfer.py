"""One file on its way to one client: options, windows, retries. It is told the time and says when to wake it.

RFC 1350, 2347, 2348 (blksize), 2349 (tsize, timeout), 7440 (windowsize). A datagram is sent again only when time is up,
never because of a repeated ACK (RFC 1123 section 4.2.3.1): a doubled ACK would double every packet after it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.tftp.packet import Ack, Data, Error, ErrorCode, OptionAck, Packet, Request, encode, parse

Endpoint = tuple[str, int]
Read = Callable[[int, int], bytes]  # (offset, length) → that many bytes of the file

DEFAULT_BLKSIZE: Final = 512
_WRAP: Final = 0x10000
_LONGEST_WAIT_S: Final = 8.0


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


@dataclass(frozen=True, slots=True)
class Datagram:
    """Bytes for somebody."""

    payload: bytes
    to: Endpoint


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
        self, request: Request, peer: Endpoint, *, size: int, read: Read, limits: Limits | None = None
    ) -> None:
        self.peer, self.size, self._read = peer, size, read
        self.outcome: Outcome | None = None
        self.problem: str | None = None  # for people; None where all is well
        self.deadline: float | None = None  # in the clock given to start()
        self._limits = limits or Limits()
        self.agreed = negotiate(request.options, size, self._limits)
        self._last_block = size // self.agreed.blksize + 1  # a shorter, maybe empty block ends the file
        self._acked = 0  # blocks are counted without wrapping; only the wire has 16 bits
        self._sent = 0  # the highest block ever sent
        self._negotiating = bool(self.agreed.accepted)
        self._tries = 0

    @property
    def untouched(self) -> bool:
        """Whether the client has not answered yet: a repeated request then is a retry, not a new transfer."""
        return self._acked == 0 and (self._negotiating or not self.agreed.accepted)

    @property
    def bytes_acked(self) -> int:
        return min(self._acked * self.agreed.blksize, self.size)

    def start(self, now: float) -> list[Datagram]:
        self._rest(now)
        return self._speak()

    def repeat(self) -> list[Datagram]:
        """The first datagram again, for a client that repeats its request."""
        return self._speak()

    def expired(self, now: float) -> list[Datagram]:
        """Sends again what is not acknowledged, with growing pauses; gives up after the last retry."""
        if self.outcome is not None or self.deadline is None or now < self.deadline:
            return []
        if self._tries >= self._limits.retries:
            where = "the options" if self._negotiating else f"block {self._acked + 1} of {self._last_block}"
            return self._finish(Outcome.TIMED_OUT, f"the client stopped answering at {where}")
        self._tries += 1
        self._rest(now)
        return self._speak()

    def received(self, datagram: bytes, sender: Endpoint, now: float) -> list[Datagram]:
        """Handles a datagram; one of a stranger is turned away and changes nothing."""
        if sender != self.peer:
            return [Datagram(encode(Error(ErrorCode.UNKNOWN_TRANSFER, "not your transfer")), sender)]
        if self.outcome is not None:
            return []
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

    def _acknowledged(self, block: int, now: float) -> list[Datagram]:
        if self._negotiating:
            if block != 0:
                return []
            self._negotiating = False
        else:
            news = (block - self._acked) % _WRAP
            if not 0 < news <= self._sent - self._acked:
                return []  # old or never sent
            self._acked += news
        self._tries = 0
        if self._acked == self._last_block:
            return self._finish(Outcome.COMPLETE, None)
        self._rest(now)
        # An ACK inside the window tells of a gap: go on after the last block that arrived (RFC 7440 section 4).
        return self._speak()

    def _told_to_stop(self, error: Error) -> list[Datagram]:
        # Boot ROMs ask for the size, abort, and ask again: in the middle of the options that is no failure.
        if self._acked == 0 and "tsize" in self.agreed.accepted:
            return self._finish(Outcome.PROBED, None)
        return self._finish(Outcome.ABORTED, f"the client aborted: {error.message[:80]!r} (error {error.code})")

    def _speak(self) -> list[Datagram]:
        if self._negotiating:
            return [self._datagram(OptionAck(self.agreed.accepted))]
        window = range(self._acked + 1, min(self._acked + self.agreed.windowsize, self._last_block) + 1)
        datagrams: list[Datagram] = []
        for block in window:
            offset = (block - 1) * self.agreed.blksize
            expected = min(self.agreed.blksize, self.size - offset)
            try:
                payload = self._read(offset, expected)
            except OSError as error:
                return self._fail(f"the file could not be read: {error.strerror}")
            if len(payload) != expected:
                # A short block would look like the end of the file to the client.
                return self._fail("the file became shorter during the transfer")
            datagrams.append(self._datagram(Data(block % _WRAP, payload)))
        self._sent = max(self._sent, window[-1])
        return datagrams

    def _rest(self, now: float) -> None:
        longest = max(_LONGEST_WAIT_S, self.agreed.wait_s)
        self.deadline = now + min(self.agreed.wait_s * 2**self._tries, longest)

    def _fail(self, problem: str) -> list[Datagram]:
        return [*self._finish(Outcome.FAILED, problem), self._datagram(Error(ErrorCode.NOT_DEFINED, problem))]

    def _finish(self, outcome: Outcome, problem: str | None) -> list[Datagram]:
        self.outcome, self.problem, self.deadline = outcome, problem, None
        return []

    def _datagram(self, packet: Packet) -> Datagram:
        return Datagram(encode(packet), self.peer)
