"""Whoever changes what somebody else has changed since they looked at it is told, by the API and on the pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, power, racks, rules, webhooks
from pxeforge.services.context import Context

from .conftest import PASSWORD, SITE, Browser
from .test_access import token
from .test_pages import add, page

RULE = {"name": "dell", "when": {"vendor": "Dell*"}, "set": {"tags": ["a"]}}
IPMI = {"driver": "ipmi", "address": "10.9.0.17", "user": "ops", "password": "s3cret-BMC"}
Call = Callable[..., Any]


@pytest.fixture
def call(ctx: Context, app: Flask) -> Call:
    """As an admin, with a version seen or without one, or only where there is none; the status, the body, the ETag."""
    headers = token(ctx, UserRole.ADMIN)

    def ask(
        method: str, path: str, body: Any = None, seen: str | None = None, absent: str | None = None
    ) -> tuple[int, Any, str]:  # fmt: skip
        more = {name: text for name, text in (("If-Match", seen), ("If-None-Match", absent)) if text}
        answer = app.test_client().open(
            f"/api/v1{path}", method=method, json=body, base_url=SITE, headers={**headers, **more}
        )  # fmt: skip
        return answer.status_code, answer.get_json(), answer.headers.get("ETag", "")

    return ask


@pytest.fixture
def hook(ctx: Context) -> str:
    return str(webhooks.add(ctx, "https://hooks.example.org/x", events=None, secret=None, who="ann")["id"])


def test_a_rule_is_changed_and_removed_as_it_was_seen_only(ctx: Context, call: Call) -> None:
    call("POST", "/rules", RULE)
    _, _, seen = call("GET", "/rules/dell")
    assert call("PATCH", "/rules/dell", {"enabled": False}, seen)[0] == 200
    status, told, _ = call("PATCH", "/rules/dell", {"set": {"tags": ["b"]}}, seen)
    assert status == 412
    assert "the rule dell is not as you saw it" in told["detail"]
    assert "rule changed: dell by" in told["detail"]
    assert call("DELETE", "/rules/dell", None, seen)[0] == 412
    assert rules.show(ctx, "dell")["set"] == {"tags": ["a"]}
    _, _, now = call("GET", "/rules/dell")
    status, _, after = call("PATCH", "/rules/dell", {"most": 5}, now)
    assert status == 200
    assert call("GET", "/rules/dell")[2] == after != now
    assert call("DELETE", "/rules/dell", None, after)[0] == 200


def test_what_a_rule_did_and_where_it_stands_make_no_new_version(ctx: Context, call: Call) -> None:
    call("POST", "/rules", RULE)
    _, _, seen = call("GET", "/rules/dell")
    call("POST", "/rules", {**RULE, "name": "other", "position": 1})
    assert call("GET", "/rules/dell")[2] == seen


def test_a_rack_is_changed_and_removed_as_it_was_seen_only(ctx: Context, call: Call) -> None:
    assert call("GET", "/racks/r1")[0] == 404
    call("PUT", "/racks/r1", {"height": 20})
    status, shown, seen = call("GET", "/racks/r1")
    assert (status, shown["height"], shown["units"]) == (200, 20, [])
    status, _, after = call("PUT", "/racks/r1", {"note": "row 3"}, seen)
    assert status == 200
    status, told, _ = call("PUT", "/racks/r1", {"note": "row 4"}, seen)
    assert status == 412
    assert "rack r1 changed by" in told["detail"]
    assert call("DELETE", "/racks/r1", None, seen)[0] == 412
    assert racks.show(ctx, "r1")["note"] == "row 3"
    assert call("DELETE", "/racks/r1", None, after)[0] == 200


def test_power_settings_are_changed_as_they_were_seen_only(ctx: Context, call: Call) -> None:
    add(ctx, "n1")
    _, _, first = call("PUT", "/hosts/n1/power", IPMI)
    status, _, second = call("PUT", "/hosts/n1/power", {**IPMI, "password": "another-one"}, first)
    assert status == 200
    assert call("PUT", "/hosts/n1/power", {**IPMI, "user": "eve"}, first)[0] == 412
    assert second != first  # a password is a change though nobody is shown it
    status, told, _ = call("DELETE", "/hosts/n1/power", None, first)
    assert status == 412
    assert "the power of n1 is not as you saw it" in told["detail"]
    assert power.describe(ctx, "n1")["settings"]["user"] == "ops"
    assert call("DELETE", "/hosts/n1/power", None, second)[0] == 200


def test_the_second_who_sets_the_first_power_settings_is_told(ctx: Context, call: Call) -> None:
    add(ctx, "n1")
    assert call("GET", "/hosts/n1/power")[0] == 404
    status, _, first = call("PUT", "/hosts/n1/power", IPMI, absent="*")
    assert status == 200
    status, told, _ = call("PUT", "/hosts/n1/power", {**IPMI, "user": "eve"}, absent="*")
    assert status == 412
    assert "the power of n1 is not as you saw it" in told["detail"]
    assert power.describe(ctx, "n1")["settings"]["user"] == "ops"
    assert call("DELETE", "/hosts/n1/power", None, first)[0] == 200
    assert call("PUT", "/hosts/n1/power", {**IPMI, "user": "eve"}, absent="*")[0] == 200


def test_the_second_who_makes_a_rack_is_told(ctx: Context, call: Call) -> None:
    assert call("PUT", "/racks/r1", {"note": "row 3"}, absent="*")[0] == 200
    status, told, _ = call("PUT", "/racks/r1", {"note": "row 4"}, absent="*")
    assert status == 412
    assert "rack r1 changed by" in told["detail"]
    assert racks.show(ctx, "r1")["note"] == "row 3"


def test_a_condition_that_nobody_would_look_at_is_refused(ctx: Context, call: Call) -> None:
    add(ctx, "n1")
    for method, path, body, more in (
        ("PUT", "/hosts/n1/power", IPMI, {"absent": '"0a1b2c3d4e5f6071"'}),
        ("PUT", "/hosts/n1/power", IPMI, {"absent": "*", "seen": '"0a1b2c3d4e5f6071"'}),
        ("PATCH", "/hosts/n1", {"tags": ["a"]}, {"absent": "*"}),
        ("DELETE", "/hosts/n1", None, {"absent": "*"}),
        ("POST", "/hosts/n1/retire", {}, {"absent": "*"}),
    ):
        status, told, _ = call(method, path, body, **more)
        assert (status, "If-None-Match" in told["detail"]) == (400, True)
    assert power.describe(ctx, "n1")["driver"] is None
    assert call("GET", "/hosts/n1", absent='"0a1b2c3d4e5f6071"')[0] == 200


def test_a_webhook_is_removed_as_it_was_seen(ctx: Context, call: Call, hook: str) -> None:
    _, _, seen = call("GET", f"/webhooks/{hook}")
    assert call("DELETE", f"/webhooks/{hook}", None, '"0a1b2c3d4e5f6071"')[0] == 412
    assert call("DELETE", f"/webhooks/{hook}", None, seen)[0] == 200
    assert webhooks.list_webhooks(ctx) == []


def test_no_version_of_power_tells_of_the_password(ctx: Context, call: Call) -> None:
    add(ctx, "n1")
    versions = [call("PUT", "/hosts/n1/power", IPMI)[2] for _ in range(2)]
    assert versions[0] != versions[1]  # the same password, sealed twice


# ------------------------------------------------------------------------------------------------ on pages


def hidden(text: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that is sent there."""
    form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', text, re.DOTALL)
    assert form, action
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[0])
    return {key: value for key, value in found if key != "csrf_token"}


def test_the_second_who_edits_a_rule_on_its_page_is_told_and_keeps_what_was_typed(
    browser: Browser, ctx: Context
) -> None:
    rules.add(ctx, "dell", when=RULE["when"], gives=RULE["set"], who="ann")  # type: ignore[arg-type]
    sent = hidden(page(browser, "/rules/dell"), "/rules")
    rules.change(ctx, "dell", gives={"tags": ["anns"]}, who="ann")
    mine = {**sent, "do": "change", "name": "dell", "when": "vendor=Dell*", "tags": "mine"}
    for _ in range(2):
        answer = browser.post("/rules", mine)
        text = answer.get_data(as_text=True)
        assert answer.status_code == 412
        assert "ann" in text
        assert 'value="mine"' in text
        assert "Load it again" in text
        mine["version"] = hidden(text, "/rules")["version"]
    assert rules.show(ctx, "dell")["set"] == {"tags": ["anns"]}
    browser.post("/rules/dell/do", {"do": "remove", "version": sent["version"]})
    assert "is not as you saw it" in page(browser, "/rules/dell")
    browser.post("/rules", {**mine, **hidden(page(browser, "/rules/dell"), "/rules")})
    assert rules.show(ctx, "dell")["set"] == {"tags": ["mine"]}


def test_the_second_who_changes_a_rack_is_told(browser: Browser, ctx: Context) -> None:
    racks.set_rack(ctx, "r1", height=20, note="row 3", who="ann")
    assert 'href="/racks?rack=r1#change"' in page(browser, "/racks")
    text = page(browser, "/racks?rack=r1")
    assert 'value="row 3"' in text
    sent = hidden(text, "/racks/set")
    racks.set_rack(ctx, "r1", note="row 5", who="ann")
    browser.post("/racks/set", {**sent, "height": "20", "note": "row 4"})
    assert "the rack r1 is not as you saw it" in page(browser, "/racks?rack=r1")
    browser.post("/racks/remove", sent)
    assert racks.show(ctx, "r1")["note"] == "row 5"
    sent = hidden(page(browser, "/racks?rack=r1"), "/racks/set")
    browser.post("/racks/set", {**sent, "height": "20", "note": "row 4"})
    assert racks.show(ctx, "r1")["note"] == "row 4"


def test_a_rack_that_there_is_already_is_not_made_again_over_its_note(browser: Browser, ctx: Context) -> None:
    racks.set_rack(ctx, "r1", height=20, note="row 3", who="ann")
    page(browser, "/racks")
    answer = browser.post("/racks/set", {"name": "r1", "height": "", "note": ""})
    assert answer.headers["Location"] == "/racks?rack=r1#change"
    assert "there is a rack r1 already" in page(browser, "/racks?rack=r1")
    assert racks.show(ctx, "r1")["note"] == "row 3"


def test_the_second_who_sets_how_a_host_is_switched_is_told(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    path = f"/hosts/{host_id}/power-settings"
    seen = re.search(r'name="version" value="(\w+)"', page(browser, path))
    assert seen
    power.set_power(ctx, host_id, {k: v for k, v in IPMI.items() if k != "password"}, password="x-of-ann", who="ann")
    answer = browser.post(path, {**IPMI, "user": "mine", "version": seen[1]})
    assert answer.status_code == 412
    assert "Load it again" in answer.get_data(as_text=True)
    assert browser.post(f"{path}/forget", {"version": seen[1]}).status_code == 303
    assert power.describe(ctx, host_id)["user"] == "ops"


def test_a_power_form_without_its_version_sets_first_settings_only(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    path = f"/hosts/{host_id}/power-settings"
    page(browser, path)
    assert browser.post(path, IPMI).status_code == 303
    assert browser.post(path, {**IPMI, "user": "mine"}).status_code == 412
    assert power.describe(ctx, host_id)["user"] == "ops"


def test_the_second_who_gives_a_user_a_role_is_told(browser: Browser, ctx: Context) -> None:
    accounts.add(ctx, "eve", PASSWORD, role=UserRole.VIEWER, who="ann")
    text = page(browser, "/users")
    role, gone = hidden(text, "/users/eve/role"), hidden(text, "/users/eve/remove")
    accounts.set_role(ctx, "eve", UserRole.ADMIN, who="ann")
    browser.post("/users/eve/role", {**role, "role": "operator"})
    assert "the user eve is not as you saw it" in page(browser, "/users")
    browser.post("/users/eve/remove", {**gone, "confirm": "yes"})
    assert {one["name"]: one["role"] for one in accounts.list_users(ctx)}["eve"] == "admin"
    role = hidden(page(browser, "/users"), "/users/eve/role")
    browser.post("/users/eve/role", {**role, "role": "operator"})
    assert accounts.show(ctx, "eve")["role"] == "operator"
