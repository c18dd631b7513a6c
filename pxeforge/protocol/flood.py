"""Who sends too much: a token bucket per sender, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

RATE_PER_S: Final = 10.0  # a client in the worst case asks a few times a second, a boot takes a dozen messages
BURST: Final = 40.0
_MOST = 65_536  # addresses watched; the one that was heard longest ago is forgotten
_TELL_AGAIN_S: Final = 60.0
_CHADDR = slice(28, 44)  # where the hardware address stands in every DHCP message
_HLEN_AT = 2


def sender_of(datagram: bytes) -> bytes:
    """The hardware address in a datagram that was not parsed yet; whatever stands there, even nothing."""
    length = datagram[_HLEN_AT] if len(datagram) > _HLEN_AT else 0
    return datagram[_CHADDR][: min(length, 16)]


class _Bucket:
    """What a sender may still send, when that was so, and when its flood was told."""

    __slots__ = ("at", "left", "told_at")

    def __init__(self, left: float, now: float) -> None:
        self.left, self.at, self.told_at = left, now, -_TELL_AGAIN_S


class FloodGate:
    """One sender's flood leaves the others what they need: its messages are dropped before they are read."""

    def __init__(self, rate_per_s: float = RATE_PER_S, burst: float = BURST) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def admits(self, sender: bytes, now: float) -> bool:
        """Whether this message may be looked at; `now` in seconds."""
        bucket = self._buckets.get(sender)
        if bucket is None:
            bucket = self._buckets[sender] = _Bucket(self._burst, now)
            if len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(sender)
            # A clock that is set back gives nothing and takes nothing.
            bucket.left = min(self._burst, bucket.left + max(0.0, now - bucket.at) * self._rate_per_s)
            bucket.at = now
        if bucket.left < 1.0:
            return False
        bucket.left -= 1.0
        return True

    def is_news(self, sender: bytes, now: float) -> bool:
        """Whether this sender's flood is to be told now: once a minute."""
        bucket = self._buckets.get(sender)
        if bucket is None or abs(now - bucket.told_at) < _TELL_AGAIN_S:
            return False
        bucket.told_at = now
        return True
