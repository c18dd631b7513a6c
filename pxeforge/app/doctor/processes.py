"""Who runs here and who holds which port, from /proc alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LISTEN: Final = "0A"  # TCP's state in /proc/net/tcp
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104  (compared with, nothing is bound)
_TABLES: Final = {"udp": "udp", "udp6": "udp", "tcp": "tcp", "tcp6": "tcp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of our network namespace. `sockets` are inodes; empty where we may not look."""

    pid: int
    parent: int = 0
    name: str = ""
    args: tuple[str, ...] = ()
    sockets: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPort:
    """A bound UDP or listening TCP socket."""

    protocol: str  # udp | tcp
    address: str
    port: int
    inode: int = 0
    holders: tuple[Process, ...] = ()

    def covers(self, protocol: str, address: str, port: int) -> bool:
        """Whether a socket on this address and port would meet this one."""
        if (protocol, port) != (self.protocol, self.port):
            return False
        return self.address == address or self.address in _ANY or address in ("", *_ANY)


def read_processes(proc: Path = _PROC) -> tuple[Process, ...]:
    """All processes we can see in our network namespace."""
    ours = _namespace(proc / "thread-self")
    found = []
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if _namespace(folder) in (ours, ""):
                found.append(_process(folder))
    return tuple(found)


def read_held_ports(processes: Iterable[Process], proc: Path = _PROC) -> tuple[HeldPort, ...]:
    """Every bound UDP and listening TCP port, with the processes that hold it."""
    by_inode: dict[int, list[Process]] = {}
    for process in processes:
        for inode in process.sockets:
            by_inode.setdefault(inode, []).append(process)
    found = []
    for table, protocol in _TABLES.items():
        with contextlib.suppress(OSError):
            text = (proc / "thread-self" / "net" / table).read_text()
            found += [_with_holders(held, by_inode) for held in held_ports_in(text, protocol)]
    return tuple(found)


def held_ports_in(text: str, protocol: str) -> list[HeldPort]:
    """The lines of /proc/net/{udp,tcp}[6] (proc(5)); addresses are words of the CPU's byte order, here little."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or (protocol == "tcp" and words[3] != _LISTEN):
            continue
        address, _, port = words[1].partition(":")
        found.append(
            HeldPort(protocol=protocol, address=_address(address), port=int(port, 16), inode=int(words[9]))
        )  # fmt: skip
    return found


def serving_pid(lock: Path, proc: Path = _PROC) -> int | None:
    """The process that holds `serve.lock`, as /proc/locks tells (trying the lock could stop a server that starts)."""
    try:
        inode, text = lock.stat().st_ino, (proc / "locks").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        words = line.split()
        # 8: FLOCK  ADVISORY  WRITE 32555 fe:00:5318897 0 EOF     (a waiter's line has "->" as its second word)
        if len(words) >= 6 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode) and int(words[4]) > 0:
            return int(words[4])
    return None


def family_of(pid: int | None, processes: Iterable[Process]) -> frozenset[int]:
    """The process and all that descend from it."""
    if pid is None:
        return frozenset()
    children: dict[int, list[int]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process.pid)
    family, todo = {pid}, [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in family:
                family.add(child)
                todo.append(child)
    return frozenset(family)


def capabilities_in(status: str) -> int:
    """The bits of CapEff in /proc/self/status."""
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)


def _process(folder: Path) -> Process:
    stat = (folder / "stat").read_text()
    name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
    args = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return Process(
        pid=int(folder.name), parent=int(rest[1]), name=name,
        args=tuple(arg.decode(errors="replace") for arg in args), sockets=_sockets(folder / "fd"),
    )  # fmt: skip


def _sockets(folder: Path) -> frozenset[int]:
    found = set()
    with contextlib.suppress(OSError):
        for link in folder.iterdir():
            with contextlib.suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return frozenset(found)


def _namespace(folder: Path) -> str:
    """The name of its network namespace; empty where we may not look."""
    try:
        return str((folder / "ns" / "net").readlink())
    except OSError:
        return ""


def _with_holders(held: HeldPort, by_inode: Mapping[int, list[Process]]) -> HeldPort:
    return HeldPort(
        protocol=held.protocol, address=held.address, port=held.port, inode=held.inode,
        holders=tuple(by_inode.get(held.inode, ())),
    )  # fmt: skip


def _address(text: str) -> str:
    words = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return str(IPv4Address(words) if len(words) == 4 else IPv6Address(words))
