"""Checks of what this process may do and of the ports it needs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pxeforge.app.doctor.finding import Finding, error, ok, warning
from pxeforge.app.doctor.processes import HeldPort, Process

_NET_BIND_SERVICE, _NET_ADMIN, _NET_RAW = 10, 12, 13  # linux/capability.h
_NAMES: Final = {
    _NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE", _NET_ADMIN: "CAP_NET_ADMIN", _NET_RAW: "CAP_NET_RAW",
}  # fmt: skip
_GRANT: Final = "run as root, or grant it (systemd: AmbientCapabilities={name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPort:
    """A port that `serve` opens. `setting` is the key that moves it; empty where it cannot be moved."""

    purpose: str
    protocol: str  # udp | tcp
    port: int
    address: str = ""
    interface: str = ""
    setting: str = ""

    def __str__(self) -> str:
        return f"{self.protocol.upper()} {self.port} ({self.purpose})"


def check_capabilities(
    effective: int, wanted: Iterable[WantedPort], *, first_free_port: int, mode: str, tied_needs_raw: bool
) -> list[Finding]:
    """`first_free_port` is the kernel's ip_unprivileged_port_start; `tied_needs_raw` is true before Linux 5.7, where
    SO_BINDTODEVICE needs CAP_NET_RAW.
    """
    low = sorted({str(port) for port in wanted if port.port < first_free_port})
    found = []
    if low and not effective >> _NET_BIND_SERVICE & 1:
        found.append(_missing(error, _NET_BIND_SERVICE, f"the ports {', '.join(low)} cannot be opened"))
    if mode != "off" and not effective >> _NET_RAW & 1:
        if tied_needs_raw:
            found.append(_missing(error, _NET_RAW, "DHCP cannot be tied to its interface"))
        else:
            found.append(_missing(warning, _NET_RAW, "the doctor cannot listen to other servers' offers"))
    held = [name for bit, name in _NAMES.items() if effective >> bit & 1]
    return found or [ok(f"enough rights for --dhcp {mode} ({', '.join(held) or 'no capability needed'})")]


def check_ports(
    wanted: Iterable[WantedPort], refused: Mapping[WantedPort, int], held: Iterable[HeldPort], ours: frozenset[int]
) -> list[Finding]:
    """`refused`: errno of the ports that could not be opened just now; `ours`: processes of a server that runs here."""
    held = tuple(held)
    found, own, free = [], [], []
    for port in wanted:
        number = refused.get(port)
        holders = _holders(port, held)
        if number is None:
            free.append(str(port))
        elif number in (errno.EACCES, errno.EPERM):
            continue  # the check of capabilities says it
        elif number == errno.EADDRINUSE and holders and {process.pid for process in holders} <= ours:
            own.append(str(port))
        else:
            found.append(_conflict(port, number, holders))
    if own:
        found.append(ok(f"held by the pxeforge that runs here: {', '.join(own)}"))
    if free:
        found.append(ok(f"free: {', '.join(free)}"))
    return found


def _conflict(port: WantedPort, number: int, holders: list[Process]) -> Finding:
    where = {"on": port.interface or None}
    if number != errno.EADDRINUSE:
        return error(f"{port} cannot be opened: {os.strerror(number)}", "check the address of the interface", **where)
    names = ", ".join(f"{process.name} (pid {process.pid})" for process in holders)
    move = f"or choose another {port.setting}" if port.setting else "or run with --dhcp off"
    return error(
        f"{port} is held by {names or 'a process that only root can see'}",
        f"stop {holders[0].name if holders else 'it (run the doctor as root to see its name)'}, {move}",
        **where, pids=[process.pid for process in holders],
    )  # fmt: skip


def _holders(port: WantedPort, held: tuple[HeldPort, ...]) -> list[Process]:
    found: dict[int, Process] = {}
    for other in held:
        if other.covers(port.protocol, port.address, port.port):
            found.update({process.pid: process for process in other.holders})
    return [found[pid] for pid in sorted(found)]


def _missing(make: Callable[[str, str], Finding], bit: int, means: str) -> Finding:
    return make(f"{_NAMES[bit]} is missing: {means}", _GRANT.format(name=_NAMES[bit]))
