"""The scene of a measurement: a network namespace of our own, the files, pxeforge and its peers as processes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.compiled import CannotBench

OURS, DNSMASQ, NGINX = "10.99.0.1", "10.99.0.2", "10.99.0.3"
HTTP_PORT, NGINX_PORT = 8080, 8081  # our boot plane takes its port on every address
IMAGE = "images/bench/1"
SMALL, LARGE = "initrd.gz", "netboot.iso"
SIZES = {SMALL: 2_000_000, LARGE: 40_000_000}
_START_LIMIT_S = 60.0


def make_network() -> None:
    """Run inside a fresh network namespace: a bridge with the servers' addresses; 10.99.1.0/24 are the clients."""
    for words in (
        "link set lo up",
        "link add br0 type bridge",
        *(f"addr add {address}/16 dev br0" for address in (OURS, DNSMASQ, NGINX)),
        "link set br0 up",
        "route add local 10.99.1.0/24 dev lo",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def write_files(folder: Path) -> None:
    """An image as the importer leaves it, so that our server finds it; the peers get the same folder as root."""
    place, files = folder / IMAGE, {}
    place.mkdir(parents=True)
    for name, size in SIZES.items():
        content = random.Random(name).randbytes(size)  # every run the same
        (place / name).write_bytes(content)
        files[name] = {"size": size, "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "name": "bench", "version": "1", "arch": "amd64", "suite": "none", "kernel_version": "0",
        "imported_at": 1.0, "files": files, "sources": {},
    }  # fmt: skip
    (place / "image.json").write_text(json.dumps(manifest))


@dataclass
class Scene:
    """Processes that end with the measurement. `folder` holds everything and is removed by its owner."""

    folder: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_pxeforge(self) -> None:
        command = [sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(self.folder), "--interface", "br0"]
        self._start([*command, "--dhcp", "off"], "pxeforge", "pxeforge is ready")

    def start_dnsmasq(self) -> None:
        command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]
        tftp = ["--pid-file=", "--log-facility=-", "--enable-tftp", f"--tftp-root={self.folder}", "--tftp-max=300"]
        self._start([*command, *tftp, f"--listen-address={DNSMASQ}", "--bind-interfaces"], "dnsmasq", "TFTP")

    def start_nginx(self) -> None:
        settings = self.folder / "nginx.conf"
        settings.write_text(
            f"daemon off; user root; worker_processes auto; pid {self.folder}/nginx.pid; error_log stderr notice;\n"
            "events {} http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
            f"server {{ listen {NGINX}:{NGINX_PORT}; root {self.folder}; }} }}\n"
        )
        self._start(["nginx", "-p", str(self.folder), "-c", str(settings)], "nginx", "start worker process")

    def _start(self, command: list[str], name: str, ready: str) -> None:
        log = self.folder / f"{name}.log"
        environment = {**os.environ, "PXEFORGE_MIRROR": "http://127.0.0.1:9/debian"}
        with log.open("wb") as stream:
            try:
                process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            except FileNotFoundError:
                raise CannotBench(f"{name} is not installed: apt-get install {_PACKAGES.get(name, name)}") from None
        self._running.append(process)
        deadline = time.monotonic() + _START_LIMIT_S
        while ready not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotBench(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

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


_PACKAGES = {"dnsmasq": "dnsmasq-base"}
