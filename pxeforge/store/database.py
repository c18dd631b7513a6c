"""One database file: opened, migrated, and given out as short read or write transactions."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from pxeforge.store.group_commit import GroupCommit, Statements

T = TypeVar("T")
R = TypeVar("R")


class StoreUnavailable(Exception):
    """The database cannot be opened; the message says what to do."""


class Database:
    """SQLite in WAL mode; several processes share the file.

    `write()` takes the write lock at once (BEGIN IMMEDIATE): a transaction either waits its turn at the start or
    runs to its end, and never fails half-way because another process wrote in between.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._here = threading.local()  # .reader: this thread's connection for look_up; .writing: inside write()
        self._readers: list[sqlite3.Connection] = []
        self._group = GroupCommit(self._connect, path.with_name(f"{path.name}-turns"))
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        self._writing = self._engine.execution_options(immediate=True)
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """Sees what this process has posted before."""
        self._settle()
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        self._settle()
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            outer, self._here.writing = self._is_writing(), True
            try:
                yield session
            finally:
                self._here.writing = outer

    def look_up(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of one small read with `:named` values, past the ORM (a twentieth of its time): for what the wire
        asks with every packet. Does not wait for what was posted.
        """
        reader: sqlite3.Connection | None = getattr(self._here, "reader", None)
        if reader is None:
            reader = self._here.reader = self._connect()
            self._readers.append(reader)
        return reader.execute(statement, values).fetchall()

    def change(self, change: Callable[[Statements], T]) -> T:
        """Applies a small change and returns what it returns once that is on disk (group commit)."""
        if self._is_writing():
            raise RuntimeError("a change inside write() would wait for itself: use the session at hand")
        return self._group.run(change)

    def share(self, change: Callable[[Statements, Sequence[R]], Sequence[T]], row: R) -> Future[T]:
        """Like `change`, for one that takes the rows of all who share it meanwhile and returns a result for each. Does
        not wait: the result comes once it is on disk.
        """
        if self._is_writing():
            raise RuntimeError("a change inside write() would wait for itself: use the session at hand")
        return self._group.share(change, row)

    def post(self, change: Callable[[Statements], object]) -> None:
        """Applies a small change soon, for what nobody waits for: never blocks, may be lost when the process dies."""
        self._group.post(change)

    def post_row(self, statement: str, *row: str | float | None) -> None:
        """Like `post`, for one row of a statement that reads `json_each(:rows)`: many rows are one step."""
        self._group.post_row(statement, *row)

    @property
    def waiting(self) -> int:
        """Changes of this process that wait to be written."""
        return self._group.waiting

    @property
    def dropped(self) -> int:
        """Changes nobody waits for that were dropped since this process began: too many were waiting."""
        return self._group.dropped

    def _settle(self) -> None:
        if not self._is_writing():
            self._group.settle()

    def _is_writing(self) -> bool:
        return getattr(self._here, "writing", False)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        _configure(connection, None)
        return connection

    def upgrade(self) -> None:
        """Brings the tables up to this release; raises StoreUnavailable."""
        # Only the process that starts the others needs it; it is 10 MB of memory.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        from pxeforge.store.revisions import MIGRATIONS

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
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
        """Writes what was posted and ends."""
        self._group.close()
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        self._engine.dispose()


def _configure(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling starts transactions late and as readers; SQLAlchemy's begin event does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: a power cut must not bring back what was committed; a host that has begun to install would be armed again.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=30000",
        "wal_autocheckpoint=8000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
