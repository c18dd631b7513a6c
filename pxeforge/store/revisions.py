"""Which revision of the tables a database file has, and which ones this release knows."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"


def known_revisions() -> tuple[str, ...]:
    """All revisions of this release, newest first."""
    from alembic.config import Config  # 8 MB with what it imports, in each process that only reads and writes
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return tuple(script.revision for script in ScriptDirectory.from_config(config).walk_revisions())


def open_read_only(path: Path) -> sqlite3.Connection:
    """A plain connection that can change nothing; also beside a running server. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)


def revision_of(path: Path) -> str | None:
    """None for a file without our tables. Raises sqlite3.Error for one that cannot be read."""
    with contextlib.closing(open_read_only(path)) as connection:
        made = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if made[0] else None
    return str(row[0]) if row else None


def copy_file(source: Path, target: Path) -> None:
    """One moment of a database, beside those who use it, over what is in another file. Raises sqlite3.Error."""
    with contextlib.closing(open_read_only(source)) as origin, contextlib.closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)


def faults_of(path: Path) -> list[str]:
    """What SQLite itself finds wrong with the file, at most ten of each kind; empty: nothing."""
    try:
        with contextlib.closing(open_read_only(path)) as connection:
            rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
            orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(10)
    except sqlite3.Error as problem:
        return [str(problem)]
    damaged = [str(row[0]) for row in rows if row[0] != "ok"]
    return damaged + [f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there" for row in orphans]
