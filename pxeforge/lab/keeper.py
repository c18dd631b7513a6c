"""Keeps one virtual rack alive: namespace, relay to the mirror, `pxeforge serve`, a way in for the browser.

Started in the background by `pxeforge lab up`; everything it made goes away when it gets SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pxeforge.domain.mac import MacAddress
from pxeforge.lab.dhcp_relay import relaying
from pxeforge.lab.machine_firmware import MachineFirmware
from pxeforge.lab.mirror import apt_mirrors
from pxeforge.lab.newer_qemu import find_qemu
from pxeforge.lab.rack import Branch, Rack, remove_stale
from pxeforge.lab.relay import Relay, serving
from pxeforge.lab.site_dhcp import Brand, Pool, SiteDhcp
from pxeforge.lab.udebs import LEAN_CHOICE, fill, udebs_dir_from_environment
from pxeforge.services.context import write_whole

IMAGE = "debian-13"
SUITE = "trixie"
NO_SITE = "none"  # pxeforge is the DHCP server itself
STATUS = "lab.json"
SERVE_PID = "serve.pid"
_READY_LIMIT_S = 300.0  # a busy computer starts a dozen processes slowly; one that ends is told at once


def lab_mac(number: int) -> MacAddress:
    """52:54:00 is QEMU's own prefix."""
    return MacAddress(bytes([0x52, 0x54, 0x00, 0x77, number // 256, number % 256]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a lab is to have; see `Lab.up`."""

    hosts: int
    beside: str  # a Brand's value or NO_SITE
    behind_relay: bool
    images: tuple[str, ...]
    installs: bool
    admin_port: int
    name: str
    firmware: str = "bios"  # a MachineFirmware's value
    seed: Path | None = None  # a data directory with the images: made the first time, copied from then on


def keep(folder: Path, plan: Plan, cache: Path) -> None:
    """Builds everything, writes `lab.json`, waits for SIGTERM. Raises what the parts raise, with their sentence."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder.mkdir(parents=True, exist_ok=True)
    status = folder / STATUS
    status.unlink(missing_ok=True)
    remove_stale(f"{plan.name}-")
    say(f"QEMU: {'.'.join(map(str, find_qemu(cache).version))}")
    with contextlib.ExitStack() as stack:
        relay_socket = stack.enter_context(relay_to_mirror(folder, cache))
        upstream = f"http+unix://{quote(str(relay_socket), safe='')}/debian"
        (folder / "overlay").mkdir(parents=True, exist_ok=True)
        imported = _images(folder / "data", plan, upstream)
        mode, kernel_args = _fill_udebs(folder / "overlay", imported[0]) if plan.installs else ("not looked at", [])
        rack = stack.enter_context(Rack(plan.name))
        site = rack.add_site() if plan.beside != NO_SITE else None
        branch = rack.add_branch() if plan.behind_relay else None
        wire = branch or rack
        taps = {number: wire.add_tap(number) for number in range(1, plan.hosts + 1)}
        if site is not None:
            subnet = branch.subnet if branch is not None else None
            stack.enter_context(SiteDhcp(site, folder, brand=Brand(plan.beside), subnet=subnet))
        if branch is not None:
            helpers = [rack.address, *([site.address] if site is not None else [])]
            stack.enter_context(relaying(branch, helpers, folder))
        leases = None if site is not None else wire
        server = stack.enter_context(Server(rack, folder, upstream, leases=leases))
        url = stack.enter_context(way_in(rack, folder, plan.admin_port))
        facts: dict[str, Any] = {
            "pid": os.getpid(), "namespace": rack.name, "address": str(rack.address), "data_dir": str(folder / "data"),
            "admin_url": url, "admin_user": "admin", "admin_password": server.admin_password,
            "beside": plan.beside, "behind_relay": plan.behind_relay, "images": list(plan.images),
            "firmware": plan.firmware,
            "udebs": mode, "installer_args": kernel_args, "cache": str(cache),
            "hosts": [
                {
                    "number": n, "mac": str(lab_mac(n)), "tap": tap, "namespace": wire.name,
                    "disk": str(folder / f"host{n}.img"),
                }
                for n, tap in taps.items()
            ],
        }  # fmt: skip
        write_whole(status, json.dumps(facts, indent=2).encode(), mode=0o600)
        stack.callback(status.unlink, missing_ok=True)
        say("lab is up")
        while not stop.wait(0.5):
            server.revive()


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def relay_to_mirror(folder: Path, cache: Path) -> Iterator[Path]:
    """The only way from the rack to the mirror: a unix socket, served from the host's namespace."""
    path = folder / "relay.sock"
    relay = Relay(
        path, apt_mirrors(), overlay=folder / "overlay", cache=cache / "mirror", log=folder / "relay.log"
    )  # fmt: skip
    with serving(relay):
        yield path


def _images(data_dir: Path, plan: Plan, upstream: str) -> list[Path]:
    """The images' folders, imported or from the seed: an import takes a minute of a busy processor."""
    if plan.seed is None:
        return [_import_image(data_dir, name, upstream) for name in plan.images]
    if not all((plan.seed / "images" / name).is_dir() for name in plan.images):
        shutil.rmtree(plan.seed, ignore_errors=True)
        for name in plan.images:
            _import_image(plan.seed, name, upstream)
    if not data_dir.exists():
        shutil.copytree(plan.seed, data_dir)
    return [_newest(data_dir, name) for name in plan.images]


def _newest(data_dir: Path, name: str) -> Path:
    return sorted((data_dir / "images" / name).glob("*/image.json"))[-1].parent


def _import_image(data_dir: Path, name: str, upstream: str) -> Path:
    """Imports over the relay, as an operator would; returns the image's folder."""
    command = [
        sys.executable,
        "-m",
        "pxeforge",
        "--data-dir",
        str(data_dir),
        "image",
        "import",
        name,
        "--mirror",
        upstream,
    ]
    subprocess.run(command, check=True, stdout=sys.stdout, stderr=sys.stderr)
    return _newest(data_dir, name)


def _fill_udebs(overlay: Path, image: Path) -> tuple[str, list[str]]:
    """What the mirror lacks is laid over it; says loudly when nothing helps."""
    result = fill(
        apt_mirrors()["debian"],
        udebs_dir_from_environment(SUITE),
        overlay,
        SUITE,
        image / "initrd.gz",
        chosen=LEAN_CHOICE,
    )
    say(f"udebs: {result.mode.value}: {result.summary}")
    result.require()
    return result.mode.value, list(result.kernel_args)


class Server:
    """`pxeforge serve` in the namespace; started again when it was killed, as systemd would."""

    def __init__(self, rack: Rack, folder: Path, upstream: str, *, leases: Rack | Branch | None) -> None:
        """`leases`: whose addresses it lends; None: proxy mode."""
        mode = ["--dhcp", "proxy"] if leases is None else ["--dhcp", "server", *_lent(leases, folder)]
        self._command = [
            sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(folder / "data"), "--interface", rack.bridge,
            *mode, "--mirror", upstream, "--domain", "lab",
        ]  # fmt: skip
        self._rack, self._folder = rack, folder
        self._process: subprocess.Popen[bytes] | None = None
        self.admin_password = ""

    def __enter__(self) -> Server:
        said = self._start()
        self.admin_password = _remembered_password(self._folder, said)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)

    def revive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            say(f"pxeforge serve ended with {self._process.returncode}: it is started again")
            self._start()

    def _start(self) -> str:
        """Waits until it is ready and returns what it said; raises RuntimeError."""
        log = self._folder / "serve.log"
        with log.open("ab") as stream:
            before = stream.tell()
            self._process = self._rack.popen(self._command, stdout=stream, stderr=stream)
        write_whole(self._folder / SERVE_PID, str(self._process.pid).encode())
        deadline = time.monotonic() + _READY_LIMIT_S
        while "pxeforge is ready" not in (said := log.read_bytes()[before:].decode(errors="replace")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"pxeforge serve did not start: {said.strip()[-2000:]}")
            time.sleep(0.2)
        return said


def _lent(wire: Rack | Branch, folder: Path) -> list[str]:
    """Addresses of our own wire are named by a flag, those of a network behind a relay by a table."""
    pool = Pool(wire.subnet, wire.address)
    if isinstance(wire, Rack):
        return ["--range", f"{pool.first}-{pool.last}"]
    table = {"network": pool.subnet, "range": f"{pool.first}-{pool.last}", "router": pool.router}
    config = folder / "pxeforge.toml"
    config.write_text("[[subnets]]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items()))
    return ["--config", str(config)]


def _remembered_password(folder: Path, said: str) -> str:
    """A lab that comes up again on its data directory has the password it had at first."""
    path = folder / "admin-password"
    if "with the password " in said:
        write_whole(path, said.split("with the password ")[1].split()[0].encode(), mode=0o600)
    return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def way_in(rack: Rack, folder: Path, admin_port: int) -> Iterator[str]:
    """A forwarder on the host's loopback to the admin plane inside; gives its URL."""
    command = [
        sys.executable, "-m", "pxeforge.lab.port_forward", "--netns", rack.name,
        "--listen", f"127.0.0.1:{admin_port}", "--to", "127.0.0.1:8443",
    ]  # fmt: skip
    with (folder / "way-in.log").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
    try:
        line = process.stdout.readline().decode() if process.stdout else ""
        if not line:
            raise RuntimeError(
                f"port {admin_port} on the host's loopback cannot be used: choose another (--admin-port)"
            )
        yield f"https://{line.split()[1]}/"
    finally:
        process.terminate()
        process.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pxeforge.lab.keeper", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--beside", choices=(NO_SITE, *(brand.value for brand in Brand)), default=NO_SITE)
    parser.add_argument("--behind-relay", action="store_true")
    parser.add_argument("--image", action="append", dest="images")
    parser.add_argument("--seed", type=Path)
    parser.add_argument("--firmware", choices=[one.value for one in MachineFirmware], default="bios")
    parser.add_argument("--no-installs", action="store_false", dest="installs")
    parser.add_argument("--admin-port", type=int, default=8443)
    parser.add_argument("--name", default="pxeforge-lab")
    options = parser.parse_args()
    try:
        plan = Plan(
            hosts=options.hosts, beside=options.beside, behind_relay=options.behind_relay, installs=options.installs,
            images=tuple(options.images or (IMAGE,)), admin_port=options.admin_port, name=options.name,
            seed=options.seed, firmware=options.firmware,
        )  # fmt: skip
        keep(options.dir.resolve(), plan, options.cache.resolve())
    except Exception as problem:
        sys.stdout.flush()
        say(f"the lab did not come up: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
