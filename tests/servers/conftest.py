"""A desk that follows its contract, servers in threads, and networks of namespaces that vanish after the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from pyroute2 import netns

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.protocol.dhcp.lease import Lease
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.services.problems import Problem


@dataclass
class Desk:
    """BootDesk in memory: installs the hosts in `armed`, serves `files`, and remembers what it was told."""

    armed: set[str] = field(default_factory=set)
    files: dict[str, bytes | Path] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[tuple[str, int, str | None]] = field(default_factory=list)
    lines: list[SyslogLine] = field(default_factory=list)
    failing: bool = False
    failures: int = 0
    problem: str = ""  # why no file is served

    def dhcp_seen(self, request: BootRequest, *, message_type: str, server_mode: bool) -> BootDecision:
        self._fail_if_told()
        self.seen.append((str(request.mac), message_type))
        boot = Boot.INSTALL if str(request.mac) in self.armed else Boot.LOCAL
        return BootDecision(boot=boot, reason="test")

    def dhcp_answered(self, request: BootRequest, *, what: str) -> None:
        self.answered.append(what)

    def tftp_open(self, name: str, peer_ip: str) -> bytes | Path | None:
        self._fail_if_told()
        if self.problem:
            raise Problem(self.problem)
        self.opened.append(name)
        return self.files.get(name)

    def tftp_closed(self, name: str, peer_ip: str, *, sent: int, duration_s: float, problem: str | None) -> None:
        self.closed.append((name, sent, problem))

    def installer_said(self, line: SyslogLine) -> None:
        self._fail_if_told()
        self.lines.append(line)

    def _fail_if_told(self) -> None:
        if self.failing:
            self.failures += 1
            raise RuntimeError("the desk is broken")


@dataclass
class Store:
    """LeaseStore in memory, by address."""

    leases: dict[str, Lease] = field(default_factory=dict)
    failing: bool = False

    def load(self) -> list[Lease]:
        return list(self.leases.values())

    def save(self, leases: Sequence[Lease]) -> None:
        if self.failing:
            raise OSError("disk full")
        self.leases.update({str(lease.address): lease for lease in leases})


class Server(Protocol):
    def open(self) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...


@contextmanager
def running(server: Server, namespace: str = "") -> Iterator[None]:
    """Opens and runs a server in a thread, in a network namespace if one is named; what open() raises comes out."""
    opened, failure = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            if namespace:
                netns.setns(namespace)
            server.open()
        except BaseException as error:
            failure.append(error)
            return
        finally:
            opened.set()
        server.run()

    thread = threading.Thread(target=work)
    thread.start()
    opened.wait(30)
    if failure:
        thread.join()
        raise failure[0]
    try:
        yield
    finally:
        server.stop()
        thread.join(10)  # a loop that misses stop() would sleep for a minute
        assert not thread.is_alive(), "stop() must end run()"


def wait_until(true: Callable[[], bool], timeout_s: float = 5.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def store() -> Store:
    return Store()


@dataclass
class Network:
    """A bridge `br0` (10.77.0.1/24) in the namespace `server`; hosts join it with a cable of their own."""

    server: str
    _names: list[str] = field(default_factory=list)

    def host(self, mac: str, address: str = "", bridge: str = "br0") -> str:
        """Adds a namespace whose `eth0` has this MAC; returns its name."""
        name, cable = _new_namespace(self._names), f"c{len(self._names)}"
        _run("ip", "-n", self.server, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "-n", self.server, "link", "set", cable, "master", bridge, "up")
        _run("ip", "-n", name, "link", "set", "eth0", "address", mac, "up")
        if address:
            _run("ip", "-n", name, "addr", "add", address, "dev", "eth0")
        # The kernel opens the bridge's port a moment later: until then it drops what the host says.
        wait_until(lambda: "state forwarding" in _run("ip", "-n", self.server, "-d", "link", "show", cable))
        return name


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _new_namespace(names: list[str]) -> str:
    name = f"pxf-{uuid.uuid4().hex[:10]}"
    _run("ip", "netns", "add", name)
    names.append(name)
    _run("ip", "-n", name, "link", "set", "lo", "up")
    return name


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("making network namespaces needs root and ip")
    names: list[str] = []
    try:
        server = _new_namespace(names)
        _run("ip", "-n", server, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        _run("ip", "-n", server, "addr", "add", "10.77.0.1/24", "dev", "br0")
        _run("ip", "-n", server, "link", "set", "br0", "up")
        yield Network(server, names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)
