"""The real probes behind the checks: this computer, its wire and its data directory, each looked at once."""

from __future__ import annotations

import datetime
import errno
import platform
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pxeforge.app.doctor import data_checks, outside_checks, self_test
from pxeforge.app.doctor.links import Link, read_links
from pxeforge.app.doctor.network_checks import Dnsmasq, dnsmasq_of
from pxeforge.app.doctor.privilege_checks import WantedPort
from pxeforge.app.doctor.processes import (
    HeldPort,
    Process,
    capabilities_in,
    family_of,
    read_held_ports,
    read_processes,
    serving_pid,
)
from pxeforge.app.doctor.wire_checks import Wire
from pxeforge.app.settings import Settings
from pxeforge.protocol.dhcp.exchange import BINL_PORT, DHCP_PORT
from pxeforge.servers.datagram import CannotListen, listen_udp
from pxeforge.servers.pxe_probe import SeenAnswer, probe_wire
from pxeforge.services import profiles
from pxeforge.services.context import Addresses, Context
from pxeforge.services.image_catalogue import CATALOGUE
from pxeforge.services.image_store import ImportProblem, list_images
from pxeforge.services.mirror_source import apt_mirror
from pxeforge.store.database import Database
from pxeforge.store.revisions import known_revisions


@dataclass
class World:
    """Everything is read when it is first asked for, and only once."""

    settings: Settings
    timeout_s: float
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    # ------------------------------------------------------------------ links

    @cached_property
    def links(self) -> tuple[Link, ...]:
        return read_links()

    @cached_property
    def chosen(self) -> tuple[Link, ...]:
        """The interfaces of the boot network that exist."""
        return tuple(link for name in self.settings.interfaces for link in self.links if link.name == name)

    @cached_property
    def own_addresses(self) -> frozenset[IPv4Address]:
        return frozenset(entry.address.ip for link in self.links for entry in link.addresses)

    @property
    def boot_address(self) -> str | None:
        return next((str(link.addresses[0].address.ip) for link in self.chosen if link.addresses), None)

    # ------------------------------------------------------------------ processes and ports

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        return read_processes()

    @cached_property
    def held_ports(self) -> tuple[HeldPort, ...]:
        return read_held_ports(self.processes)

    @cached_property
    def serving_pid(self) -> int | None:
        return serving_pid(self.settings.data_dir / "serve.lock")

    @cached_property
    def our_pids(self) -> frozenset[int]:
        return family_of(self.serving_pid, self.processes)

    @cached_property
    def dnsmasqs(self) -> tuple[Dnsmasq, ...]:
        found = (dnsmasq_of(process, _read) for process in self.processes)
        return tuple(one for one in found if one is not None)

    @property
    def capabilities(self) -> int:
        return capabilities_in(_read("/proc/thread-self/status"))

    @property
    def first_free_port(self) -> int:
        return int(_read("/proc/sys/net/ipv4/ip_unprivileged_port_start") or 1024)

    @property
    def tied_needs_raw(self) -> bool:
        """Before Linux 5.7 SO_BINDTODEVICE needed CAP_NET_RAW."""
        version = re.match(r"(\d+)\.(\d+)", platform.release())
        return version is not None and (int(version[1]), int(version[2])) < (5, 7)

    @cached_property
    def wanted_ports(self) -> tuple[WantedPort, ...]:
        settings, found = self.settings, list[WantedPort]()
        for link in self.chosen:
            for port, purpose in ((DHCP_PORT, "DHCP"), (BINL_PORT, "PXE boot server")):
                if settings.dhcp != "off":
                    found.append(WantedPort(purpose=purpose, protocol="udp", port=port, interface=link.name))
            for port, purpose, key in (
                (settings.tftp_port, "TFTP", "tftp_port"), (settings.syslog_port, "syslog", "syslog_port"),
            ):  # fmt: skip
                if link.addresses:
                    address = str(link.addresses[0].address.ip)
                    found.append(WantedPort(purpose=purpose, protocol="udp", port=port, address=address, setting=key))
        address, port = settings.admin_address
        web = (("boot plane", settings.boot_port, "boot_port"), ("agent plane", settings.agent_port, "agent_port"))
        found += [WantedPort(purpose=name, protocol="tcp", port=number, setting=key) for name, number, key in web]
        found.append(
            WantedPort(purpose="admin plane", protocol="tcp", port=port, address=address, setting="admin_listen")
        )
        if settings.metrics_address is not None:
            address, port = settings.metrics_address
            wanted = WantedPort(
                purpose="metrics", protocol="tcp", port=port, address=address, setting="metrics_listen"
            )  # fmt: skip
            found.append(wanted)
        return tuple(found)

    @cached_property
    def refused_ports(self) -> dict[WantedPort, int]:
        """The ports that could not be opened just now, with errno."""
        tried = {port: _try_to_open(port) for port in self.wanted_ports}
        return {port: number for port, number in tried.items() if number is not None}

    def networkd_file(self, link: Link) -> str:
        """The .network file that systemd-networkd runs the interface by; empty where it does not."""
        state = _read(f"/run/systemd/netif/links/{link.index}")
        named = re.search(r"(?m)^NETWORK_FILE=(.+)$", state)
        return _read(named[1]) if named else ""

    def is_behind_container_network(self, link: Link) -> bool:
        return link.kind == "veth" and any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))

    # ------------------------------------------------------------------ the wire

    @cached_property
    def _heard(self) -> dict[str, tuple[SeenAnswer, ...]]:
        names = [link.name for link in self.chosen if link.is_up and link.addresses]
        if not names:
            return {}
        with ThreadPoolExecutor(len(names)) as pool:
            heard = pool.map(lambda name: tuple(probe_wire(name, self.timeout_s)), names)
            return dict(zip(names, heard, strict=True))

    def wires(self) -> list[Wire]:
        """What was heard on each interface that can be asked; raises CannotListen."""
        return [
            Wire(
                interface=link.name, mode=self.settings.dhcp, answers=self._heard[link.name], own=self.own_addresses,
                home=link.addresses[0].address.ip, is_serving=self.serving_pid is not None, force=self.settings.force,
            )
            for link in self.chosen if link.name in self._heard
        ]  # fmt: skip

    # ------------------------------------------------------------------ the data directory

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir

    @cached_property
    def database(self) -> data_checks.DatabaseState:
        return data_checks.read_database(self.settings.location)

    @cached_property
    def images(self) -> tuple[data_checks.ImageState, ...]:
        return data_checks.read_images(self.data_dir)

    def profiles(self) -> list[dict[str, Any]]:
        """None are read from a database of another release."""
        if self.database.revision != known_revisions()[0]:
            return []
        database = Database(self.settings.location)
        try:
            addresses = Addresses(boot_address=self.boot_address or "127.0.0.1")
            return profiles.list_profiles(
                Context(database=database, data_dir=self.data_dir, addresses=addresses, master_key=bytes(32))
            )
        finally:
            database.close()

    # ------------------------------------------------------------------ around, and the server that runs

    def mirror(self) -> tuple[str | None, dict[str, str] | None]:
        """The upstream and what it says to the suites of our images, or to the newest we could import."""
        table = self.settings.mirrors.get("debian")
        try:
            upstream = (table.url if table else self.settings.mirror or apt_mirror().base_url).rstrip("/")
        except ImportProblem:
            return None, {}
        if self.settings.mirror_offline:
            return upstream, None
        of_debian = [image for image in list_images(self.data_dir) if image.distribution in (None, "debian")]
        suites = sorted({image.suite for image in of_debian}) or [next(iter(CATALOGUE.values())).suite]
        proxy = (table and table.proxy) or self.settings.mirror_proxy
        return upstream, outside_checks.ask_mirror(upstream, suites, proxy)

    def certificate(self) -> outside_checks.Certificate | None:
        return outside_checks.read_certificate(self.data_dir / "tls" / "server.crt")

    @cached_property
    def loader(self) -> self_test.Loader | None:
        return self_test.choose_loader(list_images(self.data_dir))

    def fetched_loader(self) -> self_test.Fetched | None:
        if self.serving_pid is None or self.loader is None or self.boot_address is None:
            return None
        return self_test.fetch_tftp(self.boot_address, self.settings.tftp_port, self.loader.name)

    def fetched_health(self) -> self_test.Fetched | None:
        if self.serving_pid is None or self.boot_address is None:
            return None
        return self_test.fetch_health(self.boot_address, self.settings.boot_port)


def _try_to_open(port: WantedPort) -> int | None:
    """None when the port can be had; it is given back at once."""
    try:
        if port.protocol == "udp":
            listen_udp(port.address, port.port, interface=port.interface, purpose=port.purpose, remedy="").close()
            return None
        family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((port.address, port.port))
    except CannotListen as problem:
        cause = problem.__cause__
        return (cause.errno if isinstance(cause, OSError) else None) or errno.EADDRINUSE
    except OSError as problem:
        return problem.errno or errno.EADDRINUSE
    return None


def _read(path: str) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
