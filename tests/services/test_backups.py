"""A backup is whole, opens again, and a restore that is killed leaves the old or the new state."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pxeforge.app.assembly import open_data_dir
from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, backups, hosts, secrets, sessions
from pxeforge.services.backups import backup, check, restore, upgrade
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.store import revisions, swap
from pxeforge.store.database import Database, StoreUnavailable
from tests.conftest import MAC, write_image

OTHER = "52:54:00:12:34:57"
TLS = ["tls/server.crt", "tls/server.key"]


@pytest.fixture
def saved(ctx: Context, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a data directory with the host `old`, a secret and a certificate."""
    hosts.add(ctx, macs=[MAC], name="old", who="test")
    (ctx.data_dir / "tls" / "server.key").write_text("key")
    with ctx.database.write() as session:
        secrets.ensure(session, ctx, ["db/root"])
    (ctx.data_dir / "addresses.json").write_text('{"boot_address": "192.0.2.1"}')
    target = tmp_path_factory.mktemp("safe") / "pxeforge.backup"
    backup(ctx.data_dir, target)
    return target


def names(data_dir: Path) -> list[str]:
    database = Database(data_dir / "pxeforge.db")
    try:
        ctx = Context(
            database=database, data_dir=data_dir, addresses=Addresses(boot_address="192.0.2.1"),
            master_key=load_master_key(data_dir),
        )  # fmt: skip
        return [str(host["name"]) for host in hosts.list_hosts(ctx)]
    finally:
        database.close()


def rewritten(source: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The backup with its members changed, written as a good tar file."""
    with tarfile.open(source) as archive:
        members = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    change(members)
    target = source.with_name("changed.backup")
    with tarfile.open(target, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


def with_manifest(**values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), **values}).encode()

    return change


def test_a_backup_is_one_private_file_that_lists_what_it_holds(saved: Path, ctx: Context) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert not list(ctx.data_dir.glob(".backup-*"))
    with tarfile.open(saved) as archive:
        assert archive.getnames() == ["manifest.json", "pxeforge.db", "secret.key", "addresses.json", *TLS]
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert set(manifest) == {"format", "version", "revision", "created_at", "files"}


def test_a_backup_may_be_made_while_others_write(ctx: Context, tmp_path: Path) -> None:
    stop = threading.Event()
    made = []

    def write() -> None:
        while not stop.is_set():
            number = len(made) + 1
            hosts.add(ctx, macs=[f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"], name=f"h{number}", who="test")
            made.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            before = len(made)
            backup(ctx.data_dir, tmp_path / f"{number}.backup")
            while len(made) < before + 2:
                time.sleep(0.001)
    finally:
        stop.set()
        writer.join()
    target = tmp_path / "elsewhere"
    open_data_dir(target)
    restore(target, tmp_path / "2.backup")
    assert 2 <= len(names(target)) <= len(made)
    assert [one.check for one in check(target) if not one.ok] == ["tls"]  # the certificate here is a lone stand-in


def test_a_backup_does_not_replace_a_file_unasked(saved: Path, ctx: Context) -> None:
    with pytest.raises(Conflict, match="--force"):
        backup(ctx.data_dir, saved)
    backup(ctx.data_dir, saved, force=True)


def test_a_backup_that_cannot_be_written_leaves_nothing(ctx: Context, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="choose another place"):
        backup(ctx.data_dir, tmp_path / "no-such-folder" / "file")
    with pytest.raises(Problem, match="is a folder"):
        backup(ctx.data_dir, tmp_path)
    with pytest.raises(NotFound, match="--data-dir"):
        backup(tmp_path / "empty", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_backup_without_the_key_is_refused(ctx: Context, tmp_path: Path) -> None:
    (tmp_path / "secret.key").unlink()
    with pytest.raises(Problem, match="without the key"):
        backup(ctx.data_dir, tmp_path / "file")


def test_a_restore_brings_everything_back_and_keeps_what_it_replaced(saved: Path, ctx: Context) -> None:
    hosts.add(ctx, macs=[OTHER], name="new", who="test")
    key = (ctx.data_dir / "secret.key").read_bytes()
    ctx.database.close()
    (ctx.data_dir / "secret.key").write_bytes(b"k" * 43 + b"=\n")
    (ctx.data_dir / "tls" / "server.crt").write_text("another")
    done = restore(ctx.data_dir, saved)
    assert names(ctx.data_dir) == ["old"]
    assert (ctx.data_dir / "secret.key").read_bytes() == key
    assert (ctx.data_dir / "secret.key").stat().st_mode & 0o777 == 0o600
    assert (ctx.data_dir / "tls" / "server.crt").read_text().startswith("-----BEGIN")
    assert all(one.ok for one in check(ctx.data_dir))
    assert done.aside is not None
    assert done.aside.name.startswith(".before-restore-")
    assert names(done.aside) == ["new", "old"]
    assert (done.aside / "tls" / "server.crt").read_text() == "another"
    assert not list(ctx.data_dir.glob(".restore-*"))
    again = restore(ctx.data_dir, saved)
    assert again.aside is not None
    assert again.aside != done.aside


def test_a_restore_on_a_fresh_computer_needs_nothing_but_the_file(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "fresh"
    open_data_dir(target)
    restore(target, saved)
    assert names(target) == ["old"]
    assert secrets_of(target) == ["db/root"]


def secrets_of(data_dir: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(data_dir / "pxeforge.db")) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM secrets")]


def test_a_host_that_was_armed_at_backup_is_not_wiped_after_a_restore(
    ctx: Context, armed: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("safe") / "file"
    backup(ctx.data_dir, target)
    ctx.database.close()
    done = restore(ctx.data_dir, target, now=ctx.clock())
    assert done.disarmed == ("n1",)
    found = hosts.show(ctx, "n1")
    assert (found["state"], found["armed_until"]) == ("known", None)
    assert found["attempt"]["outcome"] == "disarmed"


def test_a_session_that_ended_since_the_backup_does_not_come_back_by_a_restore(
    ctx: Context, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("safe") / "file"
    accounts.add(ctx, "ann", "correct horse battery", role=UserRole.ADMIN, who="test")
    key = sessions.start(ctx, "ann", address="::1", browser="")
    backup(ctx.data_dir, target)
    sessions.end(ctx, key)
    ctx.database.close()
    restore(ctx.data_dir, target, now=ctx.clock())
    assert sessions.user_of(ctx, key, active=True) is None
    assert [user["name"] for user in accounts.list_users(ctx)] == ["ann"]


def test_a_restore_is_refused_while_a_server_runs(saved: Path, ctx: Context) -> None:
    with (ctx.data_dir / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="stop it first"):
            restore(ctx.data_dir, saved)
    assert names(ctx.data_dir) == ["old"]


def test_a_restore_is_refused_while_another_command_has_the_database_open(saved: Path, ctx: Context) -> None:
    with ctx.database.read() as session:
        hosts.find(session, "old")
        with pytest.raises(Conflict, match="wait until it has ended"):
            restore(ctx.data_dir, saved)
    assert not list(ctx.data_dir.glob(".restore-*"))


def flip(position: float) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        at = int(len(content) * position)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"nothing of this kind",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-40000],
        flip(0.0),
        flip(0.5),
        flip(0.0005),
    ],
)
def test_a_damaged_backup_changes_nothing(saved: Path, ctx: Context, damage: Callable[[bytes], bytes]) -> None:
    saved.write_bytes(damage(saved.read_bytes()))
    before = sorted(path.name for path in ctx.data_dir.iterdir())
    with pytest.raises(Problem, match="damaged or no backup"):
        restore(ctx.data_dir, saved)
    assert sorted({path.name for path in ctx.data_dir.iterdir()} - {"serve.lock"}) == before
    assert names(ctx.data_dir) == ["old"]


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.pop("secret.key"),
        lambda members: members.update({"pxeforge.db": b"other"}),
        lambda members: members.update({"../evil": b"x"}),
        lambda members: members.update({"manifest.json": b"[]"}),
        with_manifest(files={}),
        with_manifest(files={"../evil": {"size": 1, "sha256": "0" * 64}}),
    ],
)
def test_a_backup_that_somebody_changed_is_refused(
    saved: Path, ctx: Context, change: Callable[[dict[str, bytes]], None]
) -> None:
    with pytest.raises(Problem, match="damaged or no backup"):
        restore(ctx.data_dir, rewritten(saved, change))


def test_a_link_in_a_backup_is_refused(saved: Path, ctx: Context) -> None:
    with tarfile.open(saved) as archive:
        manifest = archive.extractfile("manifest.json").read()  # type: ignore[union-attr]
    target = saved.with_name("links.backup")
    with tarfile.open(target, "w") as archive:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        archive.addfile(info, io.BytesIO(manifest))
        link = tarfile.TarInfo("secret.key")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        archive.addfile(link)
    with pytest.raises(Problem, match="damaged or no backup"):
        restore(ctx.data_dir, target)


@pytest.mark.parametrize("values", [{"format": 2, "version": "9.0"}, {"revision": "9999", "version": "9.0"}])
def test_a_newer_backup_is_refused(saved: Path, ctx: Context, values: dict[str, Any]) -> None:
    with pytest.raises(Conflict, match=r"newer pxeforge \(9\.0, .*install that release"):
        restore(ctx.data_dir, rewritten(saved, with_manifest(**values)))


@pytest.fixture
def next_release(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """From now on this release has one more revision of the tables."""
    folder = tmp_path_factory.mktemp("next") / "migrations"
    shutil.copytree(revisions.MIGRATIONS, folder)
    (folder / "versions" / "9000_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '9000', '{backups.known_revisions()[0]}'\n"
        "def upgrade():\n    op.create_table('of_next_release', sa.Column('name', sa.String(), primary_key=True))\n"
    )
    monkeypatch.setattr(revisions, "MIGRATIONS", folder)
    return folder


def test_an_older_backup_is_brought_up_to_this_release(saved: Path, ctx: Context, next_release: Path) -> None:
    ctx.database.close()
    assert "run `pxeforge db upgrade`" in {one.check: one.seen for one in check(ctx.data_dir)}["revision"]
    done = restore(ctx.data_dir, saved)
    assert done.manifest.revision != "9000"
    assert revisions.revision_of(ctx.data_dir / "pxeforge.db") == "9000"
    assert names(ctx.data_dir) == ["old"]
    assert all(one.ok for one in check(ctx.data_dir))
    assert done.aside is not None
    assert revisions.revision_of(done.aside / "pxeforge.db") == done.manifest.revision


def test_an_upgrade_waits_for_the_server_to_stop(saved: Path, ctx: Context, next_release: Path) -> None:
    ctx.database.close()
    with (ctx.data_dir / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="stop it first"):
            upgrade(ctx.data_dir)
    before, now = upgrade(ctx.data_dir)
    assert (before != now, now) == (True, "9000")
    assert names(ctx.data_dir) == ["old"]


def test_a_backup_of_the_next_release_is_refused_by_this_one(
    saved: Path, ctx: Context, next_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx.database.close()
    restore(ctx.data_dir, saved)
    newer = saved.with_name("newer.backup")
    backup(ctx.data_dir, newer)
    monkeypatch.undo()
    with pytest.raises(Conflict, match="newer pxeforge"):
        restore(ctx.data_dir, newer)


def test_a_backup_that_is_not_there_is_named(ctx: Context, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no-such-file"):
        restore(ctx.data_dir, tmp_path / "no-such-file")


def test_a_key_that_does_not_fit_its_database_is_refused(ctx: Context, saved: Path, tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    (ctx.data_dir / "secret.key").write_bytes(Fernet.generate_key())
    target = saved.with_name("wrong-key")
    backup(ctx.data_dir, target)
    with pytest.raises(Problem, match="does not open the secret db/root"):
        restore(ctx.data_dir, target)


def _die_at(step: int, data_dir: Path, source: Path) -> None:
    """The restore in this process, killed as by kill -9 before its `step`-th change of a folder or sync."""
    left = [step]

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*arguments, **named)

        return call

    for name in ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync"):
        setattr(os, name, guarded(getattr(os, name)))
    restore(data_dir, source)


def test_a_restore_that_is_killed_anywhere_leaves_the_old_or_the_new_state(
    saved: Path, ctx: Context, tmp_path: Path
) -> None:
    hosts.change(ctx, "old", name="now", who="test")
    ctx.database.close()
    (ctx.data_dir / "tls" / "server.crt").write_text("now")
    start = tmp_path / "start"
    open_data_dir(start)
    shutil.copy(ctx.data_dir / "pxeforge.db", start)
    shutil.copy(ctx.data_dir / "secret.key", start)
    shutil.copytree(ctx.data_dir / "tls", start / "tls", dirs_exist_ok=True)
    seen = []
    for step in range(200):
        place = tmp_path / f"killed-{step}"
        shutil.copytree(start, place)
        process = multiprocessing.get_context("fork").Process(target=_die_at, args=(step, place, saved))
        process.start()
        process.join()
        half = (place / swap.MARKER).exists()
        if half:
            assert not check(place)[0].ok if (place / "pxeforge.db").exists() else True
        open_data_dir(place)
        state = (names(place), (place / "tls" / "server.crt").read_text()[:3], (place / "addresses.json").exists())
        assert state in ((["now"], "now", False), (["old"], "---", True)), step
        assert all(one.ok for one in check(place)), step
        seen.append((half, state[0][0]))
        shutil.rmtree(place)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0
    assert (False, "now") in seen  # killed before the promise
    assert seen.count((True, "old")) > 5  # killed in the middle of the exchange
    assert seen[-1] == (False, "old")


def test_an_unfinished_restore_is_ended_before_anything_else_opens_the_folder(ctx: Context) -> None:
    stage = ctx.data_dir / ".restore-x"
    stage.mkdir()
    (stage / "addresses.json").write_text("new")
    swap.commit(ctx.data_dir, stage=".restore-x", aside=".before", put=["addresses.json"], drop=["tls"])
    open_data_dir(ctx.data_dir)
    assert (ctx.data_dir / "addresses.json").read_text() == "new"
    assert list((ctx.data_dir / "tls").iterdir()) == []
    assert (ctx.data_dir / ".before" / "tls" / "server.crt").exists()
    assert not swap.finish(ctx.data_dir)


def test_what_is_in_order_checks_out(ctx: Context, saved: Path) -> None:
    write_image(ctx.data_dir)
    found = {one.check: one for one in check(ctx.data_dir)}
    assert found["key"].seen == "opens each of 1 secrets"
    assert found["images"].seen == "1 manifests can be read"
    assert all(one.ok for one in found.values())
    (ctx.data_dir / "tls" / "server.key").unlink()
    assert [one.check for one in check(ctx.data_dir) if not one.ok] == ["tls"]


def test_a_check_finds_what_is_wrong(ctx: Context, saved: Path) -> None:
    folder = write_image(ctx.data_dir)
    (folder / "image.json").write_text("{")
    with contextlib.closing(sqlite3.connect(ctx.data_dir / "pxeforge.db")) as connection:
        connection.execute("INSERT INTO nics (mac, host_id) VALUES ('aa', 'ghost')")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    found = {one.check: one for one in check(ctx.data_dir)}
    assert "hosts that is not there" in found["database"].seen
    assert "install the newer release" in found["revision"].seen
    assert "no readable image" in found["images"].seen
    with pytest.raises(Conflict, match="newer pxeforge"):
        upgrade(ctx.data_dir)
    with pytest.raises(StoreUnavailable, match="newer pxeforge"):
        ctx.database.upgrade()


def test_a_check_finds_a_key_that_does_not_fit(ctx: Context, saved: Path) -> None:
    (ctx.data_dir / "secret.key").write_bytes(b"k" * 44)
    assert "does not open db/root" in {one.check: one.seen for one in check(ctx.data_dir)}["key"]
    (ctx.data_dir / "secret.key").unlink()
    assert "is missing" in {one.check: one.seen for one in check(ctx.data_dir)}["key"]
    assert not (ctx.data_dir / "secret.key").exists()


def test_a_check_of_a_damaged_file_says_so(ctx: Context) -> None:
    ctx.database.close()
    (ctx.data_dir / "pxeforge.db").write_bytes(b"this is no database" * 100)
    found = {one.check: one for one in check(ctx.data_dir)}
    assert found["database"].seen == "file is not a database"
    with pytest.raises(Problem, match="pxeforge db check"):
        backup(ctx.data_dir, ctx.data_dir / "file")
    with pytest.raises(Problem, match="restore a backup"):
        upgrade(ctx.data_dir)


def test_a_damaged_database_can_be_replaced(ctx: Context, saved: Path) -> None:
    ctx.database.close()
    (ctx.data_dir / "pxeforge.db").write_bytes(b"this is no database" * 100)
    (ctx.data_dir / "pxeforge.db-wal").write_bytes(b"stale")
    done = restore(ctx.data_dir, saved)
    assert names(ctx.data_dir) == ["old"]
    assert done.aside is not None
    assert (done.aside / "pxeforge.db-wal").read_bytes() == b"stale"


def test_an_upgrade_says_from_where_to_where(tmp_path: Path) -> None:
    open_data_dir(tmp_path)
    before, now = upgrade(tmp_path)
    assert before is None
    assert upgrade(tmp_path) == (now, now)
    assert backups.known_revisions()[0] == now
