"""What the wire asks and tells: hosts are discovered, boot decisions made, files found, installer lines kept."""

from __future__ import annotations

import re
from pathlib import Path

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.render.menus import MenuKind
from pxeforge.services import hosts, images, installs
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import Attempt, Nic

_QUIET_S = 60.0  # the same DISCOVER again within this time is no news
_MENU_ITEM = re.compile(r"Menu item '([^']+)' selected")
_MAX_LOG_BYTES = 20_000_000


class Desk:
    """The BootDesk of the servers (pxeforge.servers.desk)."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._told: dict[tuple[str, str], float] = {}

    # ------------------------------------------------------------------ DHCP

    def dhcp_seen(self, request: BootRequest, *, message_type: str, server_mode: bool) -> BootDecision:
        """Notes who asks and decides. A host that was never seen is recorded as discovered."""
        ctx = self._ctx
        with ctx.database.read() as session:
            host = hosts.by_mac(session, request.mac)
            decision = installs.decide(ctx, request, host)
        if not self._news(str(request.mac), f"{message_type} {decision.boot.value} {decision.reason}"):
            return decision
        with ctx.database.write() as session:
            host = hosts.by_mac(session, request.mac) or hosts.discover(session, ctx, request.mac)
            host.seen_at, host.firmware = ctx.clock(), request.firmware.value
            host.uuid = host.uuid or request.uuid
            what = decision.boot.value if decision.boot is Boot.INSTALL or server_mode else "silence"
            who = "iPXE" if request.is_ipxe else request.firmware.value
            record(
                session, ctx, host_id=host.id, source="dhcp", kind="netboot",
                message=f"{message_type} by {who} on {request.interface}: {what} ({decision.reason})",
                data={"vendor_class": request.vendor_class[:128], "decision": decision.boot.value},
            )  # fmt: skip
            registered = host.registered_at
            if registered and ctx.clock() - registered < installs.BOOT_LOOP_S and decision.boot is Boot.LOCAL:
                record(
                    session, ctx, host_id=host.id, source="dhcp", kind="netboot_after_install",
                    message="netboots right after its install and is sent to its disk: no second install",
                )  # fmt: skip
        return decision

    def dhcp_answered(self, request: BootRequest, *, what: str) -> None:
        self._note(request.mac, "dhcp", "dhcp_answered", what)

    def dhcp_leased(self, mac: MacAddress, address: str) -> None:
        """From now on this address is this host: its file transfers and log lines find their timeline."""
        with self._ctx.database.read() as session:
            nic = session.get(Nic, str(mac))
            known = nic is not None and nic.address == address and nic.host.address == address
        if known:
            return
        with self._ctx.database.write() as session:
            host = hosts.by_mac(session, mac)
            if host is None:
                return  # a plain DHCP client that never netbooted is no host of ours
            session.get_one(Nic, str(mac)).address = address
            host.address = address
            record(session, self._ctx, host_id=host.id, source="dhcp", kind="leased", message=f"{mac} leased {address}")

    # ------------------------------------------------------------------ TFTP

    def tftp_open(self, name: str, peer_ip: str) -> bytes | Path | None:
        """Menus by MAC, loaders and image files; None for everything else."""
        if name.startswith("pxelinux.cfg/01-"):
            try:
                mac = MacAddress.parse(name.removeprefix("pxelinux.cfg/01-"))
            except NotAMac:
                return None
            return installs.menu(self._ctx, mac, MenuKind.PXELINUX, peer=peer_ip).encode()
        try:
            if name.startswith("images/"):
                _, image_name, version, path = name.split("/", 3)
                return self._image_file(f"{image_name}/{version}", path)
            return self._loader_file(name, peer_ip)
        except (NotFound, ValueError):
            return None

    def _image_file(self, reference: str, path: str) -> Path | None:
        image = images.by_reference(self._ctx, reference)
        return image.path / path if path in image.files else None

    def _loader_file(self, name: str, peer_ip: str) -> Path | None:
        """A loader from the image that the asking host is armed with, else from the newest image that has it."""
        for image in self._loader_images(peer_ip):
            if f"loaders/{name}" in image.files:
                return image.path / "loaders" / name
        return None

    def _loader_images(self, peer_ip: str) -> list[images.Image]:
        with self._ctx.database.read() as session:
            host = hosts.by_address(session, peer_ip)
            attempt = session.get(Attempt, host.attempt_id) if host is not None and host.attempt_id else None
        found = images.everything(self._ctx)
        if attempt is not None:
            found.sort(key=lambda image: images.reference(image) == attempt.image)
        return found[::-1]

    def tftp_closed(self, name: str, peer_ip: str, *, sent: int, duration_s: float, problem: str | None) -> None:
        if not sent and problem is None:
            return  # a size probe
        with self._ctx.database.write() as session:
            host = hosts.by_address(session, peer_ip)
            if host is None:
                return
            end = f"stopped: {problem}" if problem else f"{sent} bytes in {duration_s:.1f} s"
            record(
                session, self._ctx, host_id=host.id, source="tftp", kind="tftp_failed" if problem else "tftp_sent",
                message=f"{name[:128]} to {peer_ip}: {end}",
            )  # fmt: skip

    # ------------------------------------------------------------------ syslog

    def installer_said(self, line: SyslogLine) -> None:
        """Every line goes to the host's log file, milestones to its timeline."""
        with self._ctx.database.read() as session:
            host = hosts.by_address(session, line.peer_ip)
        if host is None:
            return
        self._append_log(host.id, line)
        item = _MENU_ITEM.search(line.message)
        if item is None:
            return
        with self._ctx.database.write() as session:
            record(
                session, self._ctx, host_id=host.id, source="installer", kind="installer_step",
                message=f"d-i: {item[1][:100]}",
            )  # fmt: skip

    def _append_log(self, host_id: str, line: SyslogLine) -> None:
        folder = self._ctx.data_dir / "logs" / host_id
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "installer.log"
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
            return  # a host that logs without end must not fill the disk
        with path.open("a") as stream:
            stream.write(f"{line.received_at:.3f} {line.tag}: {line.message}\n")

    # ------------------------------------------------------------------ what is news

    def _news(self, mac: str, text: str) -> bool:
        """Firmware repeats itself every few seconds; the timeline does not."""
        now = self._ctx.clock()
        if len(self._told) > 10_000:
            self._told = {key: at for key, at in self._told.items() if now - at < _QUIET_S}
        if now - self._told.get((mac, text), -_QUIET_S) < _QUIET_S:
            return False
        self._told[mac, text] = now
        return True

    def _note(self, mac: MacAddress, source: str, kind: str, message: str) -> None:
        if not self._news(str(mac), message):
            return
        with self._ctx.database.write() as session:
            host = hosts.by_mac(session, mac)
            if host is not None:
                record(session, self._ctx, host_id=host.id, source=source, kind=kind, message=message)
