"""Power of a host: what can be asked of it, what a driver can do, and what is known of it."""

from __future__ import annotations

from enum import StrEnum


class PowerAction(StrEnum):
    """What an operator asks for."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"
    PXE = "pxe"  # the next boot from the network, once, and that boot now

    @property
    def interrupts(self) -> bool:
        """Whether it ends what the host is doing."""
        return self is not PowerAction.ON


class PowerAbility(StrEnum):
    """What a driver can do."""

    ON = "on"
    OFF = "off"
    SOFT_OFF = "soft-off"  # the operating system is asked to shut down
    CYCLE = "cycle"
    STATUS = "status"
    PXE = "pxe"


class PowerState(StrEnum):
    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"
