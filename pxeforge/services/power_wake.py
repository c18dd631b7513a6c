"""Power by wake-on-LAN: magic packets to the broadcast address of each boot interface. It can only switch on."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

from pxeforge.domain.mac import MacAddress
from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services.power_driver import PowerFault, Target

_PORT: Final = 9  # discard
_EVERYBODY: Final = "255.255.255.255"
_TIMES: Final = 3  # a datagram may get lost, and nobody answers


class Wake:
    """`interfaces`: our address on each boot interface. `address`: the broadcast address of a network behind a router,
    checked, or None.
    """

    can = frozenset({PowerAbility.ON})

    def __init__(self, target: Target, interfaces: Mapping[str, str], address: str | None) -> None:
        self._target, self._interfaces, self._address = target, interfaces, address

    def state(self) -> PowerState:
        return PowerState.UNKNOWN

    def switch_on(self) -> None:
        macs = [self._target.settings["mac"]] if "mac" in self._target.settings else self._target.macs
        packets = [magic_packet(MacAddress.parse(mac)) for mac in macs]
        if not packets:
            raise PowerFault("the host has no MAC address to wake: `pxeforge host add --mac` gives it one")
        if self._address is not None:
            return self._send("", self._address, packets)
        if not self._interfaces:
            raise PowerFault("no boot interface is there to send from: is `pxeforge serve` running?")
        for ours in self._interfaces.values():
            self._send(ours, _EVERYBODY, packets)
        return None

    def switch_off(self, *, soft: bool) -> None:  # noqa: ARG002 - the contract's name
        raise PowerFault("wake-on-LAN can only switch on")

    def restart(self) -> None:
        raise PowerFault("wake-on-LAN can only switch on")

    def netboot_once(self) -> None:
        raise PowerFault("wake-on-LAN can only switch on")

    def close(self) -> None:
        """Nothing is kept open."""

    def _send(self, ours: str, to: str, packets: list[bytes]) -> None:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sender.bind((ours, 0))  # a broadcast leaves by the interface whose address it comes from
                for packet in packets * _TIMES:
                    sender.sendto(packet, (to, _PORT))
        except OSError as problem:
            why = problem.strerror or str(problem)
            raise PowerFault(f"the magic packet could not be sent to {to} ({why}): is the link up?") from None


def magic_packet(mac: MacAddress) -> bytes:
    """AMD publication 20213: six times ff, then the address sixteen times."""
    return b"\xff" * 6 + bytes.fromhex(str(mac).replace(":", "")) * 16
