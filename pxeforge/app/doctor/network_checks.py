"""Checks of the chosen interface and of the programs that serve DHCP on it without being asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from pxeforge.app.doctor.finding import Finding, error, note, ok, warning
from pxeforge.app.doctor.links import Link
from pxeforge.app.doctor.processes import Process

_DOCKER: Final = re.compile(r"docker\d+|br-[0-9a-f]{12}")
_LIBVIRT_CONF: Final = re.compile(r"--conf-file=(.*/libvirt/dnsmasq/([^/]+)\.conf)")
_NM_PID_FILE: Final = re.compile(r"--pid-file=.*/nm-dnsmasq-([^/]+)\.pid")
_NEVER_LOSES: Final = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Dnsmasq:
    """A dnsmasq and who started it: libvirt's network, NetworkManager's shared connection, or an operator."""

    pid: int
    owner: str
    interfaces: frozenset[str]  # empty: all
    serves_dhcp: bool


def check_interfaces(names: Iterable[str], links: Iterable[Link]) -> list[Finding]:
    """Whether the chosen interfaces exist."""
    known = [link for link in links if link.addresses and link.name != "lo"]
    choices = ", ".join(f"{link.name} ({link.addresses[0].address})" for link in known) or "none has an IPv4 address"
    names = tuple(names)
    if not names:
        return [error("no interface is named", f"name that of the boot network with --interface: {choices}")]
    present = {link.name for link in links}
    return [
        ok("the interface is here", on=name)
        if name in present
        else error(f"there is no interface {name}", f"choose one of: {choices}", on=name)
        for name in names
    ]


def check_link(link: Link) -> list[Finding]:
    """Up, carrier, MTU."""
    found = []
    if not link.is_up:
        found.append(error("the interface is down", f"bring it up: ip link set {link.name} up", on=link.name))
    elif not link.has_carrier:
        why = "no port of the bridge is up" if link.kind == "bridge" else "no cable, or the switch port is off"
        found.append(warning(f"no carrier: {why}", "connect it; until then no host is heard", on=link.name))
    if link.mtu < _NEVER_LOSES:
        found.append(
            note(
                f"MTU is {link.mtu}: firmware sends and expects frames of 1500",
                "raise it to 1500, or expect TFTP with smaller blocks",
                on=link.name,
                mtu=link.mtu,
            )
        )
    return found or [ok(f"up, with carrier, MTU {link.mtu}", on=link.name)]


def check_address(link: Link) -> list[Finding]:
    """One IPv4 address that stays."""
    if not link.addresses:
        return [
            error("no IPv4 address", f"give it a fixed one: ip addr add ADDRESS/LENGTH dev {link.name}", on=link.name)
        ]
    first = link.addresses[0]
    if not first.is_permanent:
        return [
            warning(
                f"the address {first.address} is leased from a DHCP server",
                "give the interface a fixed address: menus and answers name it, and hosts keep it for their agent",
                on=link.name,
            )
        ]
    if len(link.addresses) > 1:
        others = ", ".join(str(address.address) for address in link.addresses[1:])
        return [
            note(f"several addresses: {first.address} is used, not {others}", "nothing, if that is right", on=link.name)
        ]
    return [ok(f"fixed address {first.address}", on=link.name)]


def check_topology(link: Link, links: Iterable[Link]) -> list[Finding]:
    """Bridges with spanning tree, ports of bridges, VLANs, and a second interface in the same subnet."""
    links = tuple(links)
    found = [*_bridge(link, links), *_vlan(link), *_same_subnet(link, links)]
    if _DOCKER.fullmatch(link.name):
        found.append(
            warning(
                "this is a bridge of Docker: hosts outside this computer are not on it",
                "name the interface of the boot network (for containers: network_mode host)",
                on=link.name,
            )
        )
    return found or [ok(f"plain {link.kind or 'network'} interface", on=link.name)]


def check_range(link: Link, first: IPv4Address, last: IPv4Address) -> list[Finding]:
    """Server mode's addresses lie in the interface's subnet and leave our own out."""
    home = next((entry.address for entry in link.addresses if first in entry.address.network), None)
    if home is None or last not in home.network:
        nets = ", ".join(str(entry.address.network) for entry in link.addresses) or "no subnet at all"
        return [error(f"the range {first}-{last} is not in {nets}", "give a --range inside the subnet", on=link.name)]
    if first <= home.ip <= last:
        return [error(f"the range {first}-{last} holds our own address {home.ip}", "leave it out", on=link.name)]
    return [ok(f"{int(last) - int(first) + 1} addresses to lease in {home.network}", on=link.name)]


def check_neighbours(
    link: Link, dnsmasqs: Iterable[Dnsmasq], *, mode: str, networkd: str, is_container: bool
) -> list[Finding]:
    """Programs of this computer that serve DHCP on the interface. `networkd`: its .network file, empty if none."""
    found = []
    for one in dnsmasqs:
        if one.serves_dhcp and (not one.interfaces or link.name in one.interfaces):
            found.append(_dnsmasq(link, one, mode))
    if re.search(r"(?im)^\s*DHCPServer\s*=\s*(yes|true|1|on)\s*$", networkd):
        found.append(_rival(link, "systemd-networkd serves DHCP here", "set DHCPServer=no in its .network file", mode))
    if is_container:
        found.append(
            warning(
                "we run in a container: a container's own network passes no broadcast of real hosts",
                "run it with the host's network (docker run --network host)",
                on=link.name,
            )
        )
    return found or [ok("no other program of this computer serves DHCP on it", on=link.name)]


def dnsmasq_of(process: Process, read: Callable[[str], str]) -> Dnsmasq | None:
    """What a dnsmasq process does, by its arguments and, for libvirt's, its file; None for any other process."""
    if process.name != "dnsmasq":
        return None
    line = " ".join(process.args)
    settings = [arg.removeprefix("--") for arg in process.args[1:]]
    owner = "started by an operator or the system"
    if (libvirt := _LIBVIRT_CONF.search(line)) is not None:
        owner = f"of libvirt's network {libvirt[2]}"
        settings += [text.strip() for text in read(libvirt[1]).splitlines()]
    elif (manager := _NM_PID_FILE.search(line)) is not None:
        owner = f"of NetworkManager's shared connection on {manager[1]}"
        settings.append(f"interface={manager[1]}")
    else:
        files = [arg.partition("=")[2] for arg in process.args if arg.startswith("--conf-file=")]
        settings += [text.strip() for file in files for text in read(file).splitlines()]
    return Dnsmasq(
        pid=process.pid,
        owner=owner,
        interfaces=frozenset(text.partition("=")[2] for text in settings if text.startswith("interface=")),
        serves_dhcp=any(text.startswith("dhcp-range=") for text in settings),
    )


def _dnsmasq(link: Link, one: Dnsmasq, mode: str) -> Finding:
    advice = "stop it, or take its dhcp-range out"
    if "libvirt" in one.owner:
        advice = "remove <dhcp> from the network (virsh net-edit), or make the network isolated"
    elif "NetworkManager" in one.owner:
        advice = "set ipv4.method manual (nmcli connection modify)"
    return _rival(link, f"dnsmasq {one.owner} (pid {one.pid}) serves DHCP here and holds port 67", advice, mode)


def _rival(link: Link, seen: str, advice: str, mode: str) -> Finding:
    """On the same computer two programs cannot share port 67 at all, whatever the mode; with DHCP off they need not."""
    if mode == "off":
        return note(seen, "let it name this computer as next-server", on=link.name)
    return error(seen, f"{advice}; or run with --dhcp off and let it name this computer as next-server", on=link.name)


def _bridge(link: Link, links: tuple[Link, ...]) -> list[Finding]:
    found = []
    bridge = next((one for one in links if one.name == link.master), link)
    if bridge.kind == "bridge" and bridge is not link:
        found.append(error(f"it is a port of the bridge {bridge.name}", f"use --interface {bridge.name}", on=link.name))
    if bridge.kind == "bridge" and bridge.stp and bridge.forward_delay_s > 0:
        wait_s = 2 * bridge.forward_delay_s  # listening, then learning
        found.append(
            warning(
                f"the bridge {bridge.name} runs spanning tree: a port that comes up is deaf for {wait_s:g} s, and "
                "firmware gives up before",
                f"ip link set {bridge.name} type bridge stp_state 0 (or forward_delay 0); on a switch: portfast",
                on=link.name,
                deaf_s=wait_s,
            )
        )
    return found


def _vlan(link: Link) -> list[Finding]:
    if link.vlan is None:
        return []
    return [
        note(
            f"VLAN {link.vlan} on {link.parent or 'another link'}",
            "let the hosts' switch ports carry it untagged: firmware sends no tags",
            on=link.name,
            vlan=link.vlan,
        )
    ]


def _same_subnet(link: Link, links: tuple[Link, ...]) -> list[Finding]:
    ours = {address.address.network for address in link.addresses}
    others = [one.name for one in links if one.name != link.name and ours & {a.address.network for a in one.addresses}]
    if not others:
        return []
    return [
        warning(
            f"{', '.join(others)} has an address in the same subnet: answers may leave by another interface than asked",
            "keep one interface per subnet",
            on=link.name,
        )
    ]
