"""Whoever came in with a password that somebody else set chooses another one before anything else."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable

import pytest
from flask import Flask

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens
from pxeforge.services.acting import LOCAL, Actor
from pxeforge.services.context import Context
from pxeforge.webapp.access import BEFORE_OWN_PASSWORD

from .conftest import PASSWORD, SITE, Browser
from .test_admin import every_route

FIRST, OWN = "handed over by phone", "my very own phrase"
CHANGE = {"old": FIRST, "new": OWN, "again": OWN}


@pytest.fixture
def ann(ctx: Context, new_browser: Callable[[], Browser]) -> Browser:
    """An operator who logged in with the password that an admin gave."""
    accounts.add(ctx, "ann", FIRST, role=UserRole.OPERATOR, who="admin", must_change=True)
    browser = new_browser()
    assert browser.login("ann", FIRST, "/runs").headers["Location"] == "/runs"
    return browser


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"ann:{password}".encode()).decode()}


def test_the_admin_of_the_first_start_has_to_choose_a_password(
    ctx: Context, new_browser: Callable[[], Browser]
) -> None:
    with ctx.database.write() as session:
        for user in session.query(accounts.User):
            session.delete(user)
    clear = accounts.ensure_admin(ctx)
    assert clear is not None
    browser = new_browser()
    browser.login("admin", clear)
    assert browser.get("/hosts").headers["Location"] == "/password?next=/hosts"
    form = browser.get("/password").get_data(as_text=True)
    assert "Choose your password" in form
    assert 'aria-label="Main"' not in form  # no menu of pages that would only lead back here
    browser.post("/password", {"old": clear, "new": OWN, "again": OWN})
    assert browser.get("/hosts").status_code == 200
    assert new_browser().login("admin", clear).status_code == 403
    assert new_browser().login("admin", OWN).status_code == 303


def test_no_route_is_open_before_the_password_is_changed(app: Flask, ann: Browser) -> None:
    ann.get("/password")
    seen = 0
    for endpoint, method, path in every_route(app):
        if endpoint in BEFORE_OWN_PASSWORD:
            continue
        reply = ann.client.open(path, method=method, base_url=SITE, headers={"X-CSRF-Token": ann.token})
        if path.startswith("/api/") or path == "/metrics":
            assert reply.status_code == 403, (method, path)
            assert method == "HEAD" or "choose your own first" in reply.get_json()["detail"]
        else:
            assert (reply.status_code, reply.headers["Location"].partition("?")[0]) == (303, "/password"), path
        seen += 1
    assert seen > 150


def test_the_change_leads_back_to_the_page_that_was_asked_for(ann: Browser) -> None:
    asked = ann.get("/runs").headers["Location"]
    assert asked == "/password?next=/runs"
    ann.get(asked)
    assert ann.post("/password", {**CHANGE, "next": "/runs"}).headers["Location"] == "/runs"
    assert ann.get("/runs").status_code == 200
    assert ann.get("/password").headers["Location"] == "/"


@pytest.mark.parametrize(
    ("form", "status", "sentence"),
    [
        ({**CHANGE, "old": "guessed at random"}, 403, "the old password is wrong"),
        ({**CHANGE, "again": "something else"}, 400, "differ"),
        ({**CHANGE, "new": FIRST, "again": FIRST}, 400, "is the old one"),
        ({**CHANGE, "new": "short", "again": "short"}, 400, "too short"),
        ({**CHANGE, "new": "password2026", "again": "password2026"}, 400, "tried first"),
        ({}, 403, "the old password is wrong"),
    ],
)
def test_a_refused_change_says_why_and_changes_nothing(
    ctx: Context, ann: Browser, form: dict[str, object], status: int, sentence: str
) -> None:
    ann.get("/password")
    reply = ann.post("/password", form)
    assert (reply.status_code, sentence in reply.get_data(as_text=True)) == (status, True)
    assert accounts.login(ctx, accounts.Throttle(), "ann", FIRST, "x") is UserRole.OPERATOR
    assert ann.get("/hosts").status_code == 303


def test_guessing_the_old_password_is_stopped_by_the_same_brake(ann: Browser) -> None:
    ann.get("/password")
    answers = [ann.post("/password", {**CHANGE, "old": f"guess {n}"}).status_code for n in range(9)]
    assert answers == [403] * 8 + [429]


def test_a_page_that_refreshes_itself_goes_to_the_form_as_a_whole(ann: Browser) -> None:
    reply = ann.get("/hosts", headers={"HX-Request": "true"})
    assert (reply.status_code, reply.headers["HX-Redirect"]) == (403, "/password?next=/hosts")


def test_by_the_api_there_is_a_clear_refusal_and_a_way_out(app: Flask, ctx: Context) -> None:
    accounts.add(ctx, "ann", FIRST, role=UserRole.OPERATOR, who="admin", must_change=True)
    client = app.test_client()
    refused = client.get("/api/v1/hosts", base_url=SITE, headers=basic(FIRST))
    assert (refused.status_code, refused.mimetype) == (403, "application/problem+json")
    assert "user passwd" in refused.get_json()["detail"]

    def change(password: str, header: dict[str, str]) -> int:
        body = {"password": password}
        return client.post("/api/v1/me/password", base_url=SITE, json=body, headers=header).status_code

    assert [change(new, basic(FIRST)) for new in (FIRST, "short", OWN)] == [400, 400, 200]
    assert [change(OWN + "!", basic(FIRST)), change(OWN + "!", {})] == [401, 401]
    assert client.get("/api/v1/hosts", base_url=SITE, headers=basic(OWN)).status_code == 200


def test_a_session_or_token_changes_no_password_by_the_api(app: Flask, ctx: Context, browser: Browser) -> None:
    root = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
    token = api_tokens.create(ctx, name="ci", role="admin", user="admin", actor=root)["token"]
    body = {"password": OWN}
    for headers in ({"X-CSRF-Token": browser.token}, {"Authorization": f"Bearer {token}"}):
        assert browser.client.post("/api/v1/me/password", base_url=SITE, json=body, headers=headers).status_code == 403
    assert accounts.login(ctx, accounts.Throttle(), "admin", PASSWORD, "x") is UserRole.ADMIN


def test_what_an_admin_sets_is_for_once_and_what_users_choose_is_not(
    ctx: Context, browser: Browser, new_browser: Callable[[], Browser]
) -> None:
    browser.post("/users", {"name": "ann", "password": FIRST, "role": "viewer"})
    ann = new_browser()
    ann.login("ann", FIRST)
    ann.get("/password")
    ann.post("/password", CHANGE)
    assert ann.get("/hosts").status_code == 200
    shown = browser.post("/users/ann/password").get_data(as_text=True)
    found = re.search(r'id="once-password">([^<]+)<', shown)
    assert found
    assert ann.get("/hosts").headers["Location"].startswith("/login")
    assert new_browser().login("ann", OWN).status_code == 403
    again = new_browser()
    again.login("ann", found[1])
    assert again.get("/hosts").headers["Location"].startswith("/password")
    assert "has to change the password" in browser.get("/users").get_data(as_text=True)
    assert found[1] not in browser.get("/users").get_data(as_text=True)


def test_nobody_makes_a_password_for_themselves_without_the_old_one(ctx: Context, browser: Browser) -> None:
    browser.post("/users/admin/password")
    assert "your own password" in browser.get("/users").get_data(as_text=True)
    assert accounts.login(ctx, accounts.Throttle(), "admin", PASSWORD, "x") is UserRole.ADMIN


def test_by_the_api_an_admin_may_say_that_a_password_is_for_good(app: Flask, ctx: Context) -> None:
    root = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
    header = {"Authorization": "Bearer " + api_tokens.create(ctx, name="x", role="admin", actor=root)["token"]}
    client = app.test_client()
    for name, more in (("once", {}), ("kept", {"must_change": False})):
        body = {"name": name, "password": OWN, **more}
        assert client.post("/api/v1/users", base_url=SITE, json=body, headers=header).status_code == 201
    told = {user["name"]: user["must_change"] for user in accounts.list_users(ctx)}
    assert told == {"admin": False, "once": True, "kept": False}
    client.post("/api/v1/users/kept/password", base_url=SITE, json={"password": FIRST}, headers=header)
    assert accounts.must_change(ctx, "kept")
