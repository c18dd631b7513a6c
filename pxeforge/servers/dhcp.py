"""The DHCP loop: sockets on ports 67 and 4011 of each interface around the pure responders."""

from __future__ import annotations

import enum
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address

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
from pxeforge.protocol.dhcp.lease import Subnet
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Option, TooLong
from pxeforge.servers.datagram import CannotListen, Received, listen_udp, receive, send_from
from pxeforge.servers.desk import BootDesk, LeaseStore
from pxeforge.servers.dhcp_probe import probe_for_dhcp_servers
from pxeforge.servers.interfaces import Interface, interface_named
from pxeforge.servers.loop import Loop

log = structlog.get_logger(__name__)

_REMEDY = (
    "another DHCP server?): stop it, or run with --dhcp off and let that server name this computer as next-server "
    "(one on another computer is no trouble: --dhcp proxy)"
)
_DECIDED_ON = (MessageType.DISCOVER, MessageType.REQUEST)  # in server mode; the rest is about addresses only


class DhcpMode(enum.Enum):
    """Beside the site's DHCP server, or in its place."""

    PROXY = "proxy"
    SERVER = "server"


class OtherDhcpServer(CannotListen):
    """Server mode was asked for where another DHCP server answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpSettings:
    """How the DHCP loop is set up. `subnets` and `reservations` count in server mode only; `reservations` may be a live
    mapping. The ports differ from 67 and 4011 in tests only.
    """

    interfaces: tuple[str, ...]
    mode: DhcpMode
    files: BootFiles
    subnets: tuple[Subnet, ...] = ()
    reservations: Mapping[MacAddress, IPv4Address] = field(default_factory=dict)
    force: bool = False  # server mode even where another server answers
    probe_s: float = 5.0  # dnsmasq pings an address for 3 s before it offers it
    dhcp_port: int = DHCP_PORT
    binl_port: int = BINL_PORT


class DhcpServer:
    """open() once, then run() in a thread of its own; stop() from anywhere makes run() return."""

    def __init__(
        self,
        settings: DhcpSettings,
        desk: BootDesk,
        store: LeaseStore | None,
        clock: Callable[[], float],
        dialects: DialectBook | None = None,
    ) -> None:
        """`store` is needed in server mode only; `clock` gives unix seconds. `dialects` may be told by others too."""
        self._settings, self._desk, self._store, self._clock = settings, desk, store, clock
        self._dialects = dialects or DialectBook()
        self._authority: Authority | None = None
        self._loop = Loop("dhcp")
        self._sockets: dict[tuple[str, int], socket.socket] = {}  # by interface and the port's meaning
        self.counters: Counter[str] = Counter()  # received, malformed, answered, ignored …

    def open(self) -> None:
        """Opens the sockets; raises CannotListen, OtherDhcpServer, NoInterface or ValueError (settings)."""
        try:
            interfaces = [interface_named(name) for name in self._settings.interfaces]
            if not interfaces:
                raise ValueError("no interface is named: say on which interfaces to answer DHCP")
            if self._settings.mode is DhcpMode.SERVER:
                self._become_authority(interfaces)
            for interface in interfaces:
                self._open_interface(interface.name)
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
        for udp in self._sockets.values():
            udp.close()
        self._sockets.clear()
        self._loop.close()

    def _become_authority(self, interfaces: list[Interface]) -> None:
        if self._store is None or not self._settings.subnets:
            raise ValueError("DHCP server mode needs an address range: give --range, or use --dhcp proxy")
        if not self._settings.force:
            for interface in interfaces:
                _refuse_beside_others(interface.name, self._settings.probe_s)
        self._authority = Authority(self._settings.subnets, self._store.load(), self._settings.reservations)

    def _open_interface(self, name: str) -> None:
        for port, bound_to in ((DHCP_PORT, self._settings.dhcp_port), (BINL_PORT, self._settings.binl_port)):
            udp = listen_udp("", bound_to, interface=name, purpose="DHCP", remedy=_REMEDY)
            self._sockets[name, port] = udp
            self._loop.add(udp, partial(self._readable, udp, name, port))

    def _readable(self, udp: socket.socket, interface: str, port: int) -> None:
        received = receive(udp)
        if received is None:
            return
        self.counters["received"] += 1
        if received.our_address == str(ANY):
            log.warning("DHCP message dropped: the interface has lost its address", interface=interface)
            return
        try:
            message = DhcpMessage.parse(received.data)
        except Malformed as error:
            self.counters["malformed"] += 1
            log.info("malformed DHCP message dropped", peer=received.peer[0], interface=interface, reason=str(error))
            return
        self._handle(message, received, interface, port)

    def _handle(self, message: DhcpMessage, received: Received, interface: str, port: int) -> None:
        arrival = Arrival(
            our_address=IPv4Address(received.our_address), port=port, peer=received.peer, now=self._clock()
        )
        if self._authority is not None and port == DHCP_PORT:
            answer, request = self._answer_as_server(self._authority, message, arrival, interface)
        else:
            answer, request = self._answer_as_proxy(message, arrival, interface)
        if isinstance(answer, Ignored):
            self.counters["ignored"] += 1
            log.debug("DHCP message ignored", mac=str(message.mac), interface=interface, reason=answer.reason)
            return
        self._carry_out(answer, arrival, message, request, interface)

    def _answer_as_proxy(
        self, message: DhcpMessage, arrival: Arrival, interface: str
    ) -> tuple[Answer | Ignored, BootRequest | None]:
        request = classify(message, interface=interface)
        silence = request if isinstance(request, Ignored) else proxy.silent_about(message, arrival)
        if isinstance(request, Ignored) or silence is not None:
            return silence or Ignored("not for us"), None
        decision = self._decide(message, request)
        dialect = self._dialect(message, arrival, request) if decision.boot is Boot.INSTALL else None
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
        if isinstance(who, Ignored) or message.message_type not in _DECIDED_ON:
            return authority.answer(message, arrival, self._settings.files), None
        decision = self._decide(message, who)
        return authority.answer(message, arrival, self._settings.files, who, decision), who

    def _decide(self, message: DhcpMessage, request: BootRequest) -> BootDecision:
        kind = message.message_type
        return self._desk.dhcp_seen(
            request, message_type=kind.name if kind else "", server_mode=self._authority is not None
        )

    def _carry_out(
        self, answer: Answer, arrival: Arrival, message: DhcpMessage, request: BootRequest | None, interface: str
    ) -> None:
        if answer.leases and self._store is not None:
            self._store.save(answer.leases)  # before the ACK: a lease we forget would be lent twice
        for reply in answer.replies:
            try:
                payload = reply.message.encode(reply.limit)
                udp = self._sockets[interface, reply.source_port]
                send_from(udp, str(arrival.our_address), payload, reply.destination)
            except (TooLong, OSError) as error:
                self.counters["unsent"] += 1
                log.warning("DHCP reply not sent", mac=str(message.mac), to=reply.destination, reason=str(error))
                return
        self.counters["answered"] += 1
        log.info("DHCP", mac=str(message.mac), interface=interface, answer=answer.what)
        if request is not None:
            self._desk.dhcp_answered(request, what=answer.what)
        self._tell_of_leases(answer, message)

    def _tell_of_leases(self, answer: Answer, message: DhcpMessage) -> None:
        for reply in answer.replies:
            is_lease = Option.LEASE_TIME in reply.message.options and reply.message.message_type is MessageType.ACK
            if is_lease and message.mac is not None and reply.message.yiaddr != ANY:
                self._desk.dhcp_leased(message.mac, str(reply.message.yiaddr))


def _refuse_beside_others(interface: str, probe_s: float) -> None:
    seen = probe_for_dhcp_servers(interface, probe_s)
    if seen:
        servers = ", ".join(str(offer.server) for offer in seen)
        raise OtherDhcpServer(
            f"another DHCP server answers on {interface} ({servers}): use --dhcp proxy beside it, "
            "stop it, or say --force if you are sure"
        )
