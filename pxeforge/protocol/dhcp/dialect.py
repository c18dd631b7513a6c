"""Which PXE dialect a firmware understands, learnt per MAC: a pure book that is told what happened.

Intel's PXE 2.1 leaves a proxy two ways to give a boot file; some firmware fails with one of them (EDK2 before April
2017 loses offers with 43.6 = 8, others never ask port 4011). A host that starts over without having come further is
given the other way; what worked is remembered as long as the process lives.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress

PATIENCE: Final = 2  # netboots that come to nothing before the dialect is switched
SAME_TRY_S: Final = 30.0  # EDK2 repeats a DISCOVER for 28 s with one xid; ROMs that never change it start over later
_MOST = 4096  # MACs remembered; the one that was seen longest ago is forgotten


class Dialect(enum.Enum):
    """How a proxy hands out the boot file."""

    BINL = "binl"  # an offer without option 43: the firmware asks port 4011
    DIRECT = "direct"  # 43.6 = 8: the boot file is in the offer

    @property
    def other(self) -> Dialect:
        return Dialect.DIRECT if self is Dialect.BINL else Dialect.BINL


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    first: Dialect  # of the firmware it was learnt from: a PC may have UEFI and BIOS
    dialect: Dialect
    xid: int
    try_began: float
    in_vain: int  # tries of this dialect that were begun and came no further; the running one counts


def first_dialect(firmware: Firmware) -> Dialect:
    """UEFI goes by port 4011, BIOS boots straight from the offer: what most firmware of each kind does."""
    return Dialect.BINL if firmware.is_uefi else Dialect.DIRECT


class DialectBook:
    """Told of each DISCOVER that is answered and of each sign that a host came further."""

    def __init__(self) -> None:
        self._known: OrderedDict[MacAddress, _Known] = OrderedDict()

    def discovered(self, mac: MacAddress, firmware: Firmware, xid: int, now: float) -> Dialect:
        """The dialect for this DISCOVER; `now` in seconds."""
        known, first = self._known.get(mac), first_dialect(firmware)
        if known is None or known.first is not first:
            known = _Known(first=first, dialect=first, xid=xid, try_began=now, in_vain=1)
        elif xid != known.xid or now - known.try_began > SAME_TRY_S:
            known = replace(known, xid=xid, try_began=now, in_vain=known.in_vain + 1)
            if known.in_vain > PATIENCE:
                known = replace(known, dialect=known.dialect.other, in_vain=1)
        self._known[mac] = known
        self._known.move_to_end(mac)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return known.dialect

    def reached(self, mac: MacAddress) -> None:
        """The host asked port 4011, or fetched a file: its dialect is the right one."""
        known = self._known.get(mac)
        if known is not None:
            self._known[mac] = replace(known, in_vain=0)
