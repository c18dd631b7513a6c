"""What both databases promise to those who use them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, select

from pxeforge.store.database import Database
from pxeforge.store.group_commit import Statements
from pxeforge.store.location import Location
from pxeforge.store.tables import Event, Host, Nic

pytestmark = pytest.mark.both_databases
RENAME = "UPDATE hosts SET serial = value ->> 1 FROM json_each(:rows) WHERE hosts.name = value ->> 0"


@pytest.fixture
def database(location: Location) -> Iterator[Database]:
    made = Database(location)
    yield made
    made.close()


def host(name: str) -> Host:
    return Host(
        id=name.ljust(12, "-"), name=name, state="known", loader="auto", created_at=0.1, tags=["a"], facts={},
        settings={"network": {"mtu": 9000}, "note": "Zoë \u2603 \U0001f701 \" '"},
    )  # fmt: skip


def test_upgrading_twice_keeps_the_rows(database: Database) -> None:
    with database.write() as session:
        session.add(host("n1"))
    database.upgrade()
    with database.read() as session:
        assert session.scalars(select(Host.name)).all() == ["n1"]


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    def cut_short() -> None:
        with database.write() as session:
            session.add(host("n1"))
            session.flush()
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        cut_short()
    with database.read() as session:
        assert session.scalars(select(Host)).all() == []


def test_writers_wait_for_each_other(database: Database) -> None:
    problems: list[BaseException] = []

    def add(prefix: str) -> None:
        try:
            for number in range(10):
                with database.write() as session:
                    count = len(session.scalars(select(Host.id)).all())
                    session.add(host(f"{prefix}{number}-{count}"))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with database.read() as session:
        counts = sorted(int(name.rpartition("-")[2]) for name in session.scalars(select(Host.name)) if name)
    assert counts == list(range(40))  # each saw all that were before it


def test_one_reads_what_one_has_posted(database: Database) -> None:
    with database.write() as session:
        session.add(host("n1"))
    for number in range(5):
        database.post_row(RENAME, "n1", f"serial {number}")
        with database.read() as session:
            assert session.scalars(select(Host.serial)).one() == f"serial {number}"


def test_a_change_inside_a_transaction_is_refused_for_it_would_wait_for_itself(database: Database) -> None:
    with database.write(), pytest.raises(RuntimeError, match="would wait for itself"):
        database.change(lambda statements: statements.run("DELETE FROM hosts"))


def test_a_transaction_may_read_what_is_committed_on_another_connection(database: Database) -> None:
    with database.write() as session:
        session.add(host("n1"))
        session.flush()
        assert database.look_up("SELECT name FROM hosts") == []
        with database.read() as other:
            assert other.scalars(select(Host)).all() == []


def test_what_is_read_past_the_orm_has_the_same_types(database: Database) -> None:
    with database.write() as session:
        session.add(host("n1"))
    [(name, network, missing, at, serial)] = database.look_up(
        "SELECT name, settings -> 'network', settings -> 'x', created_at, serial FROM hosts WHERE name = :name",
        name="n1",
    )
    assert (name, network.replace(" ", ""), missing, at, serial) == ("n1", '{"mtu":9000}', None, 0.1, None)
    with database.read() as session:
        kept = session.scalars(select(Host)).one()
    assert (kept.tags, kept.settings, kept.created_at) == (["a"], host("n1").settings, 0.1)


def test_events_are_numbered_in_the_order_in_which_they_are_committed(database: Database) -> None:
    def tell(statements: Statements, text: str) -> int:
        return statements.run(
            "INSERT INTO events (at, source, kind, message, data) VALUES (0, 'x', 'x', :text, '{}')", text=text
        )

    for number in range(6):
        if number % 2:
            database.change(lambda statements, text=str(number): tell(statements, text))  # type: ignore[misc]
        else:
            with database.write() as session:
                session.add(Event(at=0.0, source="x", kind="x", message=str(number), data={}))
    with database.read() as session:
        assert session.scalars(select(Event.message).order_by(Event.id)).all() == list("012345")


def test_a_hosts_nics_keep_the_order_in_which_they_came(database: Database) -> None:
    macs = ["cc", "aa", "dd", "bb"]
    with database.write() as session:
        one = host("n1")
        one.nics.extend(Nic(mac=mac) for mac in macs[:3])
        session.add(one)
    with database.write() as session:
        one = session.scalars(select(Host)).one()
        one.nics.append(Nic(mac=macs[3]))
        session.get_one(Nic, "cc").address = "10.0.0.1"  # an update moves the row
    with database.read() as session:
        assert list(session.scalars(select(Host)).one().macs) == macs


def test_what_belongs_to_a_host_goes_with_it(database: Database) -> None:
    with database.write() as session:
        one = host("n1")
        one.nics.append(Nic(mac="aa"))
        session.add(one)
    with database.write() as session:
        session.execute(delete(Host))
    assert database.look_up("SELECT mac FROM nics") == []


def test_a_text_may_be_longer_than_its_column_says_and_hold_any_character(database: Database) -> None:
    long = "x" * 3000
    database.change(
        lambda statements: statements.run(
            "INSERT INTO hosts (id, name, state, loader, tags, settings, facts, created_at, serial) "
            "VALUES ('h', 'n', 'known', 'auto', '[]', '{}', '{}', 0, :serial)", serial=long,
        )
    )  # fmt: skip
    assert database.look_up("SELECT serial FROM hosts") == [(long,)]
    assert database.look_up("SELECT 1 FROM hosts WHERE name = :name", name="a\0b") == []


def test_a_database_tells_its_size_its_revision_and_that_it_is_whole(database: Database) -> None:
    assert database.sizes()["main"] > 0
    assert database.revision() is not None
    assert [fault for fault in database.faults() if "fsync" not in fault] == []
