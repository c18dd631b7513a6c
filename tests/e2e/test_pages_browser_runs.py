"""Chromium on the real server: first login, a host's course and log, a run that goes on, pages that all can read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.lifecycle import Signal
from pxeforge.domain.user_role import UserRole
from pxeforge.services import (
    accounts,
    arming,
    claims,
    events,
    hosts,
    installer_log,
    plans,
    profiles,
    runs,
    task_results,
)
from pxeforge.services.context import Context
from pxeforge.store.tables import AgentCredential, Host
from tests.conftest import ACCOUNT, FACTS, MAC, write_image

from .browser import PASSWORD, PICTURES, WAIT_MS, Site, chromium, faults, log_in, needs_chromium, new_page, site_in

pytestmark = [needs_chromium, pytest.mark.timeout(1800)]
OWN = "four words of mine"
HARDWARE = {
    **FACTS, "hostname": "db-01", "ram_bytes": 128 << 30, "vendor": "Dell Inc.", "product": "PowerEdge R650",
    "cpu": {"model": "Intel(R) Xeon(R) Gold 6338", "count": 32, "flags": ["vmx"]}, "secure_boot": True,
    "disks": [{"name": "nvme0n1", "size_bytes": 960197124096, "serial": "S6ESNX0T", "model": "SAMSUNG MZQL2960",
               "rotational": False, "system": True}],
    "nics": [{"name": "eno1", "mac": MAC, "addresses": ["192.0.2.50/24"], "link": True, "physical": True}],
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with a database host that was installed an hour ago, and more hosts with roles."""
    with site_in(tmp_path_factory.mktemp("site")) as one:
        fill(one)
        yield one


def fill(site: Site) -> None:
    ctx, clock = site.ctx, site.clock
    clock.ahead = -4000
    site.add_user("admin")
    write_image(ctx.data_dir)
    profiles.create(ctx, "debian-13", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="admin")
    host_id = hosts.add(ctx, macs=[MAC], name="db-01", tags=["rack-a"], roles=["base", "mariadb"], who="admin")["id"]
    arming.arm(ctx, "db-01", profile="debian-13", who="admin")
    clock.ahead += 95
    move(ctx, host_id, Signal.MENU_FETCHED, "menu fetched by 192.0.2.50")
    clock.ahead += 14
    move(ctx, host_id, Signal.ANSWERS_FETCHED, "answers fetched by 192.0.2.50: installing")
    for step, took in (
        ("netcfg", 7),
        ("partman-base", 18),
        ("bootstrap-base", 96),
        ("pkgsel", 110),
        ("grub-installer", 9),
    ):
        clock.ahead += took
        say(ctx, host_id, "installer_step", f"d-i: {step}")
    clock.ahead += 30
    move(ctx, host_id, Signal.FINISHED, "the installer has finished")
    clock.ahead += 12
    move(ctx, host_id, Signal.REGISTER, "registered from 192.0.2.50")
    register(ctx, host_id, "192.0.2.50", HARDWARE)
    clock.ahead += 35
    say(ctx, host_id, "agent_connected", "its agent has connected", source="agent")
    for number in range(2, 5):
        mac = f"52:54:00:00:00:{number:02x}"
        other = hosts.add(ctx, macs=[mac], name=f"node-{number:02}", roles=["base"], who="admin")["id"]
        nics = [{"name": "eno1", "mac": mac, "addresses": [f"192.0.2.{50 + number}/24"]}]
        register(ctx, other, f"192.0.2.{50 + number}", {**HARDWARE, "hostname": f"node-{number:02}", "nics": nics})
    clock.ahead = 0.0


def move(ctx: Context, host_id: str, signal: Signal, message: str) -> None:
    with ctx.database.write() as session:
        hosts.move(session, ctx, session.get_one(Host, host_id), signal, source="http", message=message)


def say(ctx: Context, host_id: str, kind: str, message: str, source: str = "installer") -> None:
    with ctx.database.write() as session:
        events.record(session, ctx, host_id=host_id, source=source, kind=kind, message=message)


def register(ctx: Context, host_id: str, address: str, facts: dict[str, Any]) -> None:
    """The rest of a registration, which the wire would do."""
    with ctx.database.write() as session:
        host = session.get_one(Host, host_id)
        host.state, host.address, host.facts, host.registered_at = "registered", address, facts, ctx.clock()
        session.add(AgentCredential(host_id=host_id, digest=host_id, issued_at=ctx.clock(), seen_at=ctx.clock()))


def step_on(ctx: Context, names: tuple[str, ...], *, fail: str = "") -> bool:
    """One task of each host, as its agent does it; whether there was any."""
    worked = False
    for name in names:
        host_id = hosts.show(ctx, name)["id"]
        task = claims.claim(ctx, host_id)
        if task is None:
            continue
        worked, status = True, "failed" if fail and fail in task["title"] else "changed"
        output = "E: Unable to locate package" if status == "failed" else ""
        steps = [{"name": one["name"], "type": one["type"], "status": status, "output": output, "duration_s": 0.4}
                 for one in task["steps"][: 1 if status == "failed" else None]]  # fmt: skip
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": status, "steps": steps})
    return worked


def shot(page: Any, name: str) -> None:
    """Into the docs, when they are to be made anew."""
    if os.environ.get("PXEFORGE_RENEW_PICTURES"):
        page.screenshot(path=PICTURES / f"{name}.png")


NAMES = ("db-01", "node-02", "node-03", "node-04")


def test_at_the_first_login_the_password_is_changed(browser: Any, tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        once = accounts.ensure_admin(site.ctx)
        assert once is not None
        page = new_page(browser, site)
        page.goto("/settings")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(once)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/password**")
        assert faults(page) == []
        shot(page, "first-password")
        page.get_by_label("The password you came in with").fill(once)
        for weak, said in (("password2026", "tried first"), (OWN, "")):
            page.get_by_label("New password", exact=True).fill(weak)
            page.get_by_label("New password again").fill(weak)
            page.get_by_label("The password you came in with").fill(once)
            page.get_by_role("button", name="Change password").click()
            if said:
                page.get_by_role("alert").filter(has_text=said).wait_for()
        page.wait_for_url("**/settings")
        assert page.mistakes == []
        again = new_page(browser, site, script=False)  # the essentials need no JavaScript
        log_in(again, "admin", OWN)
        again.goto("/hosts")
        assert again.get_by_role("heading", name="Hosts", exact=True).is_visible()


def test_the_course_of_a_host_is_drawn_and_told(browser: Any, site: Site) -> None:
    page = new_page(browser, site)
    log_in(page)
    page.goto("/hosts/db-01")
    chart = page.get_by_role("table", name="Newest stages")
    stages = chart.get_by_role("rowheader").all_inner_texts()
    assert [one.replace("\n", "") for one in stages][:3] == ["armed", "menu", "installer"]
    bars = chart.locator("tbody rect")
    assert bars.count() == len(stages)
    boxes = [bar.bounding_box() for bar in bars.all()]
    for before, after in pairwise(boxes):
        assert after["x"] >= before["x"] + before["width"] - 3  # one begins where the one before ends
    assert max(boxes, key=lambda box: box["width"])["width"] > 5 * min(box["width"] for box in boxes)
    shot(page, "host-page")
    page.get_by_role("link", name="operator", exact=True).click()
    page.wait_for_url("**source=operator**")
    assert "armed for debian-13" in page.locator(".timeline").inner_text()
    assert "installing" not in page.locator(".timeline").inner_text()
    assert page.mistakes == []


def test_the_installers_log_goes_on_while_it_is_looked_at(browser: Any, site: Site) -> None:
    path = installer_log.log_path(site.ctx, hosts.show(site.ctx, "node-03")["id"])
    path.parent.mkdir(parents=True)
    page = new_page(browser, site)
    log_in(page)
    page.goto("/hosts/node-03/log")
    page.get_by_text("Nothing was logged yet").wait_for()
    for number in range(120):
        with path.open("a") as stream:
            stream.write(f"{site.clock():.3f} in-target: line {number} of it\n")
        if number == 60:
            page.get_by_text("line 60 of it").wait_for()
    page.get_by_text("line 119 of it").wait_for()
    page.wait_for_function(
        "() => { const e = document.getElementById('tail');"
        " return e.scrollTop + e.clientHeight >= e.scrollHeight - 40 }"
    )
    text = page.locator("#tail").inner_text()
    assert [int(number) for number in re.findall(r"line (\d+) of it", text)] == list(range(120))
    assert page.mistakes == []


def test_a_run_is_followed_to_its_failure_and_one_task_done_again(browser: Any, site: Site) -> None:
    page = new_page(browser, site)
    log_in(page)
    page.goto("/plan")
    assert page.locator(".graph .box").count() == len(plans.plan(site.ctx)["tasks"])
    shot(page, "plan")
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url("**/runs/*")
    over = page.get_by_role("status").filter(has_text="tasks are over")
    over.filter(has_text="0 of").wait_for()
    assert step_on(site.ctx, NAMES)
    over.filter(has_text="4 of").wait_for()  # without a reload
    page.evaluate("window.same = true")
    while step_on(site.ctx, NAMES, fail="configure"):
        pass
    page.locator("h1 .badge").filter(has_text="failed").wait_for()
    assert page.evaluate("window.same") is True
    assert "Unable to locate package" in page.locator("#now-title").locator("..").inner_text()
    assert page.locator(".matrix .cell.s-failed").count() == 1
    assert page.locator(".matrix .cell.s-blocked").count() >= 1
    shot(page, "run")
    page.get_by_role("button", name=re.compile("Do mariadb configure on db-01 again")).first.click()
    page.locator("h1 .badge").filter(has_text="running").wait_for()
    while step_on(site.ctx, NAMES):
        pass
    page.locator("h1 .badge").filter(has_text="succeeded").wait_for()
    assert page.mistakes == []


def test_a_page_that_is_open_while_the_server_restarts_goes_on(browser: Any, site: Site) -> None:
    page = new_page(browser, site)
    log_in(page)
    page.goto("/hosts/node-04")
    site.stop()
    page.locator("#offline").wait_for(state="visible")
    site.start()
    say(site.ctx, hosts.show(site.ctx, "node-04")["id"], "said", "the server is back")
    page.get_by_text("the server is back").wait_for()
    page.locator("#offline").wait_for(state="hidden")


def test_a_viewer_sees_no_button_that_would_be_refused(browser: Any, site: Site) -> None:
    site.add_user("eve", UserRole.VIEWER)
    page = new_page(browser, site)
    log_in(page, "eve")
    for path in ("/hosts/db-01", "/plan", "/runs", "/blueprints/single-database", "/settings"):
        page.goto(path)
        main = page.locator("main")
        assert main.get_by_role("button").count() == 0, path
        assert main.locator("a.button.danger").count() == 0, path
    page.goto("/hosts/db-01/end/forget")
    assert "needs the role operator" in page.locator("main").inner_text()


PAGES = (
    "/hosts/db-01", "/hosts/node-03/log", "/hosts/node-02/end/retire", "/hosts/node-02/end/wipe", "/plan",
    "/plan?graph=tasks", "/runs", "/blueprints", "/blueprints/single-database", "/users", "/audit", "/settings",
    "/health", "/events",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_everybody_can_read_the_pages(browser: Any, site: Site, scheme: str, width: int) -> None:
    page = new_page(browser, site, scheme=scheme, width=width)
    log_in(page)
    last = runs.list_runs(site.ctx)
    found = {}
    for path in (*PAGES, *(f"/runs/{run['id']}" for run in last[:1])):
        page.goto(path)
        wrong = faults(page)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        wrong += [f"wider than the screen by {wide}"] if wide > 0 else []
        if wrong:
            found[path] = wrong
    assert found == {}
    assert page.mistakes == []


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(browser: Any, site: Site) -> None:
    page = new_page(browser, site)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    log_in(page)
    for path in PAGES:
        page.goto(path)
    assert asked
    assert {url for url in asked if not url.startswith((site.url, "data:"))} == set()
    assert page.mistakes == []  # the policy's refusals would be among them


def test_a_password_that_the_admin_made_leads_to_the_form(browser: Any, site: Site) -> None:
    accounts.add(site.ctx, "zoe", PASSWORD, role=UserRole.OPERATOR, who="admin")
    page = new_page(browser, site)
    log_in(page)
    page.goto("/users")
    row = page.get_by_role("row").filter(has_text="zoe")
    row.get_by_text("Change", exact=True).click()
    row.get_by_role("button", name="Make a password for zoe").click()
    once = page.locator("#once-password").inner_text()
    other = new_page(browser, site)
    log_in(other, "zoe", once)
    other.wait_for_url("**/password**", timeout=WAIT_MS)
