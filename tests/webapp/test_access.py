"""Roles and tokens on the admin plane: every route has its class, and what is not declared is open to nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, audit, hosts, profiles, secrets
from pxeforge.services.acting import LOCAL, Actor, acting
from pxeforge.services.context import Context
from pxeforge.services.sessions import IDLE_S
from pxeforge.webapp.access import NEEDS, Need
from pxeforge.webapp.admin import create_admin
from tests.conftest import ACCOUNT

from .conftest import PASSWORD, SITE, Browser, Clock
from .test_admin import MAC, every_route

ROOT = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
SAFE = {"GET", "HEAD", "OPTIONS"}
ROLES = tuple(UserRole)
ENDS_THE_SESSION = {"pages.logout", "pages.logout_everywhere"}
HASH = "$6$saltsalt$" + "a" * 86

Call = Callable[..., TestResponse]


def token(ctx: Context, role: UserRole, name: str = "") -> dict[str, str]:
    """The header of root's token with this role."""
    made = api_tokens.create(ctx, name=name or role.value, role=role.value, actor=ROOT)
    return {"Authorization": f"Bearer {made['token']}"}


@pytest.fixture
def as_role(ctx: Context, new_browser: Callable[[], Browser]) -> Callable[[UserRole], Browser]:
    """A browser in which a user of that role is logged in."""

    def browser(role: UserRole) -> Browser:
        accounts.add(ctx, f"a-{role.value}", PASSWORD, role=role, who="test")
        one = new_browser()
        assert one.login(f"a-{role.value}").status_code == 303
        return one

    return browser


def test_every_route_is_declared_and_nothing_else_is(app: Flask) -> None:
    assert {endpoint for endpoint, _method, _path in every_route(app)} == set(NEEDS)


def test_what_changes_something_is_for_operators_but_for_what_is_named_here(app: Flask) -> None:
    changing = {endpoint for endpoint, method, _path in every_route(app) if method not in SAFE}
    assert {one for one in changing if NEEDS[one] is Need.NOTHING} == {"pages.login"}
    assert {one for one in changing if NEEDS[one] is Need.VIEWER} == {
        "api.make_plan", "api.test_rules", "api.check_blueprint",
    }  # fmt: skip
    assert {one for one in changing if NEEDS[one] is Need.OWN} == {
        "pages.theme_change", "pages.host_columns", "pages.logout", "pages.logout_everywhere",
        "pages.password_change", "pages.token_create", "pages.token_revoke", "pages.first_password",
        "api.create_token", "api.revoke_token", "api.change_own_password",
    }  # fmt: skip


def test_users_secrets_and_the_removal_of_images_are_for_admins() -> None:
    about = ("user_", "_user", "secret", "image_remove", "remove_image", "set_password")
    found = {one for one in NEEDS if any(word in one for word in about)}
    assert {one for one in found if NEEDS[one] is not Need.ADMIN} == {
        "pages.user_list", "api.list_users", "api.show_user", "api.list_secrets"
    }  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_every_route_of_the_pages_lets_in_who_has_its_role_and_nobody_else(
    app: Flask, as_role: Callable[[UserRole], Browser], role: UserRole
) -> None:
    browser = as_role(role)
    for endpoint, method, path in every_route(app):
        if path.startswith("/api/") or path == "/metrics" or endpoint in ENDS_THE_SESSION or method == "OPTIONS":
            continue
        if NEEDS[endpoint] is Need.NOTHING:
            continue
        headers = {"X-CSRF-Token": browser.token}
        response = browser.client.open(path, method=method, base_url=SITE, headers=headers)
        assert response.status_code != 401
        assert (response.status_code == 403) is not allowed(endpoint, role), (role, method, path)


@pytest.mark.parametrize("role", ROLES)
def test_every_route_of_the_api_lets_in_a_token_with_its_role_and_no_other(
    ctx: Context, app: Flask, role: UserRole
) -> None:
    header, client, seen = token(ctx, role), app.test_client(), 0
    for endpoint, method, path in every_route(app):
        if not path.startswith("/api/") or method == "OPTIONS":
            continue
        seen += 1
        response = client.open(path, method=method, base_url=SITE, headers=header)
        assert response.status_code != 401
        may = allowed(endpoint, role) and NEEDS[endpoint] is not Need.OWN
        assert (response.status_code == 403) is not may, (role, method, path)
        if not may and method != "HEAD":
            assert response.mimetype == "application/problem+json"
    assert seen > 60


def allowed(endpoint: str, role: UserRole) -> bool:
    need = NEEDS[endpoint]
    return need in (Need.NOTHING, Need.OWN) or role.covers(UserRole(need.value))


def test_a_route_that_nobody_declared_is_open_to_nobody(ctx: Context) -> None:
    for trusted in (False, True):
        app = create_admin(ctx, trusted_socket=trusted)
        app.add_url_rule("/api/v1/forgotten", "api.forgotten", lambda: "the crown jewels")
        headers = {} if trusted else token(ctx, UserRole.ADMIN)
        response = app.test_client().get("/api/v1/forgotten", base_url=SITE, headers=headers)
        assert response.status_code == 403
        assert "open to nobody" in response.get_json()["detail"]


def test_a_refusal_says_which_role_is_needed(ctx: Context, app: Flask, as_role: Callable[[UserRole], Browser]) -> None:
    browser = as_role(UserRole.VIEWER)
    page = browser.post("/hosts", {"macs": MAC})
    assert page.status_code == 403
    assert "this needs the role operator, and a-viewer is viewer" in page.get_data(as_text=True)
    answer = app.test_client().delete("/api/v1/images/x", base_url=SITE, headers=token(ctx, UserRole.OPERATOR))
    assert answer.get_json()["detail"] == (
        "this needs the role admin, and the token operator of root is operator: ask an admin"
    )


def test_a_demotion_counts_at_once(ctx: Context, as_role: Callable[[UserRole], Browser]) -> None:
    browser = as_role(UserRole.OPERATOR)
    assert browser.post("/hosts", {"macs": MAC}).status_code == 303
    accounts.set_role(ctx, "a-operator", UserRole.VIEWER, who="admin")
    assert browser.post("/hosts", {"macs": "52:54:00:00:00:02"}).status_code == 403
    assert len(hosts.list_hosts(ctx)) == 1


def test_a_viewer_is_shown_no_secret_by_any_route(
    ctx: Context, app: Flask, armed: dict[str, Any], tokens: Callable[[str], str],
    as_role: Callable[[UserRole], Browser],
) -> None:  # fmt: skip
    own = {"accounts": [{**ACCOUNT, "password_hash": HASH}], "root_password_hash": HASH}
    profiles.change(ctx, "debian-13", parameters=own, who="test")
    hosts.change(ctx, "n1", settings={"parameters": {"root_password_hash": HASH}}, who="test")
    with ctx.database.write() as session:
        secrets.ensure(session, ctx, ["site/password"])
    value = secrets.show(ctx, "site/password", who="test")["value"]
    hidden = (HASH, tokens("answers"), tokens("installer"), value)
    header, client, browser = token(ctx, UserRole.VIEWER), app.test_client(), as_role(UserRole.VIEWER)
    real = {"host": "n1", "host_id": armed["id"], "name": "debian-13", "profile": "debian-13", "what": "answers"}
    query = f"?profile=debian-13&left=profile:debian-13&right=profile:debian-13&host={armed['id']}"
    answered = 0
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<path:name>", "pxeforge.css")
        for argument, known in real.items():
            path = path.replace(f"<{argument}>", known)
        if "<" in path or "GET" not in (rule.methods or ()):
            continue
        for suffix in ("", query):
            is_api = path.startswith("/api/") or path == "/metrics"
            reply = (
                client.get(path + suffix, base_url=SITE, headers=header) if is_api else browser.get(path + suffix)
            )  # fmt: skip
            answered += reply.status_code == 200
            for secret in hidden:
                assert secret not in reply.get_data(as_text=True), path
    assert answered > 50
    for what in ("menu", "menu.ipxe", "late", "early", "kernel-args"):
        reply = client.get(f"/api/v1/hosts/n1/render/{what}", base_url=SITE, headers=header)
        assert not [secret for secret in hidden if secret in reply.get_data(as_text=True)]
    shown = client.get("/api/v1/profiles/debian-13", base_url=SITE, headers=header).get_json()
    assert shown["parameters"]["root_password_hash"].startswith("(hidden ")
    full = client.get("/api/v1/profiles/debian-13", base_url=SITE, headers=token(ctx, UserRole.OPERATOR)).get_json()
    assert full["parameters"]["root_password_hash"] == HASH


def test_an_audited_change_names_user_address_and_way(ctx: Context, app: Flask, browser: Browser) -> None:
    header, client = token(ctx, UserRole.OPERATOR, "ci"), app.test_client()
    client.post("/api/v1/hosts", base_url=SITE, headers=header, json={"macs": [MAC], "name": "n1"})
    browser.post(f"/hosts/{hosts.show(ctx, 'n1')['id']}/change", {"name": "n2", "tags": ""})
    create_admin(ctx, trusted_socket=True).test_client().delete("/api/v1/hosts/n2")
    listed = client.get("/api/v1/audit?limit=50", base_url=SITE, headers=header).get_json()
    told = {(one["kind"], one["message"]): (one["who"], one["via"], one["address"]) for one in listed}
    assert told["adopt", "added by root"] == ("root", "token ci", "127.0.0.1")
    assert told["forgotten", "host n2 forgotten by root"] == ("root", "local", None)
    assert told["login", "admin logged in from 127.0.0.1"] == ("admin", "session", "127.0.0.1")
    renamed = client.get("/api/v1/audit?who=admin&kind=changed", base_url=SITE, headers=header).get_json()
    assert [one["data"] for one in renamed] == [{"before": {"name": "n1"}, "after": {"name": "n2"}}]
    assert acting() is None


def test_the_audit_log_is_read_page_by_page(ctx: Context, app: Flask) -> None:
    header, client = token(ctx, UserRole.VIEWER), app.test_client()
    for number in range(5):
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], who="ann")
    url, seen = "/api/v1/audit?who=ann&limit=2", []
    while url:
        reply = client.get(url, base_url=SITE, headers=header)
        seen += reply.get_json()
        url = reply.headers.get("Link", "").partition(">")[0].lstrip("<")
    assert [one["id"] for one in seen] == [one["id"] for one in audit.entries(ctx, audit.Filter(who="ann"))]
    for odd in ("via=%00", "host=0123456789ab"):
        assert client.get(f"/api/v1/audit?{odd}", base_url=SITE, headers=header).status_code == 200
    for odd in ("before=-1", "before=x", "since=nan", "until=1e999", "limit=-5", "limit=1001", "cursor=x", "hosts=n1"):
        assert client.get(f"/api/v1/audit?{odd}", base_url=SITE, headers=header).status_code == 400
    assert client.get("/api/v1/audit?host=ghost", base_url=SITE, headers=header).status_code == 404


def test_users_and_tokens_are_managed_by_the_api(ctx: Context) -> None:
    api = create_admin(ctx, trusted_socket=True).test_client()
    assert api.post("/api/v1/users", json={"name": "ann", "password": PASSWORD}).get_json()["role"] == "viewer"
    assert api.patch("/api/v1/users/ann", json={"role": "operator"}).get_json() == {"name": "ann", "role": "operator"}
    assert api.patch("/api/v1/users/ann", json={"role": "god"}).status_code == 400
    assert api.patch("/api/v1/users/admin", json={"role": "viewer"}).status_code == 409
    assert api.delete("/api/v1/users/admin").status_code == 409
    assert api.post("/api/v1/users/ann/logout").get_json() == {"name": "ann", "sessions": 0}
    made = api.post("/api/v1/tokens", json={"name": "ci", "user": "ann", "for_s": 60})
    assert (made.status_code, made.get_json()["role"]) == (201, "viewer")
    assert api.post("/api/v1/tokens", json={"name": "x", "user": "ann", "role": "admin"}).status_code == 403
    [listed] = api.get("/api/v1/tokens").get_json()
    assert "token" not in listed
    assert api.delete(f"/api/v1/tokens/{listed['id']}").get_json()["name"] == "ci"
    assert api.get("/api/v1/me").get_json() == {"name": "root", "role": "admin", "via": "local", "address": None}


def test_users_and_tokens_are_managed_on_the_page(
    ctx: Context, browser: Browser, as_role: Callable[[UserRole], Browser]
) -> None:
    browser.post("/users", {"name": "ann", "password": PASSWORD, "role": "operator"})
    browser.post("/users/ann/role", {"role": "viewer"})
    assert {row["name"]: row["role"] for row in accounts.list_users(ctx)}["ann"] == "viewer"
    browser.post("/users/ann/remove", {})
    assert "tick the box" in browser.get("/users").get_data(as_text=True)
    browser.post("/users/ann/remove", {"confirm": "yes"})
    browser.post("/users/admin/remove", {"confirm": "yes"})
    assert "the last admin cannot be removed" in browser.get("/users").get_data(as_text=True)
    viewer = as_role(UserRole.VIEWER)
    refused = viewer.post("/users/tokens", {"name": "x", "role": "admin"})
    assert (refused.status_code, api_tokens.list_tokens(ctx, actor=ROOT)) == (303, [])
    shown = viewer.post("/users/tokens", {"name": "grafana", "role": "viewer", "lives": "1 day"})
    clear = shown.get_data(as_text=True).partition('id="clear-token">')[2].partition("<")[0]
    assert api_tokens.actor_of(ctx, clear, address="::1") is not None
    page = viewer.get("/users").get_data(as_text=True)
    assert clear not in page
    assert "Add a user" not in page
    [row] = api_tokens.list_tokens(ctx, actor=ROOT)
    assert viewer.post(f"/users/tokens/{row['id']}/revoke").status_code == 303
    assert api_tokens.list_tokens(ctx, actor=ROOT) == []


def test_logging_out_everywhere_ends_all_browsers_of_the_user_and_no_others(
    ctx: Context, new_browser: Callable[[], Browser], as_role: Callable[[UserRole], Browser]
) -> None:
    one, two, other = new_browser(), new_browser(), as_role(UserRole.VIEWER)
    for browser in (one, two):
        browser.login()
    assert one.post("/users/logout-everywhere").headers["Location"] == "/login"
    assert [browser.get("/hosts").status_code for browser in (one, two, other)] == [303, 303, 200]


def test_a_stolen_cookie_is_worth_nothing_after_the_logout(new_browser: Callable[[], Browser]) -> None:
    mine, thief = new_browser(), new_browser()
    mine.login()
    stolen = mine.client.get_cookie("__Host-pxeforge", domain="admin.test")
    assert stolen is not None
    thief.client.set_cookie("__Host-pxeforge", stolen.value, domain="admin.test", secure=True)
    assert thief.get("/hosts").status_code == 200
    mine.post("/logout")
    assert thief.get("/hosts").status_code == 303


def test_an_idle_browser_is_logged_out_though_its_page_refreshes_itself(browser: Browser, clock: Clock) -> None:
    for _ in range(3):
        clock.now += IDLE_S / 3 - 1
        browser.get("/hosts", headers={"HX-Request": "true"})
    clock.now += 10
    assert browser.get("/hosts").status_code == 303


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Bearer x y", "Token abc", "Digest username=admin", "Negotiate x", "Basic", "Basic !!!",
     "Basic Og==", "Basic YWRtaW4=", "", "Bearer \xff", "bearer pxf_", "Bearer pxf_" + "a" * 43,
     "Bearer " + "a" * 9000],
)  # fmt: skip
def test_no_odd_authorization_gets_in_or_falls_back_to_the_cookie(browser: Browser, value: str) -> None:
    reply = browser.client.get("/api/v1/hosts", base_url=SITE, headers={"Authorization": value})
    assert reply.status_code == 401
    assert "token" in reply.get_json()["detail"]


def test_a_token_opens_no_page(ctx: Context, app: Flask) -> None:
    reply = app.test_client().get("/hosts", base_url=SITE, headers=token(ctx, UserRole.ADMIN))
    assert reply.headers["Location"].startswith("/login")


def test_the_audit_page_shows_filters_and_leads_on(ctx: Context, browser: Browser) -> None:
    for number in range(120):
        hosts.add(ctx, macs=[f"52:54:00:00:01:{number:02x}"], name=f"n{number}", who="ann")
    first = browser.get("/audit?who=ann").get_data(as_text=True)
    assert "name</b>: — → n119" in first
    older = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    second = browser.get(older).get_data(as_text=True)
    assert "n119" not in second
    assert "Nothing fits" in browser.get("/audit?who=nobody").get_data(as_text=True)
    assert "no host is known" in browser.get("/audit?host=ghost").get_data(as_text=True)
    assert browser.get("/audit?before=x&since=ever&via=token+ci").status_code == 200
