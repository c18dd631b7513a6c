"""What the wire asks and tells: hosts are discovered, boot decisions made, files found, installer lines kept."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from pxeforge.domain.boot import Boot, BootDecision, BootRequest, decide_boot
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.protocol.dhcp.dialect import DialectBook
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.menus import MenuKind, MenuProblem
from pxeforge.services import discovery, hosts, images, loaders, rescue, sightings, wire_hosts, wire_menus
from pxeforge.services.context import Context
from pxeforge.services.events import insert, note, note_by_mac
from pxeforge.services.problems import NotFound, Problem
from pxeforge.store.group_commit import Statements

_MENU_ITEM = re.compile(r"Menu item '([^']+)' selected")
_MAX_LOG_BYTES = 20_000_000
# GRUB of other distributions asks by MAC at once, Debian's signed one asks for the file that all share.
_MENU_PREFIXES = {
    "pxelinux.cfg/01-": MenuKind.PXELINUX,
    "grub/grub.cfg-01-": MenuKind.GRUB,
    **{f"{prefix}grub.cfg-01-": MenuKind.GRUB for prefix in loaders.GRUB_PREFIXES.values()},
}
_LPXELINUX_MENU = f"{loaders.LPXELINUX.rpartition('/')[0]}/pxelinux.cfg/01-"
_OWN_MENUS = {"menu.ipxe": MenuKind.IPXE, "grub.cfg": MenuKind.GRUB}
_SEEN = """
    UPDATE hosts SET seen_at = CAST(value ->> 1 AS float), firmware = value ->> 2, uuid = coalesce(uuid, value ->> 3)
    FROM json_each(:rows) JOIN nics n ON n.mac = value ->> 0 WHERE hosts.id = n.host_id
"""
BOOT_LOOP_S = 600  # a netboot this soon after registration is worth a word in the timeline
_CROWD_COUNTED_S = 10.0
_PLACE_KEPT_S = 600.0  # what is only posted may be lost
_MOST_PLACES = 50_000  # remembered; beyond it they are asked of the database again
_MAX_STRANGERS = 10_000  # hosts nobody vouched for: a flood of made-up MACs must not fill the database


class Desk:
    """The BootDesk of the servers (pxeforge.servers.desk)."""

    def __init__(self, ctx: Context, dialects: DialectBook | None = None) -> None:
        """`dialects` is told of each host that came as far as a file transfer."""
        self._ctx, self._dialects = ctx, dialects or DialectBook()
        self._places: dict[MacAddress, tuple[tuple[str | None, ...], float]] = {}
        self._crowded_until = 0.0  # strangers are not recorded before: there are too many

    # ------------------------------------------------------------------ DHCP

    def dhcp_seen(self, request: BootRequest, *, message_type: str, server_mode: bool) -> BootDecision:
        """Notes who asks and decides. A host that was never seen is recorded as discovered."""
        ctx, now = self._ctx, self._ctx.clock()
        found = wire_hosts.decision_facts(ctx, request.mac)
        host_id, known, registered_at = found or (None, None, None)
        # A stranger stays one after it was written down: its second DISCOVER is no news.
        is_stranger = known is None or known.state is HostState.DISCOVERED
        if is_stranger:  # most packets come from others: nothing is looked up for those
            decision = decide_boot(request, None, now, discovery.for_unknown(ctx, host_id, now))
        else:
            decision = decide_boot(request, known, now)
        if not ctx.news.is_new(str(request.mac), f"{message_type} {decision.boot.value} {decision.reason}", now):
            return decision
        local = "local" if server_mode and decision.boot is not Boot.SILENCE else "silence"
        what = "boot file" if decision.boot.sends_file else local
        who = "iPXE" if request.is_ipxe else request.firmware.value
        said = f"{message_type} by {who} on {request.interface}: {what} ({decision.reason})"
        data = {
            "vendor_class": request.vendor_class[:128], "decision": decision.boot.value, "interface": request.interface
        }  # fmt: skip
        if host_id is None:
            ctx.database.post(lambda statements: self._discovered(statements, request, now))
        else:
            ctx.database.post_row(_SEEN, str(request.mac), now, request.firmware.value, request.uuid)
            if known is not None and known.state is HostState.RESCUE:
                ctx.database.post(partial(rescue.netbooted, host_id=host_id, at=now))
        if message_type == "DISCOVER":  # what comes later may be sent past the relay
            self._sighted(host_id, request, now)
        note_by_mac(ctx, str(request.mac), source="dhcp", kind="netboot", message=said, data=data)
        if registered_at and now - registered_at < BOOT_LOOP_S and decision.boot is Boot.LOCAL:
            note_by_mac(
                ctx, str(request.mac), source="dhcp", kind="netboot_after_install",
                message="netboots right after its install and is sent to its disk: no second install",
            )  # fmt: skip
        return decision

    def _sighted(self, host_id: str | None, request: BootRequest, now: float) -> None:
        """Keeps where the NIC is, when that is new to this process: most netboots are from where the last one was."""
        place = (request.interface, request.relay, request.circuit_id, request.remote_id)
        known, at = self._places.get(request.mac, (None, 0.0))
        if host_id is not None and known == place and now - at < _PLACE_KEPT_S:
            return
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[request.mac] = place, now
        self._ctx.database.post(lambda statements: sightings.sighted(statements, request, now))

    def _discovered(self, statements: Statements, request: BootRequest, now: float) -> None:
        """Writes down a host whose MAC was unknown when its packet came, but for one stranger too many."""
        mac = request.mac
        if statements.rows("SELECT 1 FROM nics WHERE mac = :mac", mac=str(mac)):
            return
        if now >= self._crowded_until:
            strangers = statements.rows(
                "SELECT count(*) FROM hosts WHERE state = :state", state=HostState.DISCOVERED.value
            )
            self._crowded_until = now + _CROWD_COUNTED_S if strangers[0][0] >= _MAX_STRANGERS else 0.0
        if now >= self._crowded_until:
            host_id = hosts.discover(statements, mac, now)
            statements.run(
                "UPDATE hosts SET seen_at = :now, firmware = :firmware, uuid = :uuid WHERE id = :id",
                now=now, firmware=request.firmware.value, uuid=request.uuid, id=host_id,
            )  # fmt: skip

    def dhcp_answered(self, request: BootRequest, *, what: str) -> None:
        mac = str(request.mac)
        if self._ctx.news.is_new(mac, what, self._ctx.clock()):
            note_by_mac(self._ctx, mac, source="dhcp", kind="dhcp_answered", message=what)

    # ------------------------------------------------------------------ TFTP

    def tftp_open(self, name: str, peer_ip: str) -> bytes | Path | None:
        """Menus by MAC, loaders and image files; None for everything else. Raises Problem."""
        try:
            return self._open(name, peer_ip)
        except (TemplateProblem, MenuProblem) as problem:
            raise Problem(str(problem)) from problem

    def _open(self, name: str, peer_ip: str) -> bytes | Path | None:
        found = _menu_named(name)
        if found is not None:
            mac, kind = found
            self._dialects.reached(mac)
            return wire_menus.menu(self._ctx, mac, kind, peer=peer_ip, source="tftp").encode()
        if name in loaders.GRUB_STARTS:
            return wire_menus.grub_start(self._ctx, peer_ip).encode()
        own = loaders.own_name(name)
        if own is not None:
            mac, name = own
            self._dialects.reached(mac)
            if name == "autoexec.ipxe":
                script = wire_menus.autoexec(self._ctx, mac, peer=peer_ip, source="tftp")
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
        end = f"stopped: {problem}" if problem else f"{sent} bytes in {duration_s:.1f} s"
        at, mac = self._ctx.clock(), self._ctx.neighbour(peer_ip)

        def note(statements: Statements) -> None:
            host_id = wire_hosts.id_behind(statements.rows, mac, peer_ip)
            if host_id is not None:
                insert(
                    statements, at=at, host_id=host_id, source="tftp", kind="tftp_failed" if problem else "tftp_sent",
                    message=f"{name[:128]} to {peer_ip}: {end}",
                )  # fmt: skip

        self._ctx.database.post(note)

    # ------------------------------------------------------------------ syslog

    def installer_said(self, line: SyslogLine) -> None:
        """Every line goes to the host's log file, milestones to its timeline."""
        mac = self._ctx.neighbour(line.peer_ip)
        host_id = wire_hosts.id_behind(self._ctx.database.look_up, mac, line.peer_ip)
        if host_id is None:
            return
        self._append_log(host_id, line)
        item = _MENU_ITEM.search(line.message)
        if item is not None:
            note(self._ctx, host_id, source="installer", kind="installer_step", message=f"d-i: {item[1][:100]}")

    def _append_log(self, host_id: str, line: SyslogLine) -> None:
        folder = self._ctx.data_dir / "logs" / host_id
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "installer.log"
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
            return  # a host that logs without end must not fill the disk
        with path.open("a") as stream:
            stream.write(f"{line.received_at:.3f} {line.tag}: {line.message}\n")


def _menu_named(name: str) -> tuple[MacAddress, MenuKind] | None:
    """Whose menu a TFTP name asks for, and for which boot loader."""
    own = loaders.own_name(name)
    if own is not None:
        kind = _OWN_MENUS.get(own[1])
        if own[1] == f"{_LPXELINUX_MENU}{own[0].dashed}":
            kind = MenuKind.LPXELINUX
        return (own[0], kind) if kind is not None else None
    for prefix, kind in _MENU_PREFIXES.items():
        if name.startswith(prefix):
            try:
                return MacAddress.parse(name.removeprefix(prefix)), kind
            except NotAMac:
                return None
    return None
