"""Each schema that was ever released comes up to this one with its rows, and back, on both databases."""

from __future__ import annotations

import io
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from pxeforge.store.database import Database
from pxeforge.store.location import Location, in_file
from pxeforge.store.revisions import MIGRATIONS
from pxeforge.store.tables import Base, Host
from tests.postgresql import programs


def revisions() -> list[str]:
    """Oldest first."""
    return [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]


HEAD = revisions()[-1]
KINDS = ["sqlite", "postgresql"]
# An index of an expression is made and used; SQLAlchemy does not read it back from SQLite.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index hosts_by_serial"),
    pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index"),
]


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """A database without any table."""
    if request.param == "sqlite":
        yield in_file(tmp_path / "a.db")
    else:
        if programs() is None:
            pytest.skip("PostgreSQL is not installed")
        with request.getfixturevalue("postgresql").fresh("template1") as location:
            yield location


def migrate(database: Database, revision: str, *, down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.output_buffer = io.StringIO()
    with database._backend.migrating() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def tables_of(database: Database) -> sa.MetaData:
    found = sa.MetaData()
    with database.engine.connect() as connection:
        found.reflect(connection)
    return found


def fill(database: Database) -> dict[str, int]:
    """Three rows in each table, with values of each column's type that refer to each other; how many are where."""
    found = tables_of(database)
    numbers = itertools.count(1)
    with database.engine.connect() as connection, connection.begin():
        for table in found.sorted_tables:
            if table.name == "alembic_version":
                continue
            for row in range(3):
                connection.execute(table.insert(), {
                    column.name: value(connection, column, next(numbers), row) for column in table.columns
                    if not (column.primary_key and isinstance(column.type, sa.Integer))
                })  # fmt: skip
    return counted(database)


def value(connection: sa.Connection, column: sa.Column[Any], number: int, row: int) -> Any:
    for key in column.foreign_keys:
        return connection.execute(sa.select(key.column).order_by(key.column).offset(row).limit(1)).scalar_one()
    if column.nullable and row == 2 and "address" not in column.name:
        return None
    if column.name == "settings":
        more = {"disk": "first", "rack": {"name": "r1"}} if row else {"network": {"mtu": 9000}}
        return {"network": {"address": f"10.0.0.{row}"}, **more}
    if isinstance(column.type, sa.JSON):
        return {"number": number, "text": "Zoë \" ' ☃", "none": None}
    if isinstance(column.type, sa.Boolean):
        return bool(number % 2)
    if isinstance(column.type, sa.Float):
        return number + 0.25
    if isinstance(column.type, sa.Integer):
        return number
    if "address" in column.name:
        return f"10.0.0.{number % 256}"
    return f"{number:012}"


def counted(database: Database) -> dict[str, int]:
    with database.engine.connect() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in tables_of(database).sorted_tables
        }


def contents(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.engine.connect() as connection:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(table.select().order_by(*table.primary_key))]
            for table in tables_of(database).sorted_tables
        }


def test_the_migrations_make_exactly_the_tables(empty: Location) -> None:
    database = Database(empty)
    database.upgrade()
    with database.engine.connect() as connection:
        # SQLite keeps no lengths and few types: what it gives back as another type means the same.
        compares = empty.path is None
        context = MigrationContext.configure(connection, opts={"compare_type": compares})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


@pytest.mark.parametrize("revision", revisions())
def test_a_database_of_each_release_comes_up_with_all_its_rows(empty: Location, revision: str) -> None:
    database = Database(empty)
    database.upgrade(revision)
    before = fill(database)
    assert all(count == 3 for name, count in before.items() if name != "alembic_version")
    database.upgrade()
    assert database.revision() == HEAD
    after = counted(database)
    assert {name: after[name] for name in before} == before
    assert [fault for fault in database.faults() if "fsync" not in fault] == []
    with database.read() as session:  # each row is one for the program, too
        for mapper in Base.registry.mappers:
            rows = session.scalars(sa.select(mapper.class_)).all()
            assert len(rows) == after[mapper.local_table.name]  # type: ignore[attr-defined]
    if database.engine.dialect.name == "postgresql":  # numbers go on after the last one
        with database.write() as session:
            events = Base.metadata.tables["events"]
            session.execute(events.insert().values(at=0.0, source="x", kind="x", message="x", data={}))
    database.close()


# The statements of each step are the same whatever the step before: PostgreSQL goes all the way once.
BACK = [*(("sqlite", revision) for revision in revisions()[:-1]), ("postgresql", revisions()[0])]


@pytest.mark.parametrize(("empty", "revision"), BACK, indirect=["empty"])
def test_a_database_goes_back_to_each_release_and_comes_up_again(empty: Location, revision: str) -> None:
    database = Database(empty)
    database.upgrade()
    fill(database)
    migrate(database, revision, down=True)
    assert database.revision() == revision
    old = counted(database)
    kept = contents(database)
    database.upgrade()
    migrate(database, revision, down=True)
    assert counted(database) == old
    again = contents(database)
    for row in [*again["hosts"], *kept["hosts"]] if revision < "0003" else []:
        del row["settings"]  # the address reserved there means nothing to that release
    assert again == kept
    database.close()


def test_a_migration_that_fails_leaves_the_old_tables_and_rows(
    empty: Location, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pxeforge.store import revisions as module
    from pxeforge.store.backend import StoreUnavailable

    database = Database(empty)
    database.upgrade()
    fill(database)
    before = contents(database)
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for path in MIGRATIONS.rglob("*.py"):
        (folder / path.relative_to(MIGRATIONS)).write_bytes(path.read_bytes())
    (folder / "versions" / "9000_broken.py").write_text(
        "from alembic import op\n"
        f"revision, down_revision = '9000', '{HEAD}'\n"
        "def upgrade():\n"
        "    op.execute('DELETE FROM leases')\n"
        "    op.execute('ALTER TABLE leases ADD COLUMN more INTEGER')\n"
        "    op.execute('SELECT x FROM nowhere')\n"
    )
    monkeypatch.setattr(module, "MIGRATIONS", folder)
    with pytest.raises(StoreUnavailable, match="nowhere"):
        database.upgrade()
    assert contents(database) == before
    assert database.revision() == HEAD
    database.close()


def test_the_rows_of_sqlite_keep_the_order_of_a_hosts_nics(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.upgrade("0009")
    rows = sqlite3.connect(tmp_path / "a.db")
    rows.execute("INSERT INTO hosts (id, state, loader, tags, settings, facts, created_at) "
                 "VALUES ('h', 'known', 'auto', '[]', '{}', '{}', 0)")  # fmt: skip
    rows.executemany("INSERT INTO nics (mac, host_id) VALUES (?, 'h')", [("cc",), ("aa",), ("bb",)])
    rows.commit()
    database.upgrade()
    assert rows.execute("SELECT mac FROM nics ORDER BY position").fetchall() == [("cc",), ("aa",), ("bb",)]
    rows.close()
    database.close()


def test_hosts_of_an_older_release_are_found_by_their_racks(empty: Location) -> None:
    database = Database(empty)
    database.upgrade("0011")
    fill(database)
    database.upgrade()
    with database.read() as session:
        assert sorted(session.scalars(sa.select(Host.rack)), key=str) == [None, "r1", "r1"]
    database.close()
