"""Group commit: every awaited change is on disk when it returns, one that fails disturbs no other."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pxeforge.store import group_commit
from pxeforge.store.group_commit import GroupCommit, Statements

INSERT = "INSERT INTO lines (text) VALUES (:text)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE lines (text TEXT UNIQUE)")
    return tmp_path / "a.db"


@pytest.fixture
def group(path: Path) -> Iterator[GroupCommit]:
    made = GroupCommit(lambda: sqlite3.connect(path, isolation_level=None), path.with_name("turns"))
    yield made
    made.close()


def lines(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM lines ORDER BY rowid")]


def write(text: str) -> Callable[[Statements], int]:
    return lambda statements: statements.run(INSERT, text=text)


def test_a_change_is_on_disk_when_it_returns(group: GroupCommit, path: Path) -> None:
    assert group.run(write("a")) == 1
    assert lines(path) == ["a"]


def test_a_change_that_raises_leaves_nothing_and_disturbs_no_other(group: GroupCommit, path: Path) -> None:
    def half(statements: Statements) -> None:
        statements.run(INSERT, text="half")
        raise ValueError("no")

    group.post(write("before"))
    with pytest.raises(ValueError, match="no"):
        group.run(half)
    group.run(write("after"))
    assert lines(path) == ["before", "after"]


def test_what_was_posted_is_there_after_settling_and_in_order(group: GroupCommit, path: Path) -> None:
    for number in range(50):
        group.post(write(f"{number:02}"))
    group.settle()
    assert lines(path) == [f"{number:02}" for number in range(50)]


def test_a_posted_change_that_fails_is_logged_only(group: GroupCommit, path: Path) -> None:
    group.post(write("a"))
    group.post(write("a"))  # not unique
    group.post(write("b"))
    group.settle()
    assert lines(path) == ["a", "b"]


def test_changes_of_many_threads_all_arrive(group: GroupCommit, path: Path) -> None:
    def work(name: int) -> None:
        for number in range(20):
            group.run(write(f"{name}-{number}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(path)) == 160


def test_closing_writes_what_is_left(path: Path) -> None:
    group = GroupCommit(lambda: sqlite3.connect(path, isolation_level=None), path.with_name("turns"))
    group.post(write("last"))
    group.close()
    assert lines(path) == ["last"]
    with pytest.raises(RuntimeError):
        group.run(write("too late"))


def test_a_database_that_fails_is_told_to_whoever_waits_and_the_next_change_works(path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    group = GroupCommit(lambda: sqlite3.connect(path, isolation_level=None, timeout=0.05), path.with_name("turns"))
    try:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            group.run(write("locked"))
        holder.execute("ROLLBACK")
        assert group.run(write("free")) == 1
    finally:
        group.close()
        holder.close()
    assert lines(path) == ["free"]


def test_posting_never_blocks_and_drops_when_the_database_stands_still(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MOST_WAITING", 10)
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    group = GroupCommit(lambda: sqlite3.connect(path, isolation_level=None, timeout=30), path.with_name("turns"))
    try:
        holder.execute("BEGIN IMMEDIATE")
        group.post(write("first"))
        for number in range(40):
            group.post(write(str(number)))
        assert group.dropped >= 20
        holder.execute("ROLLBACK")
        group.settle()
    finally:
        group.close()
        holder.close()
    assert lines(path)[0] == "first"


ROWS = "INSERT INTO lines (text) SELECT value ->> 0 FROM json_each(:rows)"


def test_rows_of_one_statement_are_one_step_and_keep_their_place_among_changes(group: GroupCommit, path: Path) -> None:
    group.post_row(ROWS, "a")
    group.post_row(ROWS, "b")
    assert group.run(lambda statements: statements.rows("SELECT count(*) FROM lines")) == [(2,)]
    group.post_row(ROWS, "c")
    group.settle()
    assert lines(path) == ["a", "b", "c"]


def test_a_row_that_fails_takes_no_other_with_it(group: GroupCommit, path: Path) -> None:
    for text in ("a", "b", "a", "c"):
        group.post_row(ROWS, text)
    group.post(write("d"))
    group.settle()
    assert lines(path) == ["a", "b", "c", "d"]


def test_a_shared_change_takes_the_rows_of_all_who_call_it_meanwhile(group: GroupCommit, path: Path) -> None:
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
    assert sorted(lines(path)) == list("abcdef")


def test_a_share_that_fails_leaves_the_others_theirs(group: GroupCommit, path: Path) -> None:
    def add(statements: Statements, texts: Sequence[str]) -> list[str]:
        for text in texts:
            statements.run(INSERT, text=text)
        return list(texts)

    assert group.share(add, "a").result() == "a"
    with pytest.raises(sqlite3.IntegrityError):
        group.share(add, "a").result()
    assert group.share(add, "b").result() == "b"
    assert lines(path) == ["a", "b"]


def test_a_database_that_cannot_be_opened_is_told_and_tried_again(path: Path) -> None:
    doors = iter([sqlite3.OperationalError("unable to open"), None])

    def connect() -> sqlite3.Connection:
        problem = next(doors)
        if problem is not None:
            raise problem
        return sqlite3.connect(path, isolation_level=None)

    group = GroupCommit(connect, path.with_name("turns"))
    try:
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            group.run(write("lost"))
        assert group.run(write("kept")) == 1
    finally:
        group.close()
    assert lines(path) == ["kept"]
