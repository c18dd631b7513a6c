"""What many tests start from: a context on a fresh database, a clock that is told the time, an image, an armed host."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from pxeforge.services import arming, hosts, install_tokens, profiles, registration, wire_answers
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.store.database import Database
from pxeforge.store.location import Location, in_folder
from tests.postgresql import TEMPLATE, Cluster, cluster, programs

# How long an example takes says more about the computer than about the code.
hypothesis.settings.register_profile("pxeforge", deadline=None)
hypothesis.settings.load_profile("pxeforge")

MAC = "52:54:00:12:34:56"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyGZRyPyQjKZBTCzBVBDa0wN7GVrCrDDQqZ8pPXk5mv ops"
ACCOUNT = {"name": "ops", "ssh_keys": [KEY], "sudo": True}
PEER = "192.0.2.50"


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database file: made once, copied for each test."""
    path = tmp_path_factory.mktemp("fresh") / "pxeforge.db"
    database = Database(path)
    database.upgrade()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL that runs, with a migrated, empty database as the template of others."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with cluster() as made:
        made.ask(f"CREATE DATABASE {TEMPLATE}")
        database = Database(made.location(TEMPLATE))
        database.upgrade()
        database.close()
        yield made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked with `both_databases` runs on each of them."""
    if "database_kind" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """PXEFORGE_TEST_DATABASE=postgresql runs the tests that are not about a kind of database on PostgreSQL."""
    kind: str = getattr(request, "param", os.environ.get("PXEFORGE_TEST_DATABASE", "sqlite"))
    return kind


@pytest.fixture
def location(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Location]:
    """A migrated, empty database of the test's own."""
    if database_kind == "sqlite":
        shutil.copy(request.getfixturevalue("fresh_database"), tmp_path / "pxeforge.db")
        yield in_folder(tmp_path)
    else:
        with request.getfixturevalue("postgresql").fresh() as made:
            yield made


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock, location: Location) -> Iterator[Context]:
    for name in ("images", "cache", "logs", "tls", "agent"):
        (tmp_path / name).mkdir()
    (tmp_path / "tls" / "server.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "agent" / "pxeforge-agent.pyz").write_bytes(b"agent")
    database = Database(location)
    yield Context(
        database=database,
        data_dir=tmp_path,
        addresses=Addresses(boot_address="192.0.2.1"),
        master_key=load_master_key(tmp_path),
        operator_dir=tmp_path / "etc",
        clock=clock,
    )
    database.close()


def write_image(
    data_dir: Path, version: str = "20250803", more: dict[str, bytes] | None = None, name: str = "debian-13"
) -> Path:
    """A small image as the importer leaves it."""
    folder = data_dir / "images" / name / version
    installer = {"linux": b"kernel", "initrd.gz": b"initrd", "loaders/pxelinux.0": b"pxelinux"}
    contents = {**(installer if name.startswith("debian") else {}), **(more or {})}
    files = {}
    for inside, content in contents.items():
        path = folder / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files[inside] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "name": name, "version": version, "arch": "arm64" if "arm64" in name else "amd64", "suite": "trixie",
        "kernel_version": "6.12", "imported_at": 1.0, "files": files, "sources": {},
    }  # fmt: skip
    (folder / "image.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def profile(ctx: Context) -> str:
    """A profile that renders, with its image at hand."""
    write_image(ctx.data_dir)
    profiles.create(ctx, "debian-13", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    return "debian-13"


@pytest.fixture
def armed(ctx: Context, profile: str) -> dict[str, Any]:
    """A host named n1, armed for the profile."""
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    return arming.arm(ctx, "n1", profile=profile, who="test")


@pytest.fixture
def tokens(ctx: Context, armed: dict[str, Any]) -> Callable[[str], str]:
    """The token of the armed attempt for a purpose, as the rendered files carry it."""

    def token(purpose: str) -> str:
        attempt = hosts.show(ctx, "n1")["attempt"]
        assert attempt is not None
        return install_tokens.token_of(ctx, attempt["id"], purpose)

    return token


FACTS: dict[str, Any] = {
    "hostname": "n1", "uuid": "11111111-2222-3333-4444-555555555555", "serial": "S1", "ram_bytes": 1 << 30,
    "cpu": {"model": "x", "count": 1}, "disks": [{"name": "vda", "size_bytes": 8 << 30}],
    "nics": [{"name": "ens3", "mac": MAC, "addresses": ["192.0.2.50/24"]}],
    "ssh_host_keys": [{"type": "ssh-ed25519", "key": "AAAA"}],
}  # fmt: skip


@pytest.fixture
def registered(ctx: Context, tokens: Callable[[str], str]) -> dict[str, Any]:
    """The host n1 after its install; gives the answer that its bootstrap got."""
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    return registration.register(ctx, tokens("installer"), FACTS, peer=PEER)
