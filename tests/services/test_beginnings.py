"""Deploys that begin in the middle: what stands before counts as done, and nothing is left out in silence."""

from __future__ import annotations

import pytest

from pxeforge.services import beginnings, deploys, events, plans
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import Host
from tests.conftest import Clock
from tests.services.small_roles import DATABASE, SERVICE, add_host, give_roles, seen, work

pytestmark = pytest.mark.both_databases


@pytest.fixture
def site(ctx: Context) -> Context:
    """n1 and n2 have the database, n3 the service that waits for it; n2 something that stands beside."""
    beside = "name: tbeside\nsummary: s\ntasks:\n  - name: install\n    steps:\n      - packages: {names: [beside]}\n"
    give_roles(ctx, DATABASE, SERVICE, beside)
    add_host(ctx, 1, "tdatabase")
    add_host(ctx, 2, "tdatabase", "tbeside")
    add_host(ctx, 3, "tservice")
    return ctx


def done_by(ctx: Context, from_step: str) -> tuple[set[str], list[beginnings.LeftOut]]:
    run = deploys.deploy(ctx, from_step=from_step, who="test")
    seen(ctx, *(f"{number:012x}" for number in (1, 2, 3)))
    work(ctx, *(f"{number:012x}" for number in (1, 2, 3)))
    return {task["planned_id"] for task in run["tasks"]}, run["left_out"]


def test_what_stands_before_is_left_out_and_told_and_the_rest_is_done(site: Context) -> None:
    tasks, left_out = done_by(site, "tservice")
    assert tasks == {"tservice.install@n3", "tbeside.install@n2"}
    assert {one["task"] for one in left_out} == {
        f"tdatabase.{task}@{host}" for host in ("n1", "n2") for task in ("install", "configure")
    }
    assert {one["done_at"] for one in left_out} == {None}


def test_a_task_of_one_host_or_of_all_is_a_beginning(site: Context) -> None:
    tasks, left_out = done_by(site, "tdatabase.configure")
    assert [one["task"] for one in left_out] == ["tdatabase.install@n1", "tdatabase.install@n2"]
    assert "tdatabase.configure@n2" in tasks
    tasks, left_out = done_by(site, "tdatabase.configure@n1")
    assert [one["task"] for one in left_out] == ["tdatabase.install@n1"]
    assert "tdatabase.install@n2" in tasks
    assert "tservice.install@n3" in tasks


def test_nothing_stands_before_a_first_task(site: Context) -> None:
    tasks, left_out = done_by(site, "tdatabase")
    assert (len(tasks), left_out) == (6, [])


def test_it_is_told_whether_a_deploy_did_it_on_this_install(site: Context, clock: Clock) -> None:
    done_by(site, "tdatabase")
    done = {one["task"]: one["done_at"] for one in plans.plan(site, from_step="tservice")["left_out"]}
    assert set(done.values()) == {site.clock()}
    clock.now += 100
    with site.database.write() as session:
        session.get_one(Host, f"{1:012x}").registered_at = site.clock()  # installed anew
    again = {one["task"]: one["done_at"] for one in plans.plan(site, from_step="tservice")["left_out"]}
    assert again["tdatabase.install@n1"] is None
    assert again["tdatabase.install@n2"] == done["tdatabase.install@n2"]


def test_a_name_that_is_in_no_plan_is_refused_with_the_nearest_ones_and_nothing_starts(site: Context) -> None:
    for wrong, said in (("tservce", "did you mean tservice"), ("tdatabase.instal@n1", "tdatabase.install@n1"),
                        ("xxxxxxxxx", "its roles are tbeside, tdatabase, tservice")):  # fmt: skip
        with pytest.raises(NotFound, match=said):
            deploys.deploy(site, from_step=wrong, who="test")
        with pytest.raises(NotFound, match=said):
            plans.plan(site, from_step=wrong)
    with pytest.raises(NotFound, match="nothing in the plan"):  # a check is no task of a deploy
        deploys.deploy(site, from_step="tdatabase.round-trip", who="test")
    assert not [one for one in events.recent(site, limit=50) if one["kind"] == "run_started"]


def test_the_audit_log_has_what_was_left_out(site: Context) -> None:
    done_by(site, "tdatabase.configure@n1")
    [started] = [one for one in events.recent(site, limit=50) if one["kind"] == "run_started" and not one["host_id"]]
    assert "from tdatabase.configure@n1 on: 1 tasks before it count as done" in started["message"]
    assert started["data"]["after"]["counts as done"] == ["tdatabase.install@n1"]
