"""What every use case needs: the database, the data directory, the clock, the keys and our addresses."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pxeforge.assets import asset_dirs
from pxeforge.domain.mac import MacAddress
from pxeforge.services.problems import Problem
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

    def assets(self, kind: str) -> tuple[Path, ...]:
        """Where files of this kind lie; the operator's folder comes first and wins."""
        return asset_dirs(kind, self.operator_dir / kind)

    def key_for(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, derived from the master key (HKDF, RFC 5869)."""
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.encode()).derive(self.master_key)

    def sign(self, purpose: str, text: str) -> str:
        """A token for `text` that only this server can make: 32 hex digits of HMAC-SHA256."""
        return hmac.new(self.key_for(purpose), text.encode(), hashlib.sha256).hexdigest()[:32]


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
        write_whole(path, Fernet.generate_key() + b"\n", mode=0o600)
    key = path.read_bytes().strip()
    if len(key) != 44:
        raise Problem(f"{path} is damaged: restore it from a backup (secrets in the database are encrypted with it)")
    return key


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
