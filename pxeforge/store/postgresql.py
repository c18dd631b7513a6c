"""PostgreSQL's side of the database. Loaded only where PostgreSQL is used: the driver is memory in each process.

Statements that go past the ORM are written in what SQLite and PostgreSQL both speak. The few words of SQLite's that
have another name here are replaced in one place, `spoken`.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.types.string import StrDumperUnknown, TextLoader
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree

from pxeforge.store.backend import StoreUnavailable
from pxeforge.store.location import Location

# An advisory lock that each writing transaction takes first: one writes at a time, as with SQLite's one lock.
WRITE_LOCK: Final = 0x70786566_6F726765  # "pxeforge"
_TAKE_LOCK: Final = f"SELECT pg_advisory_xact_lock({WRITE_LOCK})"
_BEGIN: Final = f"BEGIN; {_TAKE_LOCK}"  # one way there and back
_PATIENCE_S: Final = 30
_MOST_TOLD: Final = 300  # characters of the driver's reason: there is one for each host that was tried
_GONE_S: Final = 5.0  # the connections of a process that has ended are gone after a moment
_NAME: Final = "pxeforge"  # of our connections, in pg_stat_activity
_OTHERS: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = :name AND pid <> pg_backend_pid()
"""
_CONNECT_S: Final = 5
_PAUSE_S: Final = 1.0  # after a connection could not be had: whoever asks meanwhile is told at once
_MOST_READERS: Final = 3  # connections of a process for small reads
_KEPT, _MORE = 2, 4  # connections of a process for the ORM: kept open, and at most beside them
MOST_CONNECTIONS: Final = _MOST_READERS + _KEPT + _MORE + 1  # of a process; one commits
# What must hold whatever the server's own settings are. A server or a wire that dies is noticed within 15 seconds.
_SESSION: Final = {
    "synchronous_commit": "on",
    "lock_timeout": f"{_PATIENCE_S}s",
    "idle_in_transaction_session_timeout": "10min",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "default_transaction_isolation": "read committed",
}
_CONNECTION: Final = {
    "connect_timeout": _CONNECT_S, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2,
    "tcp_user_timeout": 15_000, "application_name": _NAME, "client_encoding": "utf8",
}  # fmt: skip

_WORDS: Final = (
    (
        re.compile(r"\bjson_each\((:\w+)\)"),
        r"json_array_elements(CAST(\1 AS json)) WITH ORDINALITY AS each_row(value, key)",
    ),
    (re.compile(r"\bjson_group_array\("), "json_agg("),
    (re.compile(r"\bjson_array\("), "json_build_array("),
    (re.compile(r"\bgroup_concat\(([\w.]+)\)"), r"string_agg(\1, ',')"),
)
_NAMED: Final = re.compile(r"('(?:[^']|'')*')|(?<!:):([A-Za-z_]\w*)")


@functools.cache
def spoken(statement: str) -> str:
    """The statement in PostgreSQL's words, with its `:named` values as the driver wants them."""
    for pattern, word in _WORDS:
        statement = pattern.sub(word, statement)
    return _NAMED.sub(lambda found: found[1] or f"%({found[2]})s", statement.replace("%", "%%"))


class _Text(StrDumperUnknown):
    """PostgreSQL has no NUL in texts; what a peer sent with one in it is kept with a mark in its place."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in obj else obj)


class Door:
    """Opens connections. After one could not be had, everybody is told so for a moment instead of waiting in turn."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._shut_until, self._why = 0.0, ""

    def open(self) -> psycopg.Connection[Any]:
        """A connection in autocommit. Raises StoreUnavailable."""
        if time.monotonic() < self._shut_until:
            raise StoreUnavailable(self._why)
        try:
            connection = psycopg.connect(self._location.url, autocommit=True, **self._parameters())
        except psycopg.Error as problem:
            self._why = unavailable(self._location, problem)
            self._shut_until = time.monotonic() + _PAUSE_S
            raise StoreUnavailable(self._why) from None  # the driver's own words may hold more than they should
        connection.adapters.register_dumper(str, _Text)
        return connection

    def open_plain(self) -> psycopg.Connection[Any]:
        """One that gives JSON as text, like SQLite."""
        connection = self.open()
        connection.adapters.register_loader("json", TextLoader)
        return connection

    def open_for_orm(self) -> psycopg.Connection[Any]:
        connection = self.open()
        connection.autocommit = False
        return connection

    def _parameters(self) -> dict[str, Any]:
        """What the URL itself does not say."""
        given = psycopg.conninfo.conninfo_to_dict(self._location.url)
        ours: dict[str, Any] = {key: value for key, value in _CONNECTION.items() if key not in given}
        session = " ".join(f"-c {key}={value.replace(' ', chr(92) + ' ')}" for key, value in _SESSION.items())
        ours["options"] = f"{given.get('options', '')} {session}".strip()
        if "target_session_attrs" not in given:
            ours["target_session_attrs"] = "read-write"  # a standby that only reads is of no use
        return ours


def unavailable(location: Location, problem: BaseException) -> str:
    """One sentence about a database that does not answer; without the password."""
    why = " ".join(str(problem).split())[:_MOST_TOLD] or type(problem).__name__
    password = psycopg.conninfo.conninfo_to_dict(location.url).get("password")
    if password:
        why = why.replace(str(password), "…")
    return f"the database {location} does not answer ({why}): see that PostgreSQL runs there and lets us in"


class PostgresWriter:
    """The connection of a committing thread."""

    def __init__(self, door: Door, location: Location) -> None:
        self._location = location
        self._connection = door.open_plain()

    @property
    def is_lost(self) -> bool:
        return self._connection.closed

    @property
    def in_transaction(self) -> bool:
        idle = psycopg.pq.TransactionStatus.IDLE
        return not self._connection.closed and self._connection.info.transaction_status is not idle

    def execute(self, statement: str, values: Mapping[str, Any] | None = None, /) -> Any:
        """Raises StoreUnavailable where the server does not answer or cannot write just now."""
        with self._told():
            return self._connection.execute(spoken(statement), values or {})

    def executemany(self, statement: str, values: Iterable[Mapping[str, Any]], /) -> Any:
        with self._told(), self._connection.cursor() as cursor:
            return cursor.executemany(spoken(statement), values)

    def begin(self) -> None:
        with self._told():
            self._connection.execute(_BEGIN)

    def commit(self) -> None:
        with self._told("; whether the last changes were written is not known: look before you repeat them"):
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        with self._told():
            if self.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _told(self, more: str = "") -> Iterator[None]:
        try:
            yield
        except psycopg.OperationalError as problem:
            raise StoreUnavailable(unavailable(self._location, problem) + more) from problem

    def close(self) -> None:
        self._connection.close()


class PostgresBackend:
    """Several processes, each with at most MOST_CONNECTIONS connections."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._door = Door(location)
        self._turn = threading.RLock()
        self._room = threading.BoundedSemaphore(_MOST_READERS)
        self._free: list[psycopg.Connection[Any]] = []
        self._engine = create_engine(
            "postgresql+psycopg://", creator=self._door.open_for_orm, pool_size=_KEPT, max_overflow=_MORE,
            pool_timeout=_PATIENCE_S, pool_pre_ping=True, pool_use_lifo=True,
        )  # fmt: skip
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writing = self._engine.execution_options(immediate=True)
        event.listen(self._engine, "begin", _begin)

    @property
    def reading(self) -> Engine:
        return self._reading

    @property
    def writing(self) -> Engine:
        return self._writing

    @contextlib.contextmanager
    def migrating(self) -> Iterator[Connection]:
        with self.turn(), self._writing.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One writing transaction at a time in this process: those that wait need no connection."""
        if not self._turn.acquire(timeout=_PATIENCE_S):
            raise StoreUnavailable(f"another change kept the database for {_PATIENCE_S} seconds: try again")
        try:
            yield
        finally:
            self._turn.release()

    def writer(self) -> PostgresWriter:
        return PostgresWriter(self._door, self._location)

    def look_up(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._reader() as (connection, is_fresh):
            try:
                return connection.execute(spoken(statement), values).fetchall()
            except psycopg.OperationalError as problem:
                if is_fresh or not connection.closed:
                    raise StoreUnavailable(unavailable(self._location, problem)) from problem
        return self.look_up(statement, values)  # it was lost since it was used last

    @contextlib.contextmanager
    def _reader(self) -> Iterator[tuple[psycopg.Connection[Any], bool]]:
        """A connection for one small read, and whether it was opened now."""
        if not self._room.acquire(timeout=_PATIENCE_S):
            raise StoreUnavailable(f"the database {self._location} answers too slowly: see what keeps it busy")
        try:
            try:
                connection, is_fresh = self._free.pop(), False
            except IndexError:
                connection, is_fresh = self._door.open_plain(), True
            try:
                yield connection, is_fresh
            finally:
                if not connection.closed:
                    self._free.append(connection)
        finally:
            self._room.release()

    def told(self, problem: Exception) -> Exception:
        if isinstance(problem, NoneFree):
            return StoreUnavailable(f"the database {self._location} answers too slowly: see what keeps it busy")
        if isinstance(problem, DBAPIError) and isinstance(problem.orig, psycopg.OperationalError):
            return StoreUnavailable(unavailable(self._location, problem.orig))
        if isinstance(problem, psycopg.OperationalError):
            return StoreUnavailable(unavailable(self._location, problem))
        return problem

    def revision(self) -> str | None:
        if self.look_up("SELECT to_regclass('alembic_version')", {}) == [(None,)]:
            return None
        rows = self.look_up("SELECT version_num FROM alembic_version", {})
        return str(rows[0][0]) if rows else None

    def faults(self) -> list[str]:
        from pxeforge.store.copying import faults_of

        try:
            with contextlib.closing(self._door.open_plain()) as connection:
                return faults_of(connection)
        except (psycopg.Error, StoreUnavailable) as problem:
            return [str(problem).strip()]

    def others(self) -> int:
        """Not counting this one's, of which none but the one that asks may be open."""
        until = time.monotonic() + _GONE_S
        while (found := int(self.look_up(_OTHERS, {"name": _NAME})[0][0])) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def sizes(self) -> dict[str, int]:
        return {"main": int(self.look_up("SELECT pg_database_size(current_database())", {})[0][0])}

    def copy_to(self, path: Path) -> None:
        from pxeforge.store.copying import copy_out

        revision = self.revision()
        if revision is None:
            raise StoreUnavailable(f"there are no tables in the database {self._location}: run `pxeforge db upgrade`")
        with self._whole() as connection:
            copy_out(connection, path, revision)

    def replace_by(self, path: Path) -> None:
        from pxeforge.store.copying import copy_in

        with self._whole() as connection:
            copy_in(path, connection, WRITE_LOCK)

    @contextlib.contextmanager
    def _whole(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            with contextlib.closing(self._door.open_plain()) as connection:
                yield connection
        except psycopg.OperationalError as problem:
            raise StoreUnavailable(unavailable(self._location, problem)) from problem

    def close(self) -> None:
        while self._free:
            self._free.pop().close()
        self._engine.dispose()


def _begin(connection: Any) -> None:
    if connection.get_execution_options().get("immediate", False):
        connection.exec_driver_sql(_TAKE_LOCK)
