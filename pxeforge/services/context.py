"""What every use case needs: the database, the data directory, the clock, the keys and our addresses."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from pxeforge.assets import asset_dirs
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.services.courtesy import Courtesy
from pxeforge.services.mirror_udebs import MirrorUdebs
from pxeforge.services.news import News
from pxeforge.services.problems import Problem
from pxeforge.services.run_limits import DEFAULT_LIMITS
from pxeforge.services.run_progress import KnownRuns
from pxeforge.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where hosts on the boot network find us (an IPv4 literal: firmware cannot resolve names)."""

    boot_address: str
    boot_port: int = 8080
    agent_port: int = 8442
    tftp_port: int = 69

    @property
    def boot_url(self) -> str:
        return f"http://{self.boot_address}:{self.boot_port}"

    @property
    def agent_url(self) -> str:
        return f"https://{self.boot_address}:{self.agent_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Shared by all use cases of one process."""

    database: Database
    data_dir: Path
    addresses: Addresses
    master_key: bytes = field(repr=False)  # 32 bytes, from data_dir/secret.key
    operator_dir: Path = Path("/etc/pxeforge")
    clock: Callable[[], float] = time.time
    neighbour: Callable[[str], MacAddress | None] = lambda _address: None  # who answers for an address on our wire
    source: Callable[[str], str | None] = lambda _address: None  # our boot interface's address, as this one sees us
    interfaces: Callable[[], Mapping[str, str]] = dict  # our address on each boot interface, by its name
    news: News = field(default_factory=News)
    runs: KnownRuns = field(default_factory=KnownRuns, repr=False)
    courtesy: Courtesy = field(default_factory=Courtesy, repr=False)
    limits: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_LIMITS))  # tasks at once, by resource
    dhcp: str = "proxy"  # how the wire answers: proxy, server or off
    subnets: Callable[[], Sequence[Subnet]] = tuple  # what it leases in server mode
    unknown_hosts: str = "local"  # what hosts get that nobody vouched for: silence, local or discover
    discovery_end: str = "poweroff"  # what a host does that has reported its hardware: poweroff, reboot or wait
    boot_networks: Callable[[], Sequence[IPv4Network]] = tuple  # where hosts are; webhooks do not go there
    webhook_networks: Sequence[IPv4Network | IPv6Network] = ()  # but to these in any case
    verify_every_s: float = 0.0  # checks of all roles by themselves; 0: never
    drift_every_s: float = 0.0  # dry runs by themselves; 0: never
    budgets: Mapping[str, float] = field(default_factory=dict)  # seconds, where they differ from the defaults
    mirrors: frozenset[str] = frozenset()  # names of the package repositories in the settings, beside Debian's
    udebs: MirrorUdebs | None = None  # what mirrors have for installers' kernels; None: nobody is asked

    def towards(self, peer: str) -> Context:
        """The same with the address that this peer knows us by: each boot interface has its own."""
        ours = self.source(peer)
        if ours is None or ours == self.addresses.boot_address:
            return self
        return self.known_as(ours)

    def known_as(self, boot_address: str) -> Context:
        """The same with this address for all hosts."""
        return replace(self, addresses=replace(self.addresses, boot_address=boot_address))

    def assets(self, kind: str) -> tuple[Path, ...]:
        """Where files of this kind lie; the operator's folder comes first and wins."""
        return _asset_dirs(kind, self.operator_dir)

    def key_for(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, derived from the master key (HKDF, RFC 5869)."""
        return _derived(self.master_key, purpose)

    def sign(self, purpose: str, text: str) -> str:
        """A token for `text` that only this server can make: 32 hex digits of HMAC-SHA256."""
        return hmac.new(self.key_for(purpose), text.encode(), hashlib.sha256).hexdigest()[:32]


@functools.lru_cache(maxsize=64)
def _asset_dirs(kind: str, operator_dir: Path) -> tuple[Path, ...]:
    return asset_dirs(kind, operator_dir / kind)


@functools.lru_cache(maxsize=64)
def _derived(master_key: bytes, purpose: str) -> bytes:
    # Extract and the first block of expand, which is as long as the key. (The library is 6 MB in each process.)
    extracted = hmac.digest(bytes(32), master_key, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\x01", "sha256")


def new_id() -> str:
    """A random identity: 12 hex digits."""
    return secrets.token_hex(6)


def digest(token: str) -> str:
    """How a token is stored: its SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()


def load_master_key(data_dir: Path) -> bytes:
    """Reads or, at the first start, makes `secret.key`; raises Problem when it is there but unusable.

    A key that cannot be read must stop the service: it must never be replaced by a constant or by a fresh one that
    silently orphans every stored secret (compare CVE-2024-47533).
    """
    path = data_dir / "secret.key"
    if not path.exists():
        write_whole(path, base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n", mode=0o600)
    key = path.read_bytes().strip()
    if len(key) != 44:
        raise Problem(f"{path} is damaged: restore it from a backup (secrets in the database are encrypted with it)")
    return key


def write_news(path: Path, content: bytes) -> None:
    """Writes the file whole unless it says just that already: a process starts again also while the disk is full."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    write_whole(path, content)


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Writes the file whole or not at all: aside, synced, then renamed."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
