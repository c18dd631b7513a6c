"""Events as a stream: what happens is sent, whoever comes again goes on where they were, and places are few."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pxeforge.app.web_server import Plane, _server
from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, event_list, hosts, sessions
from pxeforge.services.acting import LOCAL, Actor
from pxeforge.services.context import Context
from pxeforge.webapp import event_stream
from pxeforge.webapp.admin import create_admin
from tests.conftest import MAC, Clock

from .conftest import PASSWORD, SITE, Browser

ROOT = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)


@pytest.fixture
def api(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr(event_stream, "LONGEST_S", 0.2)
    monkeypatch.setattr(event_stream, "_EVERY_S", 0.01)
    return create_admin(ctx, trusted_socket=True).test_client()


def follow(api: FlaskClient, query: str = "", last: int | None = None) -> TestResponse:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    return api.get(f"/api/v1/events/stream{query}", headers=headers, buffered=False)


def parsed(text: str) -> list[dict[str, str]]:
    """As WHATWG HTML 9.2.6 reads it; without the first, which only names the place."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks][1:]


def test_what_happened_since_is_sent_in_order(ctx: Context, api: FlaskClient) -> None:
    start = event_list.last_id(ctx)
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    hosts.change(ctx, "n1", tags=["x"], who="ann")
    told = parsed(follow(api, last=start).get_data(as_text=True))
    assert [one["event"] for one in told] == ["operator.adopt", "operator.changed", "operator.changed"]
    assert [int(one["id"]) for one in told] == [start + 1, start + 2, start + 3]
    assert json.loads(told[-1]["data"])["data"]["after"] == {"tags": ["x"]}
    rest = parsed(follow(api, last=start + 2).get_data(as_text=True))
    assert [int(one["id"]) for one in rest] == [start + 3]


def test_without_a_place_only_what_comes_is_sent(ctx: Context, api: FlaskClient, monkeypatch: Any) -> None:
    monkeypatch.setattr(event_stream, "LONGEST_S", 30.0)
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    reply = follow(api)
    lines: Iterator[bytes] = iter(reply.response)  # type: ignore[arg-type]
    assert next(lines) == f"retry: 1000\nid: {event_list.last_id(ctx)}\n\n".encode()
    hosts.change(ctx, "n1", tags=["later"], who="ann")
    assert b'"later"' in next(lines)
    reply.close()


def test_only_what_is_asked_for_is_sent(ctx: Context, api: FlaskClient) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    hosts.add(ctx, macs=["52:54:00:00:00:02"], name="n2", who="ann")
    of_n2 = parsed(follow(api, "?host=n2&kind=adopt", last=0).get_data(as_text=True))
    assert [json.loads(one["data"])["host_id"] for one in of_n2] == [hosts.show(ctx, "n2")["id"]]
    assert follow(api, "?host=ghost").status_code == 404
    assert follow(api, "?hots=n2").status_code == 400


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "²"])
def test_an_odd_place_is_refused(api: FlaskClient, last: str) -> None:
    headers = {"Last-Event-ID": last.encode().decode("latin-1")}
    assert api.get("/api/v1/events/stream", headers=headers).status_code == 400


def test_a_quiet_stream_says_that_it_is_there(api: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_HEARTBEAT_S", 0.0)
    assert ": still here\n\n" in follow(api).get_data(as_text=True)


def test_there_are_only_so_many_places_and_each_is_given_back(
    ctx: Context, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "MOST_STREAMS", 2)
    monkeypatch.setattr(event_stream, "LONGEST_S", 30.0)
    few = create_admin(ctx, trusted_socket=True).test_client()
    held = [follow(few) for _ in range(2)]
    refused = follow(few)
    assert (refused.status_code, refused.mimetype) == (503, "application/problem+json")
    for one in held:
        one.close()
    for _ in range(5):
        few.head("/api/v1/events/stream").close()
        follow(few, "?host=ghost").close()
    last = follow(few)
    assert last.status_code == 200
    last.close()


def test_who_only_reads_is_sent_no_secrets(ctx: Context, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "LONGEST_S", 0.0)
    monkeypatch.setattr(event_stream, "LONGEST_S", 0.1)
    secret = "$6$saltsalt$" + "a" * 86
    with ctx.database.write() as session:
        from pxeforge.services.events import record

        record(session, ctx, source="server", kind="noted", message="x", data={"root_password_hash": secret})
    for role, told in ((UserRole.VIEWER, False), (UserRole.OPERATOR, True)):
        made = api_tokens.create(ctx, name=role.value, role=role.value, actor=ROOT)
        headers = {"Authorization": f"Bearer {made['token']}", "Last-Event-ID": "0"}
        text = app.test_client().get("/api/v1/events/stream", base_url=SITE, headers=headers).get_data(as_text=True)
        assert (secret in text) is told


@pytest.fixture
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows is looked at in each round, and the stream lasts long."""
    monkeypatch.setattr(event_stream, "_RECHECK_S", 0.0)
    monkeypatch.setattr(event_stream, "_HEARTBEAT_S", 0.0)
    monkeypatch.setattr(event_stream, "_EVERY_S", 0.01)
    monkeypatch.setattr(event_stream, "LONGEST_S", 30.0)


def lines_of(reply: TestResponse) -> Iterator[bytes]:
    assert reply.status_code == 200
    lines: Iterator[bytes] = iter(reply.response)  # type: ignore[arg-type]
    assert next(lines).startswith(b"retry: ")
    assert next(lines) == b": still here\n\n"
    return lines


@pytest.mark.parametrize("loss", ["disabled", "removed", "role", "logged out", "password"])
def test_the_stream_of_a_session_ends_with_what_its_user_may(
    ctx: Context, new_browser: Callable[[], Browser], asked_anew: None, loss: str
) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.OPERATOR, who="admin")
    browser = new_browser()
    browser.login("ann")
    reply = browser.client.get("/api/v1/events/stream", base_url=SITE, buffered=False)
    lines = lines_of(reply)
    if loss == "disabled":
        accounts.set_disabled(ctx, "ann", True, who="admin")
    elif loss == "removed":
        accounts.remove(ctx, "ann", who="admin")
    elif loss == "role":
        accounts.set_role(ctx, "ann", UserRole.VIEWER, who="admin")
    elif loss == "logged out":
        sessions.end_all(ctx, "ann", who="admin")
    else:
        accounts.set_password(ctx, "ann", "another good battery", who="admin")
    hosts.add(ctx, macs=[MAC], name="n1", who="bob")
    assert list(lines) == []
    reply.close()


@pytest.mark.parametrize("loss", ["revoked", "expired", "disabled", "role"])
def test_the_stream_of_a_token_ends_with_what_it_is_good_for(
    ctx: Context, app: Flask, clock: Clock, asked_anew: None, loss: str
) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.OPERATOR, who="admin")
    ann = Actor(who="ann", role=UserRole.OPERATOR, via="session")
    made = api_tokens.create(ctx, name="ci", role="operator", actor=ann, for_s=3600.0)
    headers = {"Authorization": f"Bearer {made['token']}"}
    reply = app.test_client().get("/api/v1/events/stream", base_url=SITE, headers=headers, buffered=False)
    lines = lines_of(reply)
    if loss == "revoked":
        api_tokens.revoke(ctx, made["id"], actor=ann)
    elif loss == "expired":
        clock.now += 3601
    elif loss == "disabled":
        accounts.set_disabled(ctx, "ann", True, who="admin")
    else:
        accounts.set_role(ctx, "ann", UserRole.VIEWER, who="admin")
    assert list(lines) == []
    reply.close()


@pytest.mark.parametrize("loss", ["disabled", "role", "password"])
def test_the_stream_of_a_name_and_password_ends_with_them(
    ctx: Context, app: Flask, asked_anew: None, loss: str
) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.OPERATOR, who="admin")
    reply = app.test_client().get(
        "/api/v1/events/stream", base_url=SITE, auth=("ann", PASSWORD), buffered=False
    )  # fmt: skip
    lines = lines_of(reply)
    if loss == "disabled":
        accounts.set_disabled(ctx, "ann", True, who="admin")
    elif loss == "role":
        accounts.set_role(ctx, "ann", UserRole.ADMIN, who="admin")
    else:
        accounts.set_password(ctx, "ann", "another good battery", who="admin")
    assert list(lines) == []
    reply.close()


def test_who_follows_is_looked_at_by_the_clock_and_not_for_each_event(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LONGEST_S", 0.3)
    monkeypatch.setattr(event_stream, "_EVERY_S", 0.001)
    monkeypatch.setattr(event_stream, "_RECHECK_S", 0.1)
    for number in range(50):
        hosts.add(ctx, macs=[f"52:54:00:00:01:{number:02}"], who="ann")
    looked = list[float]()
    stream = event_stream.Streams(ctx).open(
        event_list.Wanted(), 0, lambda row: row, may_still=lambda: looked.append(0.0) is None
    )
    assert sum(line.startswith(b"id: ") for line in stream) >= 50
    assert 1 <= len(looked) <= 3


def test_a_client_that_goes_away_is_noticed_by_the_real_server(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "LONGEST_S", 600.0)
    over = threading.Event()
    real = event_stream._Stream.close
    monkeypatch.setattr(event_stream._Stream, "close", lambda stream: (real(stream), over.set())[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app: Any = create_admin(ctx, trusted_socket=True)
        server = _server(Plane(name="socket", app=app, listener=listener, threads=2))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=20) as client:
            client.sendall(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            heard = b""
            while b"retry: 1000" not in heard:
                heard += client.recv(4096)
        assert over.wait(20)
        server.should_exit = True
        thread.join(20)
    assert b"text/event-stream" in heard
    assert not thread.is_alive()
