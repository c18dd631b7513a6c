"""Power by the API: viewers look, operators switch, admins say how it is reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pxeforge.domain.user_role import UserRole
from pxeforge.services import hosts, power
from pxeforge.services.context import Context
from tests.conftest import MAC

from .conftest import SITE
from .test_access import token

Call = Callable[..., TestResponse]
PASSWORD = "s3cret-BMC"
REDFISH = {"driver": "redfish", "address": "10.9.0.17", "user": "ops", "password": PASSWORD}
SWITCH = "#!/bin/sh\ncase $1 in status) cat {0};; *) echo $1 >{0};; esac\n"


@pytest.fixture
def call(ctx: Context, app: Flask) -> Call:
    """As the user of a role."""
    headers = {role: token(ctx, role) for role in UserRole}

    def ask(role: UserRole, method: str, path: str, body: Any = None) -> TestResponse:
        return app.test_client().open(f"/api/v1{path}", method=method, json=body, base_url=SITE, headers=headers[role])

    return ask


@pytest.fixture
def host(ctx: Context) -> str:
    """n1, which a command of the operator's switches; it is off."""
    program = ctx.data_dir / "switch"
    program.write_text(SWITCH.format(ctx.data_dir / "state"))
    program.chmod(0o755)
    (ctx.data_dir / "state").write_text("off")
    ctx.operator_dir.mkdir(exist_ok=True)
    argv = "\n".join(f"{what} = {[str(program), what]!r}" for what in ("on", "off", "status"))
    (ctx.operator_dir / "power.toml").write_text(f"[commands.switch]\n{argv}\n")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    power.set_power(ctx, "n1", {"driver": "command", "command": "switch"}, password=None, who="root")
    return "n1"


def test_each_role_may_do_its_part(call: Call, host: str) -> None:
    viewer, operator, admin = UserRole.VIEWER, UserRole.OPERATOR, UserRole.ADMIN
    assert call(viewer, "GET", "/hosts/n1/power").get_json()["state"] == "off"
    assert [row["state"] for row in call(viewer, "GET", "/power?hosts=n1,ghost").get_json()] == ["off", "unknown"]
    assert call(viewer, "POST", "/hosts/n1/power", {"action": "on"}).status_code == 403
    assert call(viewer, "POST", "/power", {"action": "on", "hosts": ["n1"]}).status_code == 403
    assert call(operator, "POST", "/hosts/n1/power", {"action": "on"}).get_json() == {
        "host": "n1", "id": call(viewer, "GET", "/hosts/n1").get_json()["id"], "action": "on", "ok": True,
        "state": "on", "message": "n1 was switched on", "note": None,
    }  # fmt: skip
    assert call(operator, "PUT", "/hosts/n1/power", REDFISH).status_code == 403
    assert call(operator, "DELETE", "/hosts/n1/power").status_code == 403
    assert call(admin, "DELETE", "/hosts/n1/power").get_json()["driver"] is None


def test_the_password_is_taken_and_never_given(call: Call, host: str) -> None:
    answer = call(UserRole.ADMIN, "PUT", "/hosts/n1/power", REDFISH)
    assert answer.status_code == 200
    assert answer.get_json()["has_password"] is True
    for path in ("/hosts/n1", "/hosts", "/hosts/n1/timeline", "/audit", "/events", "/secrets"):
        shown = call(UserRole.ADMIN, "GET", path).get_data(as_text=True)
        assert PASSWORD not in shown
        assert "10.9.0.17" in shown or path in ("/secrets", "/events")


def test_an_operator_cannot_send_the_server_elsewhere_by_other_doors(call: Call, host: str) -> None:
    evil = {"driver": "redfish", "address": "169.254.169.254", "user": "x"}
    for method, path, body in (
        ("PATCH", "/hosts/n1", {"settings": {"power": evil}}),
        ("POST", "/hosts/edit", {"hosts": ["n1"], "changes": {"settings": {"power": evil}}}),
        ("POST", "/hosts/import", {"csv": f"mac,power\n{MAC},x\n"}),
    ):
        assert call(UserRole.OPERATOR, method, path, body).status_code in (400, 404, 405)
    assert call(UserRole.ADMIN, "PUT", "/hosts/n1/power", {**evil, "password": "x"}).status_code == 400


def test_refusals_are_problems_that_say_what_to_do(ctx: Context, call: Call, host: str) -> None:
    with ctx.database.write() as session:
        hosts.find(session, "n1").state = "installing"
    refused = call(UserRole.OPERATOR, "POST", "/hosts/n1/power", {"action": "off"})
    assert (refused.status_code, refused.mimetype) == (409, "application/problem+json")
    assert "n1 is installing" in refused.get_json()["detail"]
    assert call(UserRole.OPERATOR, "POST", "/hosts/n1/power", {"action": "off", "force": True}).status_code == 200
    [one] = call(UserRole.OPERATOR, "POST", "/power", {"action": "cycle", "hosts": ["n1"]}).get_json()["hosts"]
    assert (one["progress"], "n1 is installing" in one["error"]) == ("failed", True)
    for body in ({}, {"action": "explode"}, {"action": "on", "soft": True}, {"action": "on", "when": "now"}):
        assert call(UserRole.OPERATOR, "POST", "/hosts/n1/power", body).status_code == 400
    (ctx.data_dir / "switch").unlink()
    broken = call(UserRole.OPERATOR, "POST", "/hosts/n1/power", {"action": "on"})
    assert broken.status_code == 409
    assert "cannot be started" in broken.get_json()["detail"]


def test_an_order_for_many_is_answered_at_once_and_asked_for_later(ctx: Context, call: Call, host: str) -> None:
    (ctx.data_dir / "switch").write_text(
        f"#!/bin/sh\ncase $1 in status) cat {ctx.data_dir}/state;; *) while ! [ -e {ctx.data_dir}/go ]; do sleep .05; "
        f"done; echo $1 >{ctx.data_dir}/state;; esac\n"
    )
    answer = call(UserRole.OPERATOR, "POST", "/power", {"action": "on", "hosts": ["n1", "ghost"]})
    assert answer.status_code == 202
    order = answer.get_json()
    assert [row["progress"] for row in order["hosts"]] == ["waiting", "failed"]
    (ctx.data_dir / "go").write_text("")
    end = time.monotonic() + 30
    while order["ended_at"] is None and time.monotonic() < end:
        order = call(UserRole.VIEWER, "GET", f"/power/orders/{order['id']}").get_json()
        time.sleep(0.05)
    assert [(row["progress"], row["message"]) for row in order["hosts"]] == [
        ("done", "n1 was switched on"), ("failed", None)
    ]  # fmt: skip
    assert (order["who"], order["action"]) == ("root", "on")
    assert call(UserRole.VIEWER, "GET", "/power/orders/0123456789ab").status_code == 404
    for body in ({"action": "on", "hosts": []}, {"action": "explode", "hosts": ["n1"]}, {"action": "on"}):
        assert call(UserRole.OPERATOR, "POST", "/power", body).status_code == 400
