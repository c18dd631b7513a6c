"""What the machines and operators of a soak were promised, and every promise that was broken."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Promise:
    """A change that was acknowledged: its event must be in the timeline of the host for ever."""

    host_id: str
    kind: str
    needle: str = ""  # what the event says, in its message or its data


@dataclass(frozen=True, slots=True)
class Lent:
    """An address as a machine got it; times are the server's clock."""

    mac: str
    until: float


@dataclass
class Model:
    """Filled by many threads; whatever is wrong ends in `broken`, with when it was seen (seconds since the start)."""

    began: float = field(default_factory=time.monotonic)
    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    promises: list[Promise] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # MAC → the host's id, while an operator knows that it is there
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen_tokens: dict[str, set[str]] = field(default_factory=dict)  # by MAC: answers tokens of menus it was given
    _dead_tokens: dict[str, float] = field(default_factory=dict)  # token → when its end was acknowledged
    _lent: dict[str, Lent] = field(default_factory=dict)

    def wrong(self, what: str) -> None:
        with self._lock:
            self.broken.append(f"{time.monotonic() - self.began:7.1f} s: {what}")

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def promised(self, host_id: str, kind: str, needle: str = "") -> None:
        with self._lock:
            self.promises.append(Promise(host_id, kind, needle))

    # ------------------------------------------------------------------ tokens

    def token_seen(self, mac: str, token: str) -> None:
        with self._lock:
            self._seen_tokens.setdefault(mac, set()).add(token)

    def tokens_of(self, mac: str) -> frozenset[str]:
        """To be asked before the request that is to end them."""
        with self._lock:
            return frozenset(self._seen_tokens.get(mac, ()))

    def tokens_ended(self, tokens: frozenset[str]) -> None:
        """Disarmed, armed anew or registered, and that was acknowledged: none of these opens anything again."""
        with self._lock:
            for token in tokens:
                self._dead_tokens.setdefault(token, time.monotonic())

    def answers_given(self, mac: str, token: str, asked_at: float) -> None:
        """`asked_at`: when the request began (monotonic)."""
        with self._lock:
            ended_at = self._dead_tokens.get(token)
        if ended_at is not None and asked_at > ended_at:
            self.wrong(f"{mac} got answers for a token whose end was acknowledged {asked_at - ended_at:.1f} s before")

    # ------------------------------------------------------------------ leases

    def leased(self, mac: str, address: str, lease_s: float, now: float) -> None:
        """`now`: the server's clock when the ACK came."""
        with self._lock:
            other = self._lent.get(address)
            self._lent[address] = Lent(mac, now + lease_s)
        if other is not None and other.mac != mac and other.until > now + 1:
            self.wrong(f"{address} was lent to {mac} while {other.mac} has it for {other.until - now:.0f} s more")

    def released(self, mac: str, address: str) -> None:
        """Before the DHCPRELEASE leaves."""
        with self._lock:
            if (lent := self._lent.get(address)) is not None and lent.mac == mac:
                del self._lent[address]
