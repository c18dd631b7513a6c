"""The site's own DHCP server in a site namespace: dnsmasq, Kea or ISC dhcpd, with addresses, router and DNS but no
boot options. It lends addresses of its own wire or of a branch behind a relay.
"""

from __future__ import annotations

import enum
import ipaddress
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pxeforge.lab.rack import RackError, Site, stop

FIRST, LAST = 50, 90  # host numbers of a subnet that are lent


class Brand(enum.Enum):
    """A DHCP server that Debian has."""

    DNSMASQ = "dnsmasq"
    KEA = "kea"
    ISC = "isc-dhcpd"


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses that are lent: numbers FIRST to LAST of a subnet, with its router."""

    subnet: ipaddress.IPv4Network
    router: ipaddress.IPv4Address

    @property
    def first(self) -> ipaddress.IPv4Address:
        return self.subnet[FIRST]

    @property
    def last(self) -> ipaddress.IPv4Address:
        return self.subnet[LAST]


@dataclass(frozen=True, slots=True)
class Program:
    """What there is to know of a brand: its program, Debian's package, and what its log says when it serves."""

    name: str
    package: str
    ready: str


PROGRAMS = {
    Brand.DNSMASQ: Program("dnsmasq", "dnsmasq-base", "IP range"),
    Brand.KEA: Program("kea-dhcp4", "kea-dhcp4-server", "DHCP4_STARTED"),
    Brand.ISC: Program("dhcpd", "isc-dhcp-server", "Server starting service"),
}


def path_of(brand: Brand) -> str | None:
    """Where the brand's program is; None where it is not installed."""
    return shutil.which(PROGRAMS[brand].name)


class SiteDhcp:
    """`with SiteDhcp(site, directory):` serves .50 to .90 of the rack's subnet, or of `subnet` by way of a relay, whose
    router is then the subnet's first address; files are kept in directory.
    """

    def __init__(
        self,
        site: Site,
        directory: Path,
        *,
        brand: Brand = Brand.DNSMASQ,
        subnet: ipaddress.IPv4Network | None = None,
    ) -> None:
        self.site, self.directory, self.brand = site, directory, brand
        self.pool = Pool(subnet, subnet[1]) if subnet is not None else Pool(site.subnet, site.address)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "site-dhcp.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def config(self) -> str:
        """d-i asks questions without a router and a DNS server."""
        writer = {Brand.DNSMASQ: self._for_dnsmasq, Brand.KEA: self._for_kea, Brand.ISC: self._for_isc}
        return writer[self.brand]()

    def _for_dnsmasq(self) -> str:
        """It answers every name at once: NXDOMAIN."""
        return "\n".join(
            [
                f"interface={self.site.interface}",
                "except-interface=lo",
                "bind-interfaces",
                "no-resolv",
                "no-hosts",
                "local=/#/",
                f"dhcp-range={self.pool.first},{self.pool.last},{self.pool.subnet.netmask},1h",
                f"dhcp-option=option:router,{self.pool.router}",
                f"dhcp-option=option:dns-server,{self.site.address}",
                "dhcp-authoritative",
                "no-ping",
                "log-dhcp",
                f"log-facility={self.log}",
                f"dhcp-leasefile={self.directory / 'site-dhcp.leases'}",
                "pid-file=",
                "user=root",
                "",
            ]
        )

    def _for_kea(self) -> str:
        subnet = {
            "id": 1, "subnet": str(self.pool.subnet), "pools": [{"pool": f"{self.pool.first} - {self.pool.last}"}],
            "option-data": [{"name": "routers", "data": str(self.pool.router)}],
        }  # fmt: skip
        server = {
            "interfaces-config": {"interfaces": [self.site.interface]},
            "lease-database": {"type": "memfile", "persist": False},
            "valid-lifetime": 3600, "authoritative": True,
            "option-data": [{"name": "domain-name-servers", "data": str(self.site.address)}],
            "subnet4": [subnet],
            "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": str(self.log)}]}],
        }  # fmt: skip
        return json.dumps({"Dhcp4": server}, indent=2)

    def _for_isc(self) -> str:
        """It wants to know its own wire too, even when it lends nothing there."""
        lines = [
            "authoritative;",
            "default-lease-time 3600;",
            f'lease-file-name "{self.directory / "site-dhcp.leases"}";',
            "log-facility local7;",
            f"option domain-name-servers {self.site.address};",
        ]
        if self.pool.subnet != self.site.subnet:
            lines.append(f"subnet {self.site.subnet.network_address} netmask {self.site.subnet.netmask} {{ }}")
        lines += [
            f"subnet {self.pool.subnet.network_address} netmask {self.pool.subnet.netmask} {{",
            f"  range {self.pool.first} {self.pool.last};",
            f"  option routers {self.pool.router};",
            "}",
            "",
        ]
        return "\n".join(lines)

    def start(self, timeout_s: float = 10) -> None:
        """Returns when it serves; raises RackError with the program's words."""
        program = PROGRAMS[self.brand]
        path = path_of(self.brand)
        if path is None:
            raise RackError(f"there is no {program.name}: install the package {program.package}")
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "site-dhcp.conf"
        config.write_text(self.config())
        self.log.write_text("")
        words = self.directory / "site-dhcp.err"
        # dhcpd talks to its error output and syslog only.
        said_in = words if self.brand is Brand.ISC else self.log
        with words.open("wb") as errors:
            self._process = self.site.popen(self._command(path, config), stdout=errors, stderr=errors, env=self._env())
        deadline = time.monotonic() + timeout_s
        while program.ready not in said_in.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = (words.read_text(errors="replace") or self.log.read_text(errors="replace")).strip()
                raise RackError(f"the site's {program.name} did not start: {said[-800:]}")
            time.sleep(0.05)

    def _command(self, path: str, config: Path) -> list[str]:
        if self.brand is Brand.DNSMASQ:
            return [path, "--keep-in-foreground", "-C", str(config)]
        if self.brand is Brand.KEA:
            return [path, "-c", str(config)]
        (self.directory / "site-dhcp.leases").touch()
        return [path, "-4", "-d", "-cf", str(config), "--no-pid", self.site.interface]

    def _env(self) -> dict[str, str]:
        """Kea keeps its files below /run otherwise, where another Kea may have its own."""
        return {**os.environ, "KEA_LOCKFILE_DIR": str(self.directory), "KEA_PIDFILE_DIR": str(self.directory)}

    def stop(self) -> None:
        """Ends it by its pid; twice is fine."""
        if self._process is not None:
            stop(self._process)

    def __enter__(self) -> SiteDhcp:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
