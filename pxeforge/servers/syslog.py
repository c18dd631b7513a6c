"""The syslog loop: receives what installers log and hands each line on."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from pxeforge.protocol.flood import FloodGate
from pxeforge.protocol.syslog import parse_line
from pxeforge.servers.datagram import listen_udp, receive
from pxeforge.servers.desk import BootDesk
from pxeforge.servers.loop import Loop

log = structlog.get_logger(__name__)
_REMEDY = "another syslog server?): stop it, or change syslog_port"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogSettings:
    """How the syslog loop is set up. Of a sender with more than `lines_per_s`, after a `burst`, the rest is dropped:
    an installer in its busiest minute has some hundred a second.
    """

    listen: tuple[str, ...] = ("0.0.0.0",)  # noqa: S104  (the caller names the boot network's addresses)
    port: int = 514
    lines_per_s: float = 200.0
    burst: float = 2000.0


class SyslogServer:
    """open() once, then run() in a thread of its own; stop() from anywhere makes run() return."""

    def __init__(self, settings: SyslogSettings, desk: BootDesk, clock: Callable[[], float]) -> None:
        """`clock` gives unix seconds."""
        self._settings, self._desk, self._clock = settings, desk, clock
        self._loop = Loop("syslog")
        self._listening: list[socket.socket] = []
        self._gate = FloodGate(settings.lines_per_s, settings.burst)
        self.counters: Counter[str] = Counter()  # received, flood

    def open(self) -> None:
        """Opens the sockets; raises CannotListen."""
        try:
            for address in self._settings.listen:
                udp = listen_udp(address, self._settings.port, purpose="syslog", remedy=_REMEDY)
                self._listening.append(udp)
                self._loop.add(udp, partial(self._readable, udp))
        except Exception:
            self.close()
            raise

    @property
    def port(self) -> int:
        """The port of the first socket (of interest where the settings say 0)."""
        return int(self._listening[0].getsockname()[1])

    def run(self) -> None:
        """Serves until stop()."""
        try:
            self._loop.run()
        finally:
            self.close()

    def stop(self) -> None:
        self._loop.stop()

    def close(self) -> None:
        for udp in self._listening:
            udp.close()
        self._listening.clear()
        self._loop.close()

    def _readable(self, udp: socket.socket) -> None:
        received = receive(udp)
        if received is None or not received.data.strip():
            return
        peer_ip, now = received.peer[0], self._clock()
        if not self._gate.admits(peer_ip.encode(), now):
            self.counters["flood"] += 1
            if self._gate.is_news(peer_ip.encode(), now):
                log.warning("syslog lines dropped: the sender has too many", peer=peer_ip)
            return
        self.counters["received"] += 1
        line = parse_line(received.data, peer_ip=peer_ip, received_at=now)
        self._desk.installer_said(line)
