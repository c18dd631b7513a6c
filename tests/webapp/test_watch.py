"""Monitors get in where they may, and whoever asks without a login learns little."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from pxeforge.protocol.prometheus import CONTENT_TYPE
from pxeforge.services.context import Context
from pxeforge.services.metrics import Metrics
from pxeforge.services.readiness import Readiness
from pxeforge.services.tallies import FOLDER, Tally
from pxeforge.webapp.admin import create_admin
from pxeforge.webapp.watch import Watch, create_watch
from tests.webapp.conftest import PASSWORD, SITE

WRONG = {"database": "ok", "children": "failed", "disk": "ok"}


@pytest.fixture
def watch(ctx: Context) -> Watch:
    readiness = Readiness(ctx, ["wire"])
    return Watch(readiness, Metrics(ctx, readiness, processes=["wire"]))


def test_metrics_of_the_admin_plane_need_a_login(app: Flask) -> None:
    client = app.test_client()
    refused = client.get("/metrics", base_url=SITE)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    good = client.get("/metrics", base_url=SITE, auth=("admin", PASSWORD))
    assert good.status_code == 200
    assert good.headers["Content-Type"] == CONTENT_TYPE
    assert len(list(text_string_to_metric_families(good.get_data(as_text=True)))) > 20


def test_the_socket_and_the_listener_of_their_own_need_none(ctx: Context, watch: Watch) -> None:
    for app in (create_admin(ctx, trusted_socket=True, watch=watch), create_watch(watch)):
        reply = app.test_client().get("/metrics")
        assert reply.status_code == 200
        assert 'pxeforge_process_up{process="wire"} 0' in reply.get_data(as_text=True)


def test_the_listener_of_their_own_has_nothing_else(watch: Watch) -> None:
    assert {rule.rule for rule in create_watch(watch).url_map.iter_rules()} == {"/healthz", "/metrics", "/readyz"}
    client = create_watch(watch).test_client()
    assert client.get("/api/v1/hosts").status_code == 404
    assert client.post("/metrics").status_code == 405
    assert client.get("/healthz").get_json() == {"status": "ok"}


def test_ready_is_200_else_503_and_says_what_fails_but_not_why(ctx: Context, watch: Watch) -> None:
    client = create_admin(ctx, watch=watch).test_client()
    reply = client.get("/readyz", base_url=SITE)
    assert (reply.status_code, reply.get_json()) == (503, {"status": "not ready", "checks": WRONG})
    Tally(ctx.data_dir / FOLDER, "wire").tell({}, {})
    ready = create_admin(ctx, watch=Watch(Readiness(ctx, ["wire"]), watch.metrics)).test_client()
    reply = ready.get("/readyz", base_url=SITE)
    assert (reply.status_code, reply.get_json()["status"]) == (200, "ready")


@pytest.mark.parametrize("make", [create_admin, lambda ctx: create_admin(ctx, trusted_socket=True)])
def test_without_serve_nothing_is_ready(ctx: Context, make: Callable[[Context], Flask]) -> None:
    reply = make(ctx).test_client().get("/readyz", base_url=SITE)
    assert reply.status_code == 503


def test_the_socket_says_why(ctx: Context, watch: Watch) -> None:
    reply = create_admin(ctx, trusted_socket=True, watch=watch).test_client().get("/readyz")
    assert reply.get_json()["checks"]["children"] == "not running: wire"
