"""Lists in parts: each row once, in the same order, also while rows come and go."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, events, hosts, profiles, racks, rules
from pxeforge.services.acting import LOCAL, Actor
from pxeforge.services.context import Context
from pxeforge.store.tables import CheckResult, DeployedRole, Diagnosis, Host, IdentityNote, Run
from pxeforge.webapp.admin import create_admin
from pxeforge.webapp.paging import Part, cursor_of, cut, part_of
from pxeforge.webapp.shapes import BadFields
from tests.conftest import write_image

ROOT = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)


@pytest.fixture
def api(ctx: Context) -> FlaskClient:
    return create_admin(ctx, trusted_socket=True).test_client()


def walk(api: FlaskClient, path: str, *, between: Any = None) -> list[dict[str, Any]]:
    """All parts, as the header Link leads from one to the next."""
    url, rows = f"/api/v1{path}", list[dict[str, Any]]()
    while url:
        reply = api.get(url)
        assert reply.status_code == 200, reply.get_data(as_text=True)
        rows += reply.get_json()
        url = reply.headers.get("Link", "").partition(">")[0].lstrip("<")
        if between:
            between()
    return rows


def fill(ctx: Context) -> None:
    write_image(ctx.data_dir)
    write_image(ctx.data_dir, version="20250901")
    for number in range(7):
        name = f"n{number}" if number % 3 else None
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], name=name, tags=["even"] * (number % 2 == 0), who="ann")
        profiles.create(ctx, f"p{number}", image="debian-13", parameters={}, who="ann")
        accounts.add(ctx, f"u{number}", "correct horse battery", role=UserRole.VIEWER, who="ann")
        api_tokens.create(ctx, name=f"t{number}", role="viewer", actor=ROOT)
    with ctx.database.write() as session:
        for number in range(7):
            at = 1_800_000_000.0 + number // 3  # several at one time
            session.add(Run(id=f"{number:012x}", kind="deploy", state="failed", started_by="ann", created_at=at))


@pytest.mark.parametrize(
    "path",
    ["/hosts", "/hosts?sort=seen_at&order=down", "/hosts?sort=created_at", "/hosts?sort=name&order=down", "/events",
     "/audit", "/audit?who=ann", "/runs", "/profiles", "/users", "/tokens", "/images", "/roles", "/blueprints"],
)  # fmt: skip
def test_the_parts_make_the_whole_list(ctx: Context, api: FlaskClient, path: str) -> None:
    fill(ctx)
    mark = "&" if "?" in path else "?"
    whole = walk(api, f"{path}{mark}limit=1000")
    assert walk(api, f"{path}{mark}limit=2") == whole
    assert walk(api, f"{path}{mark}limit=1") == whole
    assert api.get(f"/api/v1{path}{mark}limit={len(whole)}").headers.get("Link") is None


def fill_the_rest(ctx: Context) -> None:
    for number in range(1, 8):
        host = hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], name=f"n{number}", who="ann")["id"]
        hosts.change(ctx, host, settings={"rack": {"name": f"r{number + 5}", "unit": 1}}, who="ann")
        rules.add(ctx, f"a{9 - number}", when={"mac": f"52:54:00:00:00:0{number}"}, gives={"tags": ["x"]}, who="ann")
        at = 1_800_000_000.0 + number // 3  # several at one time
        with ctx.database.write() as session:
            session.get_one(Host, host).serial = f"S{number // 2}"
            note = {"mac": f"52:54:00:00:01:0{number}", "from": {"interface": "eth0"}, "to": {"interface": "eth1"}}
            session.add(IdentityNote(subject=f"moved:{host}", host_id=host, data=note, at=at))
            session.add(
                Diagnosis(host_id=host, name="never_booted", state="known", since=at, sentence="It waits.", evidence=[])
            )
            for role in ("alpha", "beta"):
                session.add(DeployedRole(host_id=host, role=role, since=at, at=at, run_id="0" * 12))
                for name in ("port", "use"):
                    state = "bad" if number == 4 else "good"
                    session.add(
                        CheckResult(host_id=host, role=role, name=name, state=state, since=at, at=at, level=1,
                                    message="", run_id="0" * 12)
                    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "rows"),
    [("/rules", 7), ("/racks", 7), ("/conflicts", 10), ("/conflicts?settled=true", 10), ("/diagnoses", 7),
     ("/deployed", 14), ("/health", 14), ("/health?role=beta", 7)],
)  # fmt: skip
def test_the_parts_of_lists_of_what_hosts_have_make_the_whole(
    ctx: Context, api: FlaskClient, path: str, rows: int
) -> None:
    fill_the_rest(ctx)
    mark = "&" if "?" in path else "?"
    whole = walk(api, f"{path}{mark}limit=1000")
    assert len(whole) == rows
    assert walk(api, f"{path}{mark}limit=2") == walk(api, f"{path}{mark}limit=1") == whole
    assert len(api.get(f"/api/v1{path}{mark}limit=3").get_json()) == 3
    assert api.get(f"/api/v1{path}{mark}limit={rows}").headers.get("Link") is None


def test_racks_and_rules_stay_in_their_own_order(ctx: Context, api: FlaskClient) -> None:
    fill_the_rest(ctx)
    assert [one["rack"] for one in walk(api, "/racks?limit=3")] == [f"r{number}" for number in range(6, 13)]
    assert [one["position"] for one in walk(api, "/rules?limit=3")] == list(range(1, 8))
    assert [one["host_name"] for one in walk(api, "/health?limit=3")][:3] == ["n4", "n4", "n1"]


def test_names_of_racks_that_sort_alike_are_all_told(ctx: Context, api: FlaskClient) -> None:
    for name in ("r1", "r01", "r001", "r10", "r"):
        racks.set_rack(ctx, name, height=10, who="ann")
    assert [one["rack"] for one in walk(api, "/racks?limit=1")] == ["r", "r001", "r01", "r1", "r10"]
    assert api.get(f"/api/v1/racks?cursor={cursor_of(('r²',))}").get_json() == []


def test_a_rack_that_is_gone_meanwhile_still_says_where_the_next_part_begins(ctx: Context, api: FlaskClient) -> None:
    for number in range(6):
        racks.set_rack(ctx, f"r{number}", height=10, who="ann")
    first = api.get("/api/v1/racks?limit=2")
    racks.remove_rack(ctx, "r1", who="ann")
    rest = api.get(first.headers["Link"].partition(">")[0].lstrip("<")).get_json()
    assert [one["rack"] for one in rest] == ["r2", "r3"]


def test_what_comes_and_goes_meanwhile_moves_nothing(ctx: Context, api: FlaskClient) -> None:
    fill(ctx)
    before = [one["id"] for one in walk(api, "/hosts?limit=1000")]
    more = iter(range(20, 60))

    def stir() -> None:
        number = next(more)
        hosts.add(ctx, macs=[f"52:54:00:00:01:{number}"], name=f"a{number}", who="ann")
        hosts.forget(ctx, f"52:54:00:00:01:{number}", who="ann")
        hosts.add(ctx, macs=[f"52:54:00:00:02:{number}"], name=f"a{number}", who="ann")

    seen = [one["id"] for one in walk(api, "/hosts?limit=2", between=stir)]
    assert seen == before


def test_hosts_are_chosen_by_what_is_asked_for(ctx: Context, api: FlaskClient) -> None:
    fill(ctx)
    assert [one["name"] for one in walk(api, "/hosts?tag=even&limit=1")] == ["n2", "n4", None, None]
    assert {one["name"] for one in walk(api, "/hosts?q=n4")} == {"n4"}
    assert len(walk(api, "/hosts?state=known")) == 7
    assert walk(api, "/hosts?state=ready") == walk(api, "/hosts?role=base") == walk(api, "/hosts?tag=odd") == []


def test_events_are_chosen_by_what_is_asked_for(ctx: Context, api: FlaskClient) -> None:
    fill(ctx)
    of_host = walk(api, "/events?host=n1&limit=1")
    assert {one["host_id"] for one in of_host} == {hosts.show(ctx, "n1")["id"]}
    assert {one["kind"] for one in walk(api, "/events?kind=profile_created")} == {"profile_created"}
    assert walk(api, "/events?source=dhcp") == walk(api, "/events?until=1") == []
    by_ann = [one for one in events.recent(ctx, limit=999) if one["who"] == "ann"]
    assert walk(api, "/events?who=ann&since=1") == by_ann
    assert api.get("/api/v1/events?host=ghost").status_code == 404


def test_a_cursor_of_another_order_is_refused(ctx: Context, api: FlaskClient) -> None:
    fill(ctx)
    by_name = api.get("/api/v1/hosts?limit=2").headers["Link"].partition(">")[0].lstrip("<")
    assert api.get(by_name.replace("limit=2", "sort=created_at")).status_code == 400
    assert api.get(by_name.replace("/hosts", "/runs")).status_code == 400


def test_runs_and_images_are_chosen_by_what_is_asked_for(ctx: Context, api: FlaskClient) -> None:
    fill(ctx)
    assert len(walk(api, "/runs?kind=deploy&state=failed")) == 7
    assert walk(api, "/runs?kind=verify") == walk(api, "/runs?blueprint=x") == []
    assert [one["version"] for one in walk(api, "/images?name=debian-13&limit=1")] == ["20250803", "20250901"]
    assert walk(api, "/images?arch=arm64") == []


def test_a_part_of_ten_thousand_hosts_costs_no_more_statements_than_one_of_ten(ctx: Context, api: FlaskClient) -> None:
    with ctx.database.write() as session:
        for number in range(300):
            session.add(Host(id=f"{number:012x}", name=f"h{number}", state="known", created_at=1.0, loader="auto"))
    first = api.get("/api/v1/hosts").get_json()
    assert len(first) == 100
    assert len(walk(api, "/hosts")) == 300


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda one: base64.urlsafe_b64encode(one).decode()))
def test_no_odd_cursor_gets_through(text: str) -> None:
    try:
        part = part_of({"cursor": text}, ((str, type(None)), (int,)))
    except BadFields:
        return
    assert part.after is not None
    assert isinstance(part.after[1], int)


@given(
    st.lists(st.none() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | st.text())
)
def test_a_cursor_says_what_was_put_in(keys: list[Any]) -> None:
    kinds = (str, int, float, type(None))
    if len(cursor_of(tuple(keys))) <= 2000:
        assert part_of({"cursor": cursor_of(tuple(keys))}, [kinds] * len(keys)).after == tuple(keys)
    with pytest.raises(BadFields):
        part_of({"cursor": cursor_of((*keys, 1))}, [kinds] * len(keys))
    assert json.loads(json.dumps(keys)) == keys


def test_a_row_that_is_gone_is_said_to_be() -> None:
    rows = [{"name": "a"}, {"name": "b"}]
    assert cut(rows, ["name"], Part(1, None)).next_after == ("a",)
    assert cut(rows, ["name"], Part(1, ("a",))).rows == [{"name": "b"}]
    with pytest.raises(BadFields, match="begin again"):
        cut(rows, ["name"], Part(1, ("c",)))
