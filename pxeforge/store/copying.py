"""All rows of a PostgreSQL database into a SQLite file and back: backups, and moving from one to the other."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from pxeforge.store.backend import StoreUnavailable

_AT_ONCE: Final = 2_000  # rows
_VERSION: Final = "alembic_version"
_FOREIGN_KEYS: Final = """
    SELECT child.relname, parent.relname, array_agg(mine.attname ORDER BY mine.attnum),
           array_agg(theirs.attname ORDER BY mine.attnum)
    FROM pg_constraint
    CROSS JOIN LATERAL unnest(conkey, confkey) AS pair(mine, theirs)
    JOIN pg_class child ON child.oid = conrelid
    JOIN pg_class parent ON parent.oid = confrelid
    JOIN pg_attribute mine ON mine.attrelid = conrelid AND mine.attnum = pair.mine
    JOIN pg_attribute theirs ON theirs.attrelid = confrelid AND theirs.attnum = pair.theirs
    WHERE contype = 'f' AND child.relnamespace = current_schema()::regnamespace
    GROUP BY pg_constraint.oid, child.relname, parent.relname ORDER BY child.relname
"""


def copy_out(source: psycopg.Connection[Any], path: Path, revision: str) -> None:
    """One moment of all rows into a new SQLite file whose tables are of this revision. Raises psycopg.Error."""
    from pxeforge.store.database import Database

    made = Database(path)
    try:
        made.upgrade(revision)
    finally:
        made.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as target, source.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        target.execute("PRAGMA journal_mode=DELETE")
        target.execute("PRAGMA synchronous=FULL")
        target.execute("BEGIN")
        for table in _tables(target):
            columns = _columns(target, table)
            marks = ", ".join("?" * len(columns))
            names = ", ".join(f'"{column}"' for column in columns)
            insert = f'INSERT INTO "{table}" ({names}) VALUES ({marks})'  # noqa: S608 - names of our own tables
            with source.cursor(name=f"copy_{table}") as cursor:
                cursor.itersize = _AT_ONCE
                cursor.execute(_select(table, columns))
                for rows in _batches(cursor):
                    target.executemany(insert, rows)
        target.execute("COMMIT")


def copy_in(path: Path, target: psycopg.Connection[Any], write_lock: int) -> None:
    """Replaces all rows by those of the SQLite file, in one transaction. Raises StoreUnavailable, psycopg.Error."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
        tables = list(_in_order(source))
        with target.transaction():
            target.execute("SELECT pg_advisory_xact_lock(%s)", (write_lock,))
            _must_be_alike(source, target)
            target.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, tables))))
            for table in tables:
                columns = _columns(source, table)
                statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                    sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
                )
                with target.cursor() as cursor, cursor.copy(statement) as copy:
                    for row in source.execute(_select(table, columns).as_string(target)):
                        copy.write_row([_without_nul(value) for value in row])
                _go_on_counting(target, table, columns)


def _without_nul(value: Any) -> Any:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


def faults_of(connection: psycopg.Connection[Any]) -> list[str]:
    """Rows that cannot be read, rows that refer to nothing (PostgreSQL keeps that, but for a damaged disk), and a
    server that may lose what it has promised to keep; at most ten of each kind.
    """
    found = []
    for setting in ("fsync", "full_page_writes"):
        [(value,)] = connection.execute("SELECT current_setting(%s)", (setting,)).fetchall()
        if value != "on":
            found.append(f"{setting} is off: a power cut may damage the database; turn it on in postgresql.conf")
    tables = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
    )
    for (table,) in tables.fetchall():
        try:
            connection.execute(sql.SQL("SELECT count(t::text) FROM {} t").format(sql.Identifier(table)))
        except psycopg.Error as problem:
            found.append(f"table {table} cannot be read: {str(problem).splitlines()[0]}")
    for child, parent, mine, theirs in connection.execute(_FOREIGN_KEYS).fetchall():
        found += _orphans(connection, child, parent, mine, theirs)
    return found


def _orphans(
    connection: psycopg.Connection[Any], child: str, parent: str, mine: Sequence[str], theirs: Sequence[str]
) -> list[str]:
    same = sql.SQL(" AND ").join(
        sql.SQL("p.{} = c.{}").format(sql.Identifier(their), sql.Identifier(my))
        for my, their in zip(mine, theirs, strict=True)
    )
    some = sql.SQL(" AND ").join(sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(my)) for my in mine)
    statement = sql.SQL("SELECT c.{} FROM {} c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} p WHERE {}) LIMIT 10").format(
        sql.Identifier(mine[0]), sql.Identifier(child), some, sql.Identifier(parent), same
    )
    try:
        rows = connection.execute(statement).fetchall()
    except psycopg.Error as problem:
        return [f"the references of {child} cannot be read: {str(problem).splitlines()[0]}"]
    return [f"a row of {child} refers to {row[0]} of {parent}, which is not there" for row in rows]


def _select(table: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)
    )  # fmt: skip


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    each = iter(rows)
    while batch := list(islice(each, _AT_ONCE)):
        yield batch


def _tables(database: sqlite3.Connection) -> list[str]:
    rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [name for (name,) in rows if name != _VERSION]


def _in_order(database: sqlite3.Connection) -> Iterator[str]:
    """The tables, each after those that its rows refer to."""
    left = {
        table: {row[2] for row in database.execute(f'PRAGMA foreign_key_list("{table}")')} - {table}
        for table in _tables(database)
    }
    while left:
        ready = sorted(table for table, needed in left.items() if not needed & left.keys())
        yield from ready
        for table in ready:
            del left[table]


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]


def _must_be_alike(source: sqlite3.Connection, target: psycopg.Connection[Any]) -> None:
    statement = "SELECT version_num FROM alembic_version"
    [(here,)], [(there,)] = source.execute(statement).fetchall(), target.execute(statement).fetchall()
    if here != there:
        raise StoreUnavailable(f"the tables are of revision {there}, the rows of {here}: run `pxeforge db upgrade`")


def _go_on_counting(target: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> None:
    """Numbers that PostgreSQL gives itself go on after the last one."""
    for column in columns:
        [(sequence,)] = target.execute("SELECT pg_get_serial_sequence(%s, %s)", (f'"{table}"', column)).fetchall()
        if sequence is not None:
            target.execute(
                sql.SQL("SELECT setval(%s, coalesce(max({}), 0) + 1, false) FROM {}").format(
                    sql.Identifier(column), sql.Identifier(table)
                ),
                (sequence,),
            )
