"""What a test asks a database of either kind: all that it holds, and whether a statement reads whole tables."""

from __future__ import annotations

from typing import Any

from pxeforge.store.database import Database

_NOT_BY_INDEX = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan")


def all_that_is_in(database: Database) -> bytes:
    """Every byte of a SQLite file and its log, every row of a PostgreSQL database."""
    path = database.location.path
    if path is not None:
        return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    tables = [name for (name,) in database.look_up("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    rows = [row for name in tables for row in database.look_up(f'SELECT t::text FROM "{name}" t')]
    assert rows
    return "\n".join(row[0] for row in rows).encode()


def plan_of(database: Database, statement: str, values: dict[str, Any] | None = None) -> list[str]:
    """How the database would do it where indexes are worth their while: a test has few rows."""
    if database.location.path is not None:
        return [row[3] for row in database.look_up(f"EXPLAIN QUERY PLAN {statement}", **values or {})]
    from pxeforge.store.postgresql import spoken

    with database.engine.connect() as connection:
        for way in _NOT_BY_INDEX:
            connection.exec_driver_sql(f"SET LOCAL {way} = off")
        steps = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {spoken(statement)}", values or {})]
        connection.rollback()
    return steps


def whole_scans(database: Database, statement: str, values: dict[str, Any]) -> list[str]:
    """The tables that a statement would read from end to end although there may be many rows in them."""
    steps = plan_of(database, statement, values)
    assert steps
    if database.location.path is not None:
        scans = [step for step in steps if step.startswith("SCAN")]
        return [step for step in scans if not step.startswith(("SCAN json_each", "SCAN own"))]
    return [step.strip() for step in steps if "Seq Scan on" in step]
