"""Finds a QEMU whose TCG is fast enough: the host's own from version 9 on, else trixie's in a root of its own.

Measured with booting d-i's kernel and 800 forks on one vCPU: QEMU 10 needs less than half the time of QEMU 7.2.
"""

from __future__ import annotations

import enum
import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pxeforge.lab.mirror import NoMirror, debian_mirror

PROGRAM = "qemu-system-x86_64"
GOOD_ENOUGH = 9  # major version
SUITE = "trixie"
_VERSION = re.compile(r"version (\d+)\.(\d+)(?:\.(\d+))?")


class QemuMissing(Exception):
    """There is no QEMU to use; the message says what to install."""


class Processor(enum.Enum):
    """What is emulated; the value is Debian's name of the architecture."""

    AMD64 = "amd64"
    ARM64 = "arm64"


@dataclass(frozen=True, slots=True)
class _Flavour:
    """The QEMU of a processor: its program, Debian's packages, the folder they are unpacked to."""

    program: str
    packages: tuple[str, ...]  # the first one is QEMU's own
    folder: str


_FLAVOURS = {
    Processor.AMD64: _Flavour(PROGRAM, ("qemu-system-x86", "ipxe-qemu", "seabios"), f"qemu-{SUITE}"),
    Processor.ARM64: _Flavour("qemu-system-aarch64", ("qemu-system-arm", "ipxe-qemu"), f"qemu-{SUITE}-arm64"),
}


@dataclass(frozen=True, slots=True)
class Qemu:
    """The command to start QEMU with (its options follow) and its version."""

    command: tuple[str, ...]
    version: tuple[int, ...]
    root: Path | None = None  # None: it is this computer's own


def find_qemu(cache_dir: Path, processor: Processor = Processor.AMD64) -> Qemu:
    """The host's QEMU if new enough, else trixie's from cache_dir (installed there once, about 1 GB and a minute).

    Falls back to the host's own with a warning on stderr; raises QemuMissing when the host has none either.
    """
    flavour = _FLAVOURS[processor]
    own = shutil.which(flavour.program)
    host = asked((own,)) if own else None
    if host and host.version[0] >= GOOD_ENOUGH:
        return host
    try:
        return installed(cache_dir, processor)
    except (QemuMissing, NoMirror) as error:
        if host is None:
            raise QemuMissing(f"no QEMU: install {flavour.packages[0]} ({error})") from error
        version = ".".join(map(str, host.version))
        print(f"warning: using the slow QEMU {version} of this host: {error}", file=sys.stderr)
        return host


def version_of(words: str) -> tuple[int, ...]:
    """Reads `QEMU emulator version 10.0.2 (Debian ...)`; raises QemuMissing."""
    match = _VERSION.search(words)
    if match is None:
        raise QemuMissing(f"{words.strip()[:80]!r} is not what QEMU says about its version")
    return tuple(int(part) for part in match.groups() if part)


def asked(command: tuple[str, ...]) -> Qemu:
    """Runs it for its version; raises QemuMissing."""
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise QemuMissing(f"{command[-1]} does not run: {error}") from error
    return Qemu(command, version_of(said))


def installed(cache_dir: Path, processor: Processor) -> Qemu:
    """trixie's QEMU below cache_dir, put there by debootstrap the first time; raises QemuMissing, NoMirror."""
    flavour = _FLAVOURS[processor]
    cache_dir.mkdir(parents=True, exist_ok=True)
    root = cache_dir / flavour.folder
    with _alone(cache_dir / "qemu.lock"):
        if not root.exists():
            _debootstrap(root, flavour.packages)
    return replace(asked(command_in(root, flavour.program)), root=root)


def command_in(root: Path, program: str = PROGRAM) -> tuple[str, ...]:
    """How to run the root's QEMU on a host with an older C library: by the root's own loader and libraries."""
    usr = root / "usr"
    libraries = usr / "lib/x86_64-linux-gnu"
    data = (usr / "share/qemu", usr / "share/seabios", usr / "lib/ipxe/qemu")
    return (
        "env",
        f"QEMU_MODULE_DIR={libraries / 'qemu'}",
        str(root / "lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        str(libraries),
        str(usr / "bin" / program),
        *(word for folder in data for word in ("-L", str(folder))),
    )


def _debootstrap(root: Path, packages: Sequence[str]) -> None:
    """Builds it aside and gives it its name at the end: there is a whole root or none."""
    if not shutil.which("debootstrap"):
        raise QemuMissing("debootstrap is not installed")
    part = root.with_name(f"{root.name}.part")
    _clear(part)
    print(f"installing QEMU of {SUITE} into {root} (once, about a minute) ...", file=sys.stderr, flush=True)
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(part), debian_mirror()],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-3:]
        _clear(part)
        raise QemuMissing(f"debootstrap could not install QEMU of {SUITE}: {' / '.join(said)}")
    for archive in (part / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    part.rename(root)


def _clear(part: Path) -> None:
    """Removes what an earlier try left; never across a mount (debootstrap mounts /proc inside while it works)."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((m for m in mounted if m.startswith(f"{part.resolve()}/")), reverse=True):
        subprocess.run(["umount", point], check=True)
    if part.exists():
        shutil.rmtree(part)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
