"""PostgreSQL goes away and comes back: clear words, nothing half done, few connections, never the password."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text

from pxeforge.services.context import Context
from pxeforge.services.readiness import Readiness
from pxeforge.store import postgresql as ours
from pxeforge.store.database import Database, StoreUnavailable
from pxeforge.store.location import parse
from pxeforge.store.postgresql import MOST_CONNECTIONS, spoken
from pxeforge.store.tables import Host
from tests.postgresql import TEMPLATE, Cluster, cluster, programs

pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")
NAMES = "SELECT name FROM hosts ORDER BY name"
INSERT = (
    "INSERT INTO hosts (id, name, state, loader, tags, settings, facts, created_at) "
    "VALUES (:name, :name, 'known', 'auto', '[]', '{}', '{}', 0)"
)


def host(name: str) -> Host:
    return Host(id=name, name=name, state="known", loader="auto", created_at=0.0, tags=[], settings={}, facts={})


@pytest.fixture
def database(postgresql: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(ours, "_PAUSE_S", 0.0)
    with postgresql.fresh() as location:
        made = Database(location)
        yield made
        made.close()


@pytest.fixture(scope="module")
def mortal() -> Iterator[Cluster]:
    """A server of its own, for what would disturb others."""
    with cluster() as made:
        made.ask(f"CREATE DATABASE {TEMPLATE}")
        database = Database(made.location(TEMPLATE))
        database.upgrade()
        database.close()
        yield made


def cut(cluster: Cluster, database: Database) -> int:
    """Ends all connections to the database, as a restart of the server does; returns how many there were."""
    name = database.location.shown.rpartition("/")[2]
    rows = cluster.ask(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
    return len(rows)


def test_the_words_of_sqlite_are_put_into_those_of_postgresql() -> None:
    assert spoken("SELECT ':no', a::text, :yes, '50%' FROM json_each(:rows) WHERE b ->> 'it''s :no' = :yes") == (
        "SELECT ':no', a::text, %(yes)s, '50%%' FROM json_array_elements(CAST(%(rows)s AS json)) "
        "WITH ORDINALITY AS each_row(value, key) WHERE b ->> 'it''s :no' = %(yes)s"
    )
    assert spoken("SELECT json_group_array(json_array(x)), group_concat(n.mac)") == (
        "SELECT json_agg(json_build_array(x)), string_agg(n.mac, ',')"
    )


def test_connections_that_were_cut_while_nobody_used_them_are_not_noticed(
    postgresql: Cluster, database: Database
) -> None:
    for number in range(3):
        name = f"h{number}"
        database.change(lambda change, name=name: change.run(INSERT, name=f"c{name}"))  # type: ignore[misc]
        with database.write() as session:
            session.add(host(name))
        database.post_row("UPDATE hosts SET serial = 'x' FROM json_each(:rows) WHERE name = value ->> 0", name)
        with database.read() as session:
            assert session.scalars(select(Host.serial).where(Host.name == name)).one() == "x"
        assert database.look_up(NAMES)[-1] == (name,)
        assert cut(postgresql, database) >= 3
    assert len(database.look_up(NAMES)) == 6


def test_a_transaction_that_is_cut_leaves_nothing_and_says_what_to_do(postgresql: Cluster, database: Database) -> None:
    def cut_short() -> None:
        with database.write() as session:
            session.add(host("half"))
            session.flush()
            cut(postgresql, database)
            session.add(host("other half"))

    with pytest.raises(StoreUnavailable, match=r"does not answer .*: see that PostgreSQL runs"):
        cut_short()
    with database.read() as session:
        assert session.scalars(select(Host)).all() == []
    with database.write() as session:  # the lock is free, the connection a new one
        session.add(host("whole"))
    assert database.look_up(NAMES) == [("whole",)]


def test_a_change_that_is_cut_is_done_once_or_told(postgresql: Cluster, database: Database) -> None:
    database.look_up("SELECT 1")
    tries = []

    def change(statements: ours.Any) -> int:
        tries.append(1)
        if len(tries) == 1:
            statements.run(INSERT, name="first")
            cut(postgresql, database)
        return int(statements.run(INSERT, name="second"))

    database.change(lambda statements: statements.run(INSERT, name="before"))
    assert database.change(change) == 1  # nothing of the first try was kept, so it was tried again
    assert len(tries) == 2
    assert database.look_up(NAMES) == [("before",), ("second",)]


def test_a_server_that_is_killed_and_started_again_has_kept_what_it_promised(
    mortal: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "_PAUSE_S", 0.0)
    with mortal.fresh() as location:
        database = Database(location)
        database.change(lambda change: change.run(INSERT, name="promised"))
        with database.write() as session:
            session.add(host("committed"))
        mortal.stop(at_once=True)
        for attempt in (
            lambda: database.look_up(NAMES),
            lambda: database.change(lambda change: change.run(INSERT, name="lost")),
            lambda: _write(database, "lost too"),
            database.revision,
        ):
            with pytest.raises(StoreUnavailable, match=r"does not answer"):
                attempt()
        database.post_row("UPDATE hosts SET serial = value ->> 1 FROM json_each(:rows) WHERE name = value ->> 0",
                          "promised", "told meanwhile")  # fmt: skip
        mortal.start()
        _write(database, "after")
        assert [name for (name,) in database.look_up(NAMES)] == ["after", "committed", "promised"]
        until = time.monotonic() + 30
        while database.look_up("SELECT serial FROM hosts WHERE name = 'promised'") != [("told meanwhile",)]:
            assert time.monotonic() < until
            time.sleep(0.02)
        database.close()


def _write(database: Database, name: str) -> None:
    with database.write() as session:
        session.add(host(name))


@pytest.mark.both_databases
def test_readiness_tells_that_the_database_does_not_answer(
    ctx: Context, database_kind: str, postgresql: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked() -> str:
        return next(check.seen for check in Readiness(ctx, []).checks() if check.name == "database")

    assert checked() == ""
    if database_kind == "postgresql":
        monkeypatch.setattr(ours, "_PAUSE_S", 0.0)
        cut(postgresql, ctx.database)
        monkeypatch.setattr(ours.psycopg, "connect", _refused)
        assert checked() == "does not answer: see the log"
        monkeypatch.undo()
    assert checked() == ""


def _refused(*_: object, **__: object) -> None:
    raise ours.psycopg.OperationalError('connection failed: FATAL:  no entry for user "x", password "s3cret"')


def test_the_password_is_in_no_message_and_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(parse("postgresql://ops:s3cret@192.0.2.1/pxeforge"))
    monkeypatch.setattr(ours.psycopg, "connect", _refused)
    with pytest.raises(StoreUnavailable) as told:
        database.look_up("SELECT 1")
    with pytest.raises(StoreUnavailable) as told_by_orm, database.read() as session:
        session.execute(text("SELECT 1"))
    for said in (
        str(told.value),
        str(told_by_orm.value),
        repr(database),
        repr(database.location),
        repr(database.engine),
    ):
        assert "s3cret" not in said
    assert "postgresql://ops@192.0.2.1/pxeforge" in str(told.value)
    database.close()


def test_after_a_connection_could_not_be_had_others_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def connect(*_: object, **__: object) -> None:
        tries.append(1)
        _refused()

    monkeypatch.setattr(ours, "_PAUSE_S", 60.0)
    monkeypatch.setattr(ours.psycopg, "connect", connect)
    database = Database(parse("postgresql://192.0.2.1/pxeforge"))
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            database.look_up("SELECT 1")
    assert len(tries) == 1
    database.close()


def test_a_process_has_few_connections_however_many_threads_ask(postgresql: Cluster, database: Database) -> None:
    name = database.location.shown.rpartition("/")[2]
    most, busy = [0], threading.Event()

    def watch() -> None:
        while not busy.is_set():
            found = postgresql.ask(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
            most[0] = max(most[0], int(str(found[0][0])))

    def work(number: int) -> None:
        for step in range(4):
            database.look_up("SELECT pg_sleep(0.01)")
            with database.write() as session:
                session.add(host(f"{number}-{step}"))
            with database.read() as session:
                session.execute(text("SELECT pg_sleep(0.01)"))
            database.change(lambda change: change.run("UPDATE hosts SET serial = 'x' WHERE id = '0-0'"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    busy.set()
    watcher.join()
    assert 2 < most[0] <= MOST_CONNECTIONS
    assert len(database.look_up(NAMES)) == 24 * 4


def test_sessions_are_durable_whatever_the_server_says(postgresql: Cluster, database: Database) -> None:
    name = database.location.shown.rpartition("/")[2]
    postgresql.ask(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    assert database.look_up("SHOW synchronous_commit") == [("on",)]
    assert database.change(lambda change: change.rows("SHOW synchronous_commit")) == [("on",)]
    with database.write() as session:
        assert session.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_what_only_reads_cannot_write_and_sees_one_moment(database: Database) -> None:
    with database.read() as session:
        assert session.scalars(select(Host)).all() == []
        database.change(lambda change: change.run(INSERT, name="meanwhile"))
        assert session.scalars(select(Host)).all() == []
        with pytest.raises(Exception, match="read-only"), contextlib.closing(session):
            session.execute(text("DELETE FROM hosts"))
    assert database.look_up(NAMES) == [("meanwhile",)]


def test_a_standby_that_cannot_be_written_is_refused(mortal: Cluster) -> None:
    with mortal.fresh() as location:
        name = location.shown.rpartition("/")[2]
        mortal.ask(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        database = Database(location)
        with pytest.raises(StoreUnavailable, match=r"read-only|not read-write|recovery"):
            database.look_up("SELECT 1")
        database.close()
