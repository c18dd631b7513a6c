"""The database file: what old rows become, what SQLite is told to keep, a clear word when it cannot be opened."""

import io
import json
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from pxeforge.store.database import Database, StoreUnavailable
from pxeforge.store.revisions import MIGRATIONS


def migrate(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.output_buffer = io.StringIO()
    with database.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        (command.upgrade if revision > "0003" else command.downgrade)(config, revision)


def test_an_address_reserved_for_a_host_becomes_that_of_the_nic_that_had_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.upgrade()
    migrate(database, "0003")
    rows = sqlite3.connect(tmp_path / "a.db")
    for number, network in ((1, {"address": "10.0.0.1", "mtu": 9000}), (2, {"address": "10.0.0.2"}), (3, None)):
        settings = {"disk": "first"} | ({"network": network} if network else {})
        rows.execute(
            "INSERT INTO hosts (id, state, loader, tags, settings, facts, created_at, reserved_address) "
            "VALUES (?, 'known', 'auto', '[]', ?, '{}', 0, ?)",
            (f"h{number}", json.dumps(settings), (network or {}).get("address")),
        )
        for nic, address in ((1, None), (2, "10.0.0.1" if number == 1 else "10.0.0.99")):
            values = (f"{number}{nic}", f"h{number}", address)
            rows.execute("INSERT INTO nics (mac, host_id, address) VALUES (?, ?, ?)", values)
    rows.commit()
    migrate(database, "0004")
    found = dict(rows.execute("SELECT mac, reserved_address FROM nics").fetchall())
    assert found == {"11": None, "12": "10.0.0.1", "21": "10.0.0.2", "22": None, "31": None, "32": None}
    kept = [json.loads(text) for (text,) in rows.execute("SELECT settings FROM hosts ORDER BY id")]
    assert kept == [{"disk": "first", "network": {"mtu": 9000}}, {"disk": "first"}, {"disk": "first"}]
    migrate(database, "0003")
    found = dict(rows.execute("SELECT id, reserved_address FROM hosts").fetchall())
    assert found == {"h1": "10.0.0.1", "h2": "10.0.0.2", "h3": None}
    [(text,)] = rows.execute("SELECT settings FROM hosts WHERE id = 'h1'").fetchall()
    assert json.loads(text) == {"disk": "first", "network": {"mtu": 9000, "address": "10.0.0.1"}}


def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is not a database, it is a letter" * 50)
    with pytest.raises(StoreUnavailable, match=r"cannot be opened.*restore a backup"):
        Database(path).upgrade()


def test_the_file_is_in_wal_mode(tmp_path: Path) -> None:
    Database(tmp_path / "a.db").upgrade()
    assert sqlite3.connect(tmp_path / "a.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_was_committed_survives_a_power_cut(tmp_path: Path) -> None:
    """A host that has begun to install must never be armed again because the disk lost the last transactions."""
    database = Database(tmp_path / "x.db")
    with database.write() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
    database.close()


def test_who_could_log_in_before_there_were_roles_is_admin_now_and_events_stay(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.upgrade()
    migrate(database, "0003")
    rows = sqlite3.connect(tmp_path / "a.db")
    rows.execute("INSERT INTO users (name, password_hash, created_at, session_epoch) VALUES ('ann', 'hash', 1, 7)")
    rows.execute(
        "INSERT INTO events (at, source, kind, message, who, data) VALUES (1, 'operator', 'x', 'y', 'ann', '{}')"
    )
    rows.commit()
    migrate(database, "0005")
    assert rows.execute("SELECT name, password_hash, created_at, role FROM users").fetchall() == [
        ("ann", "hash", 1, "admin")
    ]
    assert rows.execute("SELECT who, via, address FROM events").fetchall() == [("ann", None, None)]
    assert rows.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
