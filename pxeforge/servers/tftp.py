"""The TFTP loop: one listening socket per address, one socket per transfer, all in one selector; read-only."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog

try:
    from pxeforge.servers.lockstep import Lockstep
except ImportError:  # it could not be compiled: slower, and otherwise the same
    Lockstep = None  # type: ignore[assignment, misc]
from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.flood import FloodGate
from pxeforge.protocol.tftp.names import BadName, normalise
from pxeforge.protocol.tftp.netascii import to_netascii
from pxeforge.protocol.tftp.packet import Error, ErrorCode, Opcode, Request, encode, parse
from pxeforge.protocol.tftp.transfer import AHEAD_BYTES, Datagram, Download, Endpoint, Limits, Outcome, Outgoing
from pxeforge.servers.datagram import Received, listen_udp, make_room, receive
from pxeforge.servers.desk import BootDesk
from pxeforge.servers.loop import Loop
from pxeforge.servers.paced_log import PacedLog
from pxeforge.servers.tftp_share import Abandoned, Sharer, receive_shared
from pxeforge.servers.tftp_sockets import largest_blksize, transfer_sockets
from pxeforge.servers.tftp_source import Source
from pxeforge.servers.tftp_window import WindowSender
from pxeforge.services.problems import Problem

log = structlog.get_logger(__name__)

_REMEDY = "another TFTP server?): stop it, or choose another port with --tftp-port"
_SWEEP_S: Final = 0.1  # how often the deadlines are looked at while something is under way
_LONGEST_REQUEST: Final = 4096  # RFC 1350's are at most 512 bytes, those with options a little more
_WAITING_BYTES: Final = 4 << 20  # requests of a whole room that is powered on at once
_LONGEST_ANSWER: Final = 400  # clients send ACK and ERROR; of a longer text the end is not missed
_LONGEST_REASON: Final = 200  # characters that fit the screen of a boot ROM
_LARGEST_NETASCII: Final = 1 << 20
_LEAST_BLKSIZE: Final = 8
_OUT_OF_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TftpSettings:
    """How the TFTP loop is set up. `roots` are folders that clients may put in front of a name. A client that asks more
    often than `requests_per_s`, after a `burst`, is not heard: a boot asks for some ten files a second.
    """

    listen: tuple[str, ...] = ("0.0.0.0",)  # noqa: S104  (the caller names the boot network's addresses)
    port: int = 69
    roots: tuple[str, ...] = ()
    max_transfers: int = 1024
    max_per_client: int = 16
    requests_per_s: float = 50.0
    burst: float = 200.0
    limits: Limits = field(default_factory=Limits)


class _NotServed(Exception):
    """Ends a request with an ERROR packet."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = Error(code, message)


@dataclass(slots=True, kw_only=True)
class _Transfer:
    request: Request
    name: str
    download: Download
    source: Source
    udp: socket.socket
    strangers: socket.socket
    sender: WindowSender
    began: float
    short_way: Lockstep | None = None

    def catch_up(self, now: float) -> None:
        """What the short way has done becomes known to the transfer."""
        if self.short_way is not None:
            self.download.went_on(self.short_way.sent, now)


class TftpServer:
    """open() once, then run() in a thread of its own; stop() from anywhere makes run() return.

    One process listens, asks the desk, and may leave the sending of files to helpers: TftpServers in other processes
    that listen nowhere (`listen` empty) and take their work from a channel (pxeforge.servers.tftp_share).
    """

    def __init__(
        self,
        settings: TftpSettings,
        desk: BootDesk,
        clock: Callable[[], float],
        *,
        helpers: Sequence[socket.socket] = (),
        requests: socket.socket | None = None,
        largest_blksize_for: Callable[[str], int] | None = None,
    ) -> None:
        """`clock` must not jump: time.monotonic. `helpers`, `requests`: ends of channels, closed by their owner.
        `largest_blksize_for` tells it for a client's address.
        """
        self._settings, self._desk, self._clock = settings, desk, clock
        self._largest_blksize_for = largest_blksize_for
        self._gate, self._log = FloodGate(settings.requests_per_s, settings.burst), PacedLog(log)
        self._sharer, self._requests = Sharer(helpers), requests
        self._loop = Loop("tftp", tick=self._sweep, is_eager=True)
        self._listening: list[socket.socket] = []
        self._transfers: dict[Endpoint, _Transfer] = {}  # by client endpoint
        self._per_client: Counter[str] = Counter()
        self._next_sweep = 0.0
        self.counters: Counter[str] = Counter()  # requests, refused, busy, and outcomes by name

    def open(self) -> None:
        """Opens the listening sockets; raises CannotListen."""
        try:
            for address in self._settings.listen:
                udp = listen_udp(address, self._settings.port, purpose="TFTP", remedy=_REMEDY)
                make_room(udp, _WAITING_BYTES)
                self._listening.append(udp)
                self._loop.add(udp, partial(self._requested, udp))
            if self._requests is not None:
                self._loop.add(self._requests, partial(self._handed_over, self._requests))
        except Exception:
            self.close()
            raise

    @property
    def port(self) -> int:
        """The port of the first listening socket (of interest where the settings say 0)."""
        return int(self._listening[0].getsockname()[1])

    def counts(self) -> dict[str, int]:
        """What is under way now. From any thread."""
        return {"transfers": len(self._transfers)}

    def run(self) -> None:
        """Serves until stop(); transfers under way end there."""
        try:
            self._loop.run()
        finally:
            self.close()

    def stop(self) -> None:
        self._loop.stop()

    def close(self) -> None:
        for transfer in list(self._transfers.values()):
            _close(transfer)
        self._transfers.clear()
        for udp in self._listening:
            udp.close()
        self._listening.clear()
        self._loop.close()

    def _requested(self, udp: socket.socket) -> None:
        received = receive(udp, _LONGEST_REQUEST)
        if received is None:
            return
        self.serve(received)

    def _handed_over(self, channel: socket.socket) -> None:
        try:
            job = receive_shared(channel)
        except Abandoned:
            self._loop.remove(channel)
            log.info("the TFTP listener is gone; transfers under way are finished")
            return
        if job is not None:
            self.serve(*job)

    def serve(self, received: Received, decided: Path | None = None) -> None:
        """Handles a datagram that came to the well-known port; `decided`: the file, if the listener has asked the desk
        already.
        """
        peer_ip, now = received.peer[0], self._clock()
        if not self._gate.admits(peer_ip.encode(), now):
            self.counters["flood"] += 1
            if self._gate.is_news(peer_ip.encode(), now):
                log.warning("TFTP requests dropped: the client sends too many", peer=peer_ip)
            return
        self.counters["requests"] += 1
        try:
            packet = parse(received.data)
        except Malformed as error:
            self.counters["malformed"] += 1
            self._log.tell("info", "malformed TFTP packet dropped", now, peer=peer_ip, reason=str(error))
            return
        if not isinstance(packet, Request):
            self.counters["stray"] += 1
            return
        if self._is_retry(packet, received.peer):
            return
        try:
            self._begin(packet, received, decided)
        except _NotServed as refusal:
            self.counters["refused"] += 1
            file = repr(packet.name[:200])
            self._log.tell("info", "TFTP refused", now, peer=peer_ip, file=file, reason=str(refusal))
            self._refuse(received, refusal.error)
        except OSError as error:
            # We are full (the client asks again), or an answer to this address cannot be sent: a forged one.
            self.counters["unanswerable"] += 1
            self._log.tell("warning", "TFTP request dropped", now, peer=peer_ip, reason=error.strerror)

    def _is_retry(self, request: Request, peer: Endpoint) -> bool:
        """A repeated request gets the first reply again. A new one from the same port, as boot ROMs do, starts over,
        but the same one not in the midst of its transfer.
        """
        former = self._transfers.get(peer)
        if former is None:
            return False
        former.catch_up(self._clock())
        if former.request == request and former.download.untouched:
            self._send(former, former.download.repeat())
            return True
        if former.request == request and former.download.is_lively(self._clock()):
            return True  # it lay in our queue while the client was answered: whoever really starts over asks once more
        self._end(former)
        return False

    def _begin(self, request: Request, received: Received, decided: Path | None) -> None:
        if request.opcode is Opcode.WRITE:
            raise _NotServed(ErrorCode.ACCESS_VIOLATION, "this server is read-only")
        try:
            name = normalise(request.name, roots=self._settings.roots)
        except BadName as error:
            raise _NotServed(ErrorCode.ACCESS_VIOLATION, str(error)) from None
        peer_ip = received.peer[0]
        if not self._has_room(peer_ip):
            return  # silence: the client asks again in a second or two
        content = decided or self._ask_desk(request, name, peer_ip)
        if isinstance(content, Path) and decided is None and self._sharer.hand_over(received, content):
            self.counters["handed_over"] += 1
            return
        source = _open_source(request, content)
        try:
            udp, strangers = transfer_sockets(received.our_address, received.peer)
        except OSError:
            source.close()
            raise
        reads_itself = Lockstep is not None and source.descriptor is not None
        download = Download(
            request, received.peer, size=source.size, read=source.read, limits=self._limits(udp, peer_ip),
            ahead_bytes=0 if reads_itself else AHEAD_BYTES,
        )  # fmt: skip
        now = self._clock()
        transfer = _Transfer(
            request=request, name=name, download=download, source=source, udp=udp, strangers=strangers,
            sender=WindowSender(udp, download.window_block_bytes), began=now,
        )  # fmt: skip
        self._transfers[received.peer] = transfer
        self._per_client[peer_ip] += 1
        self._loop.add(udp, self._handler(transfer))
        self._loop.add(strangers, partial(self._turn_away, transfer))
        self._send(transfer, download.start(now))

    def _limits(self, udp: socket.socket, peer_ip: str) -> Limits:
        limits = self._settings.limits
        largest = self._largest_blksize_for(peer_ip) if self._largest_blksize_for else limits.largest_blksize
        return replace(limits, largest_blksize=max(min(largest, largest_blksize(udp)), _LEAST_BLKSIZE))

    def _has_room(self, peer_ip: str) -> bool:
        if len(self._transfers) < self._settings.max_transfers and (
            self._per_client[peer_ip] < self._settings.max_per_client
        ):
            return True
        self.counters["busy"] += 1
        what, under_way = "too many TFTP transfers, request dropped", len(self._transfers)
        self._log.tell("warning", what, self._clock(), peer=peer_ip, under_way=under_way)
        return False

    def _ask_desk(self, request: Request, name: str, peer_ip: str) -> bytes | Path:
        if request.mode not in ("octet", "netascii"):
            raise _NotServed(ErrorCode.ILLEGAL_OPERATION, f"mode {request.mode[:20]!r} is not served, ask for octet")
        try:
            content = self._desk.tftp_open(name, peer_ip)
        except Problem as problem:
            raise _NotServed(ErrorCode.NOT_DEFINED, str(problem)[:_LONGEST_REASON]) from problem
        if content is None:
            raise _NotServed(ErrorCode.FILE_NOT_FOUND, "file not found")
        return content

    def _refuse(self, received: Received, error: Error) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as udp:
            try:
                udp.bind((received.our_address, 0))
                udp.sendto(encode(error), received.peer)
            except OSError as problem:
                self.counters["unsent"] += 1
                log.debug("TFTP error not sent", peer=received.peer[0], reason=str(problem))

    def _handler(self, transfer: _Transfer) -> Callable[[], None]:
        """What to do when the transfer's socket is readable."""
        if transfer.short_way is not None:
            return transfer.short_way
        if Lockstep is None or transfer.download.window_block_bytes or transfer.source.descriptor is None:
            return self._long_way(transfer)
        transfer.short_way = Lockstep(
            transfer.udp.fileno(), transfer.source.descriptor, transfer.download.size, transfer.download.agreed.blksize,
            partial(self._not_so_short, transfer),
        )  # fmt: skip
        return transfer.short_way

    def _not_so_short(self, transfer: _Transfer, data: bytes) -> None:
        """A datagram that is not simply the ACK for the block under way."""
        now = self._clock()
        transfer.catch_up(now)
        self._send(transfer, transfer.download.received(data, transfer.download.peer, now))
        if transfer.short_way is not None:
            transfer.short_way.is_out(transfer.download.lone_block)
            transfer.source.forget()

    def _long_way(self, transfer: _Transfer) -> Callable[[], None]:
        """Called for every block: its names are looked up once."""
        receive, send, clock = transfer.udp.recv, transfer.udp.send, self._clock
        next_packet, peer = transfer.download.next_packet, transfer.download.peer

        def readable() -> None:
            # One datagram per round: the next one makes the socket readable again, and others have their turn.
            try:
                data = receive(_LONGEST_ANSWER)
            except OSError:
                return  # nothing there, or the client closed its port: it may yet come back, the timer waits for it
            now = clock()
            packet = next_packet(data, now)
            if packet is None:
                self._send(transfer, transfer.download.received(data, peer, now))
                return
            try:
                send(packet)
            except OSError:
                self._send(transfer, [Datagram(packet, peer)])

        return readable

    def _turn_away(self, transfer: _Transfer) -> None:
        try:
            data, sender = transfer.strangers.recvfrom(_LONGEST_ANSWER)
            if sender != transfer.download.peer:
                self.counters["strangers"] += 1
                for payload, to in transfer.download.received(data, sender, self._clock()):
                    transfer.strangers.sendto(payload, to)
        except OSError:
            return  # nothing there, or no way to the stranger

    def _send(self, transfer: _Transfer, outgoing: Outgoing) -> None:
        try:
            transfer.sender.send(outgoing)
        except OSError as error:
            self._not_sent(transfer, error)
        if transfer.download.outcome is not None:
            self._end(transfer)
        elif transfer.sender.blocked:
            # Until there is room what the client says can wait as well: most of it would ask for more.
            self.counters["waited_for_room"] += 1
            self._loop.change(transfer.udp, partial(self._resume, transfer), for_room=True)

    def _resume(self, transfer: _Transfer) -> None:
        try:
            transfer.sender.resume()
        except OSError as error:
            self._not_sent(transfer, error)
        if not transfer.sender.blocked:
            self._loop.change(transfer.udp, self._handler(transfer))

    def _not_sent(self, transfer: _Transfer, error: OSError) -> None:
        """Like a packet lost on the way: the timer sends it again."""
        self.counters["unsent"] += 1
        log.debug("TFTP packet not sent", peer=transfer.download.peer[0], reason=str(error))

    def _sweep(self) -> float | None:
        now = self._clock()
        if self._transfers and now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_S
            for transfer in list(self._transfers.values()):
                transfer.catch_up(now)
                deadline = transfer.download.deadline
                if deadline is not None and now >= deadline:
                    self._send(transfer, transfer.download.expired(now))
        return max(self._next_sweep - now, 0.0) if self._transfers else None

    def _end(self, transfer: _Transfer) -> None:
        peer, download = transfer.download.peer, transfer.download
        if self._transfers.pop(peer, None) is None:
            return
        transfer.catch_up(self._clock())
        self._per_client[peer[0]] -= 1
        if self._per_client[peer[0]] <= 0:
            del self._per_client[peer[0]]
        self._loop.remove(transfer.udp)
        self._loop.remove(transfer.strangers)
        _close(transfer)
        outcome, problem = download.outcome, download.problem
        if outcome is None:
            problem = "the client asked anew before the end"
        self.counters[outcome.name.lower() if outcome else "replaced"] += 1
        duration_s = self._clock() - transfer.began
        sent = 0 if outcome is Outcome.PROBED else download.bytes_acked
        self.counters["bytes"] += sent
        log.info("TFTP", peer=peer[0], file=transfer.name, sent=sent, duration_s=round(duration_s, 3), problem=problem)
        self._desk.tftp_closed(transfer.name, peer[0], sent=sent, duration_s=duration_s, problem=problem)


def _close(transfer: _Transfer) -> None:
    if transfer.short_way is not None:
        transfer.short_way.close()
    transfer.udp.close()
    transfer.strangers.close()
    transfer.source.close()


def _open_source(request: Request, content: bytes | Path) -> Source:
    try:
        source = Source(content)
        return _in_netascii(source) if request.mode == "netascii" else source
    except OSError as error:
        if error.errno in _OUT_OF_ROOM:
            raise
        raise _NotServed(ErrorCode.FILE_NOT_FOUND, f"cannot be read: {error.strerror}") from error


def _in_netascii(source: Source) -> Source:
    """The mode changes lengths, so the text is turned as a whole; it is meant for small texts."""
    try:
        if source.size > _LARGEST_NETASCII:
            raise _NotServed(ErrorCode.ILLEGAL_OPERATION, "too large for netascii, ask for octet")
        return Source(to_netascii(source.read(0, source.size)))
    finally:
        source.close()
