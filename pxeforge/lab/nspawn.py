"""Debian systems of the lab without machines: systemd-nspawn boots them on the rack's wire, at native speed.

All systems of a suite stand on one tree that debootstrap made; what they write goes into folders of their own
(overlayfs). They share the kernel of this computer: what needs one of its own wants a machine (qemu.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pxeforge.lab.guest_agent import ENVIRONMENT
from pxeforge.lab.rack import NETNS_DIR, Rack, Site, stop

PROGRAMS: Final = {"systemd-nspawn": "systemd-container", "debootstrap": "debootstrap"}  # and the package it is in
# What a minimal Debian lacks to be somebody's server.
_INCLUDE: Final = (
    "systemd-sysv", "dbus", "ca-certificates", "iproute2", "iputils-ping", "openssh-server", "python3", "sudo",
)  # fmt: skip
_BOOT_S: Final = 120.0
_STOP_S: Final = 60.0
_LOOK_S: Final = 0.2
_UP: Final = ("running", "degraded")  # degraded: a unit failed, which says nothing about the others
# Newer systemd boots on the old control groups of its host only when told to.
_OLD_CGROUPS: Final = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
# Nobody sits at a console, and none of these has anything to do in a namespace.
_MASKED: Final = ("console-getty.service", "systemd-firstboot.service", "getty@tty1.service", "getty.target")


class NspawnError(Exception):
    """The system could not be made, booted or used; the message says what it said."""


def why_not() -> str | None:
    """Why there can be no systems on this computer; None when there can."""
    if os.geteuid() != 0:
        return "systemd-nspawn needs root"
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    return f"install the package {missing[0]}" if missing else None


def make_base(rack: Rack, folder: Path, suite: str, mirror: str, keyring: Path, limit_s: float = 900.0) -> Path:
    """A minimal Debian as a tree, whole or not at all; one that is there is taken. Takes a minute or two.

    `mirror`: URL as seen from the rack, which also stands in the tree's sources.list. Raises NspawnError.
    """
    base, partial = folder / suite, folder / f"{suite}.partial"
    if base.is_dir():
        return base
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = [
        "debootstrap", "--variant=minbase", f"--keyring={keyring}", f"--include={','.join(_INCLUDE)}",
        suite, str(partial), mirror,
    ]  # fmt: skip
    try:
        done = rack.run(command, check=False, timeout_s=limit_s)
    except subprocess.TimeoutExpired as expired:
        raise NspawnError(f"debootstrap took more than {limit_s:.0f} s") from expired
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise NspawnError(f"debootstrap failed: {' '.join(said)}; see {partial}/debootstrap/debootstrap.log")
    _make_neutral(partial, f"deb [signed-by={keyring}] {mirror} {suite} main\n")
    partial.rename(base)
    return base


def _make_neutral(root: Path, sources: str) -> None:
    """Nothing in it may be the same in every system, or ask somebody at a console."""
    etc = root / "etc"
    (etc / "apt/sources.list").write_text(sources)
    (etc / "machine-id").write_text("uninitialized\n")
    (etc / "dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
    (etc / "dpkg/dpkg.cfg.d/lab").write_text("force-unsafe-io\n")  # nothing here outlives a power cut
    (etc / "apt/apt.conf.d/90lab").write_text('Acquire::Languages "none";\nAPT::Install-Recommends "false";\n')
    for key in (etc / "ssh").glob("ssh_host_*"):
        key.unlink()
    for unit in _MASKED:
        (etc / "systemd/system" / unit).unlink(missing_ok=True)
        (etc / "systemd/system" / unit).symlink_to("/dev/null")


@dataclass(kw_only=True)
class System:
    """One Debian on the rack's wire, with an address of its own. `folder` holds what it writes, and its console."""

    name: str
    site: Site
    base: Path
    folder: Path
    options: Sequence[str] = ()  # further ones of systemd-nspawn
    environment: Mapping[str, str] = field(default_factory=dict)  # and of its environment
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _is_mounted: bool = field(default=False, init=False, repr=False)

    @property
    def root(self) -> Path:
        """Its file system, there from start() to remove()."""
        return self.folder / "root"

    @property
    def console(self) -> Path:
        return self.folder / "console"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Boots it, with what it wrote before, and waits until systemd has started everything; raises NspawnError."""
        if self.is_running:
            raise NspawnError(f"{self.name} runs already")
        self._mount()
        self.site.ip("link", "set", "lo", "up")
        self._make_its_own()
        command = [
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--hostname={self.name}",
            f"--network-namespace-path={NETNS_DIR / self.site.name}", "--register=no", "--keep-unit",
            "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            "--capability=CAP_NET_ADMIN,CAP_SYS_NICE,CAP_IPC_LOCK", *self.options, "--", _OLD_CGROUPS,
        ]  # fmt: skip
        with self.console.open("wb") as console:
            # Not inside the namespace: nspawn enters it itself. Its own session: an interrupt here is not one there.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                env={**os.environ, **self.environment},
            )  # fmt: skip
        try:
            self._wait_up()
        except NspawnError:
            self.stop()
            raise

    def _mount(self) -> None:
        if self._is_mounted:
            return
        mount_layers([self.base], self.folder)
        self._is_mounted = True

    def _make_its_own(self) -> None:
        """At its first start."""
        if (self.root / "etc/hostname").exists() and (self.root / "etc/hostname").read_text() == f"{self.name}\n":
            return
        make_its_own(self.root, self.name, str(self.site.address))
        # It shares this computer's clock, which no chronyd in it may set.
        (self.root / "etc/default/chrony").write_text('DAEMON_OPTS="-F 1 -x"\n')

    def _wait_up(self) -> None:
        deadline = time.monotonic() + _BOOT_S
        state = "not started"
        while True:
            if not self.is_running:
                raise NspawnError(f"{self.name} ended while it booted: {self._last_words()}")
            with contextlib.suppress(NspawnError):
                state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip() or state
            if state in _UP:
                return
            if time.monotonic() > deadline:
                raise NspawnError(f"{self.name} is {state} after {_BOOT_S:.0f} s: {self._last_words()}")
            time.sleep(_LOOK_S)

    def _last_words(self) -> str:
        lines = self.console.read_text(errors="replace").splitlines() if self.console.exists() else []
        return " | ".join(line.strip() for line in lines[-5:] if line.strip()) or "nothing on its console"

    @property
    def leader(self) -> int:
        """The pid of its init, as this computer sees it; raises NspawnError when it does not run."""
        found = leader_of(self._process.pid) if self._process is not None and self.is_running else None
        if found is None:
            raise NspawnError(f"{self.name} does not run")
        return found

    @property
    def keeper(self) -> int:
        """The pid of its systemd-nspawn, the same after a reboot; raises NspawnError when it does not run."""
        if self._process is None or not self.is_running:
            raise NspawnError(f"{self.name} does not run")
        return self._process.pid

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs a command in the system, as root; raises NspawnError when it does not run."""
        return entering(self.leader, command)

    def run(
        self, command: Sequence[str], *, check: bool = True, timeout_s: float = 60.0, words: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in it as root and returns what it said. Raises NspawnError, with check on failure too."""
        try:
            done = subprocess.run(
                self.inside(command), capture_output=True, text=True, check=False, timeout=timeout_s, input=words
            )
        except subprocess.TimeoutExpired as expired:
            raise NspawnError(f"{self.name}: `{' '.join(command)}` took more than {timeout_s:.0f} s") from expired
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise NspawnError(f"{self.name}: `{' '.join(command)}` failed ({done.returncode}): {said}")
        return done

    def stop(self) -> None:
        """Shuts it down in order, or ends it when that takes too long; off already is fine."""
        if self._process is None:
            return
        with contextlib.suppress(NspawnError, ProcessLookupError):
            os.kill(self.leader, signal.SIGRTMIN + 4)  # systemd: power off
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self.kill()

    def kill(self) -> None:
        """Pulls the plug."""
        if self._process is None:
            return
        if self.is_running:
            with contextlib.suppress(NspawnError, ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)  # the kernel ends all others in its pid namespace
        stop(self._process)

    def remove(self) -> None:
        """Stopped, unmounted, and what it wrote is gone."""
        self.kill()
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self.root)], check=False, capture_output=True)
            self._is_mounted = False
        shutil.rmtree(self.folder, ignore_errors=True)


def mount_layers(layers: Sequence[Path], folder: Path) -> Path:
    """Mounts trees over each other, the uppermost first, as folder/root; what is written goes to folder/upper.

    Raises NspawnError.
    """
    for part in ("upper", "work", "root"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    lower = ":".join(map(str, layers))
    options = f"lowerdir={lower},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    done = subprocess.run(
        ["mount", "-t", "overlay", f"lab-{folder.name}", "-o", options, str(folder / "root")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise NspawnError(f"overlayfs on {folder} failed: {done.stderr.strip()}: use a folder on a real disk")
    return folder / "root"


def make_its_own(root: Path, name: str, address: str) -> None:
    """Names, machine id and SSH host keys, which no two systems share. Raises NspawnError."""
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    # Left to systemd, it would come from this computer's hardware and be the same for all.
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    done = subprocess.run(["chroot", str(root), "ssh-keygen", "-A"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NspawnError(f"{name} has no SSH host keys: {done.stderr.strip()}")
    (root / "etc/hostname").write_text(f"{name}\n")


def leader_of(keeper: int) -> int | None:
    """The init of the system that this systemd-nspawn keeps, as this computer sees it; None while there is none."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
            if _is_init(int(child)):
                return int(child)
    return None


def entering(leader: int, command: Sequence[str]) -> list[str]:
    """The command line that runs a command, as root, in the system with this init."""
    return [
        "nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd",
        "env", "-i", *ENVIRONMENT, *command,
    ]  # fmt: skip


def _is_init(pid: int) -> bool:
    """Whether it is the first process of a pid namespace of its own (nspawn has helpers beside it)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"


@contextlib.contextmanager
def systems(rack: Rack, base: Path, folder: Path, names: Sequence[str], first: int = 20) -> Iterator[list[System]]:
    """Systems with these names that run, at the subnet's addresses from number `first` on; gone afterwards."""
    made: list[System] = []
    try:
        for position, name in enumerate(names):
            site = rack.add_site(name, first + position)
            site.ip("route", "add", "default", "via", str(rack.address))
            made.append(System(name=name, site=site, base=base, folder=folder / name))
        for system in made:
            system.start()
        yield made
    finally:
        for system in reversed(made):
            system.remove()
