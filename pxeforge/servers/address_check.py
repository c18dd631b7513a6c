"""Offers that wait until it is clear that nobody uses the address: ARP probes and their answers.

Why ARP and not ping: on our own wire every host must answer it, whatever its firewall says. Who took the address
himself answers too, and is told from others by his MAC.

An offer waits WAIT_S at most, and only where the host never had the address. What was found free counts as free for
REMEMBERED_S. With MOST_WAITING offers under way further ones leave unchecked: in a boot storm the check would hold back
machines that give up after a few seconds, and they check for themselves (RFC 2131 section 3.1, step 5) and decline.
"""

from __future__ import annotations

import socket
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

import structlog

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol import arp

WAIT_S: Final = 0.4
REMEMBERED_S: Final = 60.0
MOST_WAITING: Final = 256
_ASK_AGAIN_S: Final = 0.15  # one lost question must not pass for silence
_MOST_QUESTIONS: Final = 8  # of one host that wait
_MOST_REMEMBERED: Final = 65_536
_SPEAKS_FOR_MANY: Final = 8  # addresses in use by one MAC: a router that answers for everybody (local proxy ARP)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asker:
    """By which interface, with which MAC, to ask; and for whom."""

    interface: str
    mac: MacAddress
    client: MacAddress


@dataclass(slots=True)
class _Waiting:
    address: IPv4Address
    asker: Asker
    settles: dict[int, Callable[[MacAddress | None], None]]  # by the question's number
    again_at: float
    due_at: float


class AddressCheck:
    """check() calls `settle` later: with None where nobody uses the address, else with the MAC of who does."""

    def __init__(self, clock: Callable[[], float], wait_s: float = WAIT_S) -> None:
        self._clock, self._wait_s = clock, wait_s
        self._waiting: dict[IPv4Address, _Waiting] = {}
        self._again: deque[_Waiting] = deque()  # to be asked once more; both in the order of asking
        self._due: deque[_Waiting] = deque()
        self._free: OrderedDict[IPv4Address, float] = OrderedDict()  # until when it counts as free
        self._used_by: dict[MacAddress, set[IPv4Address]] = {}
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(arp.ETHERTYPE))
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()

    def is_needed(self, address: IPv4Address, now: float) -> bool:
        """Whether to check at all."""
        if address in self._waiting:
            return True
        return self._free.get(address, 0.0) <= now and len(self._waiting) < MOST_WAITING

    def check(
        self, address: IPv4Address, asker: Asker, question: int, settle: Callable[[MacAddress | None], None]
    ) -> None:
        """Asks. Further questions of the host meanwhile wait with the first; one that it repeats is answered once."""
        if (known := self._waiting.get(address)) is not None:
            if question in known.settles or len(known.settles) < _MOST_QUESTIONS:
                known.settles[question] = settle
            return
        now = self._clock()
        waiting = self._waiting[address] = _Waiting(
            address, asker, {question: settle}, now + _ASK_AGAIN_S, now + self._wait_s
        )
        self._again.append(waiting)
        self._due.append(waiting)
        self._ask(address, asker)

    def tick(self) -> float | None:
        """Settles what is due; returns in how many seconds it wants to be called again."""
        now = self._clock()
        while self._again and self._again[0].again_at <= now:
            waiting = self._again.popleft()
            if self._is_waiting(waiting):
                self._ask(waiting.address, waiting.asker)
        while self._due and self._due[0].due_at <= now:
            waiting = self._due.popleft()
            if self._is_waiting(waiting):
                self._settle(waiting.address, None)
        times = ([self._again[0].again_at] if self._again else []) + ([self._due[0].due_at] if self._due else [])
        return max(min(times) - now, 0.001) if times else None

    def _is_waiting(self, waiting: _Waiting) -> bool:
        return self._waiting.get(waiting.address) is waiting

    def readable(self) -> None:
        """Hears what is said on all wires; a claim counts on the wire where we asked."""
        for _ in range(MOST_WAITING):
            try:
                packet, (interface, *_) = self.socket.recvfrom(128)
            except (BlockingIOError, InterruptedError):
                return
            said = arp.speaker(packet)
            waiting = self._waiting.get(said[0]) if said is not None else None
            if said is None or waiting is None or waiting.asker.interface != interface:
                continue
            address, mac = said
            if mac not in (waiting.asker.client, waiting.asker.mac) and self._is_believed(mac, address):
                self._settle(address, mac)

    def _is_believed(self, mac: MacAddress, address: IPv4Address) -> bool:
        if len(self._used_by) > 1024:
            self._used_by.clear()
        addresses = self._used_by.setdefault(mac, set())
        if len(addresses) > _SPEAKS_FOR_MANY:
            return False
        addresses.add(address)
        if len(addresses) > _SPEAKS_FOR_MANY:
            log.warning("one MAC speaks for many addresses: it is taken for a proxy, not for their user", mac=str(mac))
            return False
        return True

    def _settle(self, address: IPv4Address, user: MacAddress | None) -> None:
        waiting = self._waiting.pop(address)
        if user is None:
            self._free[address] = self._clock() + REMEMBERED_S
            self._free.move_to_end(address)
            if len(self._free) > _MOST_REMEMBERED:
                self._free.popitem(last=False)
        for settle in waiting.settles.values():
            settle(user)

    def _ask(self, address: IPv4Address, asker: Asker) -> None:
        where = (asker.interface, arp.ETHERTYPE, 0, 0, b"\xff" * 6)
        try:
            self.socket.sendto(arp.probe(asker.mac, address), where)
        except OSError as problem:
            log.warning("an address could not be checked", address=str(address), reason=str(problem))
