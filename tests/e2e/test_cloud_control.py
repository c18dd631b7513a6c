"""The control plane of OpenStack on one real Debian: deployed, proven, deployed again, and missed when it is gone."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.browser import CHROMIUM, WAIT_MS, chromium, needs_chromium
from tests.e2e.cloud_trial import skip_without_mirror
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand, pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
]  # fmt: skip
ROLES = (
    *("mariadb", "rabbitmq", "memcached", "keystone", "openrc", "placement", "glance", "nova-controller", "horizon"),
)
UNITS = (
    *("mariadb", "rabbitmq-server", "memcached", "keystone", "placement-api", "glance-api", "nova-api", "apache2"),
    *("nova-api-metadata", "nova-conductor", "nova-scheduler", "nova-novncproxy"),
)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One host with the whole control plane; how long that took is printed."""
    skip_without_mirror()
    folder = tmp_path_factory.mktemp(f"control-{request.param}")
    with Cloud(folder, cache=CACHE, suite=request.param, names=["c1"], name="control") as cloud:
        cloud.pxeforge("host", "assign", "c1", *ROLES)
        began = time.monotonic()
        assert tally(cloud, "deploy")["failed"] == 0
        print(f"\n{request.param}: the control plane from an empty Debian in {time.monotonic() - began:.0f} s")
        yield cloud


def tally(cloud: Cloud, *words: str) -> dict[str, int]:
    """How many tasks ended how."""
    told = json.loads(cloud.pxeforge(*words, "--json", check=False))
    states = [task["state"] for task in told["tasks"]]
    return {state: states.count(state) for state in ("ok", "changed", "failed", "blocked")}


def failing(cloud: Cloud) -> set[str]:
    """The checks of the control plane that fail, as `role.check`."""
    told = json.loads(cloud.pxeforge("verify", "--json", check=False))
    return {task["planned_id"].partition("@")[0] for task in told["tasks"] if task["state"] == "failed"}


def on_host(cloud: Cloud, command: str) -> str:
    return cloud.system("c1").run(["sh", "-c", command], timeout_s=120).stdout


def test_every_check_of_the_control_plane_holds(cloud: Cloud) -> None:
    """A-09, A-10, A-14, A-15, A-16, A-28: what they ask for are the roles' own checks."""
    assert failing(cloud) == set()
    log = on_host(cloud, "cat /var/log/apache2/horizon-error.log")
    assert 'Login successful for user "admin"' in log


def test_what_should_run_runs_and_what_should_not_does_not(cloud: Cloud) -> None:
    """A-56, and that it will after a reboot: of many packages the units are not enabled."""
    for unit in UNITS:
        assert on_host(cloud, f"systemctl is-active {unit}; systemctl is-enabled {unit}").split() == [
            "active",
            "enabled",
        ]
    for unit in ("nova-serialproxy", "nova-spicehtml5proxy"):
        assert on_host(cloud, f"systemctl is-active {unit}; true").split() == ["inactive"]


def test_nothing_listens_for_everybody(cloud: Cloud) -> None:
    ports = (3306, 5000, 5672, 8774, 8775, 8778, 9292, 11211, 15672, 80, 6080)
    listening = [line.split()[3] for line in on_host(cloud, "ss -Hltn").splitlines()]
    address = str(cloud.system("c1").site.address)
    for port in ports:
        assert [where for where in listening if where.endswith(f":{port}")] == [f"{address}:{port}"]


def test_a_second_deploy_changes_nothing(cloud: Cloud) -> None:
    """A-58."""
    began = time.monotonic()
    found = tally(cloud, "deploy")
    print(f"\na second deploy took {time.monotonic() - began:.0f} s: {found}")
    assert found["ok"] > 40
    assert not found["changed"] | found["failed"] | found["blocked"]


def browser_of_the_rack(cloud: Cloud, folder: Path) -> str:
    """A program that becomes Chromium in the rack's namespace, from where the dashboard can be reached."""
    program = folder / "chromium"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(cloud.rack.inside([str(CHROMIUM)]))} "$@"\n')
    program.chmod(0o755)
    return str(program)


def dashboard(browser: Any, cloud: Cloud) -> Any:
    """A page of a visitor with an own session; what goes wrong in it or does not load is in `page.mistakes`."""
    context = browser.new_context(base_url=f"http://{cloud.system('c1').site.address}")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.mistakes = []
    page.on("pageerror", lambda error: page.mistakes.append(str(error)))
    page.on("requestfailed", lambda sent: page.mistakes.append(f"{sent.url}: {sent.failure}"))
    page.on(
        "response", lambda told: page.mistakes.append(f"{told.url} is {told.status}") if told.status >= 400 else None
    )
    return page


def log_in(page: Any, password: str) -> None:
    page.goto("/horizon/identity/users/")
    page.get_by_label("User Name").fill("admin")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Domain").fill("Default")
    page.get_by_role("button", name="Sign In").click()


@needs_chromium
def test_the_administrator_comes_into_the_dashboard_with_a_browser(cloud: Cloud, tmp_path: Path) -> None:
    """A-28: forms, scripts and styles as people have them."""
    password = on_host(cloud, '. /root/admin-openrc; printf %s "$OS_PASSWORD"')
    with chromium(browser_of_the_rack(cloud, tmp_path)) as browser:
        page = dashboard(browser, cloud)
        log_in(page, f"{password}-not")
        page.get_by_text("Invalid credentials").wait_for()
        assert "/auth/login" in page.url
        log_in(page, password)
        page.wait_for_url("**/horizon/identity/users/")
        for user in ("admin", "demo", "glance", "nova"):
            page.locator("#users").get_by_role("link", name=user, exact=True).wait_for()
        page.goto("/horizon/project/images")
        page.get_by_role("button", name="Create Image").wait_for()  # drawn by a script, from what glance told it
        page.goto("/horizon/admin/info/")
        page.locator("#services").get_by_text("placement", exact=True).first.wait_for()
        page.goto("/horizon/auth/logout/")
        page.goto("/horizon/identity/users/")
        page.wait_for_url("**/horizon/auth/login/**")
        assert page.mistakes == []


DATABASE_READERS = ("keystone.tokens", "glance.image", "placement.database-read", "nova-controller.services")


@pytest.mark.parametrize(
    ("unit", "noticed"),
    [
        ("mariadb", {"mariadb.round-trip", *DATABASE_READERS}),
        ("rabbitmq-server", {"rabbitmq.queue", "nova-controller.services"}),
    ],
)
def test_a_service_that_others_need_is_missed_although_their_units_are_active(
    cloud: Cloud, unit: str, noticed: set[str]
) -> None:
    on_host(cloud, f"systemctl stop {unit}")
    try:
        found = failing(cloud)
        for other in ("keystone", "glance-api", "nova-api", "nova-conductor"):
            assert on_host(cloud, f"systemctl is-active {other}").strip() == "active"
    finally:
        on_host(cloud, f"systemctl start {unit}")
    assert noticed <= found
    # A deploy sets right what it finds, and all is well again.
    assert tally(cloud, "deploy")["failed"] == 0
    assert failing(cloud) == set()
