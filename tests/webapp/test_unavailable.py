"""A database that takes no change: everybody is told so, nothing is changed, and it goes on once there is room."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.webapp.admin import create_admin

MANY_TAGS = [f"{number}-{'t' * 50}" for number in range(800)]  # more than the page holds that the host is on


@pytest.fixture
def client(ctx: Context) -> FlaskClient:
    hosts.add(ctx, macs=["52:54:00:12:34:56"], name="n1", who="test")
    return create_admin(ctx, trusted_socket=True).test_client()


@contextmanager
def full(ctx: Context) -> Iterator[None]:
    """The file may not grow by a single page, as on a disk without room."""

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count=1")

    engine = ctx.database.engine
    engine.dispose()
    event.listen(engine.pool, "checkout", limit)
    yield
    event.remove(engine.pool, "checkout", limit)
    engine.dispose()


def test_a_program_is_told_503_with_what_to_do_while_there_is_no_room(ctx: Context, client: FlaskClient) -> None:
    with full(ctx):
        answer = client.patch("/api/v1/hosts/n1", json={"tags": MANY_TAGS})
        assert answer.status_code == 503
        assert "has no room: free some on its disk; nothing was changed" in answer.get_json()["detail"]
        assert answer.headers["Retry-After"] == "5"
    assert hosts.show(ctx, "n1")["tags"] == []
    assert client.patch("/api/v1/hosts/n1", json={"tags": ["later"]}).status_code == 200


def test_a_person_is_told_the_same_on_a_page(ctx: Context, client: FlaskClient) -> None:
    with full(ctx):
        answer = client.post("/hosts/n1/change", data={"name": "n1", "tags": " ".join(MANY_TAGS)})
        assert answer.status_code == 503
        assert "has no room" in answer.text
