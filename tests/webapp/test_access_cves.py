"""The faults by which strangers got into other provisioning servers, one test each, named by their number."""

from __future__ import annotations

import stat
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, events, sessions, wire_answers
from pxeforge.services.acting import LOCAL, Actor
from pxeforge.services.context import Context, load_master_key
from pxeforge.services.problems import Problem
from pxeforge.webapp.agent_plane import create_agent_plane
from pxeforge.webapp.boot_plane import create_boot_plane

from .conftest import PASSWORD, SITE, Browser, Clock
from .test_admin import MAC, every_route

ROOT = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
SENTINELS = ["-1", "0", "", "None", "null", "undefined", "True", "[]", "a" * 32, "0" * 64, "\x00"]


def test_cve_2018_1000226_no_method_forgets_to_ask_who_calls(app: Flask) -> None:
    """Seventy methods of an API took a token and never looked at it."""
    client, asked = app.test_client(), 0
    for _endpoint, method, path in every_route(app):
        if not path.startswith("/api/"):
            continue
        for value in ("Bearer anything", "Bearer pxf_" + "A" * 43, "Basic " + b64encode(b"admin:").decode()):
            reply = client.open(path, method=method, base_url=SITE, headers={"Authorization": value})
            assert reply.status_code in (401, 429), (method, path, value)
            asked += 1
    assert asked > 200


def test_cve_2021_40325_settings_are_not_changed_without_the_right(
    ctx: Context, app: Flask, new_browser: Callable[[], Browser]
) -> None:
    """Whoever asked nicely could write the settings: here users, roles and passwords."""
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.OPERATOR, who="test")
    before = accounts.list_users(ctx)
    stranger, operator = new_browser(), new_browser()
    stranger.get("/login")
    operator.login("ann")
    for browser in (stranger, operator):
        for path, form in (
            ("/users", {"name": "eve", "password": PASSWORD, "role": "admin"}),
            ("/users/ann/role", {"role": "admin"}),
            ("/users/admin/remove", {"confirm": "yes"}),
        ):
            assert browser.post(path, form).status_code == (303 if browser is stranger else 403)
        headers = {"X-CSRF-Token": browser.token}
        body = {"name": "eve", "password": PASSWORD, "role": "admin"}
        made = browser.client.post("/api/v1/users", base_url=SITE, json=body, headers=headers)
        assert made.status_code in (401, 403)
        changed = browser.client.patch("/api/v1/users/ann", base_url=SITE, json={"role": "admin"}, headers=headers)
        assert changed.status_code in (401, 403)
    assert accounts.list_users(ctx) == before


def test_cve_2022_0860_what_has_ended_lets_nobody_in(
    ctx: Context, app: Flask, new_browser: Callable[[], Browser], clock: Clock
) -> None:
    """A login of an expired account was accepted."""
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.ADMIN, who="test")
    ann = Actor(who="ann", role=UserRole.ADMIN, via=LOCAL)
    kept, expired, revoked = (
        api_tokens.create(ctx, name=name, role="admin", user="ann", actor=ann, for_s=for_s)["token"]
        for name, for_s in (("kept", 9e6), ("expired", 60), ("revoked", 9e6))
    )
    browser = new_browser()
    browser.login("ann")
    api_tokens.revoke(ctx, "revoked", actor=ann)
    clock.now += 60

    def answers(clear: str) -> int:
        header = {"Authorization": f"Bearer {clear}"}
        return app.test_client().get("/api/v1/hosts", base_url=SITE, headers=header).status_code

    assert [answers(clear) for clear in (kept, expired, revoked)] == [200, 401, 401]
    accounts.remove(ctx, "ann", who="test")
    assert answers(kept) == 401
    assert browser.get("/hosts").status_code == 303
    login = "Basic " + b64encode(f"ann:{PASSWORD}".encode()).decode()
    refused = app.test_client().get("/api/v1/hosts", base_url=SITE, headers={"Authorization": login})
    assert refused.status_code == 401


def test_cve_2022_0860_a_disabled_user_is_let_in_by_nothing(
    ctx: Context, app: Flask, new_browser: Callable[[], Browser]
) -> None:
    """The expired account itself: its password, its sessions and its API tokens are worth nothing, at once."""
    for name in ("boss", "ann"):
        accounts.add(ctx, name, PASSWORD, role=UserRole.ADMIN, who="test")
    ann = Actor(who="ann", role=UserRole.ADMIN, via=LOCAL)
    token = api_tokens.create(ctx, name="kept", role="admin", user="ann", actor=ann)["token"]
    browser, boss = new_browser(), new_browser()
    browser.login("ann")
    boss.login("boss")
    login = "Basic " + b64encode(f"ann:{PASSWORD}".encode()).decode()

    def answers() -> list[int]:
        headers = ({"Authorization": f"Bearer {token}"}, {"Authorization": login})
        api = [app.test_client().get("/api/v1/hosts", base_url=SITE, headers=one).status_code for one in headers]
        return [browser.get("/hosts").status_code, *api]

    assert answers() == [200, 200, 200]
    boss.post("/users/ann/disable", {})
    assert answers() == [303, 401, 401]
    with pytest.raises(Problem, match="ann is disabled: enable the user first"):
        api_tokens.create(ctx, name="new", role="viewer", user="ann", actor=Actor(
            who="boss", role=UserRole.ADMIN, via=LOCAL
        ))  # fmt: skip
    assert "Enable ann" in boss.get("/users").get_data(as_text=True)
    boss.post("/users/ann/enable", {})
    assert answers() == [303, 200, 200]  # the session has ended for good


@pytest.mark.parametrize("value", SENTINELS)
def test_cve_2024_47533_no_constant_is_a_credential_anywhere(ctx: Context, armed: dict[str, Any], value: str) -> None:
    """A shared secret that could not be read became -1, and -1 was the password."""
    assert api_tokens.actor_of(ctx, value, address="::1") is None
    assert sessions.user_of(ctx, value, active=True) is None
    assert accounts.login(ctx, accounts.Throttle(), "admin", value, "::1") is None
    for refused in (wire_answers.answers, wire_answers.late):
        with pytest.raises(Problem):
            refused(ctx, value, peer="192.0.2.50")
    header = {"Authorization": f"Bearer {value}".replace("\x00", "%00")}
    assert create_agent_plane(ctx).test_client().post("/v1/claim", json={}, headers=header).status_code in (401, 403)


@pytest.mark.parametrize("content", [b"", b"-1\n", b"A" * 43, b"A" * 45])
def test_cve_2024_47533_a_key_that_cannot_be_read_stops_the_start(ctx: Context, content: bytes) -> None:
    (ctx.data_dir / "secret.key").write_bytes(content)
    with pytest.raises(Problem, match="restore it from a backup"):
        load_master_key(ctx.data_dir)
    assert (ctx.data_dir / "secret.key").read_bytes() == content


def test_cve_2021_45083_keys_are_for_their_owner_only(ctx: Context) -> None:
    """Files with password hashes could be read by everybody."""
    assert stat.S_IMODE((ctx.data_dir / "secret.key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["{{ 9173 * 8219 }}", "#set $x = 9173*8219", "<script>alert(1)</script>", "${9173*8219}"]
)
def test_cve_2021_40323_what_a_stranger_writes_into_the_log_stays_text(
    ctx: Context, browser: Browser, tokens: Callable[[str], str], text: str
) -> None:
    """Text of a stranger in a log was later taken for a template, with the rights of the server."""
    browser.client.post("/login", base_url=SITE, data={"name": text, "password": text, "csrf_token": browser.token})
    wire_answers.answers(ctx, tokens("answers"), peer="192.0.2.50")
    boot = create_boot_plane(ctx, None).test_client()
    boot.post(f"/installer/{tokens('installer')}/progress", data=text)
    sessions.start(ctx, "admin", address=text[:45], browser=text)
    assert any(text in event["message"] for event in events.recent(ctx))
    for path in ("/audit", "/events", "/users", "/hosts/" + MAC):
        page = browser.get(path).get_data(as_text=True)
        assert "<script>alert" not in page
        assert str(9173 * 8219) not in page


def test_cve_2021_40324_a_report_is_a_line_of_the_timeline_and_never_a_file(
    ctx: Context, tokens: Callable[[str], str]
) -> None:
    """An upload of logs wrote wherever its name led."""
    wire_answers.answers(ctx, tokens("answers"), peer="192.0.2.50")
    boot = create_boot_plane(ctx, None).test_client()
    before = {path for path in ctx.data_dir.rglob("*") if "pxeforge.db" not in path.name}
    for stage in ("../../etc/cron.d/x", "/etc/passwd", "%2e%2e%2fx", "a" * 5000):
        assert boot.post(f"/installer/{tokens('installer')}/failed?stage={stage}", data="x").status_code in (200, 403)
        assert boot.post(f"/installer/{stage}/progress", data="x").status_code in (403, 404, 405)
    assert {path for path in ctx.data_dir.rglob("*") if "pxeforge.db" not in path.name} == before
