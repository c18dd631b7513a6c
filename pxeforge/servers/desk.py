"""What the wire needs from the rest of the program: decisions, files, a place for leases; and whom it tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pxeforge.domain.boot import BootDecision, BootRequest
from pxeforge.protocol.dhcp.lease import Lease
from pxeforge.protocol.syslog import SyslogLine


class BootDesk(Protocol):
    """Called from the server loops, one call at a time per loop. An exception drops the packet, not the server."""

    def dhcp_seen(self, request: BootRequest, *, message_type: str, server_mode: bool) -> BootDecision:
        """A firmware asks (`message_type` is DISCOVER, REQUEST or INFORM): note it and decide."""

    def dhcp_answered(self, request: BootRequest, *, what: str) -> None:
        """A firmware was answered: "OFFER 10.77.0.50, boot file http://…"."""

    def tftp_open(self, name: str, peer_ip: str) -> bytes | Path | None:
        """The content or the file behind a clean relative name; None is answered by "not found" at once.

        Raises Problem, whose words the client is told.
        """

    def tftp_closed(self, name: str, peer_ip: str, *, sent: int, duration_s: float, problem: str | None) -> None:
        """A transfer is over. `sent` counts acknowledged bytes; a size probe has sent 0 and no problem."""

    def installer_said(self, line: SyslogLine) -> None:
        """An installer logged a line."""


class LeaseStore(Protocol):
    """Keeps leases over a restart. The address is the key: saving a lease replaces the one with its address."""

    def load(self) -> list[Lease]: ...

    def save(self, leases: Sequence[Lease]) -> None:
        """Must be on disk when it returns: the ACK leaves after it. An exception keeps the ACK back.

        From then on the addresses of bound leases are those hosts. Called from a thread of its own.
        """
