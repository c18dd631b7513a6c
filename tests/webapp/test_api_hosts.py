"""Hosts by the API: which of them a list shows, and their timelines whole."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from pxeforge.services import events, hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import Diagnosis, Host
from pxeforge.webapp.admin import create_admin


@pytest.fixture
def api(ctx: Context) -> FlaskClient:
    return create_admin(ctx, trusted_socket=True).test_client()


@pytest.fixture
def room(ctx: Context) -> Context:
    """n0 to n3, each with something of its own."""
    for number in range(4):
        mac = f"52:54:00:00:00:0{number}"
        hosts.add(ctx, macs=[mac], name=f"n{number}", tags=[f"t{number}"], roles=["base"] * (number == 1), who="ann")
    hosts.change(ctx, "n0", settings={"rack": {"name": "r1", "unit": 4}}, who="ann")
    with ctx.database.write() as session:
        for name, more in (
            ("n0", {"firmware": "bios", "serial": "AbC1"}), ("n1", {"state": "ready"}), ("n2", {"state": "failed"}),
        ):  # fmt: skip
            host = hosts.find(session, name)
            for key, value in more.items():
                setattr(host, key, value)
        session.add(
            Diagnosis(host_id=hosts.find(session, "n2").id, name="run_failed", state="failed", since=1.0, sentence="x")
        )
    return ctx


def names(api: FlaskClient, query: str) -> list[str]:
    reply = api.get(f"/api/v1/hosts?{query}")
    assert reply.status_code == 200, reply.get_data(as_text=True)
    return [host["name"] for host in reply.get_json()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=ready", ["n1"]), ("state=ready,failed", ["n1", "n2"]), ("rack=r1", ["n0"]),
        ("rack=-", ["n1", "n2", "n3"]), ("firmware=bios", ["n0"]), ("firmware=-&state=known", ["n3"]),
        ("serial=abc1", ["n0"]), ("serial=abc", []), ("role=base", ["n1"]), ("role=-", ["n0", "n2", "n3"]),
        ("attention=true", ["n2"]), ("attention=false", ["n0", "n1", "n3"]), ("q=n&tag=t3", ["n3"]),
        ("sort=state&order=down&q=n1", ["n1"]), ("tag=nope", []), ("rack=nope", []),
    ],
)  # fmt: skip
def test_a_list_shows_the_hosts_that_fit(room: Context, api: FlaskClient, query: str, found: list[str]) -> None:
    assert names(api, query) == found


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("state=sleeping", 400, "'sleeping' is not a state"), ("state=ready,nope", 400, "'nope' is not a state"),
        ("role=nope", 404, "there is no role 'nope'"), ("attention=perhaps", 400, "true or false"),
    ],
)  # fmt: skip
def test_what_no_host_could_ever_be_is_refused(
    room: Context, api: FlaskClient, query: str, status: int, says: str
) -> None:
    reply = api.get(f"/api/v1/hosts?{query}")
    assert reply.status_code == status
    assert says in reply.get_data(as_text=True)


def test_a_role_that_is_gone_still_finds_the_hosts_that_have_it(room: Context, api: FlaskClient) -> None:
    with room.database.write() as session:
        for row in session.get_one(Host, hosts.id_of(room, "n1")).roles:
            row.role = "former"
    assert names(api, "role=former") == ["n1"]


def test_a_host_that_is_known_is_not_added_anew(room: Context, api: FlaskClient) -> None:
    body = {"macs": ["52:54:00:00:00:00"], "name": "other"}
    refused = api.post("/api/v1/hosts", json=body)
    assert refused.status_code == 409
    assert "belongs to host n0 already" in refused.get_json()["detail"]
    assert api.post("/api/v1/hosts", json={**body, "name": "n0"}).get_json()["name"] == "n0"


def test_an_armed_host_is_forgotten_by_nobody(api: FlaskClient, armed: dict[str, Any]) -> None:
    refused = api.delete("/api/v1/hosts/n1")
    assert (refused.status_code, "disarm it first" in refused.get_json()["detail"]) == (409, True)
    assert api.post("/api/v1/hosts/n1/disarm").status_code == 200
    assert api.delete("/api/v1/hosts/n1").status_code == 200


def test_a_timeline_comes_whole_in_parts_oldest_first(room: Context, api: FlaskClient) -> None:
    host_id = hosts.id_of(room, "n3")
    with room.database.write() as session:
        for number in range(12):
            events.record(session, room, host_id=host_id, source="http", kind="noted", message=f"line {number}")
    whole = api.get("/api/v1/hosts/n3/timeline").get_json()
    assert [row["message"] for row in whole][-12:] == [f"line {number}" for number in range(12)]
    url, parts = "/api/v1/hosts/n3/timeline?limit=5", list[dict[str, Any]]()
    while url:
        reply = api.get(url)
        parts += reply.get_json()
        url = reply.headers.get("Link", "").partition(">")[0].lstrip("<")
    assert parts == whole
    behind = api.get(f"/api/v1/hosts/n3/timeline?limit=5&after_id={whole[4]['id']}")
    assert (behind.get_json(), "Link" in behind.headers) == (whole[5:10], True)
