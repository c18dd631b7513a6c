"""Many hosts by the API: once per key, for operators, with the disks that would be overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pxeforge.domain.user_role import UserRole
from pxeforge.services import attempts, hosts
from pxeforge.services.context import Context

from .conftest import SITE
from .test_access import token

Call = Callable[..., TestResponse]


@pytest.fixture
def call(ctx: Context, app: Flask, profile: str) -> Call:
    """As an operator, or another role; n1 and n2 are known."""
    for number in (1, 2):
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], name=f"n{number}", who="test")
    headers = {role: token(ctx, role) for role in UserRole}

    def ask(path: str, body: Any, role: UserRole = UserRole.OPERATOR, key: str = "") -> TestResponse:
        more = {"Idempotency-Key": key} if key else {}
        return app.test_client().post(
            f"/api/v1{path}", json=body, base_url=SITE, headers={**headers[role], **more}
        )  # fmt: skip

    return ask


def test_a_request_that_is_sent_again_arms_nobody_again(call: Call, ctx: Context, profile: str) -> None:
    body = {"hosts": ["n1", "n2"], "profile": profile}
    first, again = call("/hosts/arm", body, key="rack-1"), call("/hosts/arm", body, key="rack-1")
    assert (first.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.get_json() == first.get_json()
    assert [len(attempts.of_host(ctx, name, limit=10)) for name in ("n1", "n2")] == [1, 1]
    assert call("/hosts/disarm", {"where": "state=armed"}, key="rack-2").status_code == 200
    assert hosts.show(ctx, "n2")["state"] == "known"


def test_the_disks_are_told_by_what_chooses_them_where_none_is_known(call: Call, profile: str) -> None:
    told = call("/hosts/arm", {"hosts": ["n1"], "profile": profile, "dry_run": True}).get_json()
    [disks] = told["hosts"][0]["overwrites"]
    assert (told["dry_run"], disks["profile"], disks["disks"], disks["sure"]) == (True, profile, [], False)
    assert "first disk" in disks["means"]
    assert "facts" not in told["hosts"][0]


@pytest.mark.parametrize("action", ["arm", "disarm", "retire"])
def test_a_viewer_does_nothing_to_many_and_wrong_requests_are_told(call: Call, ctx: Context, action: str) -> None:
    assert call(f"/hosts/{action}", {"hosts": ["n1"]}, role=UserRole.VIEWER).status_code == 403
    for body, status in (({}, 400), ({"hosts": ["ghost"]}, 404), ({"where": "nonsense"}, 400)):
        refused = call(f"/hosts/{action}", body)
        assert (refused.status_code, bool(refused.get_json()["detail"])) == (status, True)
    assert hosts.show(ctx, "n1")["state"] == "known"
