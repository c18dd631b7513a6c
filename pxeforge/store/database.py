"""One database, SQLite or PostgreSQL: opened, migrated, and given out as short read or write transactions."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.orm import Session

from pxeforge.store.backend import Backend, StoreUnavailable
from pxeforge.store.group_commit import GroupCommit, RowValue, Statements
from pxeforge.store.location import Location, in_file
from pxeforge.store.sqlite import SqliteBackend

__all__ = ["Database", "StoreUnavailable"]

T = TypeVar("T")
R = TypeVar("R")


class Database:
    """Several processes share it; both kinds promise the same (tests/store/test_contract.py).

    `write()` takes the one lock of all writers at once: a transaction either waits its turn at the start or runs to
    its end, and never fails half-way because another process wrote in between. `read()` sees one moment. A database
    that does not answer is told by StoreUnavailable, and asked anew by whoever comes next.
    """

    def __init__(self, place: Path | Location) -> None:
        self.location = in_file(place) if isinstance(place, Path) else place
        self._here = threading.local()  # .writing: inside write()
        self._backend = _backend(self.location)
        self._group = GroupCommit(self._backend.writer)

    @property
    def engine(self) -> Engine:
        return self._backend.writing.execution_options(immediate=False)

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """Sees what this process has posted before."""
        self._settle()
        try:
            with Session(self._backend.reading, expire_on_commit=False) as session:
                yield session
        except (DatabaseError, NoneFree) as problem:
            self._tell(problem)

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        self._settle()
        try:
            with (
                self._backend.turn(),
                Session(self._backend.writing, expire_on_commit=False) as session,
                session.begin(),
            ):
                outer, self._here.writing = self._is_writing(), True
                try:
                    yield session
                finally:
                    self._here.writing = outer
        except (DatabaseError, NoneFree) as problem:
            self._tell(problem)

    def look_up(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of one small read with `:named` values, past the ORM (a twentieth of its time): for what the wire
        asks with every packet. Does not wait for what was posted. JSON comes as text.
        """
        return self._backend.look_up(statement, values)

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

    def post_row(self, statement: str, *row: RowValue) -> None:
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

    def revision(self) -> str | None:
        """That of the tables; None: there are none yet. Raises StoreUnavailable."""
        return self._backend.revision()

    def faults(self) -> list[str]:
        """What is wrong with the database itself and with references between rows; empty: nothing."""
        return self._backend.faults()

    def others(self) -> int:
        """Connections of other pxeforge processes, where the database knows; asked before this one is used."""
        return self._backend.others()

    def sizes(self) -> dict[str, int]:
        """Bytes that it takes, by part."""
        return self._backend.sizes()

    def copy_to(self, path: Path) -> None:
        """One moment of all rows as a new SQLite file, while others write. Raises StoreUnavailable."""
        self._settle()
        self._backend.copy_to(path)

    def replace_by(self, path: Path) -> None:
        """All rows by those of a SQLite file of the same revision, or none of them. Raises StoreUnavailable."""
        self._backend.replace_by(path)

    def upgrade(self, revision: str = "head") -> None:
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
            with self._backend.migrating() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
        except CommandError as problem:
            raise StoreUnavailable(
                f"the database {self.location} was made by a newer pxeforge ({problem}): install that release"
            ) from problem
        except DatabaseError as problem:
            told = self._backend.told(problem)
            if isinstance(told, StoreUnavailable):
                raise told from problem
            raise StoreUnavailable(
                f"the database {self.location} cannot be opened ({problem.orig}): "
                "check the disk and the rights on the data directory, or restore a backup"
            ) from problem

    def close(self) -> None:
        """Writes what was posted and ends."""
        self._group.close()
        self._backend.close()

    def _settle(self) -> None:
        if not self._is_writing():
            self._group.settle()

    def _is_writing(self) -> bool:
        return getattr(self._here, "writing", False)

    def _tell(self, problem: Exception) -> None:
        """Raises it, in clear words where the database has gone away."""
        told = self._backend.told(problem)
        if told is problem:
            raise problem
        raise told from problem


def _backend(location: Location) -> Backend:
    if location.path is not None:
        return SqliteBackend(location.path)
    from pxeforge.store.postgresql import PostgresBackend

    return PostgresBackend(location)
