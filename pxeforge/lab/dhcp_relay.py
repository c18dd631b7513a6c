"""The DHCP relay of a branch: dnsmasq in the router's namespace carries the branch's broadcasts to DHCP servers."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pxeforge.lab.rack import Branch, RackError, stop


@contextlib.contextmanager
def relaying(branch: Branch, servers: Sequence[ipaddress.IPv4Address], directory: Path) -> Iterator[None]:
    """Carries to each of the servers, as routers with several helper addresses do; raises RackError."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "dhcp-relay.log"
    log.write_text("")
    relays = [f"--dhcp-relay={branch.address},{server}" for server in servers]
    command = ["dnsmasq", "--keep-in-foreground", "--port=0", "--conf-file=/dev/null", "--log-dhcp", "--user=root"]
    command += [f"--log-facility={log}", "--pid-file=", *relays]
    with log.with_suffix(".err").open("wb") as errors:
        process = branch.popen(command, stdout=errors, stderr=errors)
    try:
        deadline = time.monotonic() + 10
        while "relay from" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.with_suffix(".err").read_text(errors="replace") + log.read_text(errors="replace")
                raise RackError(f"the branch's DHCP relay did not start: {said.strip()[-800:]}")
            time.sleep(0.05)
        yield
    finally:
        stop(process)
