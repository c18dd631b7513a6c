"""What every route of the API does alike: checked input, problems, versions, requests that are done once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pxeforge.domain.user_role import UserRole
from pxeforge.services import api_tokens, hosts, idempotency, profiles
from pxeforge.services.acting import LOCAL, Actor
from pxeforge.services.context import Context
from pxeforge.store.tables import Host, IdempotencyKey
from pxeforge.webapp.admin import create_admin
from tests.conftest import ACCOUNT, MAC, Clock

from .conftest import SITE

ROOT = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
OTHER = "52:54:00:00:00:02"


@pytest.fixture
def api(ctx: Context) -> FlaskClient:
    """Root's own way in: no login."""
    return create_admin(ctx, trusted_socket=True).test_client()


@pytest.fixture
def as_role(ctx: Context, app: Any) -> Callable[..., TestResponse]:
    """One request with a token of that role."""

    def ask(role: UserRole, method: str, path: str, **more: Any) -> TestResponse:
        made = api_tokens.create(ctx, name=f"t{len(api_tokens.list_tokens(ctx, actor=ROOT))}", role=role, actor=ROOT)
        headers = {"Authorization": f"Bearer {made['token']}", **more.pop("headers", {})}
        reply: TestResponse = app.test_client().open(path, method=method, base_url=SITE, headers=headers, **more)
        return reply

    return ask


# ---------------------------------------------------------------------------------------------- problems


def test_every_wrong_field_is_named(api: FlaskClient) -> None:
    refused = api.post("/api/v1/hosts", json={"macs": "x", "name": 1, "naem": "n1", "tags": [1]})
    told = refused.get_json()
    assert (refused.status_code, refused.mimetype) == (400, "application/problem+json")
    assert {one["pointer"] for one in told["errors"]} == {"/macs", "/name", "/naem", "/tags"}
    assert told["type"] == "urn:pxeforge:problem:bad-request"
    assert told["instance"] == "/api/v1/hosts"
    assert "unknown key 'naem': known are macs, name, roles, tags" in told["detail"]


def test_a_missing_field_is_named_with_its_meaning(api: FlaskClient) -> None:
    told = api.post("/api/v1/profiles", json={"image": None}).get_json()
    assert [one["pointer"] for one in told["errors"]] == ["/name", "/image"]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/hosts?sate=ready", "unknown parameter 'sate'"),
        ("/hosts?state=asleep", "is not a state: use one of discovered, known"),
        ("/hosts?limit=0", "from 1 to 1000"),
        ("/hosts?limit=1e2", "limit must be a whole number"),
        ("/hosts?limit=1&limit=2", "given 2 times"),
        ("/events?since=soon", "since must be a number"),
        ("/hosts?cursor=x", "header Link"),
        ("/diff/answers?left=host%3Dn1", "the parameter right is missing"),
    ],
)
def test_a_wrong_parameter_is_refused_and_never_passed_over(api: FlaskClient, path: str, word: str) -> None:
    refused = api.get(f"/api/v1{path}")
    assert refused.status_code == 400
    assert word in refused.get_json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [(b"[]", "application/json", 400), (b"{", "application/json", 400), (b"macs=x", "text/plain", 415)],
)
def test_a_body_that_is_no_json_object_is_refused(api: FlaskClient, content: bytes, kind: str, status: int) -> None:
    assert api.post("/api/v1/hosts", data=content, content_type=kind).status_code == status


def test_another_method_is_told_which_there_are(api: FlaskClient) -> None:
    refused = api.put("/api/v1/hosts/n1")
    assert (refused.status_code, refused.mimetype) == (405, "application/problem+json")
    assert {"GET", "PATCH", "DELETE"} <= set(refused.headers["Allow"].split(", "))


# ---------------------------------------------------------------------------------------------- versions


def test_two_operators_edit_one_host_and_the_second_is_told(
    ctx: Context, as_role: Callable[..., TestResponse]
) -> None:  # fmt: skip
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    seen = as_role(UserRole.OPERATOR, "GET", "/api/v1/hosts/n1").headers["ETag"]
    with_it = {"If-Match": seen}
    one = as_role(UserRole.OPERATOR, "PATCH", "/api/v1/hosts/n1", json={"tags": ["a"]}, headers=with_it)
    two = as_role(UserRole.OPERATOR, "PATCH", "/api/v1/hosts/n1", json={"tags": ["b"]}, headers=with_it)
    assert (one.status_code, two.status_code) == (200, 412)
    assert "the last change is root's" in two.get_json()["detail"]
    assert two.get_json()["type"] == "urn:pxeforge:problem:stale"
    assert "version" not in one.get_json()
    again = as_role(
        UserRole.OPERATOR, "PATCH", "/api/v1/hosts/n1", json={"tags": ["b"]}, headers={"If-Match": one.headers["ETag"]}
    )  # fmt: skip
    assert again.status_code == 200
    assert as_role(UserRole.OPERATOR, "PATCH", "/api/v1/hosts/n1", json={"tags": []}).status_code == 200


@pytest.mark.parametrize("value", ["x", 'W/"0123"', '"a", "b"', '""', '"\x7f"'])
def test_an_odd_version_is_refused(ctx: Context, api: FlaskClient, value: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    refused = api.delete("/api/v1/hosts/n1", headers={"If-Match": value})
    assert refused.status_code == 400
    assert api.delete("/api/v1/hosts/n1", headers={"If-Match": "*"}).status_code == 200


def test_a_version_where_nobody_looks_at_it_is_refused(ctx: Context, api: FlaskClient) -> None:
    refused = api.post("/api/v1/hosts", json={"macs": [MAC]}, headers={"If-Match": '"x"'})
    assert "does not look at If-Match" in refused.get_json()["detail"]
    assert hosts.list_hosts(ctx) == []


def test_who_only_reads_cannot_guess_at_secrets_by_the_version(
    ctx: Context, profile: str, as_role: Callable[..., TestResponse]
) -> None:
    path, tags = f"/api/v1/profiles/{profile}", dict[UserRole, list[str]]()
    for secret in ("$6$saltsalt$" + "a" * 86, "$6$saltsalt$" + "b" * 86):
        profiles.change(ctx, profile, parameters={"accounts": [{**ACCOUNT, "password_hash": secret}]}, who="test")
        for role in (UserRole.VIEWER, UserRole.OPERATOR):
            tags.setdefault(role, []).append(as_role(role, "GET", path).headers["ETag"])
    assert len(set(tags[UserRole.OPERATOR])) == 2
    assert not set(tags[UserRole.VIEWER]) & set(tags[UserRole.OPERATOR])


# ---------------------------------------------------------------------------------------------- once


def test_a_repeated_request_is_done_once_and_answered_alike(ctx: Context, api: FlaskClient) -> None:
    key = {"Idempotency-Key": "first"}
    answers = [api.post("/api/v1/hosts", json={"macs": [MAC], "name": "n1"}, headers=key) for _ in range(3)]
    assert [one.status_code for one in answers] == [201, 201, 201]
    assert len({one.get_data() for one in answers}) == 1
    assert ["Idempotent-Replayed" in one.headers for one in answers] == [False, True, True]
    with ctx.database.read() as session:
        assert session.query(Host).count() == 1


def test_a_key_is_one_requests_and_one_users(
    ctx: Context, api: FlaskClient, as_role: Callable[..., TestResponse]
) -> None:  # fmt: skip
    key = {"Idempotency-Key": "k"}
    api.post("/api/v1/hosts", json={"macs": [MAC]}, headers=key)
    for path, body in (("/hosts", {"macs": [OTHER]}), ("/hosts/assign", {"hosts": [MAC], "roles": ["base"]})):
        refused = api.post(f"/api/v1{path}", json=body, headers=key)
        assert (refused.status_code, refused.get_json()["type"]) == (422, "urn:pxeforge:problem:key-reused")
    login = api_tokens.create(ctx, name="anns", role="operator", actor=ROOT)
    assert login["user"] == "root"
    for odd in ("", "x" * 256, "a b", "ä"):
        value = odd.encode("latin-1").decode("latin-1")
        assert api.post("/api/v1/hosts", json={"macs": [OTHER]}, headers={"Idempotency-Key": value}).status_code == 400
    assert [one["macs"] for one in hosts.list_hosts(ctx)] == [[MAC]]


def test_what_was_refused_may_be_asked_again_with_the_same_key(ctx: Context, api: FlaskClient) -> None:
    key, body = {"Idempotency-Key": "k"}, {"hosts": [MAC], "roles": ["base"]}
    assert api.post("/api/v1/hosts/assign", json=body, headers=key).status_code == 404
    hosts.add(ctx, macs=[MAC], who="test")
    assert api.post("/api/v1/hosts/assign", json=body, headers=key).status_code == 200


def test_a_key_is_forgotten_after_a_day(ctx: Context, api: FlaskClient, clock: Clock) -> None:
    key, body = {"Idempotency-Key": "k"}, {"macs": [MAC]}
    first = api.post("/api/v1/hosts", json=body, headers=key)
    clock.now += idempotency.KEPT_S
    later = api.post("/api/v1/hosts", json=body, headers=key)
    assert (first.status_code, later.status_code, "Idempotent-Replayed" in later.headers) == (201, 201, False)
    with ctx.database.read() as session:
        assert session.query(IdempotencyKey).count() == 1


def test_the_key_is_written_with_the_change_itself(ctx: Context, api: FlaskClient) -> None:
    """Killed between the change and its answer: whoever asks again is told that it was done, and it is not again."""
    key, body = {"Idempotency-Key": "k"}, {"macs": [MAC]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idempotency, "keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(idempotency, "_forget", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            api.post("/api/v1/hosts", json=body, headers=key)
    assert len(hosts.list_hosts(ctx)) == 1
    refused = api.post("/api/v1/hosts", json=body, headers=key)
    assert (refused.status_code, "was done already" in refused.get_json()["detail"]) == (409, True)


def test_two_at_once_with_one_key_are_not_both_done(ctx: Context) -> None:
    inside, go_on, told = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        with idempotency.doing(ctx, "ann", "k", b"x"):
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    try:
        with pytest.raises(Exception, match="is being worked on"), idempotency.doing(ctx, "ann", "k", b"x"):
            told.append("both")
        with idempotency.doing(ctx, "bob", "k", b"x"):
            told.append("another's key")
    finally:
        go_on.set()
        thread.join(10)
    assert told == ["another's key"]


def test_a_stored_answer_cannot_be_read_in_the_database(ctx: Context, api: FlaskClient) -> None:
    made = api.post("/api/v1/tokens", json={"name": "ci"}, headers={"Idempotency-Key": "k"}).get_json()
    again = api.post("/api/v1/tokens", json={"name": "ci"}, headers={"Idempotency-Key": "k"}).get_json()
    assert made["token"] == again["token"]
    assert made["token"].encode() not in (ctx.data_dir / "pxeforge.db").read_bytes()
    with ctx.database.read() as session:
        row = session.get_one(IdempotencyKey, ("root", "k"))
        assert made["token"] not in str(row.answer)


def test_the_old_clear_text_is_worth_nothing_to_another_user(
    ctx: Context, api: FlaskClient, as_role: Callable[..., TestResponse]
) -> None:
    api.post("/api/v1/hosts", json={"macs": [MAC]}, headers={"Idempotency-Key": "k"})
    refused = as_role(
        UserRole.VIEWER, "POST", "/api/v1/hosts", json={"macs": [MAC]}, headers={"Idempotency-Key": "k"}
    )  # fmt: skip
    assert refused.status_code == 403
