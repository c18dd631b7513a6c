"""Runs by the API: two operators at once, why something waits, health, drift, removal, secrets made anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pxeforge.domain.user_role import UserRole
from pxeforge.services import claims, hosts
from pxeforge.services.context import Context
from pxeforge.services.run_timer import RunTimer
from tests.conftest import Clock
from tests.services.small_roles import add_host, do_next, give_roles, seen, work

from .conftest import SITE, Browser
from .test_access import token

Call = Callable[..., TestResponse]


@pytest.fixture
def call(ctx: Context, app: Flask) -> Call:
    """As an operator, or another role."""
    headers = {role: token(ctx, role) for role in UserRole}

    def ask(method: str, path: str, body: Any = None, role: UserRole = UserRole.OPERATOR) -> TestResponse:
        return app.test_client().open(f"/api/v1{path}", method=method, json=body, base_url=SITE, headers=headers[role])

    return ask


@pytest.fixture
def host_id(ctx: Context) -> str:
    give_roles(ctx)
    return add_host(ctx, 1, "tdatabase")


def test_the_second_of_two_operators_is_refused_with_who_and_what(call: Call, host_id: str) -> None:
    first = call("POST", "/deploy", {})
    assert first.status_code == 202
    second = call("POST", "/deploy", {}, role=UserRole.ADMIN)
    assert second.status_code == 409
    detail = second.get_json()["detail"]
    assert first.get_json()["id"] in detail
    assert first.get_json()["started_by"] in detail
    assert "pxeforge run cancel" in detail
    assert call("POST", "/verify", {}).status_code == 409


def test_a_viewer_starts_nothing_and_sees_all(call: Call, host_id: str) -> None:
    assert call("POST", "/deploy", {}, role=UserRole.VIEWER).status_code == 403
    run = call("POST", "/deploy", {}).get_json()["id"]
    for path in (f"/runs/{run}", f"/runs/{run}/why", "/health", "/drift", "/deployed"):
        assert call("GET", path, role=UserRole.VIEWER).status_code == 200


def test_why_names_the_host_that_has_the_task(ctx: Context, call: Call, host_id: str, clock: Clock) -> None:
    run = call("POST", "/deploy", {}).get_json()["id"]
    task = claims.claim(ctx, host_id)
    assert task is not None
    said = [{"step": "install", "status": "running", "message": "Setting up tdb-server"}]
    claims.renew(ctx, host_id, task["task_id"], task["fence"], said)
    clock.now += 7
    found = call("GET", f"/runs/{run}/why?task=tdatabase.configure@n1").get_json()
    [holder] = found["held_by"]
    assert (holder["task"], holder["host_name"], holder["running_s"]) == ("tdatabase.install@n1", "n1", 7.0)
    assert holder["said"] == "install: Setting up tdb-server"
    assert "tdatabase.install@n1" in found["sentence"]
    assert call("GET", f"/runs/{run}/why?task=nothing").status_code == 404


def test_a_removal_is_shown_first_and_done_when_asked(ctx: Context, call: Call, host_id: str) -> None:
    call("POST", "/deploy", {})
    work(ctx, host_id)
    hosts.unassign(ctx, "n1", ["tdatabase"], who="test")
    shown = call("POST", "/plan", {}).get_json()
    assert shown["leftover"] == [
        {"host_id": host_id, "host_name": "n1", "roles": ["tdatabase"], "removed": False}
    ]  # fmt: skip
    assert call("POST", "/deploy", {}).status_code == 409 or shown["tasks"] == []
    assert call("POST", "/deploy", {"remove_unassigned": True}).status_code == 202
    work(ctx, host_id)
    assert call("GET", "/deployed").get_json() == []


def test_health_is_told_by_host_and_role(ctx: Context, call: Call, host_id: str, browser: Browser) -> None:
    call("POST", "/deploy", {})
    work(ctx, host_id)
    call("POST", "/verify", {"limit": ["n1"]})
    do_next(ctx, host_id, "failed", "<b>connection refused</b>")
    [row] = call("GET", "/health?host=n1").get_json()
    assert (row["role"], row["state"], row["checks"][0]["level"]) == ("tdatabase", "bad", 3)
    assert call("GET", "/health?role=other").get_json() == []
    assert call("GET", "/health?host=nobody").status_code == 404
    for path in (f"/hosts/{host_id}", "/"):
        page = browser.get(path).get_data(as_text=True)
        assert "round-trip" in page
        assert "&lt;b&gt;connection refused&lt;/b&gt;" in page


def test_drift_is_on_the_dashboard_and_in_the_api(ctx: Context, call: Call, host_id: str, browser: Browser) -> None:
    call("POST", "/deploy", {})
    work(ctx, host_id)
    seen(ctx, host_id)
    assert call("GET", "/drift").get_json() == {"run": None, "at": None, "differs": []}
    assert RunTimer(replace(ctx, drift_every_s=60.0)).tick() is not None
    work(ctx, host_id)
    found = call("GET", "/drift").get_json()
    assert {row["step"] for row in found["differs"]} == {"config"}
    assert "differ from the last deploy" in browser.get("/").get_data(as_text=True)
    assert {run["origin"] for run in call("GET", "/runs?origin=timer").get_json()} == {"timer"}


def test_a_secret_made_anew_names_the_tasks_that_spread_it(ctx: Context, call: Call, host_id: str) -> None:
    call("POST", "/deploy", {})
    while (task := claims.claim(ctx, host_id)) is not None:
        before = task["secrets"] or []
        from pxeforge.services import task_results

        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "changed", "steps": []})
    assert call("POST", "/secrets/tdb_admin/rotate", role=UserRole.OPERATOR).status_code == 403
    found = call("POST", "/secrets/tdb_admin/rotate", role=UserRole.ADMIN).get_json()
    assert found["tasks"] == ["tdatabase.configure@n1"]
    assert "value" not in found
    call("POST", "/deploy", {})
    do_next(ctx, host_id)
    again = claims.claim(ctx, host_id)
    assert again is not None
    assert again["secrets"] != before
    assert call("POST", "/secrets/tdb_admin/rotate", role=UserRole.ADMIN).status_code == 409
    assert call("POST", "/secrets/nothing/rotate", role=UserRole.ADMIN).status_code == 404
    [row] = [row for row in call("GET", "/secrets").get_json() if row["name"] == "tdb_admin"]
    assert row["age_s"] == 0


def test_the_passphrase_of_a_disk_is_not_made_anew(call: Call, host_id: str) -> None:
    answer = call("POST", f"/secrets/luks-{host_id}/rotate", role=UserRole.ADMIN)
    assert answer.status_code == 409 or answer.status_code == 400
    assert "no secret of a role" in answer.get_json()["detail"]


def test_the_page_of_a_run_tells_what_was_said_and_how_long_it_usually_takes(
    ctx: Context, call: Call, host_id: str, clock: Clock, browser: Browser
) -> None:
    call("POST", "/deploy", {})
    for _ in range(2):
        task = claims.claim(ctx, host_id)
        assert task is not None
        clock.now += 33
        from pxeforge.services import task_results

        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "changed", "steps": []})
    run = call("POST", "/deploy", {}).get_json()["id"]
    task = claims.claim(ctx, host_id)
    assert task is not None
    said = [{"step": "install", "status": "running", "message": "Unpacking <tdb>"}]
    claims.renew(ctx, host_id, task["task_id"], task["fence"], said)
    page = browser.get(f"/runs/{run}").get_data(as_text=True)
    assert "install: Unpacking &lt;tdb&gt;" in page
    assert "usually 33" in page
    assert "left as earlier runs show" in page


def test_the_page_of_the_plan_offers_to_take_roles_away(
    ctx: Context, call: Call, host_id: str, browser: Browser
) -> None:
    call("POST", "/deploy", {})
    work(ctx, host_id)
    add_host(ctx, 2, "tdatabase")
    hosts.unassign(ctx, "n1", ["tdatabase"], who="test")
    page = browser.get("/plan").get_data(as_text=True)
    assert "Deployed earlier, and no longer given:" in page
    page = browser.get("/plan?remove_unassigned=yes").get_data(as_text=True)
    assert "This plan takes roles away:" in page
    digest = call("POST", "/plan", {"remove_unassigned": True}).get_json()["digest"]
    answer = browser.post("/deploy", {"digest": digest, "check": "no", "remove_unassigned": "yes"})
    assert "/runs/" in answer.headers["Location"]
    tasks = call("GET", f"/runs/{answer.headers['Location'].rpartition('/')[2]}").get_json()["tasks"]
    assert [task["planned_id"] for task in tasks if task["kind"] == "remove"] == ["tdatabase.purge@n1"]
