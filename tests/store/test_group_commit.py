"""Group commit on both databases: a change is on disk when it returns, one that fails disturbs no other."""

import contextlib
import json
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import text as sql

from pxeforge.store import group_commit, sqlite
from pxeforge.store.backend import Backend, StoreUnavailable, Writer
from pxeforge.store.database import Database
from pxeforge.store.group_commit import GroupCommit, Statements, as_rows
from pxeforge.store.location import Location

pytestmark = pytest.mark.both_databases
INSERT = "INSERT INTO lines (text) VALUES (:text)"
HIGHEST = "SELECT coalesce(max(CAST(text AS integer)), 0) FROM lines"
ROWS = "INSERT INTO lines (text) SELECT value ->> 0 FROM json_each(:rows)"


@pytest.fixture
def database(location: Location, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """With a table of lines. Whoever waits for another writer is told so after a moment."""
    monkeypatch.setattr(sqlite, "_PATIENCE_S", 0.1)
    number = "INTEGER PRIMARY KEY"
    if location.path is None:
        from pxeforge.store import postgresql

        monkeypatch.setitem(postgresql._SESSION, "lock_timeout", "100ms")
        number = "SERIAL PRIMARY KEY"
    made = Database(location)
    with made.write() as session:
        session.execute(sql(f"CREATE TABLE lines (number {number}, text TEXT UNIQUE)"))
    yield made
    made.close()


@pytest.fixture
def backend(database: Database) -> Backend:
    return database._backend


@pytest.fixture
def group(backend: Backend) -> Iterator[GroupCommit]:
    made = GroupCommit(backend.writer)
    yield made
    made.close()


def lines(backend: Backend) -> list[str]:
    return [row[0] for row in backend.look_up("SELECT text FROM lines ORDER BY number", {})]


@contextlib.contextmanager
def somebody_else_writes(database: Database) -> Iterator[None]:
    with database.write() as session:
        session.execute(sql("SELECT 1"))
        yield


def write(line: str) -> Callable[[Statements], int]:
    return lambda statements: statements.run(INSERT, text=line)


def test_a_change_is_on_disk_when_it_returns(group: GroupCommit, backend: Backend) -> None:
    assert group.run(write("a")) == 1
    assert lines(backend) == ["a"]


def test_a_change_that_raises_leaves_nothing_and_disturbs_no_other(group: GroupCommit, backend: Backend) -> None:
    def half(statements: Statements) -> None:
        statements.run(INSERT, text="half")
        raise ValueError("no")

    group.post(write("before"))
    with pytest.raises(ValueError, match="no"):
        group.run(half)
    group.run(write("after"))
    assert lines(backend) == ["before", "after"]


def test_what_was_posted_is_there_after_settling_and_in_order(group: GroupCommit, backend: Backend) -> None:
    for number in range(50):
        group.post(write(f"{number:02}"))
    group.settle()
    assert lines(backend) == [f"{number:02}" for number in range(50)]


def test_a_posted_change_that_fails_is_logged_only(group: GroupCommit, backend: Backend) -> None:
    group.post(write("a"))
    group.post(write("a"))  # not unique
    group.post(write("b"))
    group.settle()
    assert lines(backend) == ["a", "b"]


def test_changes_of_many_threads_all_arrive(group: GroupCommit, backend: Backend) -> None:
    def work(name: int) -> None:
        for number in range(20):
            group.run(write(f"{name}-{number}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(backend)) == 160


def test_closing_writes_what_is_left(backend: Backend) -> None:
    group = GroupCommit(backend.writer)
    group.post(write("last"))
    group.close()
    assert lines(backend) == ["last"]
    with pytest.raises(RuntimeError):
        group.run(write("too late"))


def test_a_database_that_fails_is_told_to_whoever_waits_and_the_next_change_works(
    group: GroupCommit, backend: Backend, database: Database
) -> None:
    with somebody_else_writes(database), pytest.raises(StoreUnavailable):
        group.run(write("locked"))
    assert group.run(write("free")) == 1
    assert lines(backend) == ["free"]


def test_what_nobody_waits_for_is_written_when_the_database_can_be_written_again(
    group: GroupCommit, backend: Backend, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "RETRY_S", 0.02)
    with somebody_else_writes(database):
        for number in range(3):
            group.post(write(f"posted {number}"))
            group.post_row(ROWS, f"row {number}")
        with pytest.raises(StoreUnavailable):
            group.run(write("waited for"))
        group.settle()  # whoever reads is not held up
    group.settle()
    assert lines(backend) == [f"{kind} {number}" for number in range(3) for kind in ("posted", "row")]
    assert group.dropped == 0


def test_closing_does_not_wait_for_a_database_that_cannot_be_written(backend: Backend, database: Database) -> None:
    group = GroupCommit(backend.writer)
    with somebody_else_writes(database):
        group.post(write("lost"))
        group.close()
    assert group.dropped == 1
    assert lines(backend) == []


def test_posting_never_blocks_and_drops_when_the_database_stands_still(
    group: GroupCommit, backend: Backend, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MOST_WAITING", 10)
    with somebody_else_writes(database):
        group.post(write("first"))
        for number in range(40):
            group.post(write(str(number)))
        assert group.dropped >= 20
    group.settle()
    assert lines(backend)[0] == "first"


def test_rows_of_one_statement_are_one_step_and_keep_their_place_among_changes(
    group: GroupCommit, backend: Backend
) -> None:
    group.post_row(ROWS, "a")
    group.post_row(ROWS, "b")
    assert group.run(lambda statements: statements.rows("SELECT count(*) FROM lines")) == [(2,)]
    group.post_row(ROWS, "c")
    group.settle()
    assert lines(backend) == ["a", "b", "c"]


def test_a_row_that_fails_takes_no_other_with_it(group: GroupCommit, backend: Backend) -> None:
    for text in ("a", "b", "a", "c"):
        group.post_row(ROWS, text)
    group.post(write("d"))
    group.settle()
    assert lines(backend) == ["a", "b", "c", "d"]


def test_a_shared_change_takes_the_rows_of_all_who_call_it_meanwhile(group: GroupCommit, backend: Backend) -> None:
    sizes: list[int] = []

    def add(statements: Statements, texts: Sequence[str]) -> list[str]:
        sizes.append(len(texts))
        for text in texts:
            statements.run(INSERT, text=text)
        return [text.upper() for text in texts]

    results: dict[str, str] = {}

    def work(text: str) -> None:
        results[text] = group.share(add, text).result()

    def hold(_: Statements) -> None:
        busy.set()
        go.wait(10)

    busy, go = threading.Event(), threading.Event()
    holder = threading.Thread(target=group.run, args=(hold,))
    holder.start()
    busy.wait(10)
    threads = [threading.Thread(target=work, args=(text,)) for text in "abcdef"]
    for thread in threads:
        thread.start()
    while len(group._waiting) < len(threads):
        pass
    go.set()
    for thread in (*threads, holder):
        thread.join()
    assert sizes == [6]
    assert results == {text: text.upper() for text in "abcdef"}
    assert sorted(lines(backend)) == list("abcdef")


def test_a_share_that_fails_leaves_the_others_theirs(group: GroupCommit, backend: Backend) -> None:
    def add(statements: Statements, texts: Sequence[str]) -> list[str]:
        for text in texts:
            statements.run(INSERT, text=text)
        return list(texts)

    assert group.share(add, "a").result() == "a"
    with pytest.raises(Exception, match=r"(?i)unique"):
        group.share(add, "a").result()
    assert group.share(add, "b").result() == "b"
    assert lines(backend) == ["a", "b"]


def test_a_database_that_cannot_be_opened_is_told_and_tried_again(backend: Backend) -> None:
    problems = iter([StoreUnavailable("unable to open"), None])

    def connect() -> Writer:
        problem = next(problems)
        if problem is not None:
            raise problem
        return backend.writer()

    group = GroupCommit(connect)
    try:
        with pytest.raises(StoreUnavailable, match="unable to open"):
            group.run(write("lost"))
        assert group.run(write("kept")) == 1
    finally:
        group.close()
    assert lines(backend) == ["kept"]


def test_many_processes_with_many_threads_lose_nothing_and_run_one_after_another(
    database: Database, backend: Backend, location: Location
) -> None:
    """Each change reads the highest number and writes the next one: two at once would write the same."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count_up, args=(location, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(int(line) for line in lines(backend)) == list(range(1, 49))


def _next_number(statements: Statements) -> int:
    [(highest,)] = statements.rows(HIGHEST)
    return statements.run(INSERT, text=str(highest + 1))


def _count_up(location: Location, name: str) -> None:
    database = Database(location)

    def work() -> None:
        for number in range(8):
            if number % 2:  # both ways to write
                database.change(_next_number)
            else:
                with database.write() as session:
                    highest = session.execute(sql(HIGHEST)).scalar_one()
                    session.execute(sql("INSERT INTO lines (text) VALUES (:text)"), {"text": str(highest + 1)})

    threads = [threading.Thread(target=work, name=name) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()


WORDS = ["plain", "Zoë ☃ 🜁", "a\0b", "half \ud83d", "\udc00 other half", "\\u0000 as words", "\\\0 behind", "\\\\ud800"]


@pytest.mark.parametrize("word", WORDS)
def test_any_text_in_a_row_is_stored_and_takes_no_other_with_it(
    group: GroupCommit, backend: Backend, word: str
) -> None:
    group.post_row(ROWS, word)
    group.post_row(ROWS, "next")
    group.settle()
    bad = "\0\ud83d\udc00"
    expected = "".join("\N{REPLACEMENT CHARACTER}" if c in bad else c for c in word)
    assert lines(backend) == [expected, "next"]


def test_pairs_of_surrogates_stay_whole() -> None:
    assert json.loads(as_rows([["🜁\0🜁", {"a": "\ud83d"}]])) == [["🜁\ufffd🜁", {"a": "\ufffd"}]]
