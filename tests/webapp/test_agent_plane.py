"""The agent plane: a credential per host, and nothing without it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pxeforge.services import claims, deploys, hosts
from pxeforge.services.context import Context
from pxeforge.webapp.agent_plane import create_agent_plane
from tests.conftest import FACTS, Clock

ROUTES = {
    ("POST", "/v1/hello"),
    ("POST", "/v1/claim"),
    ("POST", "/v1/tasks/<task_id>/events"),
    ("POST", "/v1/tasks/<task_id>/result"),
}


@pytest.fixture
def client(ctx: Context) -> FlaskClient:
    return create_agent_plane(ctx).test_client()


@pytest.fixture
def credential(registered: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {registered['agent_token']}"}


def test_every_route_needs_the_credential(ctx: Context, client: FlaskClient) -> None:
    rules = list(create_agent_plane(ctx).url_map.iter_rules())
    found = {(method, rule.rule) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert found == ROUTES
    for method, rule in found:
        path = rule.replace("<task_id>", "x")
        assert client.open(path, method=method, json={}).status_code == 401
        wrong = {"Authorization": "Bearer wrong"}
        assert client.open(path, method=method, json={}, headers=wrong).status_code == 403
    assert client.get("/anything").status_code == 401


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer x", "Bearer -1", "Bearer None"])
def test_no_sentinel_is_a_credential(client: FlaskClient, registered: dict[str, Any], value: str) -> None:
    assert client.post("/v1/claim", json={}, headers={"Authorization": value}).status_code in (401, 403)


def hello(client: FlaskClient, credential: dict[str, str], boot_id: str = "b1", clock: float = 0.0) -> TestResponse:
    body = {"version": "0.1.0", "boot_id": boot_id, "facts": {**FACTS, "clock": clock}}
    return client.post("/v1/hello", json=body, headers=credential)


def test_the_greeting_tells_that_the_host_is_up(
    ctx: Context, client: FlaskClient, credential: dict[str, str], clock: Clock
) -> None:
    reply = hello(client, credential, clock=clock.now + 0.25)
    assert reply.get_json() == {"server_time": clock.now, "poll_s": 2.0}
    host = hosts.show(ctx, "n1")
    assert host["agent_version"] == "0.1.0"
    assert host["clock_skew_s"] == 0.25
    assert host["address"] == "127.0.0.1"


def test_without_work_there_is_nothing_to_claim(client: FlaskClient, credential: dict[str, str]) -> None:
    assert client.post("/v1/claim", json={"wait_s": 0}, headers=credential).status_code == 204


def test_a_task_is_claimed_renewed_and_finished(ctx: Context, client: FlaskClient, credential: dict[str, str]) -> None:
    hosts.assign(ctx, ["n1"], ["base"], who="test", known_roles=["base"])
    run = deploys.deploy(ctx, who="test")
    task = client.post("/v1/claim", json={}, headers=credential).get_json()
    assert task["run_id"] == run["id"]
    assert task["steps"]
    url = f"/v1/tasks/{task['task_id']}"
    said = [{"step": "x", "status": "running", "message": "", "at": 1.0}]
    assert (
        client.post(f"{url}/events", json={"fence": task["fence"], "events": said}, headers=credential).status_code
        == 200
    )
    assert client.post(f"{url}/result", json={"fence": 99, "status": "ok"}, headers=credential).status_code == 409
    done = {"fence": task["fence"], "status": "ok", "steps": []}
    assert client.post(f"{url}/result", json=done, headers=credential).status_code == 200
    assert client.post(f"{url}/result", json=done, headers=credential).status_code == 409


@pytest.mark.parametrize("body", [[], "text", {"fence": "1"}, {"fence": True}, {}])
def test_a_result_without_a_fence_is_refused(client: FlaskClient, credential: dict[str, str], body: object) -> None:
    assert client.post("/v1/tasks/x/result", json=body, headers=credential).status_code == 400


@pytest.mark.parametrize(
    "body",
    ['{"clock": 1' + "0" * 400 + "}", '{"version": "\\ud800", "boot_id": "\\udfff"}', '{"clock": NaN}', "[" * 50_000],
)
def test_an_odd_greeting_is_no_server_error(client: FlaskClient, credential: dict[str, str], body: str) -> None:
    reply = client.post("/v1/hello", data=body, content_type="application/json", headers=credential)
    assert reply.status_code in (200, 400)


def test_events_that_are_no_list_are_passed_over(
    ctx: Context, client: FlaskClient, credential: dict[str, str], registered: dict[str, Any]
) -> None:
    hosts.assign(ctx, ["n1"], ["base"], who="test", known_roles=["base"])
    deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, registered["host_id"])
    assert task is not None
    for said in (None, 5, "x", [5]):
        reply = client.post(
            f"/v1/tasks/{task['task_id']}/events", json={"fence": task["fence"], "events": said}, headers=credential
        )
        assert reply.status_code == 200
