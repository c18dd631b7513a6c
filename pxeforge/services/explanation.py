"""What a host would get if it netbooted now, byte for byte: its packets, files and texts, and why each of them."""

from __future__ import annotations

import contextlib
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.boot import Boot, BootDecision, BootRequest, KnownHost, LoaderChoice, decide_boot
from pxeforge.domain.firmware import Firmware, architecture_of
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.protocol.dhcp import proxy
from pxeforge.protocol.dhcp.authority import Authority
from pxeforge.protocol.dhcp.bootfile import BootFiles, choose_boot_file
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.exchange import BINL_PORT, CLIENT_PORT, DHCP_PORT, Answer, Arrival, Ignored, Reply
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Op, Option
from pxeforge.services import discovery, hosts, loaders, previews, wire_hosts, wire_menus
from pxeforge.services.context import Context
from pxeforge.services.leases import StoredLeases
from pxeforge.services.problems import Problem
from pxeforge.services.reservations import StoredNetworks
from pxeforge.store.tables import Event, Host, Nic

_ADDRESSES: Final = frozenset({1, 3, 6, 28, 42, 50, 54})
_TEXTS: Final = frozenset({12, 15, 60, 66, 67})
_SECONDS: Final = frozenset({51, 58, 59})
_ASKED: Final = bytes((1, 3, 6, 12, 15, 42, 43, 54, 60, 66, 67, 97, 119, 121))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One packet or file, in the order in which the host meets them. `hex` and `decoded`: packets only."""

    title: str
    reason: str
    decoded: tuple[str, ...] = ()
    hex: str = ""
    text: str = ""


def explain(ctx: Context, text: str, *, firmware: str | None = None) -> dict[str, Any]:
    """`firmware`: as if it had this one; else the one it was seen with, else BIOS. Moves nothing; raises Problem.

    A host that is named by a MAC address netboots from that NIC, else from its first one.
    """
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        nic = _nic(host, text)
        mac, uuid_text = MacAddress.parse(nic.mac), host.uuid
        seen = Firmware(host.firmware) if host.firmware else Firmware.BIOS
        loader = LoaderChoice(host.loader)
        known = KnownHost(state=HostState(host.state), armed_until=host.armed_until, loader=loader)
        ours, why = _our_address(ctx, session, host, nic)
        relay = _relay(ctx, nic, ours)
    asked = _firmware(firmware) if firmware else seen
    ctx = ctx.known_as(ours)
    machine = _Machine(ctx, text, mac, asked, known, uuid_text, relay)
    decision, steps = machine.netboots()
    files = {}
    if decision.boot is Boot.INSTALL:
        texts = (*machine.menus, *previews.fetched(ctx, text))
        files = {what: previews.preview(ctx, text, what=what, mac=mac) for what in texts}
    return {
        "nic": str(mac), "our_address": ours, "our_address_reason": why,
        "relay": str(relay) if relay != ANY else None, "firmware": asked.value, "decision": decision.boot.value,
        "reason": decision.reason, "loader": loader.value,
        "steps": [asdict(step) for step in steps], "files": files,
    }  # fmt: skip


def _nic(host: Host, text: str) -> Nic:
    with contextlib.suppress(NotAMac):
        mac = str(MacAddress.parse(text))
        return next((nic for nic in host.nics if nic.mac == mac), host.nics[0])
    return host.nics[0]


def _our_address(ctx: Context, session: Session, host: Host, nic: Nic) -> tuple[str, str]:
    """Our address on the interface where we would hear the host, and how we know."""
    known = ctx.interfaces()
    if len(known) > 1:
        said = session.scalars(
            select(Event.data).where(Event.host_id == host.id, Event.kind == "netboot").order_by(Event.id.desc())
        ).first()
        name = (said or {}).get("interface", "")
        if name in known:
            return known[name], f"the host was last heard on {name}"
        for address in (nic.reserved_address, nic.address, host.address):
            ours = ctx.source(address) if address else None
            if ours is not None:
                return ours, f"it reaches the host's address {address}"
        return ctx.addresses.boot_address, "the first interface's: the host was heard on none yet"
    return ctx.addresses.boot_address, "there is one interface"


def _relay(ctx: Context, nic: Nic, ours: str) -> IPv4Address:
    """The router that carries the host's broadcasts, where its own address is in a lent subnet that we are not in.

    A subnet behind a relay has a router, and relays name themselves by their address there (giaddr). Else ANY.
    """
    here = [IPv4Address(address) for address in (*ctx.interfaces().values(), ours)]
    for text in filter(None, (nic.reserved_address, nic.address)):
        for subnet in ctx.subnets():
            if IPv4Address(text) in subnet.network and not any(address in subnet.network for address in here):
                return subnet.router or ANY
    return ANY


def _firmware(text: str) -> Firmware:
    try:
        return Firmware(text)
    except ValueError:
        choices = ", ".join(one.value for one in Firmware if architecture_of(one) is not None)
        raise Problem(f"{text!r} is no firmware: choose one of {choices}") from None


class _Machine:
    """The host as it would behave, asking the code that serves."""

    def __init__(
        self, ctx: Context, text: str, mac: MacAddress, firmware: Firmware, known: KnownHost, uuid_text: str | None,
        relay: IPv4Address,
    ) -> None:  # fmt: skip
        self._relay = relay
        self._ctx, self._text, self._mac, self._firmware, self._known = ctx, text, mac, firmware, known
        self._uuid = uuid.UUID(uuid_text) if uuid_text else uuid.UUID(int=int.from_bytes(mac.octets))
        self._ours = IPv4Address(ctx.addresses.boot_address)
        self._files: BootFiles = loaders.boot_files(ctx.data_dir, ctx.addresses.boot_port)
        self._authority: Authority | None = None
        if ctx.dhcp == "server":
            self._authority = Authority(ctx.subnets(), StoredLeases(ctx).load(), StoredNetworks(ctx))
        self.menus: list[str] = []

    def netboots(self) -> tuple[BootDecision, list[Step]]:
        decision, steps, file = self._talks(is_ipxe=False)
        if file is None:
            return decision, steps
        steps += self._loads(file)
        name = file.rpartition("/")[2]
        if name in loaders.IPXE_NAMES:
            _, more, menu = self._talks(is_ipxe=True)
            steps += more
            file = menu or file
        if file.endswith("menu.ipxe"):
            steps += self._shows_menu("menu", file, "iPXE runs what the DHCP reply names")
        return decision, steps

    # ------------------------------------------------------------------ packets

    def _talks(self, *, is_ipxe: bool) -> tuple[BootDecision, list[Step], str | None]:
        """One DHCP exchange: the decision, its packets and the boot file."""
        who = "iPXE" if is_ipxe else self._firmware.value
        discover = self._message(MessageType.DISCOVER, is_ipxe, relay=self._relay)
        steps = [_packet(f"{who}: DISCOVER", "what a firmware of this kind sends (an example)", discover)]
        request = classify(discover)
        if isinstance(request, Ignored):
            raise Problem(f"a host with {self._firmware.value} firmware does not netboot: choose another --firmware")
        is_stranger = self._known.state is HostState.DISCOVERED
        now = self._ctx.clock()
        found = wire_hosts.decision_facts(self._ctx, self._mac) if is_stranger else None
        unknown = discovery.for_unknown(self._ctx, found[0] if found else None, now)
        decision = decide_boot(request, None if is_stranger else self._known, now, unknown)
        if self._ctx.dhcp == "off":
            steps.append(Step(title="no answer", reason="DHCP is off: the site's server must name the boot file"))
            return decision, steps, choose_boot_file(request, decision, self._files, self._ours)
        if decision.boot is Boot.SILENCE:
            steps.append(Step(title="no answer", reason=decision.reason))
            return decision, steps, None
        offer = self._answer(discover, DHCP_PORT, request, decision)
        if isinstance(offer, Ignored):
            others = "" if self._authority is not None else ": the site's DHCP server alone answers"
            steps.append(Step(title="silence", reason=f"{offer.reason}{others}"))
            return decision, steps, None
        steps += _replies(offer, decision.reason)
        steps += self._goes_on(offer, request, decision, is_ipxe)
        return decision, steps, choose_boot_file(request, decision, self._files, self._ours)

    def _goes_on(self, offer: Answer, request: BootRequest, decision: BootDecision, is_ipxe: bool) -> list[Step]:
        """The REQUEST that follows our offer, and its ACK: to us as the DHCP server, or to port 4011."""
        [reply] = offer.replies
        if self._authority is not None:
            port = DHCP_PORT
            more: Mapping[int, bytes] = {
                Option.REQUESTED_ADDRESS: reply.message.yiaddr.packed,
                Option.SERVER_ID: self._ours.packed,
            }
        elif not reply.message.file and Option.BOOT_FILE not in reply.message.options:
            port, more = BINL_PORT, {}
        else:
            return []
        asking = self._message(MessageType.REQUEST, is_ipxe, more, relay=ANY if port == BINL_PORT else self._relay)
        ack = self._answer(asking, port, request, decision)
        step = _packet(f"REQUEST to port {port}", "the firmware takes up the offer", asking)
        return [step] if isinstance(ack, Ignored) else [step, *_replies(ack, decision.reason)]

    def _answer(
        self, message: DhcpMessage, port: int, request: BootRequest, decision: BootDecision
    ) -> Answer | Ignored:
        peer = (str(self._relay), CLIENT_PORT if self._relay == ANY else DHCP_PORT)
        arrival = Arrival(our_address=self._ours, port=port, peer=peer, now=self._ctx.clock())
        if self._authority is not None and port == DHCP_PORT:
            return self._authority.answer(message, arrival, self._files, request, decision)
        return proxy.answer(message, arrival, request, decision, self._files)

    def _message(
        self, kind: MessageType, is_ipxe: bool, more: Mapping[int, bytes] | None = None, *, relay: IPv4Address
    ) -> DhcpMessage:
        """As it reaches us; `relay`: who carried it, ANY for nobody."""
        number = architecture_of(self._firmware)
        if number is None:
            raise Problem(f"nothing is known of {self._firmware.value} firmware: choose another --firmware")
        kindred = "HTTPClient" if self._firmware.is_http and not is_ipxe else "PXEClient"
        options: dict[int, bytes] = {
            Option.MESSAGE_TYPE: bytes((kind,)),
            Option.MAX_SIZE: (1472).to_bytes(2),
            Option.PARAMETERS: _ASKED,
            Option.CLIENT_UUID: b"\0" + self._uuid.bytes,
            Option.ARCHITECTURE: number.to_bytes(2),
            Option.VENDOR_CLASS: f"{kindred}:Arch:{number:05}:UNDI:003016".encode(),
            **(more or {}),
        }
        if is_ipxe:
            options[Option.USER_CLASS] = b"iPXE"
        xid = zlib.crc32(self._mac.octets)
        return DhcpMessage(
            op=Op.REQUEST, xid=xid, chaddr=self._mac.octets, flags=0x8000, giaddr=relay, hops=int(relay != ANY),
            options=options,
        )  # fmt: skip

    # ------------------------------------------------------------------ files

    def _loads(self, file: str) -> list[Step]:
        """The boot file and what it asks for by itself until it has its menu."""
        name = file.rpartition("/")[2]
        why = f"{self._firmware.value} firmware, loader {self._known.loader.value}"
        if name == "menu.ipxe":
            return []
        steps = [self._file(file, why)]
        own = f"boot/{self._mac.dashed}/"
        if name == "pxelinux.0":
            steps.append(self._file("ldlinux.c32", "the second part of PXELINUX"))
            name = f"pxelinux.cfg/01-{self._mac.dashed}"
            steps += self._shows_menu("menu.pxelinux", name, "PXELINUX looks for a menu by MAC")
        elif file.endswith(loaders.LPXELINUX):
            folder = f"{own}{loaders.LPXELINUX.rpartition('/')[0]}/"
            steps.append(self._file(f"{folder}ldlinux.c32", "the second part of lpxelinux"))
            name = f"{folder}pxelinux.cfg/01-{self._mac.dashed}"
            steps += self._shows_menu("menu.lpxelinux", name, "lpxelinux looks for a menu by MAC")
        elif name in loaders.GRUB_PREFIXES:
            second = {shim: grub for grub, shim in loaders.SHIM_OF.items() if grub != shim}[name]
            folder, by_http = file.removesuffix(name), "://" in file
            root = f"{self._ctx.addresses.boot_url}/" if by_http else ""
            start = loaders.grub_start_by_http(self._ctx) if by_http else wire_menus.grub_start(self._ctx)
            steps.append(self._file(f"{folder}{second}", "shim starts the GRUB beside it"))
            steps.append(Step(
                title=_title(f"{root}{loaders.GRUB_PREFIXES[name]}grub.cfg"), text=start,
                reason="the same for all hosts: Debian's GRUB has this name built in",
            ))  # fmt: skip
            mac = self._mac if by_http else self._mac.dashed
            steps += self._shows_menu("menu.grub", f"{root}boot/{mac}/grub.cfg", "the host's own menu")
        return steps

    def _file(self, name: str, reason: str) -> Step:
        own = loaders.own_name(name)
        path = loaders.loader_file(self._ctx, name.rpartition("/")[2] if "://" in name else own[1] if own else name, "")
        size = f"{path}, {path.stat().st_size} bytes" if path is not None else "NOT HERE: import an image that has it"
        return Step(title=_title(name), reason=f"{reason} ({size})")

    def _shows_menu(self, what: str, name: str, reason: str) -> list[Step]:
        self.menus.append(what)
        text = previews.preview(self._ctx, self._text, what=what, mac=self._mac)
        return [Step(title=_title(name), reason=reason, text=text)]


def _title(name: str) -> str:
    return f"{'HTTP' if '://' in name else 'TFTP'} {name}"


def _replies(answer: Answer, reason: str) -> list[Step]:
    return [_packet(f"our {_to(reply)}", f"{answer.what}: {reason}", reply.message, reply) for reply in answer.replies]


def _to(reply: Reply) -> str:
    kind = reply.message.message_type
    address, port = reply.destination
    return f"{kind.name if kind else 'reply'} from port {reply.source_port} to {address}:{port}"


def _packet(title: str, reason: str, message: DhcpMessage, reply: Reply | None = None) -> Step:
    data = reply.datagram() if reply is not None else message.encode()
    return Step(title=title, reason=reason, decoded=tuple(_decoded(DhcpMessage.parse(data))), hex=data.hex())


def _decoded(message: DhcpMessage) -> list[str]:
    """The fields and options of a packet, one per line; empty fields are left out."""
    lines = [f"xid {message.xid:08x}, flags {message.flags:04x}, chaddr {message.chaddr.hex(':')}"]
    for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
        if getattr(message, name) != ANY:
            lines.append(f"{name} {getattr(message, name)}")
    lines += [f"{name} {value.decode('latin-1')}" for name in ("sname", "file") if (value := getattr(message, name))]
    return lines + [f"option {_option(code, value)}" for code, value in message.options.items()]


def _option(code: int, value: bytes) -> str:
    name = Option(code).name.lower().replace("_", " ") if code in set(Option) else "unknown"
    if code == Option.MESSAGE_TYPE and len(value) == 1 and value[0] in set(MessageType):
        shown = MessageType(value[0]).name
    elif code in _ADDRESSES and value and len(value) % 4 == 0:
        shown = ", ".join(str(IPv4Address(value[at : at + 4])) for at in range(0, len(value), 4))
    elif code in _SECONDS and len(value) == 4:
        shown = f"{int.from_bytes(value)} s"
    elif code in _TEXTS and value.isascii():
        shown = value.decode()
    elif code == Option.ARCHITECTURE:
        shown = ", ".join(str(int.from_bytes(value[at : at + 2])) for at in range(0, len(value) - 1, 2))
    else:
        shown = value.hex(" ")
    return f"{code} ({name}) {shown}"
