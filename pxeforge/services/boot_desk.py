"""What the wire asks and tells: hosts are discovered, boot decisions made, files found, installer lines kept."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.protocol.dhcp.dialect import DialectBook
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.render.menus import MenuKind
from pxeforge.services import hosts, images, installs, loaders
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import Host, Nic

_NEIGHBOUR_KEPT_S = 10.0
_QUIET_S = 60.0  # the same DISCOVER again within this time is no news
_MENU_ITEM = re.compile(r"Menu item '([^']+)' selected")
_MAX_LOG_BYTES = 20_000_000
# GRUB of other distributions asks by MAC at once, Debian's signed one asks for the file that all share.
_MENU_PREFIXES = {
    "pxelinux.cfg/01-": MenuKind.PXELINUX,
    "grub/grub.cfg-01-": MenuKind.GRUB,
    f"{loaders.GRUB_PREFIX}grub.cfg-01-": MenuKind.GRUB,
}
_OWN_MENUS = {"menu.ipxe": MenuKind.IPXE, "grub.cfg": MenuKind.GRUB}
_GRUB_STARTS = ("grub/grub.cfg", *(f"{loaders.GRUB_PREFIX}{name}" for name in ("grub.cfg", "x86_64-efi/grub.cfg")))
_MAX_STRANGERS = 10_000  # hosts nobody vouched for: a flood of made-up MACs must not fill the database


class Desk:
    """The BootDesk of the servers (pxeforge.servers.desk)."""

    def __init__(self, ctx: Context, dialects: DialectBook | None = None) -> None:
        """`dialects` is told of each host that came as far as a file transfer."""
        self._ctx, self._dialects = ctx, dialects or DialectBook()
        self._told: dict[tuple[str, str], float] = {}
        self._behind: dict[str, tuple[MacAddress | None, float]] = {}  # who was behind an address, and when we looked

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
            known = hosts.by_mac(session, request.mac)
            if known is None and _strangers(session) >= _MAX_STRANGERS:
                return decision
            host = known or hosts.discover(session, ctx, request.mac)
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
            session.execute(update(Nic).where(Nic.address == address).values(address=None))  # whoever had it before
            session.get_one(Nic, str(mac)).address = address
            host.address = address
            record(session, self._ctx, host_id=host.id, source="dhcp", kind="leased", message=f"{mac} leased {address}")

    # ------------------------------------------------------------------ TFTP

    def tftp_open(self, name: str, peer_ip: str) -> bytes | Path | None:
        """Menus by MAC, loaders and image files; None for everything else."""
        found = _menu_named(name)
        if found is not None:
            mac, kind = found
            self._dialects.reached(mac)
            return installs.menu(self._ctx, mac, kind, peer=peer_ip).encode()
        if name in _GRUB_STARTS:
            return installs.grub_start(self._ctx).encode()
        own = loaders.own_name(name)
        if own is not None:
            mac, name = own
            self._dialects.reached(mac)
            if name == "autoexec.ipxe":
                script = installs.autoexec(self._ctx, mac, peer=peer_ip)
                return script.encode() if script is not None else None
        try:
            if name.startswith("images/"):
                _, image_name, version, path = name.split("/", 3)
                return self._image_file(f"{image_name}/{version}", path)
            return loaders.loader_file(self._ctx, name, peer_ip)
        except (NotFound, ValueError):
            return None

    def _image_file(self, reference: str, path: str) -> Path | None:
        image = images.by_reference(self._ctx, reference)
        return image.path / path if path in image.files else None

    def tftp_closed(self, name: str, peer_ip: str, *, sent: int, duration_s: float, problem: str | None) -> None:
        if not sent and problem is None:
            return  # a size probe
        host_id = self._host_behind(peer_ip)
        if host_id is None:
            return
        with self._ctx.database.write() as session:
            end = f"stopped: {problem}" if problem else f"{sent} bytes in {duration_s:.1f} s"
            record(
                session, self._ctx, host_id=host_id, source="tftp", kind="tftp_failed" if problem else "tftp_sent",
                message=f"{name[:128]} to {peer_ip}: {end}",
            )  # fmt: skip

    # ------------------------------------------------------------------ syslog

    def installer_said(self, line: SyslogLine) -> None:
        """Every line goes to the host's log file, milestones to its timeline."""
        host_id = self._host_behind(line.peer_ip)
        if host_id is None:
            return
        self._append_log(host_id, line)
        item = _MENU_ITEM.search(line.message)
        if item is None:
            return
        with self._ctx.database.write() as session:
            record(
                session, self._ctx, host_id=host_id, source="installer", kind="installer_step",
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

    def _host_behind(self, peer_ip: str) -> str | None:
        """The host with this address: by its MAC on our own wire (in proxy mode we lease nothing), else by a lease."""
        now = self._ctx.clock()
        mac, at = self._behind.get(peer_ip, (None, -_QUIET_S))
        if now - at >= _NEIGHBOUR_KEPT_S or mac is None:
            if len(self._behind) > 10_000:
                self._behind.clear()
            mac = self._ctx.neighbour(peer_ip)
            self._behind[peer_ip] = (mac, now)
        with self._ctx.database.read() as session:
            host = hosts.by_mac(session, mac) if mac is not None else None
            host = host or hosts.by_address(session, peer_ip)
            return host.id if host is not None else None

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


def _menu_named(name: str) -> tuple[MacAddress, MenuKind] | None:
    """Whose menu a TFTP name asks for, and for which boot loader."""
    own = loaders.own_name(name)
    if own is not None:
        kind = _OWN_MENUS.get(own[1])
        return (own[0], kind) if kind is not None else None
    for prefix, kind in _MENU_PREFIXES.items():
        if name.startswith(prefix):
            try:
                return MacAddress.parse(name.removeprefix(prefix)), kind
            except NotAMac:
                return None
    return None


def _strangers(session: Session) -> int:
    query = select(func.count()).select_from(Host).where(Host.state == HostState.DISCOVERED.value)
    return session.scalar(query) or 0
