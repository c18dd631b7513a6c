"""What the database needs of SQLite or PostgreSQL: two engines for the ORM, small reads, a connection that commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine


class StoreUnavailable(Exception):
    """The database cannot be opened or does not answer; the message says what to do and holds no password.

    It names the database's place, which is nothing for strangers.
    """

    status = 503


class Writer(Protocol):
    """The connection of a committing thread. Outside `begin` and `commit` or `rollback` it is in no transaction.

    Statements have `:named` values and are written in what both databases speak (`pxeforge.store.postgresql` tells
    which words of SQLite's are replaced).
    """

    @property
    def is_lost(self) -> bool:
        """Whether the server has gone away: nothing can be done with this connection any more."""
        ...

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statement: str, values: Mapping[str, Any] = ..., /) -> Any: ...

    def executemany(self, statement: str, values: Iterable[Mapping[str, Any]], /) -> Any: ...

    def begin(self) -> None:
        """A transaction that alone writes: it waits for its turn here and runs to its end."""
        ...

    def commit(self) -> None:
        """On disk when it returns."""
        ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...


class Backend(Protocol):
    """One of the two. All of it may be called from any thread."""

    @property
    def reading(self) -> Engine:
        """Its transactions see one moment."""
        ...

    @property
    def writing(self) -> Engine:
        """Its transactions begin by taking the lock that writers take in turn."""
        ...

    def migrating(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction of `writing` that may make tables anew while others refer to them."""
        ...

    def turn(self) -> AbstractContextManager[object]:
        """Held around a transaction of `writing`."""
        ...

    def writer(self) -> Writer:
        """Raises StoreUnavailable, or what the driver raises."""
        ...

    def look_up(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]: ...

    def told(self, problem: Exception) -> Exception:
        """The same problem, or a StoreUnavailable where the database has gone away."""
        ...

    def revision(self) -> str | None:
        """That of the tables; None: there are none. Raises StoreUnavailable."""
        ...

    def faults(self) -> list[str]:
        """What the database finds wrong with itself and its references, at most ten of each kind."""
        ...

    def others(self) -> int:
        """Connections of other pxeforge processes, where the database knows."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes on disk, by part."""
        ...

    def copy_to(self, path: Path) -> None:
        """Writes one moment of all rows, beside running writers, into a new SQLite file. Raises StoreUnavailable."""
        ...

    def replace_by(self, path: Path) -> None:
        """Replaces all rows, in one transaction, by those of a SQLite file whose tables are of the same revision."""
        ...

    def close(self) -> None: ...
