"""Backups of the data directory: one file with the database, its keys and our addresses, and the way back."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Final

from cryptography.fernet import Fernet, InvalidToken
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import select

import pxeforge
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import install_ends, row_checks, sessions
from pxeforge.services.acting import ON_THE_COMPUTER
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.services.events import record
from pxeforge.services.image_store import ImportProblem, load_image
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.store import swap
from pxeforge.store.database import Database, StoreUnavailable
from pxeforge.store.location import FILE_NAME, BadLocation, Location, in_folder, parse
from pxeforge.store.revisions import copy_file, faults_of, known_revisions, open_read_only, revision_of
from pxeforge.store.tables import Host

FORMAT: Final = 1
_DATABASE: Final = FILE_NAME
_KEY: Final = "secret.key"
_MANIFEST: Final = "manifest.json"
_LOCK: Final = "serve.lock"
_ASIDE: Final = ".before-restore-"
_STAGE: Final = ".restore-"
_COPY: Final = ".backup-"
_HALF: Final = "one was killed half-way: the next command or start ends it"
_SECRETS: Final = "SELECT name, ciphertext FROM secrets ORDER BY name"
_MOST_SEEN: Final = 10
_MEMBER = re.compile(r"pxeforge\.db|secret\.key|addresses\.json|tls/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CHUNK: Final = 1 << 20
_LARGEST_MANIFEST: Final = 1 << 20
_STALE_S: Final = 3600.0  # a copy this old belongs to a backup that was killed
_PROBE = Addresses(boot_address="192.0.2.1")  # RFC 5737: a restore renders nothing


class _File(BaseModel):
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The first member of a backup. `version` is the release that made it, `revision` that of the tables."""

    format: int
    version: str
    revision: str
    created_at: float
    files: dict[str, _File]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did. `aside`: where the replaced files lie (None: there were none)."""

    manifest: Manifest
    aside: Path | None
    disarmed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `check`."""

    check: str
    ok: bool
    seen: str


# ---------------------------------------------------------------------------------------------- backup


def backup(
    data_dir: Path, target: Path, *, location: Location | None = None, force: bool = False, now: float | None = None
) -> Manifest:
    """Writes one file (mode 0600) whole or not at all; a server may run. Raises Problem, StoreUnavailable.

    `location`: where the database is, if not in the folder. It is a SQLite file in the backup in any case: a backup
    can be restored to either kind. Images, caches and logs are not in it: images can be imported again.
    """
    location = location or in_folder(data_dir)
    _must_be_here(data_dir, location)
    swap.finish(data_dir)
    load_restored(data_dir, location)
    if target.is_dir():
        raise Problem(f"{target} is a folder: name a file in it")
    if target.exists() and not force:
        raise Conflict(f"{target} is there already: choose another name, or replace it with --force")
    _sweep(data_dir, _COPY, older_than_s=_STALE_S)
    try:
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=_COPY) as folder:
            copy = Path(folder) / _DATABASE
            _copy_database(location, copy)
            members = {_DATABASE: copy, **{str(path.relative_to(data_dir)): path for path in _beside(data_dir)}}
            manifest = Manifest(
                format=FORMAT, version=pxeforge.__version__, revision=revision_of(copy) or "",
                created_at=time.time() if now is None else now,
                files={name: _measured(path) for name, path in members.items()},
            )  # fmt: skip
            _write_tar(target, manifest, members)
    except OSError as problem:
        raise Problem(f"the backup {target} cannot be written ({problem.strerror}): choose another place") from None
    return manifest


def _beside(data_dir: Path) -> list[Path]:
    """What the database alone is worth little without."""
    if not (data_dir / _KEY).exists():
        raise Problem(f"{data_dir / _KEY} is missing: a backup without the key could not be read; put it back first")
    return [
        path
        for path in (data_dir / _KEY, data_dir / "addresses.json", *sorted((data_dir / "tls").glob("*")))
        if path.is_file() and _MEMBER.fullmatch(str(path.relative_to(data_dir)))
    ]


def _copy_database(live: Location, copy: Path) -> None:
    """One moment of the live database, while others write; refused when it is damaged."""
    try:
        if live.path is not None:
            copy_file(live.path, copy)
        else:
            with _opened(live) as database:
                database.copy_to(copy)
        with contextlib.closing(sqlite3.connect(copy)) as made:
            made.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as problem:
        raise Problem(f"the database {live} cannot be read ({problem}): run `pxeforge db check`") from None
    faults = faults_of(copy)
    if faults:
        raise Problem(f"the database {live} is damaged ({faults[0]}): restore an earlier backup")


@contextlib.contextmanager
def _opened(location: Location) -> Iterator[Database]:
    database = Database(location)
    try:
        yield database
    finally:
        database.close()


def _measured(path: Path) -> _File:
    with path.open("rb") as stream:
        return _File(size=path.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest())


def _write_tar(target: Path, manifest: Manifest, members: dict[str, Path]) -> None:
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                text = json.dumps(manifest.model_dump(), indent=2).encode()
                archive.addfile(_member(_MANIFEST, len(text), manifest), BytesIO(text))
                for name, path in members.items():
                    with path.open("rb") as content:
                        archive.addfile(_member(name, manifest.files[name].size, manifest), content)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _member(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(manifest.created_at)
    return info


# ---------------------------------------------------------------------------------------------- restore


def restore(
    data_dir: Path, source: Path, *, location: Location | None = None, now: float | None = None
) -> Restored:  # fmt: skip
    """Puts a backup in the place of what is here; refused while a server runs. Raises Problem, StoreUnavailable.

    Everything is checked, migrated and disarmed aside before the first file is touched. A restore that is killed
    leaves the old state or (ended by the next command or start) the new one. The folder must exist. A database that is
    not a file of this folder gets its new rows last, in one transaction of its own.
    """
    at = time.time() if now is None else now
    location = location or in_folder(data_dir)
    is_ours = location == in_folder(data_dir)
    with no_server(data_dir):
        swap.finish(data_dir)
        load_restored(data_dir, location)
        _sweep(data_dir, _STAGE)
        stage = Path(tempfile.mkdtemp(dir=data_dir, prefix=_STAGE))
        try:
            manifest = _unpack(source, stage)
            disarmed = _make_ready(stage, manifest, at)
            aside = _free_folder(data_dir, at)
            if is_ours:
                _settle(data_dir / _DATABASE)
            else:
                (stage / _DATABASE).rename(stage / swap.RESTORED)
                _keep_rows(location, aside)
            put = sorted(path.name for path in stage.iterdir())
            _give_to_owner(stage, data_dir)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        # The write-ahead log goes with its database: SQLite would play it into the new one.
        logs = [f"{_DATABASE}-wal", f"{_DATABASE}-shm"] if is_ours else []
        drop = [*logs, *({"addresses.json", "tls"} - set(put))]
        swap.commit(data_dir, stage=stage.name, aside=aside.name, put=put, drop=drop)
        swap.finish(data_dir)
        load_restored(data_dir, location)
        if not any(aside.iterdir()):
            aside.rmdir()
    return Restored(manifest=manifest, aside=aside if aside.exists() else None, disarmed=disarmed)


def load_restored(data_dir: Path, location: Location) -> None:
    """Ends a restore into a database that is not a file of the folder: its rows, in one transaction.

    Whoever opens that database calls it first. Raises StoreUnavailable; then the next one does it.
    """
    restored = data_dir / swap.RESTORED
    if restored.exists():
        with _opened(location) as database:
            database.upgrade()
            database.replace_by(restored)
        restored.unlink()


def _keep_rows(location: Location, aside: Path) -> None:
    """What is to be replaced, as a SQLite file; proves before that the database can be written and nobody uses it."""
    with _opened(location) as database:
        if database.others():
            raise Conflict(f"another pxeforge uses the database {location}: stop it first")
        before = database.revision()
        if before is not None and before not in known_revisions():
            raise Conflict(f"the database {location} is of a newer pxeforge (revision {before}): install that one")
        if before is not None:
            aside.mkdir(mode=0o700)
            try:
                database.copy_to(aside / _DATABASE)
            except StoreUnavailable:
                aside.rmdir()
                raise
        database.upgrade()


def _unpack(source: Path, stage: Path) -> Manifest:
    """Takes the members out, each with the size and digest that the manifest tells; raises Problem."""
    try:
        with source.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            manifest = _read_manifest(archive, source)
            missing = set(manifest.files)
            for info in islice(archive, 1, None):  # behind the manifest
                expected = manifest.files.get(info.name)
                if info.name not in missing or expected is None or not info.isreg() or info.size != expected.size:
                    raise Problem(_damaged(source, f"{info.name} is not as its manifest says"))
                missing.remove(info.name)
                content = archive.extractfile(info)
                if content is None or _take_out(content, stage / info.name) != expected.sha256:
                    raise Problem(_damaged(source, f"the content of {info.name} has changed"))
    except FileNotFoundError:
        raise NotFound(f"there is no file {source}: name a backup that `pxeforge db backup` has made") from None
    except (tarfile.TarError, EOFError) as problem:
        raise Problem(_damaged(source, str(problem))) from None
    except OSError as problem:
        raise Problem(f"the backup {source} cannot be unpacked ({problem.strerror})") from None
    if missing:
        raise Problem(_damaged(source, f"{min(missing)} is missing"))
    return manifest


def _read_manifest(archive: tarfile.TarFile, source: Path) -> Manifest:
    first = archive.next()
    content = archive.extractfile(first) if first is not None and first.isreg() else None
    if first is None or first.name != _MANIFEST or content is None or first.size > _LARGEST_MANIFEST:
        raise Problem(_damaged(source, "its first member is no manifest"))
    try:
        raw = json.loads(content.read())
        if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
            raise Conflict(_newer(source, str(raw.get("version", "?"))))
        manifest = Manifest.model_validate(raw)
    except (ValueError, ValidationError):
        raise Problem(_damaged(source, "its manifest cannot be read")) from None
    if {_DATABASE, _KEY} - set(manifest.files) or not all(_MEMBER.fullmatch(name) for name in manifest.files):
        raise Problem(_damaged(source, "its manifest does not list what a backup holds"))
    if manifest.revision not in known_revisions():
        raise Conflict(_newer(source, manifest.version))
    return manifest


def _damaged(source: Path, why: str) -> str:
    return f"{source} is damaged or no backup of pxeforge ({why}): nothing was changed; use another backup"


def _newer(source: Path, version: str) -> str:
    return (
        f"the backup {source} was made by a newer pxeforge ({version}, this one is {pxeforge.__version__}): "
        "nothing was changed; install that release first"
    )


def _take_out(content: IO[bytes], path: Path) -> str:
    """Writes the file (0600) and returns its SHA-256."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    seen = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        while chunk := content.read(_CHUNK):
            seen.update(chunk)
            stream.write(chunk)
    return seen.hexdigest()


def _make_ready(stage: Path, manifest: Manifest, now: float) -> tuple[str, ...]:
    """Checks the staged database, migrates it, disarms its hosts; returns the names of those. Raises Problem."""
    path = stage / _DATABASE
    faults = faults_of(path)
    if faults:
        raise Problem(f"the database in the backup is damaged ({faults[0]}): nothing was changed; use another backup")
    try:
        if revision_of(path) != manifest.revision:
            raise Problem("the database in the backup is not of the revision its manifest says: use another backup")
        database = Database(path)
        database.upgrade()
    except (sqlite3.Error, StoreUnavailable) as problem:
        raise Problem(f"the database in the backup cannot be used ({problem}): nothing was changed") from None
    try:
        ctx = Context(
            database=database, data_dir=stage, addresses=_PROBE, master_key=load_master_key(stage), clock=lambda: now
        )  # fmt: skip
        locked = _locked(database.look_up(_SECRETS), ctx.master_key)
        if locked:
            raise Problem(f"the key in the backup does not open the secret {locked[0]}: use another backup")
        disarmed = _disarm_all(ctx)
        with database.write() as session:
            sessions.drop_all(session)  # whoever logged out since must not be in again
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created_at))
            record(
                session, ctx, source="server", kind="restored", who=ON_THE_COMPUTER.who,
                actor=ON_THE_COMPUTER, message=f"restored from the backup of {made}",
            )  # fmt: skip
    finally:
        database.close()
    _settle(path)
    return disarmed


def _disarm_all(ctx: Context) -> tuple[str, ...]:
    """What was armed when the backup was made may have been installed since: it must not be wiped again."""
    waiting = (HostState.ARMED.value, HostState.BOOTING.value)
    with ctx.database.read() as session:
        hosts = session.scalars(select(Host).where(Host.state.in_(waiting))).all()
    for host in hosts:
        install_ends.disarm(ctx, host.id, who="restore")
    return tuple(sorted(host.name or host.id for host in hosts))


def _settle(path: Path) -> None:
    """Brings the write-ahead log into the file and proves that nobody else has it open; raises Conflict."""
    if not path.exists():
        return
    try:
        revision_of(path)  # one that is damaged is left alone, with its log: that may be why somebody restores
        with contextlib.closing(sqlite3.connect(path, timeout=2, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as problem:
        if "locked" in str(problem):
            raise Conflict("another pxeforge command uses the database: wait until it has ended") from None
    except sqlite3.DatabaseError:
        pass


def _free_folder(data_dir: Path, now: float) -> Path:
    stem = _ASIDE + time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    return next(data_dir / name for name in names if not (data_dir / name).exists())


def _give_to_owner(stage: Path, data_dir: Path) -> None:
    """A service that runs as a user of its own must be able to read what root restores."""
    owner = data_dir.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        for path in (stage, *stage.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)


# ---------------------------------------------------------------------------------------------- upgrade, check


def upgrade(data_dir: Path, location: Location | None = None) -> tuple[str | None, str]:
    """Brings the tables up to this release; (revision before, revision now). Raises Problem, StoreUnavailable."""
    location = location or in_folder(data_dir)
    swap.finish(data_dir)
    load_restored(data_dir, location)
    newest = known_revisions()[0]
    with _opened(location) as database:
        try:
            before = database.revision()
        except StoreUnavailable as problem:
            if location.path is None:
                raise
            raise Problem(f"{problem}; restore a backup") from None
        if before is not None and before not in known_revisions():
            raise Conflict(
                f"the database {location} was made by a newer pxeforge (revision {before}): install that release"
            )
        if before != newest:
            with no_server(data_dir):
                database.upgrade()
    return before, newest


def copy(data_dir: Path, source: Location, url: str, *, force: bool = False) -> tuple[int, Location]:
    """All rows of one database into another, which must be empty, to move there; how many there are, and where.

    Refused while a server runs; the source stays as it is. Raises Problem, StoreUnavailable.
    """
    try:
        target = parse(url)
    except BadLocation as problem:
        raise Problem(str(problem)) from None
    if source == target:
        raise Problem(f"{target} is the database in use: name the one to move to")
    _must_be_here(data_dir, source)
    with no_server(data_dir), tempfile.TemporaryDirectory(dir=data_dir, prefix=_COPY) as folder, _opened(target) as new:
        if new.revision() is not None and row_checks.count(new.look_up) and not force:
            raise Conflict(f"there are rows in {target} already: name an empty database, or replace them with --force")
        if new.others():
            raise Conflict(f"another pxeforge uses the database {target}: stop it first")
        rows = Path(folder) / _DATABASE
        _copy_database(source, rows)
        for database in (Database(rows), new):
            database.upgrade()
            if database is not new:
                database.close()
        _settle(rows)
        new.replace_by(rows)
        return row_checks.count(new.look_up), target


def check(data_dir: Path, location: Location | None = None) -> list[Finding]:
    """Looks at everything a backup holds and at the images; changes nothing, also beside a running server."""
    location = location or in_folder(data_dir)
    is_half = (data_dir / swap.MARKER).exists() or (data_dir / swap.RESTORED).exists()
    if not is_half:
        _must_be_here(data_dir, location)
    with _opened(location) as database:
        faults = database.faults()
        found = [
            Finding(check="restore", ok=not is_half, seen=_HALF if is_half else "none is half-way"),
            Finding(check="database", ok=not faults, seen="; ".join(faults) or "whole, every reference holds"),
        ]
        with contextlib.suppress(StoreUnavailable):
            found.append(_check_revision(database.revision()))
        if all(one.ok for one in found):
            with _only_reading(location) as look_up:
                wrong, secrets_here = row_checks.wrong_rows(look_up), look_up(_SECRETS)
            found.append(
                Finding(check="rows", ok=not wrong, seen="; ".join(wrong[:_MOST_SEEN]) or "each can be read")
            )  # fmt: skip
            found.append(_check_key(data_dir, secrets_here))
    return [*found, _check_tls(data_dir), _check_images(data_dir)]


def _check_revision(revision: str | None) -> Finding:
    known = known_revisions()
    if revision == known[0]:
        return Finding(check="revision", ok=True, seen=f"{revision}, that of this release")
    advice = "run `pxeforge db upgrade`" if revision is None or revision in known else "install the newer release"
    return Finding(check="revision", ok=False, seen=f"{revision}, this release has {known[0]}: {advice}")


def _check_key(data_dir: Path, secrets_here: list[tuple[str, str]]) -> Finding:
    if not (data_dir / _KEY).exists():
        return Finding(check="key", ok=False, seen=f"{_KEY} is missing: restore it from a backup")
    try:
        locked = _locked(secrets_here, load_master_key(data_dir))
    except Problem as problem:
        return Finding(check="key", ok=False, seen=str(problem))
    if locked:
        return Finding(check="key", ok=False, seen=f"does not open {', '.join(locked)}: restore the key from a backup")
    return Finding(check="key", ok=True, seen=f"opens each of {len(secrets_here)} secrets")


@contextlib.contextmanager
def _only_reading(location: Location) -> Iterator[row_checks.LookUp]:
    """`Database.look_up`; of a SQLite file without the right to write, beside whoever uses it."""
    if location.path is None:
        with _opened(location) as database:
            yield database.look_up
    else:
        with contextlib.closing(open_read_only(location.path)) as connection:
            yield lambda statement, **values: connection.execute(statement, values).fetchall()


def _locked(found: list[tuple[str, str]], key: bytes) -> list[str]:
    """Names of those that the key does not open."""
    return [name for name, ciphertext in found if not _opens(key, ciphertext)]


def _opens(key: bytes, ciphertext: str) -> bool:
    try:
        Fernet(key).decrypt(ciphertext.encode())
    except (InvalidToken, ValueError):  # ValueError: 44 characters that are no key
        return False
    return True


def _check_tls(data_dir: Path) -> Finding:
    missing = [name for name in ("server.crt", "server.key") if not (data_dir / "tls" / name).is_file()]
    if len(missing) == 1:
        return Finding(
            check="tls", ok=False, seen=f"{missing[0]} is missing: restore it, or every host has to register again"
        )  # fmt: skip
    return Finding(check="tls", ok=True, seen="not made yet" if missing else "certificate and key are here")


def _check_images(data_dir: Path) -> Finding:
    count, bad = 0, []
    for folder in sorted(path for path in (data_dir / "images").glob("[!.]*/[!.]*") if path.is_dir()):
        try:
            load_image(folder)
            count += 1
        except ImportProblem as problem:
            bad.append(str(problem))
    return Finding(check="images", ok=not bad, seen="; ".join(bad) or f"{count} manifests can be read")


# ---------------------------------------------------------------------------------------------- the folder


def _must_be_here(data_dir: Path, location: Location) -> None:
    if location.path is not None:
        if not location.path.is_file():
            where = data_dir if location == in_folder(data_dir) else location
            raise NotFound(f"there is no database in {where}: name the data directory with --data-dir")
        return
    with _opened(location) as database:
        if database.revision() is None:
            raise NotFound(f"there are no tables in the database {location}: start `pxeforge serve` on it once")


@contextlib.contextmanager
def no_server(data_dir: Path) -> Iterator[None]:
    """Holds the lock of `pxeforge serve`: raises Conflict while one runs, and none starts meanwhile."""
    with (data_dir / _LOCK).open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"a pxeforge server runs on {data_dir}: stop it first") from None
        yield


def _sweep(data_dir: Path, prefix: str, *, older_than_s: float = 0.0) -> None:
    """Removes what a killed process left: it holds keys."""
    for path in data_dir.glob(f"{prefix}*"):
        if time.time() - path.stat().st_mtime >= older_than_s:
            shutil.rmtree(path)
