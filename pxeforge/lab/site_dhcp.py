"""The site's own DHCP server: dnsmasq in a site namespace, with addresses, router and DNS but no boot options."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType

from pxeforge.lab.rack import RackError, Site, stop


class SiteDhcp:
    """`with SiteDhcp(site, directory):` serves .50 to .90 of the rack's subnet; files are kept in directory."""

    def __init__(self, site: Site, directory: Path, first: int = 50, last: int = 90) -> None:
        self.site, self.directory = site, directory
        self.first, self.last = site.subnet[first], site.subnet[last]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "site-dhcp.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def config(self) -> str:
        """d-i asks questions without a router and a DNS server; the server answers every name at once: NXDOMAIN."""
        return "\n".join(
            [
                f"interface={self.site.interface}",
                "except-interface=lo",
                "bind-interfaces",
                "no-resolv",
                "no-hosts",
                "local=/#/",
                f"dhcp-range={self.first},{self.last},{self.site.subnet.netmask},1h",
                f"dhcp-option=option:router,{self.site.address}",
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

    def start(self, timeout_s: float = 10) -> None:
        """Returns when it serves; raises RackError with dnsmasq's words."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "site-dhcp.conf"
        path.write_text(self.config())
        self.log.write_text("")
        words = self.directory / "site-dhcp.err"
        with words.open("wb") as errors:
            self._process = self.site.popen(["dnsmasq", "--keep-in-foreground", "-C", str(path)], stderr=errors)
        deadline = time.monotonic() + timeout_s
        while "IP range" not in self.log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RackError(f"the site's dnsmasq did not start: {words.read_text(errors='replace').strip()}")
            time.sleep(0.05)

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
