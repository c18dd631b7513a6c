"""The admin app lets in who may come in, and nobody else."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, hosts
from pxeforge.services.context import Context
from pxeforge.services.sessions import LONGEST_S
from pxeforge.webapp.access import NEEDS, Need
from pxeforge.webapp.admin import create_admin
from pxeforge.webapp.auth import safe_next

from .conftest import PASSWORD, SITE, Browser, Clock

MAC = "52:54:00:12:34:56"
PUBLIC = {endpoint for endpoint, need in NEEDS.items() if need is Need.NOTHING}


def basic(name: str = "admin", password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


def every_route(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Endpoint, method and a path for each route."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "thing", rule.rule)
        for method in sorted(rule.methods or ()):
            yield rule.endpoint, method, path


def test_every_route_but_the_public_ones_needs_a_login(app: Flask) -> None:
    seen = 0
    for endpoint, method, path in every_route(app):
        if endpoint in PUBLIC:
            continue
        seen += 1
        response = app.test_client().open(path, method=method, base_url=SITE)
        if path.startswith("/api/") or path == "/metrics":
            assert response.status_code == 401, (method, path)
            assert response.mimetype == "application/problem+json"
        else:
            assert response.status_code == 303, (method, path)
            assert response.headers["Location"].startswith("/login"), (method, path)
    assert seen > 100


def test_every_changing_route_refuses_a_session_without_the_token(app: Flask, browser: Browser) -> None:
    seen = 0
    for _endpoint, method, path in every_route(app):
        if method in ("GET", "HEAD", "OPTIONS"):
            continue
        seen += 1
        for headers in ({}, {"X-CSRF-Token": "guessed"}):
            response = browser.client.open(path, method=method, base_url=SITE, headers=headers)
            assert response.status_code == 403, (method, path)
    assert seen > 30


def test_the_public_endpoints_are_just_the_login_the_files_and_the_health_checks() -> None:
    assert {"pages.login", "web_file", "healthz", "readyz"} == PUBLIC


def test_unknown_addresses_and_methods_tell_a_stranger_nothing(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/no/such/page", base_url=SITE).status_code == 303
    assert client.put("/hosts", base_url=SITE).status_code == 303
    assert client.get("/api/v1/no-such", base_url=SITE).status_code == 401


def test_files_and_health_need_no_login(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/healthz", base_url=SITE).json == {"status": "ok"}
    sheet = client.get("/static/pxeforge.css", base_url=SITE)
    assert sheet.status_code == 200
    assert sheet.mimetype == "text/css"


@pytest.mark.parametrize(
    "name", ["../templates/page.html", "%2e%2e/templates/page.html", "..%2ftemplates/page.html", "/etc/passwd"]
)
def test_only_static_files_are_served(app: Flask, name: str) -> None:
    response = app.test_client().get(f"/static/{name}", base_url=SITE)
    assert response.status_code in (303, 308, 404)


def test_a_login_opens_the_pages_and_a_logout_closes_them(browser: Browser) -> None:
    assert browser.get("/hosts").status_code == 200
    assert browser.post("/logout").headers["Location"] == "/login"
    assert browser.get("/hosts").status_code == 303


def test_the_session_cookie_is_secure_http_only_strict_and_bound_to_this_host(
    new_browser: Callable[[], Browser],
) -> None:
    cookie = new_browser().login().headers["Set-Cookie"]
    assert cookie.startswith("__Host-pxeforge=")
    for flag in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
        assert flag in cookie
    assert "Domain" not in cookie


def test_a_session_ends_after_eight_hours_even_if_it_is_used_all_the_time(browser: Browser, clock: Clock) -> None:
    for _ in range(16):
        assert browser.get("/hosts").status_code == 200
        clock.now += LONGEST_S / 16
    assert browser.get("/hosts").status_code == 303


def test_a_forged_cookie_is_worth_nothing(new_browser: Callable[[], Browser]) -> None:
    stranger = new_browser()
    stranger.client.set_cookie(
        "__Host-pxeforge", "eyJ3aG8iOiJhZG1pbiJ9.aaaaaa.bbbbbbbb", domain="admin.test", secure=True
    )
    assert stranger.get("/hosts").status_code == 303


def test_a_password_change_ends_the_other_sessions_and_keeps_this_one(new_browser: Callable[[], Browser]) -> None:
    mine, other = new_browser(), new_browser()
    mine.login()
    other.login()
    changed = mine.post("/users/password", {"old": PASSWORD, "new": "another long one", "again": "another long one"})
    assert changed.status_code == 303
    assert mine.get("/hosts").status_code == 200
    assert other.get("/hosts").status_code == 303


def test_a_password_change_needs_the_old_password(ctx: Context, browser: Browser) -> None:
    browser.post("/users/password", {"old": "wrong", "new": "another long one", "again": "another long one"})
    assert "the old password is wrong" in browser.get("/users").get_data(as_text=True)
    assert accounts.login(ctx, accounts.Throttle(), "admin", PASSWORD, "x") is not None


def test_a_removed_user_is_out_at_once(ctx: Context, new_browser: Callable[[], Browser]) -> None:
    accounts.add(ctx, "guest", "a long password", role=UserRole.VIEWER, who="admin")
    guest = new_browser()
    guest.login("guest", "a long password")
    assert guest.get("/hosts").status_code == 200
    accounts.remove(ctx, "guest", who="admin")
    assert guest.get("/hosts").status_code == 303


def test_guessing_passwords_is_stopped_and_the_right_one_has_to_wait_too(
    new_browser: Callable[[], Browser], clock: Clock
) -> None:
    guesser = new_browser()
    guesser.get("/login")
    answers = [guesser.post("/login", {"name": "admin", "password": f"guess {n}"}).status_code for n in range(8)]
    assert answers == [403] * 8
    refused = guesser.post("/login", {"name": "admin", "password": PASSWORD})
    assert refused.status_code == 429
    assert "too many failed logins" in refused.get_data(as_text=True)
    clock.now += 301
    assert guesser.post("/login", {"name": "admin", "password": PASSWORD}).status_code == 303


def test_guessing_by_the_api_is_stopped_by_the_same_brake(app: Flask) -> None:
    client = app.test_client()
    for n in range(8):
        assert client.get("/api/v1/hosts", base_url=SITE, headers=basic(password=f"guess {n}")).status_code == 401
    refused = client.get("/api/v1/hosts", base_url=SITE, headers=basic())
    assert refused.status_code == 429
    assert refused.mimetype == "application/problem+json"


def test_curl_with_a_password_may_use_the_api_and_needs_no_token(app: Flask) -> None:
    client = app.test_client()
    made = client.post("/api/v1/hosts", base_url=SITE, headers=basic(), json={"macs": [MAC], "name": "db-01"})
    assert made.status_code == 201
    listed = client.get("/api/v1/hosts", base_url=SITE, headers=basic())
    assert [host["name"] for host in listed.get_json()] == ["db-01"]


def test_a_password_in_the_request_opens_no_page(app: Flask) -> None:
    assert app.test_client().get("/hosts", base_url=SITE, headers=basic()).status_code == 303


def test_an_api_refusal_says_what_it_wants(app: Flask) -> None:
    response = app.test_client().get("/api/v1/hosts", base_url=SITE)
    assert response.headers["WWW-Authenticate"].startswith("Basic")
    assert response.get_json()["status"] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_cannot_change_anything(
    app: Flask, browser: Browser, ctx: Context, headers: dict[str, str]
) -> None:
    """Neither with the session and its token, nor with a password that the browser remembers."""
    assert browser.post("/hosts", {"macs": MAC}, headers=headers).status_code == 403
    by_password = app.test_client().post(
        "/api/v1/hosts", base_url=SITE, headers={**basic(), **headers}, json={"macs": [MAC]}
    )
    assert by_password.status_code == 403
    assert hosts.list_hosts(ctx) == []


def test_our_own_pages_can_change_things(browser: Browser, ctx: Context) -> None:
    headers = {"Origin": SITE, "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/hosts", {"macs": MAC}, headers=headers).status_code == 303
    assert hosts.list_hosts(ctx)[0]["macs"] == [MAC]


def test_the_token_may_come_in_a_header(browser: Browser, ctx: Context) -> None:
    response = browser.client.post(
        "/api/v1/hosts", base_url=SITE, json={"macs": [MAC]}, headers={"X-CSRF-Token": browser.token}
    )
    assert response.status_code == 201


def test_the_token_of_one_session_is_no_use_in_another(new_browser: Callable[[], Browser]) -> None:
    mine, other = new_browser(), new_browser()
    mine.login()
    other.login()
    other.token = mine.token
    assert other.post("/hosts", {"macs": MAC}).status_code == 403


def test_the_login_leads_back_to_the_page_that_was_asked_for(new_browser: Callable[[], Browser]) -> None:
    one = new_browser()
    assert one.get("/hosts?state=ready").headers["Location"] == "/login?next=/hosts?state%3Dready"
    assert one.login(next_page="/hosts?state=ready").headers["Location"] == "/hosts?state=ready"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/ /evil.example",
        "///evil.example",
        " //evil.example",
        "http:evil.example",
    ],
)
def test_the_login_never_leads_to_another_site(new_browser: Callable[[], Browser], target: str) -> None:
    one = new_browser()
    assert one.login(next_page=target).headers["Location"] == "/"
    assert one.get("/login", query_string={"next": target}).headers["Location"] == "/"


@given(st.text(max_size=40))
def test_a_safe_target_is_always_a_path_of_this_site(text: str) -> None:
    target = safe_next(text)
    assert re.match(r"/(?![/\\])", target) or target == "/"
    assert "\\" not in target


def test_a_refreshing_page_is_sent_to_the_login_as_a_whole(app: Flask) -> None:
    response = app.test_client().get("/hosts", base_url=SITE, headers={"HX-Request": "true"})
    assert response.status_code == 401
    assert response.headers["HX-Redirect"] == "/login"


def test_every_answer_carries_the_security_headers(browser: Browser, app: Flask) -> None:
    answers = [browser.get("/hosts"), browser.get("/nope"), app.test_client().get("/api/v1/hosts", base_url=SITE)]
    for response in answers:
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert {policy[kind] for kind in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
        assert not [value for value in policy.values() if "unsafe" in value or "*" in value or "http" in value]
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == "no-store"


def test_a_refusal_of_a_use_case_is_problem_json_for_the_api(app: Flask) -> None:
    response = app.test_client().get("/api/v1/hosts/nobody", base_url=SITE, headers=basic())
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
    assert "no host is known as 'nobody'" in response.get_json()["detail"]


def test_on_the_trusted_socket_root_needs_no_login_and_no_token(ctx: Context) -> None:
    client = create_admin(ctx, trusted_socket=True).test_client()
    assert client.post("/api/v1/hosts", json={"macs": [MAC], "name": "db-01"}).status_code == 201
    assert client.get("/hosts").status_code == 200
    assert client.post("/hosts", data={"macs": "52:54:00:00:00:02"}).status_code == 303
    assert len(hosts.list_hosts(ctx)) == 2


def test_what_is_done_on_the_trusted_socket_is_done_by_root(ctx: Context) -> None:
    client = create_admin(ctx, trusted_socket=True).test_client()
    client.post("/api/v1/hosts", json={"macs": [MAC], "name": "db-01"})
    assert {event["who"] for event in client.get("/api/v1/events").get_json() if event["host_id"]} == {"root"}


def test_a_request_that_is_too_large_is_refused(browser: Browser) -> None:
    assert browser.post("/hosts", {"macs": "x" * 5_000_000}).status_code == 413


@pytest.mark.parametrize("origin", ["http://[", "null", "https://", "https://admin.test.evil"])
def test_an_odd_origin_is_refused_and_breaks_nothing(new_browser: Callable[[], Browser], origin: str) -> None:
    guest = new_browser()
    guest.get("/login")
    assert guest.post("/login", {"name": "admin", "password": PASSWORD}, headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/static/" + "a" * 300, 404),
        ("/api/v1/events?limit=-5", 400),
        ("/api/v1/events?limit=-" + "9" * 30, 400),
        (f"/api/v1/hosts/{MAC}/timeline?after_id=" + "9" * 30, 400),
        (f"/api/v1/hosts/{MAC}/timeline?after_id=" + "9" * 15, 200),
    ],
)
def test_numbers_and_names_beyond_reason_break_nothing(ctx: Context, browser: Browser, path: str, status: int) -> None:
    hosts.add(ctx, macs=[MAC], who="test")
    reply = browser.get(path, headers=basic())
    assert reply.status_code == status
    if status == 200:
        assert reply.get_json() == []


def test_a_host_that_reports_a_number_beyond_reason_still_has_a_page(ctx: Context, browser: Browser) -> None:
    found = hosts.add(ctx, macs=[MAC], who="test")
    with ctx.database.write() as session:
        hosts.find(session, MAC).facts = {"ram_bytes": 10**400, "disks": [{"name": "a", "size_bytes": -(10**400)}]}
    assert browser.get(f"/hosts/{found['id']}").status_code == 200
