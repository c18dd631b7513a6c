"""Debian systems of the lab that are machines: QEMU with Debian's own kernel, and used like those by systemd-nspawn.

They stand on the same trees (nspawn.py) with a kernel over it, which all machines of a suite share; an ext4 image is
made of that for each. Commands go in by QEMU's guest agent, so that a machine can be asked while it has no network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pxeforge.domain.mac import MacAddress
from pxeforge.lab import guest_agent
from pxeforge.lab.guest_agent import GuestAgentError
from pxeforge.lab.nspawn import NspawnError, make_its_own, mount_layers
from pxeforge.lab.qemu import Machine, MachineError, further_disk, make_disk
from pxeforge.lab.rack import NETNS_DIR, Rack

PROGRAMS: Final = {"systemd-nspawn": "systemd-container", "mkfs.ext4": "e2fsprogs"}  # and the package it is in
_PACKAGES: Final = ("linux-image-amd64", "initramfs-tools", "qemu-guest-agent", "kmod", "udev")
# What finds the disk and its file system; everything else is loaded from there.
_EARLY_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4")
# NICs have the names that systems by systemd-nspawn give them; the rest makes emulation faster.
_ARGUMENTS: Final = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 panic=10 mitigations=off no5lvl tsc=reliable"
_BOOT_S: Final = 900.0  # emulated, on a computer that may be busy with its neighbours
_STOP_S: Final = 120.0
_SERVICE_S: Final = 900.0
_LOOK_S: Final = 0.5
_PING_S: Final = 3.0
_UP: Final = ("running", "degraded")  # as in nspawn.py
_LAYER_S: Final = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a machine has. `wires`: for each NIC the number of the wire it is on."""

    memory_mb: int = 3072
    processors: int = 2
    wires: tuple[int, ...] = (0, 1)
    disk_gb: float = 20  # sparse, as the second one
    second_disk_gb: float = 8  # empty; its serial is `second_serial`


@dataclass(frozen=True, slots=True)
class BootTree:
    """Trees to lay over each other, the uppermost first, with a kernel in the first one."""

    layers: tuple[Path, ...]
    kernel: Path
    initrd: Path


def why_not() -> str | None:
    """Why there can be no such machines on this computer; None when there can. QEMU is looked for later."""
    if os.geteuid() != 0:
        return "machines on a rack need root"
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    return f"install the package {missing[0]}" if missing else None


def make_boot_tree(rack: Rack, base: Path) -> BootTree:
    """A kernel over a tree of nspawn.make_base, whole or not at all; one that is there is taken. Takes a minute.

    Raises NspawnError.
    """
    folder = base.with_name(f"{base.name}-kernel")
    mark = f"{base.stat().st_ino}\n"  # a tree that was made anew needs a new kernel over it
    if not folder.is_dir() or (folder / "over").read_text() != mark:
        shutil.rmtree(folder, ignore_errors=True)
        partial = base.with_name(f"{base.name}-kernel.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with _mounted([base], partial) as root:
            _install_kernel(rack, root)
        (partial / "over").write_text(mark)
        partial.rename(folder)
    boot = folder / "upper/boot"
    kernel = max(boot.glob("vmlinuz-*"))
    return BootTree((folder / "upper", base), kernel, boot / kernel.name.replace("vmlinuz-", "initrd.img-"))


@contextlib.contextmanager
def _mounted(layers: Sequence[Path], folder: Path) -> Iterator[Path]:
    root = mount_layers(layers, folder)
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True, capture_output=True)


def with_packages(rack: Rack, tree: BootTree, packages: Sequence[str], folder: Path) -> BootTree:
    """The tree with these packages over it, in `folder`: unpacked at native speed, once for all machines.

    For libraries: nothing of it is started or configured, yet units of a package would be at a machine's first boot.
    Raises NspawnError.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with _mounted(tree.layers, folder) as root:
        keeper = root / "usr/sbin/policy-rc.d"  # tells packages to start nothing
        keeper.write_text("#!/bin/sh\nexit 101\n")
        keeper.chmod(0o755)
        _install(rack, root, packages)
        keeper.unlink()
    return replace(tree, layers=(folder / "upper", *tree.layers))


def _install_kernel(rack: Rack, root: Path) -> None:
    early = root / "etc/initramfs-tools"
    (early / "conf.d").mkdir(parents=True, exist_ok=True)
    (early / "conf.d/lab").write_text("MODULES=list\n")
    (early / "modules").write_text("".join(f"{name}\n" for name in _EARLY_MODULES))
    _install(rack, root, _PACKAGES)
    # Machines are started with the files from here: what packages do to theirs would only take time.
    (early / "update-initramfs.conf").write_text("update_initramfs=no\nbackup_initramfs=no\n")
    for path in (root / "etc/machine-id", root / "var/lib/dbus/machine-id"):
        if path.is_file() and not path.is_symlink():
            path.write_text("uninitialized\n")


def _install(rack: Rack, root: Path, packages: Sequence[str]) -> None:
    command = [
        "systemd-nspawn", "--quiet", "--as-pid2", f"--directory={root}", "--register=no", "--keep-unit",
        f"--network-namespace-path={NETNS_DIR / rack.name}", "--resolv-conf=off", "--timezone=off",
        "--link-journal=no", "--console=pipe", "--setenv=DEBIAN_FRONTEND=noninteractive", "sh", "-ec",
        f"apt-get -q update; apt-get -qy install {' '.join(packages)}; apt-get clean",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=_LAYER_S
        )
    except subprocess.TimeoutExpired as expired:
        raise NspawnError(f"to install {packages[0]} took more than {_LAYER_S:.0f} s") from expired
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split()[-60:])
        raise NspawnError(f"{packages[0]} could not be installed: {said}")


@dataclass(kw_only=True)
class DebianMachine:
    """One Debian with its own kernel on the rack's wires. `folder` holds its disks, console and control sockets.

    `taps`: for its NICs eth0, eth1, …; the first has `address`.
    """

    name: str
    rack: Rack
    taps: Sequence[str]
    macs: Sequence[MacAddress]
    address: str
    tree: BootTree
    folder: Path
    qemu: Sequence[str]
    hardware: Hardware = field(default_factory=Hardware)
    _machine: Machine | None = field(default=None, init=False, repr=False)

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def agent(self) -> Path:
        """The guest agent's socket."""
        return self.folder / "agent"

    @property
    def console(self) -> Path:
        return self.disk.with_suffix(".console")

    @property
    def second_serial(self) -> str:
        """Serial of the empty disk, in the machine /dev/vdb."""
        return f"LAB-{self.name}-2".upper()[:20]

    @property
    def is_running(self) -> bool:
        return self._machine is not None and self._machine.is_running

    def start(self) -> None:
        """Boots it, with what is on its disks, and waits until systemd has started everything; raises MachineError."""
        self.power_on()
        self.wait_up()

    def power_on(self) -> None:
        """Raises MachineError, NspawnError."""
        if self._machine is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_disks()
            self._machine = self._built()
        self.agent.unlink(missing_ok=True)
        self._machine.start()

    def _make_disks(self) -> None:
        make_disk(self.disk, self.hardware.disk_gb)
        make_disk(self.disk.with_suffix(".second"), self.hardware.second_disk_gb)
        mounts = self.folder / "tree"
        with _mounted(self.tree.layers, mounts) as root:
            make_its_own(root, self.name, self.address)
            self._give_address(root)
            self._give_time(root)
            command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-d", str(root), str(self.disk)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise MachineError(f"{self.name} has no disk: mkfs.ext4: {done.stderr.strip()}")
        shutil.rmtree(mounts)

    def _give_address(self, root: Path) -> None:
        network = root / "etc/systemd/network"
        network.mkdir(parents=True, exist_ok=True)
        prefix = self.rack.subnet.prefixlen
        (network / "eth0.network").write_text(
            f"[Match]\nName=eth0\n\n[Network]\nAddress={self.address}/{prefix}\nGateway={self.rack.address}\n"
        )
        wanted = root / "etc/systemd/system/multi-user.target.wants"
        wanted.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (wanted / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")

    def _give_time(self, root: Path) -> None:
        """A service that says when it has started must do so in 90 s otherwise: emulated ones do not."""
        manager = root / "etc/systemd/system.conf.d"
        manager.mkdir(parents=True, exist_ok=True)
        (manager / "lab.conf").write_text(f"[Manager]\nDefaultTimeoutStartSec={_SERVICE_S:.0f}\n")

    def _built(self) -> Machine:
        further = [
            *("-kernel", str(self.tree.kernel), "-initrd", str(self.tree.initrd), "-append", _ARGUMENTS),
            *further_disk(self.disk.with_suffix(".second"), self.second_serial),
            *("-chardev", f"socket,id=agent,path={self.agent},server=on,wait=off"),
            *("-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        ]
        for number, (tap, mac) in enumerate(zip(self.taps[1:], self.macs[1:], strict=True), 1):
            further += ["-netdev", f"tap,id=nic{number},ifname={tap},script=no,downscript=no"]
            further += ["-device", f"virtio-net-pci,netdev=nic{number},mac={mac},romfile="]
        return Machine(
            rack=self.rack, tap=self.taps[0], mac=self.macs[0], disk=self.disk, qemu=self.qemu,
            memory_mb=self.hardware.memory_mb, processors=self.hardware.processors,
            serial=f"LAB-{self.name}".upper()[:20], extra_args=further,
        )  # fmt: skip

    def wait_up(self) -> None:
        """Until systemd has started everything; raises MachineError."""
        deadline = time.monotonic() + _BOOT_S
        state = "booting"
        while state not in _UP:
            if not self.is_running:
                raise MachineError(f"{self.name} ended while it booted: {self._last_words()}")
            if time.monotonic() > deadline:
                raise MachineError(f"{self.name} is {state} after {_BOOT_S:.0f} s: {self._last_words()}")
            time.sleep(_LOOK_S)
            with contextlib.suppress(GuestAgentError, subprocess.TimeoutExpired):
                guest_agent.ask(self.agent, "guest-ping", timeout_s=_PING_S)
                state = guest_agent.run(self.agent, ["systemctl", "is-system-running"]).stdout.strip() or state

    def _last_words(self) -> str:
        lines = self.console.read_text(errors="replace").splitlines() if self.console.exists() else []
        return " | ".join(line.strip() for line in lines[-5:] if line.strip()) or "nothing on its console"

    def run(
        self, command: Sequence[str], *, check: bool = True, timeout_s: float | None = 60.0, words: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in it as root and returns what it said. Raises MachineError, with check on failure too."""
        if not self.is_running:
            raise MachineError(f"{self.name} does not run")
        told = " ".join(command)
        try:
            done = guest_agent.run(self.agent, command, timeout_s=timeout_s, words=words)
        except subprocess.TimeoutExpired as expired:
            raise MachineError(f"{self.name}: `{told}` took more than {expired.timeout:.0f} s") from expired
        except GuestAgentError as error:
            raise MachineError(f"{self.name}: `{told}`: {error}") from error
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise MachineError(f"{self.name}: `{told}` failed ({done.returncode}): {said}")
        return done

    def boot_id(self) -> str:
        """What is another one after each boot; raises MachineError."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()

    def reboot(self) -> None:
        """By its own `reboot`; returns when it is up again. Raises MachineError."""
        before = self.boot_id()
        self.run(["systemd-run", "--quiet", "--on-active=1", "systemctl", "reboot"])
        deadline = time.monotonic() + _STOP_S + _BOOT_S
        now = before
        while now == before:
            if not self.is_running or time.monotonic() > deadline:
                raise MachineError(f"{self.name} does not come back: {self._last_words()}")
            time.sleep(_LOOK_S)
            with contextlib.suppress(MachineError):
                now = self.boot_id()
        self.wait_up()

    def stop(self) -> None:
        """Shuts it down in order, or ends it when that takes too long; off already is fine."""
        if self._machine is None:
            return
        with contextlib.suppress(MachineError, GuestAgentError, subprocess.TimeoutExpired):
            guest_agent.run(self.agent, ["systemctl", "--no-block", "poweroff"])
            self._machine.wait_power_off(_STOP_S, tick_s=_LOOK_S)
        self.kill()

    def kill(self) -> None:
        """Pulls the plug."""
        if self._machine is not None:
            self._machine.power_off()

    def remove(self) -> None:
        """Off, and its disks are gone."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
