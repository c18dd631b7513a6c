"""One database file: opened, migrated, and given out as short read or write transactions."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from pxeforge.store import revisions


class StoreUnavailable(Exception):
    """The database cannot be opened; the message says what to do."""


class Database:
    """SQLite in WAL mode; several processes share the file.

    `write()` takes the write lock at once (BEGIN IMMEDIATE): a transaction either waits its turn at the start or
    runs to its end, and never fails half-way because another process wrote in between.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        self._writing = self._engine.execution_options(immediate=True)
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def upgrade(self) -> None:
        """Brings the tables up to this release; raises StoreUnavailable."""
        config = Config()
        config.set_main_option("script_location", str(revisions.MIGRATIONS))
        config.output_buffer = io.StringIO()
        try:
            with self._writing.connect() as connection, connection.begin():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as problem:
            raise StoreUnavailable(
                f"the database {self.path} was made by a newer pxeforge ({problem}): install that release"
            ) from problem
        except DatabaseError as problem:
            raise StoreUnavailable(
                f"the database {self.path} cannot be opened ({problem.orig}): "
                "check the disk and the rights on the data directory, or restore a backup"
            ) from problem

    def close(self) -> None:
        self._engine.dispose()


def _configure(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling starts transactions late and as readers; SQLAlchemy's begin event does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: a power cut must not bring back what was committed; a host that has begun to install would be armed again.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
