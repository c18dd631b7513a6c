"""What every power driver is given and must do: the contract between a use case and a BMC, a PDU or a NIC."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services.problems import Problem

_LONGEST_WORD: Final = 200  # characters that are shown of what a BMC said


class PowerFault(Problem):
    """The BMC does not do what is asked of it, or cannot be asked; the message says what to look at."""

    status = 409  # none of 502 to 504: clients and proxies repeat a request by themselves after these


class Deadline:
    """How long one action on one host may take."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._end = seconds, clock, clock() + seconds

    def left_s(self, most: float | None = None) -> float:
        """Seconds left, at most `most`; raises PowerFault when there are none."""
        left = self._end - self._clock()
        if left <= 0:
            raise PowerFault(f"it took longer than {self._seconds:.0f} s and was given up: look at the BMC itself")
        return left if most is None else min(left, most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A host and how its power is reached. `uefi` is None where its firmware was never seen."""

    host_id: str
    label: str
    macs: tuple[str, ...]
    uefi: bool | None
    driver: str
    settings: Mapping[str, Any]
    password: str | None = field(repr=False)


class Driver(Protocol):
    """One conversation about one host. Everything raises PowerFault."""

    @property
    def can(self) -> frozenset[PowerAbility]: ...

    def state(self) -> PowerState: ...

    def switch_on(self) -> None: ...

    def switch_off(self, *, soft: bool) -> None: ...

    def restart(self) -> None:
        """Off and on again in one go; only with the ability CYCLE."""

    def netboot_once(self) -> None:
        """Only the next boot is from the network; switches nothing. Only with the ability PXE."""

    def close(self) -> None:
        """Never raises."""


def quoted(text: str) -> str:
    """What a BMC or a program said, for one line of ours."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST_WORD]).split())
    return plain if len(plain) <= _LONGEST_WORD else plain[:_LONGEST_WORD] + "…"
