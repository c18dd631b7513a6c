"""SQLite's side of the database: one file in WAL mode that several processes share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event

from pxeforge.store.backend import StoreUnavailable
from pxeforge.store.revisions import copy_file, faults_of, revision_of

_PATIENCE_S: Final = 30  # for the file's one lock
_MENDED_BY: Final = {
    sqlite3.SQLITE_FULL: "has no room: free some on its disk",
    sqlite3.SQLITE_IOERR: "cannot be read or written: see whether its disk is full or failing",
    sqlite3.SQLITE_READONLY: "cannot be written: see how its disk is mounted and whose the file is",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: see whether its disk is full and whose the file is",
    sqlite3.SQLITE_BUSY: f"was kept by another change for {_PATIENCE_S} seconds: try again",
}


class SqliteWriter(sqlite3.Connection):
    """A connection that takes turns with the committing threads of other processes by locking the file `turns`.

    SQLite would make the loser sleep, longer each time, while the winner goes on and on.
    """

    is_lost: Final = False

    def __init__(self, path: Path, turns: Path) -> None:
        super().__init__(path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
        self._path = path
        _configure(self, None)
        self._turns = os.open(turns, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """Raises StoreUnavailable where the file cannot be written or read just now."""
        try:
            return super().execute(statement, values)
        except sqlite3.OperationalError as problem:
            told = unavailable(self._path, problem)
            if told is None:
                raise
            raise told from problem

    def begin(self) -> None:
        fcntl.flock(self._turns, fcntl.LOCK_EX)
        try:
            self.execute("BEGIN IMMEDIATE")
        except BaseException:
            fcntl.flock(self._turns, fcntl.LOCK_UN)
            raise

    def commit(self) -> None:
        self.execute("COMMIT")
        fcntl.flock(self._turns, fcntl.LOCK_UN)

    def rollback(self) -> None:
        """Also where the transaction ended by itself (a full disk) and only the turn is to be given up."""
        try:
            if self.in_transaction:
                self.execute("ROLLBACK")
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def close(self) -> None:
        super().close()
        os.close(self._turns)


class SqliteBackend:
    """`writing` takes the write lock at once (BEGIN IMMEDIATE)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._here = threading.local()  # .reader: this thread's connection for look_up
        self._readers: list[sqlite3.Connection] = []
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _PATIENCE_S})
        self._writing = self._engine.execution_options(immediate=True)
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)

    @property
    def reading(self) -> Engine:
        return self._engine

    @property
    def writing(self) -> Engine:
        return self._writing

    @contextlib.contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Without foreign keys: to make a table anew is to drop it, and that would delete the rows that refer to it."""
        with self._writing.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    yield connection
            finally:
                driver.execute("PRAGMA foreign_keys=ON")

    def turn(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()  # BEGIN IMMEDIATE waits

    def writer(self) -> SqliteWriter:
        try:
            return SqliteWriter(self._path, self._path.with_name(f"{self._path.name}-turns"))
        except sqlite3.OperationalError as problem:
            raise self.told(problem) from problem

    def look_up(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        try:
            return self._reader().execute(statement, values).fetchall()
        except sqlite3.Error as problem:
            raise self.told(problem) from problem

    def _reader(self) -> sqlite3.Connection:
        """This thread's own."""
        reader: sqlite3.Connection | None = getattr(self._here, "reader", None)
        if reader is None:
            reader = self._here.reader = sqlite3.connect(
                self._path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            _configure(reader, None)
            self._readers.append(reader)
        return reader

    def told(self, problem: Exception) -> Exception:
        return unavailable(self._path, getattr(problem, "orig", problem)) or problem

    def revision(self) -> str | None:
        with self._readable():
            return revision_of(self._path) if self._path.exists() else None

    def faults(self) -> list[str]:
        return faults_of(self._path)

    def others(self) -> int:
        return 0  # a lock on the data directory tells

    def sizes(self) -> dict[str, int]:
        found = {}
        for part, name in (("main", self._path.name), ("wal", f"{self._path.name}-wal")):
            with contextlib.suppress(OSError):
                found[part] = self._path.with_name(name).stat().st_size
        return found

    def copy_to(self, path: Path) -> None:
        with self._readable():
            copy_file(self._path, path)

    def replace_by(self, path: Path) -> None:
        with self._readable():
            copy_file(path, self._path)

    @contextlib.contextmanager
    def _readable(self) -> Any:
        try:
            yield
        except sqlite3.Error as problem:
            raise StoreUnavailable(
                f"the database {self._path} cannot be read ({problem}): run `pxeforge db check`"
            ) from problem

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        self._here = threading.local()
        self._engine.dispose()


def unavailable(path: Path, problem: BaseException | None) -> StoreUnavailable | None:
    """What to do where the file takes no change just now; None: the problem is another one."""
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF  # without what SQLite says more precisely
    said = _MENDED_BY.get(code)
    return StoreUnavailable(f"the database {path} {said}; nothing was changed") if said else None


def _configure(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling starts transactions late and as readers; SQLAlchemy's begin event does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: a power cut must not bring back what was committed; a host that has begun to install would be armed again.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_PATIENCE_S * 1000:.0f}",
        "wal_autocheckpoint=8000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
