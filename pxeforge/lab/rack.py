"""A rack: one network namespace with a bridge, taps for machines and sites (further namespaces) on the same wire.

A branch is a second network with machines of its own, behind a router on the rack's wire.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

STATE_DIR = Path("/run/pxeforge-lab")
NETNS_DIR = Path("/run/netns")
BRIDGE = "br0"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}")


class RackError(Exception):
    """The rack could not be built or used; the message says why."""


def _ip(*args: str) -> str:
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RackError(f"`ip {' '.join(args)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _started_at(pid: int) -> str | None:
    """Start time of a process in clock ticks (proc(5), field 22): pid and this together are never reused.

    None when there is no such process, or only a zombie that nobody has waited for.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else fields[19]


@dataclass
class Namespace:
    """One network namespace made by this lab; recorded in STATE_DIR before it exists, so that none is ever lost."""

    name: str
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    def create(self) -> None:
        """Raises RackError when the name is taken or the caller is not root."""
        if not _NAME.fullmatch(self.name):
            raise RackError(f"{self.name!r} is no name for a rack: use lower case letters, digits and dashes")
        if os.geteuid() != 0:
            raise RackError("a rack needs root: network namespaces are made with `ip netns`")
        if (NETNS_DIR / self.name).exists():
            raise RackError(f"network namespace {self.name} exists already: choose another name for the rack")
        STATE_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = {"pid": os.getpid(), "started": _started_at(os.getpid())}
        (STATE_DIR / self.name).write_text(json.dumps(record))
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *args: str) -> str:
        """Runs `ip` on this namespace; raises RackError with its words."""
        return _ip("-n", self.name, *args)

    def inside(self, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def popen(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a process inside (`ip netns exec` becomes it: the pid is its own); ended with the namespace."""
        child = subprocess.Popen(self.inside(command), stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env)
        self._children.append(child)
        return child

    def run(
        self, command: Sequence[str], *, check: bool = True, timeout_s: float | None = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside and returns what it said; raises CalledProcessError, TimeoutExpired."""
        return subprocess.run(
            self.inside(command),
            check=check,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def remove(self) -> None:
        """Ends what runs inside and removes the namespace; interfaces go with it. Twice is fine."""
        for child in reversed(self._children):
            stop(child)
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    pipe.close()
        self._children.clear()
        remove_recorded(self.name)


def stop(child: subprocess.Popen[bytes], grace_s: float = 5) -> None:
    """TERM, then KILL, and reaps it; a process that has ended is fine."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def remove_recorded(name: str) -> None:
    """Removes one namespace if, and only if, this lab's records say that the lab made it."""
    if not (STATE_DIR / name).exists():
        return
    if (NETNS_DIR / name).exists():
        _end_processes(name)
        _ip("netns", "del", name)
    (STATE_DIR / name).unlink(missing_ok=True)


def _end_processes(name: str, grace_s: float = 5) -> None:
    """Whatever still runs in a namespace of ours was started by us."""
    deadline = time.monotonic() + grace_s
    sent = signal.SIGTERM
    while pids := [int(pid) for pid in _ip("netns", "pids", name).split() if int(pid) != os.getpid()]:
        if time.monotonic() > deadline:
            if sent is signal.SIGKILL:
                raise RackError(f"processes {pids} in namespace {name} cannot be ended")
            sent, deadline = signal.SIGKILL, time.monotonic() + grace_s
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        time.sleep(0.1)


def remove_stale(prefix: str) -> list[str]:
    """Removes recorded namespaces whose name starts with prefix and whose maker has died; returns their names."""
    removed = []
    for record in sorted(STATE_DIR.glob(f"{prefix}*")) if STATE_DIR.is_dir() else []:
        try:
            maker = json.loads(record.read_text())
            alive = _started_at(int(maker["pid"])) == maker["started"]
        except (OSError, ValueError, KeyError, TypeError):
            alive = False  # half-written: its maker died while recording it
        if not alive:
            remove_recorded(record.name)
            removed.append(record.name)
    return removed


class Site(Namespace):
    """A neighbour on the rack's wire with an address of its own, e.g. the site's DHCP server."""

    def __init__(self, name: str, address: ipaddress.IPv4Address, subnet: ipaddress.IPv4Network) -> None:
        super().__init__(name)
        self.address, self.subnet, self.interface = address, subnet, "eth0"


class _Wire(Namespace):
    """A namespace with a bridge that machines are plugged into; it has the subnet's first address."""

    def __init__(self, name: str, subnet: str) -> None:
        super().__init__(name)
        self.subnet = ipaddress.IPv4Network(subnet)
        self.address = self.subnet[1]
        self.bridge = BRIDGE

    def create(self) -> None:
        super().create()
        self.ip("link", "add", BRIDGE, "type", "bridge")
        self.ip("addr", "add", f"{self.address}/{self.subnet.prefixlen}", "dev", BRIDGE)
        self.ip("link", "set", BRIDGE, "up")

    def add_tap(self, number: int) -> str:
        """Adds `tap<number>` to the bridge and returns its name."""
        tap = f"tap{number}"
        self.ip("tuntap", "add", tap, "mode", "tap")
        self.ip("link", "set", tap, "master", BRIDGE, "up")
        return tap


class Branch(_Wire):
    """The network behind a router: the router's namespace, whose `interface` is on the rack's wire."""

    interface = "eth0"


class Rack(_Wire):
    """`with Rack("e2e") as rack:` makes the namespace `e2e-xxxxxx` with bridge br0 at the subnet's first address."""

    def __init__(self, name: str, subnet: str = "10.77.0.0/24") -> None:
        super().__init__(f"{name}-{secrets.token_hex(3)}", subnet)
        self._neighbours: list[Site | Branch] = []

    def __enter__(self) -> Rack:
        try:
            self.create()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        for neighbour in self._neighbours:
            neighbour.remove()
        self._neighbours.clear()
        super().remove()

    def add_site(self, name: str = "site", host_number: int = 2) -> Site:
        """Joins a second namespace to the bridge by a veth pair; it gets the subnet's address number host_number."""
        site = Site(f"{self.name}-{name}", self.subnet[host_number], self.subnet)
        self._join(site, site.interface, site.address)
        return site

    def add_branch(self, subnet: str = "10.78.0.0/24", host_number: int = 3) -> Branch:
        """A second network and the router to it, which has our address number host_number; who is on our wire by now
        learns the way. Broadcasts do not pass: DHCP needs a relay there.
        """
        branch = Branch(f"{self.name}-branch", subnet)
        uplink = self.subnet[host_number]
        sites = list(self._neighbours)
        self._join(branch, branch.interface, uplink)
        branch.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        for neighbour in (self, *sites):
            neighbour.ip("route", "add", str(branch.subnet), "via", str(uplink))
        return branch

    def _join(self, neighbour: Site | Branch, interface: str, address: ipaddress.IPv4Address) -> None:
        self._neighbours.append(neighbour)
        neighbour.create()
        port = f"veth{len(self._neighbours)}"
        self.ip("link", "add", port, "type", "veth", "peer", "name", interface, "netns", neighbour.name)
        self.ip("link", "set", port, "master", BRIDGE, "up")
        neighbour.ip("addr", "add", f"{address}/{self.subnet.prefixlen}", "dev", interface)
        neighbour.ip("link", "set", interface, "up")
