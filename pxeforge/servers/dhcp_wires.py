"""The sockets of the DHCP server, one per interface and port, and how they follow interfaces that come and go."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.exchange import BINL_PORT, DHCP_PORT
from pxeforge.protocol.tftp.transfer import Endpoint
from pxeforge.servers.datagram import CannotListen, listen_udp, make_room, send_from
from pxeforge.servers.interfaces import Interface, NoInterface, interface_named
from pxeforge.servers.link_watch import LinkWatch
from pxeforge.servers.loop import Loop

log = structlog.get_logger(__name__)
_REMEDY = (
    "another DHCP server?): stop it, or run with --dhcp off and let that server name this computer as next-server "
    "(one on another computer is no trouble: --dhcp proxy)"
)
_ROOM_BYTES: Final = 8 * 2**20  # what waits while a batch is written: some thousand datagrams
_TRY_AGAIN_S: Final = 5.0

Handler = Callable[[socket.socket, str, int], None]  # socket, interface, the port's meaning


class Wires:
    """Opened once; afterwards an interface that vanishes loses its sockets and gets new ones when it is back."""

    def __init__(self, names: tuple[str, ...], bound_to: Mapping[int, int], loop: Loop, readable: Handler) -> None:
        """`bound_to`: port meaning → real port, which differs in tests only."""
        self._names, self._bound_to, self._loop, self._readable = names, bound_to, loop, readable
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._known: dict[str, Interface | None] = {}  # as last seen; None: not there, or without an address
        self._watch: LinkWatch | None = None
        self._troubled = False  # an interface is there and its sockets are not

    def open(self) -> list[Interface]:
        """Raises CannotListen, NoInterface or ValueError (settings)."""
        interfaces = [interface_named(name) for name in self._names]
        if not interfaces:
            raise ValueError("no interface is named: say on which interfaces to answer DHCP")
        return interfaces

    def listen(self, interfaces: list[Interface]) -> None:
        """Raises CannotListen."""
        for interface in interfaces:
            self._open_sockets(interface)
            self._known[interface.name] = interface
        self._watch = LinkWatch(self.refresh)
        self._loop.add(self._watch.socket, self._watch.readable)

    def close(self) -> None:
        for udp in self._sockets.values():
            udp.close()
        self._sockets.clear()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def interface(self, name: str) -> Interface | None:
        return self._known.get(name)

    def is_ours(self, mac: MacAddress) -> bool:
        """Whether one of these interfaces has the MAC: then it is the doctor of this computer that asks."""
        return any(interface is not None and interface.mac == mac for interface in self._known.values())

    def send(self, interface: str, port: int, our_address: str, payload: bytes, to: Endpoint) -> None:
        """Raises OSError; KeyError where the interface is gone."""
        send_from(self._sockets[interface, port], our_address, payload, to)

    def tick(self) -> float | None:
        """Tries again what could not be opened; in how many seconds to come again."""
        if not self._troubled:
            return None
        self.refresh()
        return _TRY_AGAIN_S

    def refresh(self) -> None:
        """Compares every interface with what it was, and follows."""
        self._troubled = False
        for name in self._names:
            before, now = self._known.get(name), _look_at(name)
            if now == before and (now is None or (name, DHCP_PORT) in self._sockets):
                continue
            self._known[name] = now
            if now is None or before is None or now.index != before.index:
                self._close_sockets(name)
            if now is not None and (name, DHCP_PORT) not in self._sockets:
                self._open_again(now)
            _tell(name, before, now)

    def _open_again(self, interface: Interface) -> None:
        try:
            self._open_sockets(interface)
        except CannotListen as problem:
            self._troubled = True
            log.error("DHCP does not listen on an interface", interface=interface.name, reason=str(problem))

    def _open_sockets(self, interface: Interface) -> None:
        for port in (DHCP_PORT, BINL_PORT):
            where = self._bound_to[port]
            udp = listen_udp("", where, interface=interface.name, purpose="DHCP", remedy=_REMEDY)
            make_room(udp, _ROOM_BYTES)
            self._sockets[interface.name, port] = udp
            self._loop.add(udp, partial(self._readable, udp, interface.name, port))

    def _close_sockets(self, name: str) -> None:
        for port in (DHCP_PORT, BINL_PORT):
            udp = self._sockets.pop((name, port), None)
            if udp is not None:
                self._loop.remove(udp)
                udp.close()


def _look_at(name: str) -> Interface | None:
    try:
        return interface_named(name)
    except NoInterface:
        return None


def _tell(name: str, before: Interface | None, now: Interface | None) -> None:
    if now is None:
        if before is not None:
            log.warning("the interface is gone or has lost its address: DHCP is silent there", interface=name)
        return
    if before is None or now.index != before.index:
        log.warning("the interface is back: DHCP answers there again", interface=name, address=str(now.address))
    elif now.address != before.address:
        log.warning("the interface has another address", interface=name, was=str(before.address), now=str(now.address))
    elif now.is_up != before.is_up:
        log.warning("the link is up again" if now.is_up else "the link is down", interface=name)
