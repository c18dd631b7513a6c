"""Checks of the wire: who offers addresses, who offers boot files, and who would fight whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pxeforge.app.doctor.finding import Finding, error, note, ok, warning
from pxeforge.servers.pxe_probe import SeenAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What was heard on one interface, and what is needed to judge it."""

    interface: str
    mode: str  # proxy | server | off
    answers: tuple[SeenAnswer, ...]
    own: frozenset[IPv4Address]  # addresses of this computer
    home: IPv4Address  # our address on this interface
    is_serving: bool = False  # a pxeforge runs on this data directory
    force: bool = False

    def by_server(self) -> dict[IPv4Address, list[SeenAnswer]]:
        found: dict[IPv4Address, list[SeenAnswer]] = {}
        for answer in self.answers:
            found.setdefault(answer.server, []).append(answer)
        return found

    def is_ours(self, server: IPv4Address) -> bool:
        """Whether it is the pxeforge that runs here: one computer has one program on port 67 of an interface."""
        return self.is_serving and self.mode != "off" and server in self.own


def check_dhcp_offers(wire: Wire) -> list[Finding]:
    """Every server that offers addresses, and whether the mode can live with it."""
    found, rivals = [], []
    for server, answers in wire.by_server().items():
        offers = [answer for answer in answers if answer.address is not None]
        if not offers:
            continue
        if not wire.is_ours(server):
            rivals.append(server)
        found.append(_dhcp_server(wire, server, offers))
    if len(rivals) > 1:
        names = ", ".join(map(str, rivals))
        found.append(
            warning(
                f"{len(rivals)} DHCP servers answer ({names}): which one a host takes is chance",
                "leave one of them on, unless they share their leases (failover)",
                on=wire.interface,
            )
        )
    return found or [_no_dhcp_server(wire)]


def check_boot_offers(wire: Wire) -> list[Finding]:
    """Every server that names a boot file or is a PXE service, and whom a firmware would follow."""
    found, services = [], []
    for server, answers in wire.by_server().items():
        if any(answer.is_boot_service for answer in answers):
            services.append(server)
            found.append(_pxe_service(wire, server, answers))
        elif any(answer.boots for answer in answers):
            found.append(_dhcp_with_file(wire, server, answers))
        elif (foreign := _next_server(wire, server, answers)) is not None:
            found.append(foreign)
    if len(services) > 1:
        found.append(
            error(
                f"{len(services)} PXE services answer ({', '.join(map(str, services))}): a firmware takes any of them",
                "leave one of them on in this network",
                on=wire.interface,
            )
        )
    if wire.mode == "off" and not services and not any(answer.boots for answer in wire.answers):
        found.append(
            warning(
                "no server names a boot file, and with --dhcp off pxeforge does not either",
                f"let your DHCP server name next-server {wire.home} and the file pxelinux.0, or use --dhcp proxy",
                on=wire.interface,
            )
        )
    return found or [ok("nobody else offers boot files", on=wire.interface)]


def _dhcp_server(wire: Wire, server: IPv4Address, offers: list[SeenAnswer]) -> Finding:
    addresses = sorted({offer.address for offer in offers if offer.address is not None})
    relays = sorted({offer.source for offer in offers} - {server})
    by = f", relayed by {', '.join(map(str, relays))}" if relays else ""
    seen = f"{server} offers {', '.join(map(str, addresses))}{by}"
    data: dict[str, Any] = {
        "server": str(server), "addresses": [str(address) for address in addresses],
        "guises": sorted({offer.guise.value for offer in offers}),
    }  # fmt: skip
    if wire.is_ours(server):
        return ok(f"the pxeforge that runs here: {seen}", on=wire.interface, **data)
    if wire.mode != "server":
        return ok(f"DHCP server {seen}", on=wire.interface, **data)
    if wire.force:
        return warning(
            f"another DHCP server: {seen}",
            "--force serves all the same: keep the ranges apart",
            on=wire.interface,
            **data,
        )
    advice = "stop it, or run beside it with --dhcp proxy"
    return error(f"another DHCP server: {seen}", advice, on=wire.interface, **data)


def _no_dhcp_server(wire: Wire) -> Finding:
    if wire.mode == "server":
        if wire.is_serving:
            return warning(
                "the pxeforge that runs here did not offer an address", "look at its log; is the range used up?",
                on=wire.interface,
            )  # fmt: skip
        return ok("no DHCP server answers: pxeforge can be the one", on=wire.interface)
    return error(
        "no DHCP server answers: hosts would get no address",
        "start your DHCP server or use --dhcp server; if it is slow to offer, look longer with --timeout",
        on=wire.interface,
    )


def _pxe_service(wire: Wire, server: IPv4Address, answers: list[SeenAnswer]) -> Finding:
    services = [answer for answer in answers if answer.is_boot_service]
    seen = f"PXE service {server}: {_files(services)}"
    data = _boot_data(server, services)
    if wire.is_ours(server):
        return ok(f"the pxeforge that runs here ({seen})", on=wire.interface, **data)
    if wire.mode == "off":
        advice = "see that it leads hosts to pxeforge, or they boot something else"
        return note(seen, advice, on=wire.interface, **data)
    return error(
        seen,
        "stop it: it would fight pxeforge for every netbooting host (or run pxeforge with --dhcp off)",
        on=wire.interface,
        **data,
    )


def _dhcp_with_file(wire: Wire, server: IPv4Address, answers: list[SeenAnswer]) -> Finding:
    booting = [answer for answer in answers if answer.boots]
    seen = f"DHCP server {server} names boot files itself: {_files(booting)}"
    data = _boot_data(server, booting)
    if wire.is_ours(server):
        return ok(f"the pxeforge that runs here: {_files(booting)}", on=wire.interface, **data)
    if all(_leads_to(answer) in wire.own for answer in booting):
        if wire.mode == "off":
            return ok(f"{seen}, which leads here", on=wire.interface, **data)
        return note(
            f"{seen}, which leads here", "nothing; but hosts that are not armed fetch it too: --dhcp off fits better",
            on=wire.interface, **data,
        )  # fmt: skip
    if wire.mode == "off":
        advice = f"let it name next-server {wire.home} and the file pxelinux.0"
    else:
        advice = (
            "take next-server, filename and options 66/67 out of it: some firmware takes its file and never looks at "
            f"pxeforge's (naming {wire.home} as next-server without a file is fine)"
        )
    return warning(seen, advice, on=wire.interface, **data)


def _next_server(wire: Wire, server: IPv4Address, answers: list[SeenAnswer]) -> Finding | None:
    """siaddr without a file: harmless to most firmware, but GRUB and shim ask it for their next files."""
    named = {answer.next_server for answer in answers} - {None, server}
    if not named or wire.is_ours(server):
        return None
    text = ", ".join(sorted(map(str, named)))
    if named <= wire.own:
        return ok(f"DHCP server {server} names this computer ({text}) as next-server", on=wire.interface)
    return note(
        f"DHCP server {server} names {text} as next-server, with no file",
        f"for GRUB and Secure Boot let it name {wire.home}: they ask that server for their next files",
        on=wire.interface,
    )


def _leads_to(answer: SeenAnswer) -> IPv4Address:
    """The TFTP server a firmware would ask: siaddr, and where it is empty the DHCP server itself."""
    return answer.next_server or answer.server


def _files(answers: Iterable[SeenAnswer]) -> str:
    return "; ".join(dict.fromkeys(_file(answer) for answer in answers))


def _file(answer: SeenAnswer) -> str:
    who = f"{answer.guise.value} on port {answer.port}"
    if answer.boots:
        what = answer.boots if "://" in answer.boots else f"{answer.boots} from {_leads_to(answer)}"
        disagree = answer.file and answer.boot_file and answer.file != answer.boot_file
        return f"{who} gets {what}" + (f" (the header says {answer.file})" if disagree else "")
    if answer.menu:
        return f"{who} gets the menu {', '.join(text for _, text in answer.menu)}"
    return f"{who} is to ask port 4011" if answer.port != 4011 else f"{who} gets no file"


def _boot_data(server: IPv4Address, answers: list[SeenAnswer]) -> dict[str, Any]:
    return {
        "server": str(server),
        "offers": [
            {
                "guise": answer.guise.value, "port": answer.port, "file": answer.file, "option_67": answer.boot_file,
                "option_66": answer.server_name, "option_60": answer.vendor_class, "option_43": answer.vendor.hex(),
                "next_server": str(answer.next_server) if answer.next_server else None,
                "menu": [text for _, text in answer.menu],
            }
            for answer in answers
        ],
    }  # fmt: skip
