"""Plans, runs and blueprints on the pages: the matrix, doing a task again, and what is wrong in a blueprint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pxeforge.services import blueprints, claims, plans, runs, task_results
from pxeforge.services.context import Context

from .conftest import Browser
from .test_pages import OTHER_MAC, add, page, register


@pytest.fixture
def two(ctx: Context) -> list[str]:
    """Two registered hosts with roles."""
    ids = [add(ctx, "db-01", roles=["base", "mariadb"]), add(ctx, "db-02", OTHER_MAC, roles=["base"])]
    for number, host_id in enumerate(ids, 21):
        nics = [{"name": "eno1", "mac": "52:54:00:00:00:01", "addresses": [f"192.0.2.{number}/24"]}]
        register(ctx, host_id, f"192.0.2.{number}", nics=nics)
    return ids


def work(ctx: Context, ids: list[str], *, fail: str = "") -> None:
    """What the agents would do until nothing is left; the task of this name fails."""
    while True:
        claimed = [(host_id, task) for host_id in ids if (task := claims.claim(ctx, host_id)) is not None]
        if not claimed:
            return
        for host_id, task in claimed:
            status = "failed" if fail and fail in task["title"] else "changed"
            steps = [{"name": "s", "type": "file", "status": status, "output": "no space left", "duration_s": 0.1}]
            task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": status, "steps": steps})


def write_blueprint(ctx: Context, name: str, text: str) -> Path:
    folder = ctx.operator_dir / "blueprints"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


# ------------------------------------------------------------------------------------------------ plan


def test_the_plan_is_drawn_and_listed(browser: Browser, two: list[str]) -> None:
    text = page(browser, "/plan")
    drawn = re.findall(r'<g class="box s-\w+"><title>([^<]+)</title>', text)
    assert any(title.startswith("db-01: mariadb install") for title in drawn)
    assert re.findall(r'class="lane-name"[^>]*>([^<]+)<', text) == ["db-01", "db-02"]
    gathered = page(browser, "/plan?graph=tasks")
    assert "names" in gathered
    assert "× 2" in gathered


def test_the_plan_of_one_host_deploys_to_that_host_only(browser: Browser, ctx: Context, two: list[str]) -> None:
    text = page(browser, f"/plan?limit={two[1]}")
    assert "Only for db-02" in text
    digest = re.search(r'name="digest" value="(\w+)"', text)
    assert digest
    browser.post("/deploy", {"digest": digest[1], "check": "yes", "limit": two[1]})
    run = runs.show_run(ctx, runs.list_runs(ctx)[0]["id"])
    assert {task["host_name"] for task in run["tasks"]} == {"db-02"}


# ------------------------------------------------------------------------------------------------ runs


def start(browser: Browser, ctx: Context) -> str:
    return browser.post("/deploy", {"digest": plans.plan(ctx)["digest"], "check": "no"}).headers["Location"]


def test_the_matrix_tells_every_task_of_every_host(browser: Browser, ctx: Context, two: list[str]) -> None:
    path = start(browser, ctx)
    task = claims.claim(ctx, two[0])
    assert task is not None
    text = page(browser, path)
    cells = re.findall(r'<a class="cell s-(\w+)" href="#task-\w+"', text)
    run = runs.show_run(ctx, path.rpartition("/")[2])
    assert sorted(cells) == sorted(task["state"] for task in run["tasks"])
    assert cells.count("running") == 1
    assert "waits for" in text
    assert "Under way and failed" in text


def test_one_failed_task_is_done_again_with_what_waits_for_it(browser: Browser, ctx: Context, two: list[str]) -> None:
    path = start(browser, ctx)
    work(ctx, two, fail="configure")
    text = page(browser, path)
    assert "no space left" in text
    run = runs.show_run(ctx, path.rpartition("/")[2])
    failed = next(task for task in run["tasks"] if task["state"] == "failed")
    assert f'name="task" value="{failed["id"]}"' in text
    browser.post(f"{path}/resume", {"task": failed["id"]})
    states = {
        task["name"]: task["state"] for task in runs.show_run(ctx, run["id"])["tasks"] if task["host_id"] == two[0]
    }
    assert states["configure"] == states["service-user"] == "pending"
    assert states["install"] == "changed"
    work(ctx, two)
    assert runs.show_run(ctx, run["id"])["state"] == "succeeded"
    done = next(task for task in run["tasks"] if task["name"] == "names" and task["host_id"] == two[1])
    browser.post(f"{path}/resume", {"task": done["id"]})
    again = runs.show_run(ctx, run["id"])
    assert again["state"] == "running"
    assert "pending" not in {task["state"] for task in again["tasks"] if task["host_id"] == two[0]}


def test_a_task_that_is_not_of_the_run_is_refused(browser: Browser, ctx: Context, two: list[str]) -> None:
    path = start(browser, ctx)
    work(ctx, two)
    browser.post(f"{path}/resume", {"task": "nonsense"})
    assert "has no task &#39;nonsense&#39;" in page(browser, path)
    assert runs.list_runs(ctx)[0]["state"] == "succeeded"


def test_older_runs_are_on_the_next_page(
    browser: Browser, ctx: Context, two: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for _ in range(3):
        ids.append(start(browser, ctx).rpartition("/")[2])
        work(ctx, two)
        ctx.clock.now += 60  # type: ignore[attr-defined]
    monkeypatch.setattr("pxeforge.webapp.pages.runs._RUNS_SHOWN", 2)
    first = page(browser, "/runs")
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    second = page(browser, older[1].replace("&amp;", "&"))
    found = [re.findall(r'<tr id="run-(\w+)"', text) for text in (first, second)]
    assert found == [[ids[2], ids[1]], [ids[0]]]
    assert "hx-trigger" not in second.partition("<main")[2]
    page(browser, "/runs?after=nonsense")


# ------------------------------------------------------------------------------------------------ blueprints


def test_a_blueprint_shows_its_hosts_networks_and_plan(browser: Browser, ctx: Context, two: list[str]) -> None:
    assert "single-database" in page(browser, "/blueprints")
    text = page(browser, "/blueprints/single-database")
    assert "192.0.2.0/24" in text
    assert f'href="/hosts/{two[0]}"' in text
    assert "mariadb_max_connections = <b>500</b>" in text
    assert 'href="/plan?blueprint=single-database"' in text
    plan = page(browser, "/plan?blueprint=single-database")
    assert "Plan of single-database" in plan
    digest = re.search(r'name="digest" value="(\w+)"', plan)
    assert digest
    form = {"digest": digest[1], "check": "yes", "blueprint": "single-database"}
    browser.post("/deploy", form)
    assert runs.list_runs(ctx)[0]["blueprint"] == "single-database"


LAID = """\
name: laid
summary: s
extends: single-database
release: debian-12-zed
networks:
  api: {cidr: 192.0.2.0/24, vlan: 7, gateway: 192.0.2.254, purposes: [api, storage]}
vips:
  cloud: {address: 192.0.2.250, network: api, roles: [mariadb]}
tolerance: {mariadb: 10%}
hosts:
  - {count: 1, roles: [haproxy, mariadb], zone: az1, nics: {provider: eth7}, disks: {data: {min_gb: 5}}}
"""


def test_a_blueprint_tells_its_networks_vips_places_and_losses(browser: Browser, ctx: Context, two: list[str]) -> None:
    write_blueprint(ctx, "laid", LAID)
    text = page(browser, "/blueprints/laid")
    for said in ("192.0.2.0/24", "VLAN 7", "gateway 192.0.2.254", "for api, storage", "192.0.2.250", "debian-12-zed"):
        assert said in text, said
    for said in ("zone az1", "eth7", "5 GB or more", "10 %"):
        assert said in text, said


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("name: own\nsummary: s\nhosts:\n  - count: 1\n    roles: [nope]\n", 5, "there is no role nope"),
        ("name: own\nsummary: s\nhosts:\n  - match: {name: 'x*'}\n    roles: [base]\n", 4, "this rule matches no host"),
        ("name: own\nsummary: s\nhosts:\n  - count: 9\n    roles: [base]\n", 4, "9 hosts are asked for and 2 are free"),
        ("name: [", 1, ""),
        ("", 1, ""),
    ],
)
def test_what_is_wrong_in_a_blueprint_is_told_at_its_line_with_the_remedy(
    browser: Browser, ctx: Context, two: list[str], text: str, line: int, said: str
) -> None:
    path = write_blueprint(ctx, "own", text)
    shown = page(browser, "/blueprints/own")
    [first, *_] = blueprints.show(ctx, "own")["findings"]
    assert (first["file"], first["line"]) == (str(path), line)
    assert first["fix"]
    assert said in shown
    assert f'href="#L{line}"' in shown
    assert "finding" in page(browser, "/blueprints")


def test_a_blueprint_that_nobody_has_is_not_found(browser: Browser) -> None:
    page(browser, "/blueprints/nope", 404)
    page(browser, "/plan?blueprint=nope", 404)


def test_what_a_blueprint_says_is_never_markup(browser: Browser, ctx: Context, two: list[str]) -> None:
    evil: Any = "<script>alert(1)</script>"
    write_blueprint(ctx, "own", f"name: own\nsummary: '{evil}'\nhosts:\n  - count: 1\n    roles: [base]\n")
    assert evil not in page(browser, "/blueprints/own")
    assert evil not in page(browser, "/blueprints")
