"""Group commit: small changes of many threads share one transaction and its sync, in a thread of their own."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

log = structlog.get_logger(__name__)

LINGER_S: Final = 0.02  # how long changes that nobody waits for wait for company
MOST_WAITING: Final = 20_000  # changes; beyond it those that nobody waits for are dropped and counted
_MOST_PER_COMMIT: Final = 1_000
T = TypeVar("T")
R = TypeVar("R")


class Statements:
    """What a change may do: run statements with `:named` values inside the shared transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, **values: Any) -> int:
        """Returns how many rows were changed."""
        return self._connection.execute(statement, values).rowcount

    def run_many(self, statement: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """The statement once for each row of values."""
        self._connection.executemany(statement, rows)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()


BulkChange = Callable[[Statements, Sequence[Any]], Sequence[Any]]


class _Job:
    """A change, and the one who waits for it (None: nobody does)."""

    __slots__ = ("_change", "outcome", "result")

    def __init__(self, change: Callable[[Statements], Any], outcome: Future[Any] | None) -> None:
        self._change, self.outcome, self.result = change, outcome, None

    def apply(self, statements: Statements) -> None:
        self.result = self._change(statements)


class _Row:
    """One row of values for a statement that takes many at once; nobody waits for it."""

    __slots__ = ("row", "statement")
    outcome: Final = None

    def __init__(self, statement: str, row: Sequence[Any]) -> None:
        self.statement, self.row = statement, row

    def apply(self, statements: Statements) -> None:
        statements.run(self.statement, rows=json.dumps([self.row]))


class _Share:
    """One row of a change that takes all rows of a commit at once, and the one who waits for its result."""

    __slots__ = ("change", "outcome", "result", "row")

    def __init__(self, change: BulkChange, row: Any, outcome: Future[Any]) -> None:
        self.change, self.row, self.outcome, self.result = change, row, outcome, None

    def apply(self, statements: Statements) -> None:
        [self.result] = self.change(statements, [self.row])


class GroupCommit:
    """Changes are applied in the order they came; one that raises is rolled back alone. A change may be run twice.

    Many writers that each take the file's lock and sync would wait for one another; here one thread does it for all
    that came meanwhile. Changes that nobody waits for (lines of a timeline) are lost if the process dies within
    LINGER_S; what must last is `run`.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], turns: Path) -> None:
        """`connect` opens the thread's own connection in autocommit mode; called when the first change comes.

        `turns` is a file that the committers of all processes lock in turn. SQLite would make the loser sleep, longer
        each time, while the winner goes on and on.
        """
        self._connect, self._turns = connect, turns
        self._waiting: deque[_Job | _Row | _Share] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._awaited = 0  # waiting jobs that somebody waits for
        self._busy = self._closing = False
        self.dropped = 0

    def run(self, change: Callable[[Statements], T]) -> T:
        """Applies the change and returns what it returns once that is on disk; raises what it raises."""
        outcome: Future[T] = Future()
        self._put(_Job(change, outcome))
        return outcome.result()

    def share(self, change: Callable[[Statements, Sequence[R]], Sequence[T]], row: R) -> Future[T]:
        """Like `run`, for a change that takes the rows of all who call it meanwhile and returns a result for each.
        Does not wait; callbacks of the result run in the committing thread and must be short.

        The waiting threads contend with the committing one for the interpreter at each step of SQLite: a change of
        four steps for one row or for fifty is what makes a storm of hosts bearable.
        """
        outcome: Future[T] = Future()
        self._put(_Share(change, row, outcome))
        return outcome

    def post(self, change: Callable[[Statements], object]) -> None:
        """Applies the change soon; nobody hears of its problems but the log. Never blocks."""
        if not self._is_full():
            self._put(_Job(change, None))

    def post_row(self, statement: str, *row: str | float | None) -> None:
        """A row for a statement that reads `json_each(:rows)`: however many are waiting, it runs once. Never blocks.

        Each step of SQLite gives the interpreter to another thread and has to get it back: rows one by one would cost
        those who post them more than the database.
        """
        if not self._is_full():
            self._put(_Row(statement, row))

    def settle(self) -> None:
        """Waits until what was posted before is written: whoever reads next reads their own changes."""
        if self._waiting or self._busy:
            self.run(lambda _: None)

    def close(self) -> None:
        """Writes what is left and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    @property
    def waiting(self) -> int:
        """Changes that are not written yet."""
        return len(self._waiting)

    def _is_full(self) -> bool:
        if len(self._waiting) < MOST_WAITING:
            return False
        self.dropped += 1
        if self.dropped % MOST_WAITING == 1:
            log.warning("the database cannot keep up: lines of the timeline are dropped", dropped=self.dropped)
        return True

    def _put(self, job: _Job | _Row | _Share) -> None:
        with self._changed:
            if self._thread is None or self._closing:
                self._start()
            self._waiting.append(job)
            if job.outcome is not None:
                self._awaited += 1
            if job.outcome is not None or len(self._waiting) == 1:
                self._changed.notify_all()

    def _start(self) -> None:
        if self._closing:
            raise RuntimeError("the database is closed")
        self._thread = threading.Thread(target=self._work, name="group commit", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            turns = os.open(self._turns, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            connection = self._connect()
        except Exception as problem:
            self._give_up(problem)
            return
        try:
            while batch := self._next_batch():
                fcntl.flock(turns, fcntl.LOCK_EX)
                self._commit(connection, batch)
                fcntl.flock(turns, fcntl.LOCK_UN)
        finally:
            os.close(turns)
            connection.close()

    def _give_up(self, problem: Exception) -> None:
        """Nobody waits for ever for a database that cannot be opened; the next change tries again."""
        log.error("the database cannot be opened for writing", reason=str(problem))
        with self._changed:
            self._thread = None
            waiting, self._awaited = list(self._waiting), 0
            self._waiting.clear()
        for job in waiting:
            if job.outcome is not None:
                job.outcome.set_exception(problem)

    def _next_batch(self) -> list[_Job | _Row | _Share]:
        """What is to be committed together; empty at the end."""
        with self._changed:
            self._busy = False
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(self._is_pressing, LINGER_S)
            count = min(len(self._waiting), _MOST_PER_COMMIT)
            batch = [self._waiting.popleft() for _ in range(count)]
            self._awaited -= sum(1 for job in batch if job.outcome is not None)
            self._busy = bool(batch)
            return batch

    def _is_pressing(self) -> bool:
        return self._awaited > 0 or self._closing or len(self._waiting) >= _MOST_PER_COMMIT

    def _commit(self, connection: sqlite3.Connection, batch: list[_Job | _Row | _Share]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._apply_at_once(connection, batch)
            except Exception:
                # One of them fails, which is rare: all over again, each where it can be rolled back alone.
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                self._apply_one_by_one(connection, batch)
            connection.execute("COMMIT")
        except BaseException as problem:
            log.exception("changes were not written", count=len(batch))
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for job in batch:
                if job.outcome is not None and not job.outcome.done():
                    job.outcome.set_exception(problem)
            return
        for job in batch:
            if not isinstance(job, _Row) and job.outcome is not None and not job.outcome.done():
                job.outcome.set_result(job.result)

    def _apply_at_once(self, connection: sqlite3.Connection, batch: list[_Job | _Row | _Share]) -> None:
        statements, rows = Statements(connection), dict[str, list[Sequence[Any]]]()
        shares = dict[BulkChange, list[_Share]]()
        for job in batch:
            if isinstance(job, _Row):
                rows.setdefault(job.statement, []).append(job.row)
            elif isinstance(job, _Share):
                shares.setdefault(job.change, []).append(job)
            else:
                _run_rows(statements, rows)
                job.apply(statements)
        _run_rows(statements, rows)
        for change, sharers in shares.items():
            results = change(statements, [share.row for share in sharers])
            for share, result in zip(sharers, results, strict=True):
                share.result = result

    def _apply_one_by_one(self, connection: sqlite3.Connection, batch: list[_Job | _Row | _Share]) -> None:
        statements = Statements(connection)
        for job in batch:
            connection.execute("SAVEPOINT change")
            try:
                job.apply(statements)
            except Exception as problem:
                connection.execute("ROLLBACK TO change")
                if job.outcome is None:
                    log.exception("a change nobody waits for failed")
                else:
                    job.outcome.set_exception(problem)
            connection.execute("RELEASE change")


def _run_rows(statements: Statements, rows: dict[str, list[Sequence[Any]]]) -> None:
    for statement, values in rows.items():
        statements.run(statement, rows=json.dumps(values))
    rows.clear()
