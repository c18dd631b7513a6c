"""Group commit: small changes of many threads share one transaction and its sync, in a thread of their own."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import structlog

from pxeforge.store.backend import StoreUnavailable, Writer

log = structlog.get_logger(__name__)

LINGER_S: Final = 0.02  # how long changes that nobody waits for wait for company
RETRY_S: Final = 1.0  # after a commit that failed, how long they wait for the next one
MOST_WAITING: Final = 20_000  # changes; beyond it those that nobody waits for are dropped and counted
_MOST_PER_COMMIT: Final = 1_000
T = TypeVar("T")
R = TypeVar("R")


RowValue = str | float | Mapping[str, Any] | None


class Statements:
    """What a change may do: run statements with `:named` values inside the shared transaction."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def run(self, statement: str, **values: Any) -> int:
        """Returns how many rows were changed."""
        return int(self._writer.execute(statement, values).rowcount)

    def run_many(self, statement: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """The statement once for each row of values."""
        self._writer.executemany(statement, rows)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._writer.execute(statement, values).fetchall()
        return found


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

    def __init__(self, statement: str, row: Sequence[RowValue]) -> None:
        self.statement, self.row = statement, row

    def apply(self, statements: Statements) -> None:
        statements.run(self.statement, rows=as_rows([self.row]))


class _Share:
    """One row of a change that takes all rows of a commit at once, and the one who waits for its result."""

    __slots__ = ("change", "outcome", "result", "row")

    def __init__(self, change: BulkChange, row: Any, outcome: Future[Any]) -> None:
        self.change, self.row, self.outcome, self.result = change, row, outcome, None

    def apply(self, statements: Statements) -> None:
        [self.result] = self.change(statements, [self.row])


AnyJob = _Job | _Row | _Share


class _Lost(Exception):
    """The connection is gone. `asked`: after the commit was asked for, so that nobody knows whether it was done."""

    def __init__(self, why: BaseException, asked: bool) -> None:
        super().__init__(str(why))
        self.why, self.asked = why, asked


class GroupCommit:
    """Changes are applied in the order they came; one that raises is rolled back alone. A change may be run twice.

    Many writers that each take the file's lock and sync would wait for one another; here one thread does it for all
    that came meanwhile. Changes that nobody waits for (lines of a timeline) are lost if the process dies within
    LINGER_S; what must last is `run`. While the database cannot be written, whoever waits is told so, and what nobody
    waits for stays here until it can, up to MOST_WAITING.
    """

    def __init__(self, connect: Callable[[], Writer]) -> None:
        """`connect` opens the thread's own connection; called when the first change comes, and after one was lost."""
        self._connect = connect
        self._waiting: deque[AnyJob] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._awaited = 0  # waiting jobs that somebody waits for
        self._busy = self._closing = False
        self._stalled = False  # the last commit failed
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

    def post_row(self, statement: str, *row: RowValue) -> None:
        """A row for a statement that reads `json_each(:rows)`: however many are waiting, it runs once. Never blocks.

        Each step of SQLite gives the interpreter to another thread and has to get it back: rows one by one would cost
        those who post them more than the database.
        """
        if not self._is_full():
            self._put(_Row(statement, row))

    def settle(self) -> None:
        """Waits until what was posted before is written: whoever reads next reads their own changes.

        Where it cannot be written one reads on without it.
        """
        if self._waiting or self._busy:
            with contextlib.suppress(Exception):  # told in the log
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

    def _put(self, job: AnyJob) -> None:
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
        writer: Writer | None = None
        try:
            while batch := self._next_batch():
                writer = self._written(writer, batch)
        finally:
            if writer is not None:
                writer.close()

    def _next_batch(self) -> list[AnyJob]:
        """What is to be committed together; empty at the end."""
        with self._changed:
            self._busy = False
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(self._is_pressing, RETRY_S if self._stalled else LINGER_S)
            count = min(len(self._waiting), _MOST_PER_COMMIT)
            batch = [self._waiting.popleft() for _ in range(count)]
            self._awaited -= sum(1 for job in batch if job.outcome is not None)
            self._busy = bool(batch)
            return batch

    def _is_pressing(self) -> bool:
        is_full = len(self._waiting) >= _MOST_PER_COMMIT and not self._stalled
        return self._awaited > 0 or self._closing or is_full

    def _written(self, writer: Writer | None, batch: Sequence[AnyJob]) -> Writer | None:
        """Commits the batch and returns the connection for the next one (None: another is needed)."""
        is_fresh, problem, again = writer is None, None, True
        try:
            writer = writer or self._connect()
            self._commit(writer, batch)
        except _Lost as lost:
            problem, again = lost.why, not lost.asked
        except BaseException as other:
            problem, is_fresh = other, True
        if problem is None:
            self._told_written(batch)
            return writer
        if writer is not None:
            writer.close()
        if again and not is_fresh:  # lost since the last commit (the server was restarted): nothing of this is done
            return self._written(None, [job for job in batch if job.outcome is None or not job.outcome.done()])
        self._not_written(batch, problem, again)
        return None

    def _told_written(self, batch: Sequence[AnyJob]) -> None:
        if self._stalled:
            log.info("changes are written again")
        self._stalled = False
        for job in batch:
            if not isinstance(job, _Row) and job.outcome is not None and not job.outcome.done():
                job.outcome.set_result(job.result)

    def _not_written(self, batch: Sequence[AnyJob], problem: BaseException, again: bool) -> None:
        """Whoever waits is told; the others' changes wait for better times, but for the end of the process."""
        posted = [job for job in batch if job.outcome is None]
        with self._changed:
            room = max(0, MOST_WAITING - len(self._waiting)) if again and not self._closing else 0
            self._waiting.extendleft(reversed(posted[:room]))
        lost = len(posted[room:])
        self.dropped += lost
        if lost or not self._stalled:
            trace = None if isinstance(problem, StoreUnavailable) else problem
            log.error("changes were not written", count=len(batch), lost=lost, reason=str(problem), exc_info=trace)
        self._stalled = True
        for job in batch:
            if job.outcome is not None and not job.outcome.done():
                job.outcome.set_exception(problem)

    def _commit(self, writer: Writer, batch: Sequence[AnyJob]) -> None:
        """Raises _Lost when the connection is."""
        asked = False
        try:
            writer.begin()
            try:
                self._apply_at_once(writer, batch)
            except StoreUnavailable:
                raise
            except Exception:
                # One of them fails, which is rare: all over again, each where it can be rolled back alone.
                writer.rollback()
                writer.begin()
                self._apply_one_by_one(writer, batch)
            asked = True
            writer.commit()
        except BaseException as problem:
            if writer.is_lost:
                raise _Lost(problem, asked) from problem
            writer.rollback()
            raise

    def _apply_at_once(self, writer: Writer, batch: Sequence[AnyJob]) -> None:
        statements, rows = Statements(writer), dict[str, list[Sequence[RowValue]]]()
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

    def _apply_one_by_one(self, writer: Writer, batch: Sequence[AnyJob]) -> None:
        statements = Statements(writer)
        for job in batch:
            writer.execute("SAVEPOINT change")
            try:
                job.apply(statements)
            except StoreUnavailable:
                raise  # not this one's fault: all of them come to nothing
            except Exception as problem:
                writer.execute("ROLLBACK TO change")
                if job.outcome is None:
                    log.exception("a change nobody waits for failed")
                else:
                    job.outcome.set_exception(problem)
            writer.execute("RELEASE change")


def _run_rows(statements: Statements, rows: dict[str, list[Sequence[RowValue]]]) -> None:
    for statement, values in rows.items():
        statements.run(statement, rows=as_rows(values))
    rows.clear()


def as_rows(rows: Sequence[Sequence[Any]]) -> str:
    """For `json_each(:rows)`, as both databases can take it apart again: no NUL, no half of a surrogate pair."""
    text = json.dumps(rows)
    return _UNSPEAKABLE.sub(_mark, text) if "\\u" in text else text


# An escape of its own, or with the backslash before it that makes it none.
_UNSPEAKABLE: Final = re.compile(r"(\\\\)|\\u(0000|d[89ab][0-9a-f]{2}(?:\\ud[c-f][0-9a-f]{2})?|d[c-f][0-9a-f]{2})")


def _mark(found: re.Match[str]) -> str:
    is_whole = found[2] is None or len(found[2]) > 4  # a pair
    return found[0] if is_whole else "\\ufffd"
