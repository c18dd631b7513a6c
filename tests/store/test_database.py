"""The database file: migrations, transactions, and a clear word when it cannot be opened."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from pxeforge.store.database import Database, StoreUnavailable
from pxeforge.store.tables import Base, Host


def host(name: str) -> Host:
    return Host(id=name.ljust(12, "-"), name=name, state="known", created_at=0.0, tags=[], settings={}, facts={})


def test_the_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.upgrade()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_twice_keeps_the_rows(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.upgrade()
    with database.write() as session:
        session.add(host("n1"))
    database.upgrade()
    with database.read() as session:
        assert session.scalars(select(Host.name)).all() == ["n1"]


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.upgrade()

    def cut_short() -> None:
        with database.write() as session:
            session.add(host("n1"))
            session.flush()
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        cut_short()
    with database.read() as session:
        assert session.scalars(select(Host)).all() == []


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.upgrade()
    problems: list[BaseException] = []

    def add(prefix: str) -> None:
        try:
            for number in range(20):
                with database.write() as session:
                    session.add(host(f"{prefix}{number}"))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with database.read() as session:
        assert len(session.scalars(select(Host)).all()) == 80


def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is not a database, it is a letter" * 50)
    with pytest.raises(StoreUnavailable, match=r"cannot be opened.*restore a backup"):
        Database(path).upgrade()


def test_the_file_is_in_wal_mode(tmp_path: Path) -> None:
    Database(tmp_path / "a.db").upgrade()
    assert sqlite3.connect(tmp_path / "a.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_was_committed_survives_a_power_cut(tmp_path: Path) -> None:
    """A host that has begun to install must never be armed again because the disk lost the last transactions."""
    database = Database(tmp_path / "x.db")
    with database.write() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
    database.close()
