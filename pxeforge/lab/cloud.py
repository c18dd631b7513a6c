"""Hosts for clouds: Debian systems by systemd-nspawn and machines in QEMU, enrolled at a pxeforge of their own.

`python -m pxeforge.lab.cloud up --dir D --suite bookworm --hosts c1,n1 --machines b1` keeps them until `down`; `run`
runs a command in one of them, `pxeforge` is the command line of their server. Tests use `Cloud` itself. Machines have
a kernel of their own, and are slow: everything in them is emulated.

All stand on one wire (eth0, where the server is) and on a second one without addresses (eth1), for networks of tenants
and the way out; the rack's own namespace has the address 10.88.0.1/24 there and stands for the world outside.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from pxeforge.lab import guest_agent
from pxeforge.lab.debian_machine import BootTree, DebianMachine, Hardware, make_boot_tree, with_packages
from pxeforge.lab.keeper import SERVE_PID, Server, lab_mac, relay_to_mirror, say, way_in
from pxeforge.lab.newer_qemu import find_qemu
from pxeforge.lab.nspawn import System, entering, leader_of, make_base
from pxeforge.lab.rack import Rack, Site, remove_stale
from pxeforge.services.archive_signature import DEBIAN_KEYRING
from pxeforge.services.context import write_whole

STATUS: Final = "cloud.json"
OUTSIDE: Final = "10.88.0.1/24"  # the rack's own address on the second wire
_SECOND_WIRE: Final = "br1"
_FIRST_ADDRESS: Final = 20  # the number of the first host in the wire's subnet
_UP_LIMIT_S: Final = 1800.0
# Hosts of a cloud make bridges, namespaces and virtual machines of their own.
_OPTIONS: Final = ("--capability=all", "--bind=/dev/net/tun")
# They forward between their networks, and libvirt puts what it starts into control groups of its own.
_ENVIRONMENT: Final = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?")


class CloudProblem(Exception):
    """The hosts are not up, or something on them failed; the message says what was seen."""


class Cloud:
    """`with Cloud(folder, cache=…, suite="bookworm", names=["c1"]) as cloud:` has hosts whose agents run.

    `names`: systems by systemd-nspawn; `machines`: machines in QEMU, each with `hardware`. `cache`: packages, trees and
    QEMU, which all clouds of this computer share. `libraries`: packages that machines have before they boot, because
    an emulated one unpacks them for many minutes.
    Raises CloudProblem, NspawnError, RackError, MachineError, QemuMissing.
    """

    def __init__(
        self, folder: Path, *, cache: Path, suite: str, names: Sequence[str] = (), machines: Sequence[str] = (),
        hardware: Hardware | None = None, libraries: Sequence[str] = (), name: str = "cloud", admin_port: int = 0,
    ) -> None:  # fmt: skip
        everybody = (*names, *machines)
        wrong = next((one for one in everybody if not _HOST_NAME.fullmatch(one)), None)
        if wrong is not None or len(set(everybody)) < len(everybody) or not everybody:
            raise CloudProblem(f"hosts need names of their own, of a-z, 0-9 and -: {', '.join(everybody) or 'none'}")
        self.folder, self.cache, self.suite, self.names = folder, cache, suite, tuple(names)
        self._machine_names, self._hardware = tuple(machines), hardware or Hardware()
        if not set(self._hardware.wires) <= {0, 1} or self._hardware.wires[:1] != (0,):
            raise CloudProblem("wires are 0 and 1, and the first NIC is on wire 0, where the server is")
        self._libraries, self._name, self._admin_port = tuple(libraries), name, admin_port
        self._stack = contextlib.ExitStack()
        self.systems: dict[str, System] = {}
        self.machines: dict[str, DebianMachine] = {}
        self.url = ""
        self.admin_password = ""

    def __enter__(self) -> Cloud:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _build(self) -> None:
        remove_stale(f"{self._name}-")
        (self.folder / "overlay").mkdir(exist_ok=True)
        shutil.rmtree(self.folder / "data", ignore_errors=True)  # of hosts that are gone
        relay = self._stack.enter_context(relay_to_mirror(self.folder, self.cache))
        self.rack = self._stack.enter_context(Rack(self._name))
        self.rack.ip("link", "add", _SECOND_WIRE, "type", "bridge")
        self.rack.ip("addr", "add", OUTSIDE, "dev", _SECOND_WIRE)
        self.rack.ip("link", "set", _SECOND_WIRE, "up")
        self.rack.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])  # the hosts' way there
        upstream = f"http+unix://{quote(str(relay), safe='')}/debian"
        self.server = self._stack.enter_context(Server(self.rack, self.folder, upstream, leases=None))
        self.admin_password = self.server.admin_password
        self.url = self._stack.enter_context(way_in(self.rack, self.folder, self._admin_port))
        base = self._base()
        for position, host in enumerate(self.names):
            system = self._system(base, host, _FIRST_ADDRESS + position)
            self._stack.callback(system.remove)
            system.start()
            self.systems[host] = system
            self.enrol(host)
        if self._machine_names:
            self._start_machines(base)

    def _base(self) -> Path:
        """The tree that all hosts stand on: made once on this computer, by whoever comes first."""
        folder = self.cache / "bases"
        folder.mkdir(parents=True, exist_ok=True)
        mirror = f"http://{self.rack.address}:8080/mirror/debian"
        with self._alone():
            return make_base(self.rack, folder, self.suite, mirror, Path(DEBIAN_KEYRING))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.cache / "bases" / f"{self.suite}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start_machines(self, base: Path) -> None:
        """All are switched on before the first is waited for."""
        qemu = find_qemu(self.cache).command
        with self._alone():
            tree = make_boot_tree(self.rack, base)
        if self._libraries:
            folder = self.folder / "libraries"
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            tree = with_packages(self.rack, tree, self._libraries, folder)
        for position, host in enumerate(self._machine_names, len(self.names)):
            machine = self._machine(tree, qemu, host, _FIRST_ADDRESS + position)
            self._stack.callback(machine.remove)
            machine.power_on()
            self.machines[host] = machine
        for host, machine in self.machines.items():
            machine.wait_up()
            self.enrol(host)

    def _machine(self, tree: BootTree, qemu: Sequence[str], host: str, number: int) -> DebianMachine:
        taps = []
        for nic, wire in enumerate(self._hardware.wires):
            tap = f"tap{number}n{nic}"
            self.rack.ip("tuntap", "add", tap, "mode", "tap")
            self.rack.ip("link", "set", tap, "master", _SECOND_WIRE if wire else self.rack.bridge, "up")
            taps.append(tap)
        return DebianMachine(
            name=host, rack=self.rack, taps=taps, macs=[lab_mac(nic * 256 + number) for nic in range(len(taps))],
            address=str(self.rack.subnet[number]), tree=tree, folder=self.folder / "systems" / host, qemu=qemu,
            hardware=self._hardware,
        )  # fmt: skip

    def _system(self, base: Path, host: str, number: int) -> System:
        site = self.rack.add_site(host, number)
        site.ip("route", "add", "default", "via", str(self.rack.address))
        port = f"second{number}"
        self.rack.ip("link", "add", port, "type", "veth", "peer", "name", "eth1", "netns", site.name)
        self.rack.ip("link", "set", port, "master", _SECOND_WIRE, "up")
        site.ip("link", "set", "eth1", "up")
        folder = self.folder / "systems" / host
        return System(name=host, site=site, base=base, folder=folder, options=_OPTIONS, environment=_ENVIRONMENT)

    def enrol(self, host: str) -> None:
        """The host is made known by its NIC's address, and runs the command that it is given."""
        machine = self.machines.get(host)
        mac = str(machine.macs[0]) if machine else _mac_of(self.systems[host].site)
        self.pxeforge("host", "add", "--mac", mac, "--name", host)
        made = json.loads(self.pxeforge("host", "enrol", host, "--json"))
        (machine or self.systems[host]).run(["sh", "-c", made["command"]], timeout_s=300)

    def pxeforge(self, *words: str, timeout_s: float = 7200.0, check: bool = True) -> str:
        """The command line of the cloud's server; what it said. Raises CloudProblem when it fails."""
        return pxeforge(self.folder, words, timeout_s=timeout_s, check=check)

    def system(self, host: str) -> System:
        return self.systems[host]

    def machine(self, host: str) -> DebianMachine:
        return self.machines[host]

    def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(), "namespace": self.rack.name, "address": str(self.rack.address),
            "data_dir": str(self.folder / "data"), "admin_url": self.url, "admin_user": "admin",
            "admin_password": self.admin_password, "suite": self.suite,
            "hosts": {
                host: {
                    "keeper": system.keeper, "namespace": system.site.name, "address": str(system.site.address),
                    "root": str(system.root), "console": str(system.console),
                }
                for host, system in self.systems.items()
            } | {
                host: {"agent": str(machine.agent), "console": str(machine.console), "address": machine.address}
                for host, machine in self.machines.items()
            },
        }  # fmt: skip


def _mac_of(site: Site) -> str:
    return str(json.loads(site.ip("-json", "link", "show", site.interface))[0]["address"])


def pxeforge(folder: Path, words: Sequence[str], *, timeout_s: float = 7200.0, check: bool = True) -> str:
    """Runs the command line on a cloud's data directory; raises CloudProblem."""
    command = [sys.executable, "-m", "pxeforge", "--data-dir", str(folder / "data"), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
    )
    if check and done.returncode != 0:
        raise CloudProblem(f"`pxeforge {' '.join(words)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
    sys.stderr.write(done.stderr)  # why there is nothing in its answer
    return done.stdout


# ------------------------------------------------------------------ in the background


def keep(made: Cloud) -> None:
    """Builds a cloud, writes cloud.json, and holds it until SIGTERM."""
    folder = made.folder
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    (folder / STATUS).unlink(missing_ok=True)
    with made as cloud:
        write_whole(folder / STATUS, json.dumps(cloud.status(), indent=2).encode(), mode=0o600)
        say("the hosts are up")
        try:
            while not stop.wait(0.5):
                cloud.server.revive()
        finally:
            (folder / STATUS).unlink(missing_ok=True)


def up(folder: Path, words: Sequence[str]) -> Mapping[str, Any]:
    """Starts a keeper in the background and waits for it; raises CloudProblem with its last words."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / STATUS).exists():
        down(folder)
    log = folder / "keeper.log"
    with log.open("wb") as stream:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "pxeforge.lab.cloud", "keep", "--dir", str(folder), *words],
            stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + _UP_LIMIT_S
    while not (folder / STATUS).exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            raise CloudProblem("the hosts did not come up: " + log.read_text(errors="replace").strip()[-3000:])
        time.sleep(0.3)
    return attached(folder)


def attached(folder: Path) -> dict[str, Any]:
    """What cloud.json tells; raises CloudProblem."""
    try:
        return dict(json.loads((folder / STATUS).read_text()))
    except (OSError, ValueError):
        raise CloudProblem(f"nothing is up in {folder}: `python -m pxeforge.lab.cloud up --dir …`") from None


def down(folder: Path) -> None:
    """Ends the keeper and waits until everything it made is gone."""
    pid = int(attached(folder)["pid"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 180
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
    (folder / STATUS).unlink(missing_ok=True)


def run_on(folder: Path, host: str, command: Sequence[str]) -> int:
    """Runs a command on a host with this terminal; its exit code."""
    hosts = attached(folder)["hosts"]
    if host not in hosts:
        raise CloudProblem(f"there is no host {host}: {', '.join(hosts)}")
    if "agent" in hosts[host]:
        return _run_on_machine(Path(hosts[host]["agent"]), command)
    leader = leader_of(int(hosts[host]["keeper"]))
    if leader is None:
        raise CloudProblem(f"{host} does not run")
    return subprocess.run(entering(leader, command), check=False).returncode


def _run_on_machine(agent: Path, command: Sequence[str]) -> int:
    """Without a terminal and with nothing to read; what it says is shown when it has ended."""
    try:
        done = guest_agent.run(agent, command, timeout_s=None)
    except guest_agent.GuestAgentError as error:
        raise CloudProblem(str(error)) from error
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def restart_server(folder: Path) -> None:
    """Ends `serve`; the keeper starts it again, and it packs its agent anew."""
    attached(folder)
    log = folder / "serve.log"
    before = log.stat().st_size
    os.kill(int((folder / SERVE_PID).read_text()), signal.SIGTERM)
    deadline = time.monotonic() + 180
    while b"pxeforge is ready" not in log.read_bytes()[before:]:
        if time.monotonic() > deadline:
            raise CloudProblem(f"the server did not come back: see {log}")
        time.sleep(0.3)


def renew_agents(folder: Path) -> None:
    """Every host runs a command of enrolment again: it gets the agent that the server has packed by now."""
    for host in attached(folder)["hosts"]:
        made = json.loads(pxeforge(folder, ["host", "enrol", host, "--json"]))
        if run_on(folder, host, ["sh", "-c", made["command"]]) != 0:
            raise CloudProblem(f"{host} could not be enrolled again")


@contextlib.contextmanager
def _sentence() -> Iterator[None]:
    try:
        yield
    except CloudProblem as problem:
        sys.exit(f"cloud: {problem}")


def main(arguments: Sequence[str] | None = None) -> int:
    options, rest = _parser().parse_known_args(arguments)
    folder: Path = options.dir.resolve()
    rest = rest[1:] if rest[:1] == ["--"] else rest
    with _sentence():
        if options.command in ("up", "keep"):
            made = _described(options, folder)
            if options.command == "keep":
                keep(made)
                return 0
            named = ("suite", "hosts", "machines", "name", "memory", "wires", "libraries")
            chosen = {name: getattr(options, name) for name in named}
            words = [f"--{name}={value}" for name, value in chosen.items()]
            print(json.dumps(up(folder, [*words, f"--cache={made.cache}"]), indent=2))
        elif options.command == "run":
            return run_on(folder, options.host, [*options.words, *rest] or ["bash"])
        elif options.command == "pxeforge":
            command = [sys.executable, "-m", "pxeforge", "--data-dir", str(folder / "data"), *options.words, *rest]
            return subprocess.run(command, check=False).returncode
        else:
            {"down": down, "restart-server": restart_server, "renew-agents": renew_agents}[options.command](folder)
    return 0


def _described(options: argparse.Namespace, folder: Path) -> Cloud:
    try:
        wires = tuple(int(wire) for wire in options.wires.split(","))
    except ValueError:
        raise CloudProblem(f"--wires is a list of numbers like 0,1, not {options.wires}") from None
    machines = _split(options.machines)
    names = _split(options.hosts) or ([] if machines else ["c1"])
    return Cloud(
        folder, cache=options.cache.resolve(), suite=options.suite, names=names, machines=machines,
        hardware=Hardware(memory_mb=options.memory, wires=wires), libraries=_split(options.libraries),
        name=options.name,
    )  # fmt: skip


def _split(words: str) -> list[str]:
    return [one for one in words.split(",") if one]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pxeforge.lab.cloud", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    for name in ("up", "keep", "down", "run", "pxeforge", "restart-server", "renew-agents"):
        command = commands.add_parser(name)
        command.add_argument("--dir", type=Path, required=True)
        if name in ("up", "keep"):
            command.add_argument("--suite", default="bookworm")
            command.add_argument(
                "--hosts", default="", help="names, separated by commas; c1 when there are none at all"
            )
            command.add_argument("--machines", default="", help="names of those that are machines in QEMU")
            command.add_argument("--memory", type=int, default=Hardware().memory_mb, help="MB of each machine")
            command.add_argument("--wires", default="0,1", help="the wire (0 or 1) of each NIC of the machines")
            command.add_argument("--libraries", default="", help="packages that machines have before they boot")
            command.add_argument("--cache", type=Path, default=Path("/var/cache/pxeforge-lab"))
            command.add_argument("--name", default="cloud")
        if name == "run":
            command.add_argument("host")
        if name in ("run", "pxeforge"):
            command.add_argument("words", nargs="*")
    return parser


if __name__ == "__main__":
    sys.exit(main())
