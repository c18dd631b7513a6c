"""The life of hosts by the API: viewers look, operators act, and what is told has its shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pxeforge.domain.user_role import UserRole
from pxeforge.services import diagnosis_watch, hosts
from pxeforge.services.budgets import DEFAULT_BUDGETS
from pxeforge.services.context import Context
from tests.conftest import MAC, Clock

from .conftest import SITE
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
def host(ctx: Context, profile: str) -> str:
    assert profile
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    return "n1"


def test_what_holds_a_host_up_is_told_with_the_host_in_lists_and_of_all_of_them(
    ctx: Context, call: Call, clock: Clock, host: str
) -> None:
    call("POST", f"/hosts/{host}/arm", {"profile": "debian-13"})
    assert call("GET", f"/hosts/{host}").get_json()["diagnosis"] is None
    clock.now += DEFAULT_BUDGETS["netboot"] + 1
    diagnosis_watch.look(ctx)
    [told] = call("GET", "/diagnoses", role=UserRole.VIEWER).get_json()
    assert (told["host"], told["name"], told["state"]) == ("n1", "never_seen", "armed")
    listed = call("GET", "/hosts").get_json()
    shown = call("GET", f"/hosts/{host}").get_json()
    rows = listed["items"] if isinstance(listed, dict) else listed
    assert rows[0]["diagnosis"] == shown["diagnosis"]
    assert shown["diagnosis"]["remedy"] == told["remedy"]
    [stage] = call("GET", f"/hosts/{host}/stages", role=UserRole.VIEWER).get_json()
    assert (stage["stage"], stage["state"]) == ("armed", "running")


def test_a_wipe_is_armed_by_an_operator_who_names_disks_and_host(call: Call, host: str) -> None:
    wish = {"confirmed": "n1", "serials": ["S1"]}
    assert call("POST", f"/hosts/{host}/wipe", wish, role=UserRole.VIEWER).status_code == 403
    assert call("POST", f"/hosts/{host}/wipe", {**wish, "confirmed": "n2"}).status_code == 400
    assert call("POST", f"/hosts/{host}/wipe", {"serials": ["S1"]}).status_code in (400, 422)
    done = call("POST", f"/hosts/{host}/wipe", wish)
    assert (done.status_code, done.get_json()["erases"], done.get_json()["state"]) == (200, ["S1"], "armed")


def test_a_host_is_retired_and_brought_back_by_an_operator(call: Call, host: str) -> None:
    assert call("POST", f"/hosts/{host}/retire", {}, role=UserRole.VIEWER).status_code == 403
    assert call("POST", f"/hosts/{host}/retire", {"why": "sold"}).get_json()["state"] == "retired"
    assert call("POST", f"/hosts/{host}/retire", {}).status_code == 409
    assert call("POST", f"/hosts/{host}/revive").get_json()["state"] == "known"


def test_the_end_of_a_rescue_is_refused_where_there_is_none(call: Call, host: str) -> None:
    assert call("POST", f"/hosts/{host}/rescue-over").status_code == 409
