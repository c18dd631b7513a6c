"""The checks of `pxeforge doctor`, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from pxeforge.app.doctor import data_checks as data
from pxeforge.app.doctor import network_checks as network
from pxeforge.app.doctor import outside_checks as outside
from pxeforge.app.doctor import privilege_checks as privilege
from pxeforge.app.doctor import self_test, wire_checks
from pxeforge.app.doctor.finding import Finding, Level, warning
from pxeforge.app.doctor.links import Link
from pxeforge.app.doctor.world import World
from pxeforge.app.settings import Settings, parse_range
from pxeforge.servers.datagram import CannotListen
from pxeforge.servers.interfaces import NoInterface
from pxeforge.store.revisions import known_revisions


@dataclass(frozen=True, slots=True)
class Check:
    """`run` looks with the world's probes and judges with a pure function."""

    name: str
    about: str
    run: Callable[[World], Iterable[Finding]]


def _each(judge: Callable[[World, Link], list[Finding]]) -> Callable[[World], Iterable[Finding]]:
    return lambda world: [finding for link in world.chosen for finding in judge(world, link)]


def _each_wire(judge: Callable[[wire_checks.Wire], list[Finding]]) -> Callable[[World], Iterable[Finding]]:
    return lambda world: [finding for wire in world.wires() for finding in judge(wire)]


def _range(world: World) -> list[Finding]:
    """The first interface whose subnet the range is in is the one that `serve` takes; else its first."""
    if world.settings.dhcp != "server" or world.settings.range is None or not world.chosen:
        return []
    first, last = parse_range(world.settings.range)
    home = next((link for link in world.chosen if any(first in a.address.network for a in link.addresses)), None)
    return network.check_range(home or world.chosen[0], first, last)


def _certificate(world: World) -> list[Finding]:
    if world.boot_address is None:
        return []
    return outside.check_certificate(world.certificate(), world.boot_address, world.now)


CHECKS: Final = (
    Check("interface", "the interfaces named exist",
          lambda w: network.check_interfaces(w.settings.interfaces, w.links)),
    Check("capabilities", "rights of this process that the mode needs", lambda w: privilege.check_capabilities(
        w.capabilities, w.wanted_ports, first_free_port=w.first_free_port, mode=w.settings.dhcp,
        tied_needs_raw=w.tied_needs_raw,
    )),
    Check("ports", "each port of serve is free; who holds it if not",
          lambda w: privilege.check_ports(w.wanted_ports, w.refused_ports, w.held_ports, w.our_pids)),
    Check("link", "up, carrier, MTU", _each(lambda _, link: network.check_link(link))),
    Check("address", "one IPv4 address that is not leased", _each(lambda _, link: network.check_address(link))),
    Check("topology", "bridge ports, spanning tree, VLAN, Docker bridges, two interfaces in one subnet",
          _each(lambda w, link: network.check_topology(link, w.links))),
    Check("range", "server mode's addresses fit the interface", _range),
    Check("neighbours", "libvirt, NetworkManager, systemd-networkd or dnsmasq serving DHCP on the interface",
          _each(lambda w, link: network.check_neighbours(
              link, w.dnsmasqs, mode=w.settings.dhcp, networkd=w.networkd_file(link),
              is_container=w.is_behind_container_network(link),
          ))),
    Check("dhcp", "every DHCP server that offers an address, and whether the mode can live with it",
          _each_wire(wire_checks.check_dhcp_offers)),
    Check("pxe", "every PXE service and boot file on the wire, and who would fight whom",
          _each_wire(wire_checks.check_boot_offers)),
    Check("data-dir", "the data directory is there, writable and private", lambda w: data.check_data_dir(w.data_dir)),
    Check("disk", "at least 2 GiB free", lambda w: data.check_disk(w.data_dir, data.free_bytes_of(w.data_dir))),
    Check("secret-key", "secret.key is there, whole and private",
          lambda w: data.check_key(w.data_dir / "secret.key", has_database=w.database.is_present)),
    Check("database", "opens and is at this release's revision",
          lambda w: data.check_database(w.database, known_revisions())),
    Check("images", "every image is whole (by size) and has the loaders of BIOS and UEFI",
          lambda w: data.check_images(w.images)),
    Check("loaders", "iPXE for hosts that are to be given it", lambda w: data.check_loaders(w.data_dir)),
    Check("profiles", "every profile has its image and lets somebody log in",
          lambda w: data.check_profiles(w.profiles(), [image.name.partition("/")[0] for image in w.images])),
    Check("clock", "synchronised, and in a sane year",
          lambda w: outside.check_clock(w.now, outside.clock_is_synchronised())),
    Check("mirror", "the upstream package mirror answers", lambda w: outside.check_mirror(*w.mirror())),
    Check("certificate", "names the boot address and is valid now", _certificate),
    Check("tftp", "a running server hands out a loader over TFTP, byte for byte",
          lambda w: self_test.check_tftp(w.loader, w.fetched_loader())),
    Check("http", "a running server answers on the boot plane", lambda w: self_test.check_http(w.fetched_health())),
)  # fmt: skip


def examine(settings: Settings, timeout_s: float, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """All findings, in the order of the checks; `timeout_s` is how long the wire is listened to."""
    world = World(settings, timeout_s)
    return [replace(finding, check=check.name) for check in checks for finding in _run(check, world)]


def has_error(findings: Iterable[Finding]) -> bool:
    return any(finding.level is Level.ERROR for finding in findings)


def _run(check: Check, world: World) -> list[Finding]:
    """One check that breaks must not hide what the others see."""
    try:
        return list(check.run(world))
    except (CannotListen, NoInterface) as problem:
        return [warning(f"not examined: {problem}", "mend that and run the doctor again")]
    except Exception as problem:
        return [warning(f"not examined ({type(problem).__name__}: {problem})", "check the rights of this user")]
