"""The DHCP loop: what comes in on ports 67 and 4011, in batches, around the pure responders."""

from __future__ import annotations

import enum
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from ipaddress import IPv4Address
from typing import Final

import structlog

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.dhcp import proxy
from pxeforge.protocol.dhcp.authority import Authority
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.dialect import Dialect, DialectBook
from pxeforge.protocol.dhcp.exchange import BINL_PORT, DHCP_PORT, Answer, Arrival, Ignored
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Option, TooLong, spelled
from pxeforge.protocol.dhcp.subnet import HostNetworks, NoHostNetworks, Subnet
from pxeforge.protocol.flood import FloodGate, sender_of
from pxeforge.servers.address_check import WAIT_S, AddressCheck, Asker
from pxeforge.servers.datagram import CannotListen, Received, drain
from pxeforge.servers.desk import BootDesk, LeaseStore
from pxeforge.servers.dhcp_wires import Wires
from pxeforge.servers.lease_writer import LeaseWriter
from pxeforge.servers.loop import Loop
from pxeforge.servers.paced_log import PacedLog

log = structlog.get_logger(__name__)

_DECIDED_ON = (MessageType.DISCOVER, MessageType.REQUEST)  # in server mode; the rest is about addresses only
_MOST_PER_BATCH: Final = 128  # datagrams, before other sockets and timers get their turn
_NONE: Final = str(ANY)
_LARGEST: Final = 4096  # bytes of a datagram that are read: no client sends half of it


class DhcpMode(enum.Enum):
    """Beside the site's DHCP server, or in its place."""

    PROXY = "proxy"
    SERVER = "server"


class OtherDhcpServer(CannotListen):
    """Server mode was asked for where another DHCP server answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpSettings:
    """How the DHCP loop is set up. `subnets` count in server mode only. The ports differ from 67 and 4011 in tests
    only.
    """

    interfaces: tuple[str, ...]
    mode: DhcpMode
    files: BootFiles
    subnets: tuple[Subnet, ...] = ()
    force: bool = False  # server mode even where another server answers
    probe_s: float = 5.0  # dnsmasq pings an address for 3 s before it offers it
    address_check_s: float = WAIT_S  # how long a fresh offer waits for somebody who uses its address; 0: not at all
    dhcp_port: int = DHCP_PORT
    binl_port: int = BINL_PORT


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """An answer that is ready to leave."""

    answer: Answer
    message: DhcpMessage
    arrival: Arrival
    request: BootRequest | None
    interface: str


class DhcpServer:
    """open() once, then run() in a thread of its own; stop() from anywhere makes run() return.

    Whatever waits in a socket is answered in one go. An ACK leaves when its lease is on disk; leases that wait for the
    disk share a transaction.
    """

    def __init__(
        self,
        settings: DhcpSettings,
        desk: BootDesk,
        store: LeaseStore | None,
        clock: Callable[[], float],
        dialects: DialectBook | None = None,
        networks: HostNetworks | None = None,
    ) -> None:
        """`store` is needed in server mode only; `clock` gives unix seconds. `dialects` may be told by others too."""
        self._settings, self._desk, self._store, self._clock = settings, desk, store, clock
        self._dialects = dialects or DialectBook()
        self._networks = networks or NoHostNetworks()
        self._authority: Authority | None = None
        self._loop = Loop("dhcp", tick=self._tick)
        ports = {DHCP_PORT: settings.dhcp_port, BINL_PORT: settings.binl_port}
        self._wires = Wires(settings.interfaces, ports, self._loop, self._readable)
        self._check: AddressCheck | None = None
        self._flood, self._log = FloodGate(), PacedLog(log)
        self._writer: LeaseWriter[_Outgoing] | None = None
        self.counters: Counter[str] = Counter()  # received, malformed, flooding, answered, ignored, unsaved …

    def open(self) -> None:
        """Opens the sockets; raises CannotListen, OtherDhcpServer, NoInterface or ValueError (settings)."""
        try:
            interfaces = self._wires.open()
            if self._settings.mode is DhcpMode.SERVER:
                self._become_authority([interface.name for interface in interfaces])
            self._wires.listen(interfaces)
        except Exception:
            self.close()
            raise

    def run(self) -> None:
        """Serves until stop()."""
        try:
            self._loop.run()
        finally:
            self.close()

    def stop(self) -> None:
        self._loop.stop()

    def close(self) -> None:
        self._wires.close()
        if self._check is not None:
            self._check.close()
            self._check = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._loop.close()

    def _become_authority(self, interfaces: list[str]) -> None:
        if self._store is None or not self._settings.subnets:
            raise ValueError("DHCP server mode needs an address range: give --range, or use --dhcp proxy")
        self._authority = Authority(self._settings.subnets, self._store.load(), self._networks)
        if not self._settings.force:
            for interface in interfaces:
                _refuse_beside_others(interface, self._settings.probe_s)
        self._writer = LeaseWriter(self._store.save)
        self._loop.add(self._writer.socket, self._stored)
        if self._settings.address_check_s > 0:
            self._open_check()

    def _open_check(self) -> None:
        try:
            self._check = AddressCheck(self._clock, self._settings.address_check_s)
        except PermissionError:
            log.warning("no permission to ask who uses an address: addresses are offered unchecked (CAP_NET_RAW)")
            return
        self._loop.add(self._check.socket, self._check.readable)

    def _tick(self) -> float | None:
        pauses = [self._wires.tick(), self._check.tick() if self._check is not None else None]
        return min((pause for pause in pauses if pause is not None), default=None)

    # ------------------------------------------------------------------ a batch

    def _readable(self, udp: socket.socket, interface: str, port: int) -> None:
        now = self._clock()
        for received in drain(udp, _MOST_PER_BATCH, _LARGEST):
            try:
                self._take(received, interface, port, now)
            except Exception:
                self.counters["failed"] += 1
                if self._log.has_room(now):
                    log.exception("a DHCP message was dropped", peer=received.peer[0], interface=interface)

    def _take(self, received: Received, interface: str, port: int, now: float) -> None:
        self.counters["received"] += 1
        sender = sender_of(received.data)
        if not self._flood.admits(sender, now):
            self.counters["flooding"] += 1
            if self._flood.is_news(sender, now):
                log.warning("a DHCP client floods us: it is heard now and then only", mac=sender.hex(":"))
            return
        if received.our_address == _NONE:
            self.counters["no address"] += 1
            self._log.tell("warning", "DHCP message dropped: the interface has no address", now, interface=interface)
            return
        try:
            message = DhcpMessage.parse(received.data)
        except Malformed as problem:
            self.counters["malformed"] += 1
            told = {"peer": received.peer[0], "interface": interface, "reason": str(problem)}
            self._log.tell("info", "malformed DHCP message dropped", now, **told)
            return
        if message.guid and message.mac is None:
            message = replace(message, known_as=self._mac_behind(message))
        arrival = Arrival(
            our_address=_parsed(received.our_address), port=port, peer=received.peer, now=now,
            unicast=received.unicast,
        )  # fmt: skip
        self._answer(message, arrival, interface)

    def _answer(self, message: DhcpMessage, arrival: Arrival, interface: str) -> None:
        """Offers leave at once, what changes a lease when that is stored."""
        if self._authority is not None and arrival.port == DHCP_PORT:
            answer, request = self._answer_as_server(self._authority, message, arrival, interface)
        else:
            answer, request = self._answer_as_proxy(message, arrival, interface)
        if isinstance(answer, Ignored):
            self.counters["ignored"] += 1
            if self._log.has_room(arrival.now):
                log.debug("DHCP message ignored", mac=str(message.mac), interface=interface, reason=answer.reason)
            return
        outgoing = _Outgoing(answer, message, arrival, request, interface)
        if answer.leases:
            self._send_when_stored(outgoing)
        elif answer.check is None or not self._is_checked_first(outgoing, answer.check):
            self._send(outgoing)

    def _mac_behind(self, message: DhcpMessage) -> MacAddress | None:
        """Who sends a GUID as hardware address: the client identifier may hold the MAC, or we know the GUID."""
        client_id = message.options.get(Option.CLIENT_ID, b"")
        if len(client_id) == 7 and client_id[0] == 1 and any(client_id[1:]):
            return MacAddress(client_id[1:])
        return self._networks.mac_of(message.guid)

    def _answer_as_proxy(
        self, message: DhcpMessage, arrival: Arrival, interface: str
    ) -> tuple[Answer | Ignored, BootRequest | None]:
        request = classify(message, interface=interface)
        silence = request if isinstance(request, Ignored) else proxy.silent_about(message, arrival)
        if isinstance(request, Ignored) or silence is not None:
            return silence or Ignored("not for us"), None
        if self._wires.is_ours(request.mac):
            return Ignored("this computer asks itself: it is no host"), None
        decision = self._decide(message, request)
        dialect = self._dialect(message, arrival, request) if decision.boot.sends_file else None
        return proxy.answer(message, arrival, request, decision, self._settings.files, dialect), request

    def _dialect(self, message: DhcpMessage, arrival: Arrival, request: BootRequest) -> Dialect | None:
        if request.is_ipxe or request.firmware.is_http:
            return None
        if message.message_type is MessageType.DISCOVER:
            return self._dialects.discovered(request.mac, request.firmware, message.xid, arrival.now)
        self._dialects.reached(request.mac)
        return None

    def _answer_as_server(
        self, authority: Authority, message: DhcpMessage, arrival: Arrival, interface: str
    ) -> tuple[Answer | Ignored, BootRequest | None]:
        who = classify(message, interface=interface)
        if isinstance(who, Ignored) or message.message_type not in _DECIDED_ON or self._wires.is_ours(who.mac):
            return authority.answer(message, arrival, self._settings.files), None
        decision = self._decide(message, who)
        if decision.boot is Boot.SILENCE:
            return Ignored(decision.reason), who
        return authority.answer(message, arrival, self._settings.files, who, decision), who

    def _decide(self, message: DhcpMessage, request: BootRequest) -> BootDecision:
        kind = message.message_type
        return self._desk.dhcp_seen(
            request, message_type=kind.name if kind else "", server_mode=self._authority is not None
        )

    # ------------------------------------------------------------------ what leaves

    def _send_when_stored(self, outgoing: _Outgoing) -> None:
        """A lease that we forgot would be lent twice."""
        if self._writer is None or not self._writer.put(outgoing, outgoing.answer.leases):
            self.counters["unsaved"] += 1

    def _stored(self) -> None:
        """Answers whose leases are on disk leave; where storing failed they do not."""
        if self._writer is None:
            return
        for answers, problem in self._writer.collect():
            if problem is None:
                for outgoing in answers:
                    self._send(outgoing)
                continue
            self.counters["unsaved"] += len(answers)
            told = {"answers": len(answers), "reason": str(problem)}
            self._log.tell("error", "leases could not be stored: their ACKs are kept back", self._clock(), **told)

    def _send(self, outgoing: _Outgoing) -> None:
        answer, arrival, message, interface = outgoing.answer, outgoing.arrival, outgoing.message, outgoing.interface
        for reply in answer.replies:
            try:
                payload = reply.datagram()
                self._wires.send(interface, reply.source_port, spelled(arrival.our_address), payload, reply.destination)
            except (TooLong, OSError, KeyError) as problem:
                self.counters["unsent"] += 1
                told = {"mac": str(message.mac), "to": reply.destination[0], "reason": str(problem)}
                self._log.tell("warning", "DHCP reply not sent", arrival.now, **told)
                return
        self.counters["answered"] += 1
        if answer.what and self._log.has_room(arrival.now):
            self._log.tell("info", "DHCP", arrival.now, mac=str(message.mac), interface=interface, answer=answer.what)
        if outgoing.request is not None:
            self._desk.dhcp_answered(outgoing.request, what=answer.what)

    # ------------------------------------------------------------------ is the address free

    def _is_checked_first(self, outgoing: _Outgoing, address: IPv4Address) -> bool:
        """Whether the offer waits now; it leaves, or another one does, when it is clear whether somebody is there."""
        wire = self._wires.interface(outgoing.interface)
        if self._check is None or wire is None or wire.mac is None or not any(wire.mac.octets):
            return False
        mac = outgoing.message.mac
        if mac is None or not self._check.is_needed(address, outgoing.arrival.now):
            return False
        asker = Asker(outgoing.interface, wire.mac, mac)
        self._check.check(address, asker, outgoing.message.xid, partial(self._checked, outgoing, address))
        return True

    def _checked(self, outgoing: _Outgoing, address: IPv4Address, user: MacAddress | None) -> None:
        if user is None:
            self._send(outgoing)
            return
        now, mac = self._clock(), outgoing.message.mac
        if self._authority is None or mac is None:
            return
        if quarantined := self._authority.found_in_use(mac, address, now):
            log.warning("an address is in use by somebody else: nobody gets it for an hour", address=str(address),
                        mac=str(user), interface=outgoing.interface)  # fmt: skip
            self.counters["in use"] += 1
            self._send_when_stored(replace(outgoing, answer=Answer(leases=quarantined), request=None))
        self._answer(outgoing.message, replace(outgoing.arrival, now=now), outgoing.interface)


@lru_cache(maxsize=256)
def _parsed(address: str) -> IPv4Address:
    return IPv4Address(address)


def _refuse_beside_others(interface: str, probe_s: float) -> None:
    from pxeforge.servers.pxe_probe import rival_servers

    if seen := rival_servers(interface, probe_s):
        raise OtherDhcpServer(
            f"another DHCP server answers on {interface} ({', '.join(map(str, seen))}): use --dhcp proxy beside it, "
            "stop it, or say --force if you are sure"
        )
