"""Backups of a PostgreSQL database, and the way from one kind of database to the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.services import arming, backups, events, hosts, secrets
from pxeforge.services.backups import backup, check, restore, upgrade
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.store import swap
from pxeforge.store.database import Database, StoreUnavailable
from pxeforge.store.location import Location, in_folder
from tests.conftest import MAC
from tests.postgresql import Cluster, programs

pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")
OTHER = "52:54:00:12:34:57"


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


@pytest.fixture
def saved(ctx: Context, location: Location, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with the host `old`, a secret and a certificate; since then there is `now`, too."""
    hosts.add(ctx, macs=[MAC], name="old", who="test")
    with ctx.database.write() as session:
        secrets.ensure(session, ctx, ["db/root"])
    (ctx.data_dir / "tls" / "server.key").write_text("old")
    target = tmp_path_factory.mktemp("backups") / "backup"
    backup(ctx.data_dir, target, location=location)
    hosts.add(ctx, macs=[OTHER], name="now", who="test")
    (ctx.data_dir / "tls" / "server.key").write_text("now")
    return target


def opened(data_dir: Path, location: Location) -> Context:
    return Context(
        database=Database(location), data_dir=data_dir, addresses=Addresses(boot_address="192.0.2.1"),
        master_key=load_master_key(data_dir),
    )  # fmt: skip


def names(data_dir: Path, location: Location) -> list[str | None]:
    ctx = opened(data_dir, location)
    found = sorted(host["name"] for host in hosts.list_hosts(ctx))
    assert secrets.show(ctx, "db/root", who="test")
    ctx.database.close()
    return found


def test_a_backup_of_a_running_postgresql_comes_back_with_what_it_replaces_kept(
    ctx: Context, saved: Path, location: Location
) -> None:
    ctx.database.close()
    done = restore(ctx.data_dir, saved, location=location)
    assert names(ctx.data_dir, location) == ["old"]
    assert (ctx.data_dir / "tls" / "server.key").read_text() == "old"
    assert not (ctx.data_dir / swap.RESTORED).exists()
    assert not (ctx.data_dir / "pxeforge.db").exists()
    assert done.aside is not None
    with sqlite3.connect(done.aside / "pxeforge.db") as before:
        assert before.execute("SELECT name FROM hosts ORDER BY name").fetchall() == [("now",), ("old",)]
    before.close()
    back = opened(ctx.data_dir, location)
    hosts.add(back, macs=[OTHER], name="next", who="test")  # numbers of events go on after the last one
    kinds = [event["kind"] for event in events.recent(back)]
    assert "restored" in kinds
    back.database.close()


def test_a_backup_of_one_kind_is_restored_to_the_other(
    ctx: Context, saved: Path, location: Location, tmp_path: Path
) -> None:
    ctx.database.close()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    restore(folder, saved)
    assert names(folder, in_folder(folder)) == ["old"]
    second = tmp_path / "second.backup"
    backup(folder, second)
    restore(ctx.data_dir, second, location=location)
    assert names(ctx.data_dir, location) == ["old"]


def test_a_host_that_was_armed_at_backup_is_not_wiped_after_a_restore(
    ctx: Context, armed: dict[str, Any], location: Location, tmp_path: Path
) -> None:
    backup(ctx.data_dir, tmp_path / "backup", location=location)
    ctx.database.close()
    assert restore(ctx.data_dir, tmp_path / "backup", location=location).disarmed == ("n1",)
    back = opened(ctx.data_dir, location)
    assert hosts.show(back, "n1")["state"] == "known"
    with pytest.raises(Problem):
        arming.arm(back, "n1", profile="nothing", who="test")
    back.database.close()


def test_a_restore_is_refused_while_anybody_else_uses_the_database(
    ctx: Context, saved: Path, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pxeforge.store import postgresql

    monkeypatch.setattr(postgresql, "_GONE_S", 0.2)
    with pytest.raises(Conflict, match="another pxeforge uses the database"):
        restore(ctx.data_dir, saved, location=location)
    assert [path.name for path in ctx.data_dir.glob(".restore-*")] == []
    assert names(ctx.data_dir, location) == ["now", "old"]


def test_a_restore_that_is_killed_before_the_rows_are_in_is_ended_by_the_next_start(
    ctx: Context, saved: Path, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx.database.close()
    load = backups.load_restored

    def killed(data_dir: Path, where: Location) -> None:
        if (data_dir / swap.RESTORED).exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(backups, "load_restored", killed)
    with pytest.raises(KeyboardInterrupt):
        restore(ctx.data_dir, saved, location=location)
    assert (ctx.data_dir / swap.RESTORED).exists()
    found = {one.check: one for one in check(ctx.data_dir, location)}
    assert not found["restore"].ok
    monkeypatch.setattr(backups, "load_restored", load)
    open_context(Settings(data_dir=ctx.data_dir, database=location.url)).database.close()
    assert not (ctx.data_dir / swap.RESTORED).exists()
    assert names(ctx.data_dir, location) == ["old"]


def test_rows_that_cannot_be_loaded_leave_the_old_ones(ctx: Context, saved: Path, location: Location) -> None:
    copy = ctx.data_dir / "copy.db"
    ctx.database.copy_to(copy)
    with sqlite3.connect(copy) as rows:
        rows.execute("PRAGMA foreign_keys=OFF")
        rows.execute("UPDATE nics SET host_id = 'ghost'")
    rows.close()
    with pytest.raises(Exception, match="foreign key"):
        ctx.database.replace_by(copy)
    assert names(ctx.data_dir, location) == ["now", "old"]


def test_a_check_of_what_is_in_order_finds_nothing_and_one_of_a_wrong_row_does(
    ctx: Context, saved: Path, location: Location, postgresql: Cluster
) -> None:
    with postgresql.syncing():
        assert [one for one in check(ctx.data_dir, location) if not one.ok] == []
    found = {one.check: one.seen for one in check(ctx.data_dir, location)}
    assert "fsync is off: a power cut may damage the database" in found["database"]
    ctx.database.change(lambda statements: statements.run("UPDATE hosts SET state = 'asleep' WHERE name = 'old'"))
    with postgresql.syncing():
        found = {one.check: one.seen for one in check(ctx.data_dir, location)}
    assert "state is 'asleep', which is none of" in found["rows"]


def test_a_database_without_tables_is_told_and_upgraded(ctx: Context, postgresql: Cluster) -> None:
    with postgresql.fresh("template1") as empty:
        with pytest.raises(NotFound, match="no tables"):
            backup(ctx.data_dir, ctx.data_dir / "backup", location=empty)
        before, now = upgrade(ctx.data_dir, empty)
        assert (before, now) == (None, backups.known_revisions()[0])
        assert upgrade(ctx.data_dir, empty) == (now, now)


def test_a_database_that_does_not_answer_is_told(ctx: Context, saved: Path) -> None:
    from pxeforge.store.location import parse

    nowhere = parse(f"postgresql://ops:s3cret@/x?host={ctx.data_dir}")
    for attempt in (
        lambda: backup(ctx.data_dir, ctx.data_dir / "backup", location=nowhere),
        lambda: restore(ctx.data_dir, saved, location=nowhere),
        lambda: upgrade(ctx.data_dir, nowhere),
    ):
        with pytest.raises(StoreUnavailable, match="does not answer") as told:
            attempt()
        assert "s3cret" not in str(told.value)
    assert (ctx.data_dir / "tls" / "server.key").read_text() == "now"


@pytest.fixture
def in_sqlite(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path) -> Iterator[Context]:
    folder = tmp_path_factory.mktemp("sqlite")
    (folder / "pxeforge.db").write_bytes(fresh_database.read_bytes())
    made = opened(folder, in_folder(folder))
    hosts.add(made, macs=[MAC, OTHER], name="old", who="test")
    with made.database.write() as session:
        secrets.ensure(session, made, ["db/root"])
    yield made
    made.database.close()


def test_all_rows_are_copied_from_sqlite_to_an_empty_postgresql(in_sqlite: Context, postgresql: Cluster) -> None:
    with postgresql.fresh("template1") as empty:
        before = hosts.list_hosts(in_sqlite)
        rows, where = backups.copy(in_sqlite.data_dir, in_folder(in_sqlite.data_dir), empty.url)
        assert (rows > 3, where) == (True, empty)
        moved = opened(in_sqlite.data_dir, empty)
        assert hosts.list_hosts(moved) == before
        assert events.recent(moved) == events.recent(in_sqlite)
        moved.database.close()
        assert names(in_sqlite.data_dir, empty) == ["old"]
        with pytest.raises(Conflict, match=r"rows in .* already"):
            backups.copy(in_sqlite.data_dir, in_folder(in_sqlite.data_dir), empty.url)
        backups.copy(in_sqlite.data_dir, in_folder(in_sqlite.data_dir), empty.url, force=True)
        back = in_sqlite.data_dir / "back.db"
        backups.copy(in_sqlite.data_dir, empty, f"sqlite://{back}")
        assert [one.ok for one in check(in_sqlite.data_dir, in_folder(in_sqlite.data_dir))] == [True] * 7


def test_a_copy_needs_another_database_and_a_good_url(in_sqlite: Context) -> None:
    here = in_folder(in_sqlite.data_dir)
    with pytest.raises(Problem, match="name the one to move to"):
        backups.copy(in_sqlite.data_dir, here, f"sqlite://{here.path}")
    with pytest.raises(Problem, match="only PostgreSQL and SQLite"):
        backups.copy(in_sqlite.data_dir, here, "mysql://x/y")
