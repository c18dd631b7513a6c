"""The scene of a measurement: network namespaces of our own, files, pxeforge and its peers as processes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.compiled import CannotBench, compiled

HTTP_PORT = 8080
IMAGE = "images/bench/1"
_START_LIMIT_S = 60.0
# A mirror that is not there; and no question whether somebody uses an address, as the peers ask none either.
_OUR_SETTINGS = {"PXEFORGE_MIRROR": "http://127.0.0.1:9/debian", "PXEFORGE_ADDRESS_CHECK": "false"}
_PACKAGES = {"dnsmasq": "dnsmasq-base", "nginx": "nginx-light", "kea-dhcp4": "kea-dhcp4-server"}


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@dataclass(frozen=True, slots=True)
class Wire:
    """A server's boot network in a namespace of its own, /12 wide; on our side of it sits a relay and router.

    All servers so have port 67 to themselves. Hosts live behind the router, for on the wire itself pxeforge asks the
    neighbour table whether a host is who it says it is, and the load generators have one MAC between them.
    """

    namespace: str
    number: int

    @property
    def server(self) -> str:
        return f"10.{self.number}.0.1"

    @property
    def relay(self) -> str:
        return f"10.{self.number}.0.2"

    @property
    def range(self) -> tuple[str, str]:
        """262,144 addresses less a few: no client of a measurement goes without."""
        return f"10.{self.number}.1.0", f"10.{self.number + 3}.255.255"

    @property
    def inside(self) -> list[str]:
        """Before a command that is to run in the server's namespace."""
        return ["ip", "netns", "exec", self.namespace]

    def make(self) -> None:
        name = self.namespace
        ip(f"netns add {name}")
        ip(f"link add {name} type veth peer name lan netns {name}")
        ip(f"addr add {self.relay}/12 dev {name}")
        ip(f"link set {name} up")
        ip(f"-n {name} link set lo up")
        ip(f"-n {name} addr add {self.server}/12 broadcast + dev lan")
        ip(f"-n {name} link set lan up")
        ip(f"-n {name} route add default via {self.relay}")
        # Whoever does not say otherwise speaks to the server as a host behind the router.
        ip(f"route replace 10.{self.number}.0.0/12 dev {name} src {HOST}")


WIRES = {"pxeforge": Wire("pxeforge", 64), "dnsmasq": Wire("dnsmasq", 80), "Kea": Wire("kea", 96)}
HOST = "172.16.0.1"  # 172.16.0.0/16 are hosts; every address of it is ours


def make_wires() -> None:
    """Run inside a fresh network and mount namespace."""
    ip("link set lo up")
    ip("route add local 172.16.0.0/16 dev lo")
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)  # where namespaces have their names
    for wire in WIRES.values():
        wire.make()


def write_files(folder: Path, sizes: Mapping[str, int]) -> None:
    """An image as the importer leaves it, so that our server finds it; the peers get the same folder as root."""
    place, files = folder / IMAGE, {}
    place.mkdir(parents=True)
    for name, size in sizes.items():
        content = random.Random(name).randbytes(size)  # every run the same
        (place / name).write_bytes(content)
        files[name] = {"size": size, "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "name": "bench", "version": "1", "arch": "amd64", "suite": "bookworm", "kernel_version": "0",
        "imported_at": 1.0, "files": files, "sources": {},
    }  # fmt: skip
    (place / "image.json").write_text(json.dumps(manifest))


@dataclass
class Scene:
    """Processes that end with the measurement. `folder` holds everything and is removed by its owner."""

    folder: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def pxeforge(self, data_dir: Path, words: str, *, inside: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """`serve` with all its processes; `words` are its further flags."""
        command = [*inside, sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(data_dir), *words.split()]
        return self.start(command, "pxeforge", "pxeforge is ready")

    def start(
        self, command: list[str], name: str, ready: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Returns when the process has said `ready`; raises CannotBench."""
        log = self.folder / f"{name}.log"
        surroundings = {**os.environ, **_OUR_SETTINGS, **(environment or {})}
        missing = CannotBench(f"{name} is not installed: apt-get install {_PACKAGES.get(name, name)}")
        with log.open("wb") as stream:
            try:
                process = subprocess.Popen(command, stdout=stream, stderr=stream, env=surroundings)
            except FileNotFoundError:
                raise missing from None
        self._running.append(process)
        deadline = time.monotonic() + _START_LIMIT_S
        while ready not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise missing if "No such file" in said else CannotBench(f"{name} did not start:\n{said}")
            time.sleep(0.05)
        return process

    def load(self, program: str, words: str, *, limit_s: float) -> dict[str, float]:
        """What a load generator measured; raises CannotBench when it saw something wrong."""
        executable = self.folder / program
        if not executable.exists():
            compiled(program, self.folder)
        command = [str(executable), *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
        if done.returncode != 0:
            raise CannotBench(f"{program} {words} failed:\n{done.stderr}{done.stdout}")
        sys.stderr.write(done.stderr)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    def end(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
