"""What happens to runs beside the straight way: losses, tries, silence, history, removal, timers, restarts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from pxeforge.services import (
    absent_agents,
    audit,
    check_results,
    claims,
    deployed_roles,
    deploys,
    drift,
    events,
    hosts,
    plans,
    run_timer,
    runs,
    task_results,
)
from pxeforge.services.agents import LONGEST_POLL_S, POLL_S
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from pxeforge.services.run_progress import KnownRuns
from pxeforge.services.run_timer import RunTimer
from tests.conftest import Clock
from tests.services.small_roles import add_host, do_next, give_roles, seen, work

pytestmark = pytest.mark.both_databases
BLUEPRINT = """\
name: three
summary: three hosts
hosts:
  - {count: 3, roles: [tdatabase]}
tolerance: {tdatabase: 1}
"""


@pytest.fixture
def one(ctx: Context) -> str:
    give_roles(ctx)
    return add_host(ctx, 1, "tdatabase")


@pytest.fixture
def three(ctx: Context) -> list[str]:
    give_roles(ctx)
    (ctx.operator_dir / "blueprints").mkdir(parents=True)
    (ctx.operator_dir / "blueprints" / "three.yaml").write_text(BLUEPRINT)
    return [add_host(ctx, number) for number in (1, 2, 3)]


def told(ctx: Context, host_id: str) -> list[str]:
    return [event["message"] for event in events.timeline(ctx, host_id)]


def test_a_run_that_loses_a_host_it_may_lose_succeeds_and_names_it(ctx: Context, three: list[str]) -> None:
    run = deploys.deploy(ctx, blueprint="three", who="ann")
    work(ctx, *three[:2])
    for _ in range(3):
        do_next(ctx, three[2], "failed", "no such package")
        ctx.clock.now += 600  # type: ignore[attr-defined]
    ended = runs.show_run(ctx, run["id"])
    assert ended["state"] == "succeeded"
    assert [(loss["host_name"], loss["task"]) for loss in ended["losses"]] == [("n3", "tdatabase.install@n3")]
    assert "no such package" in ended["losses"][0]["why"]
    assert [hosts.show(ctx, name)["state"] for name in ("n1", "n2", "n3")] == ["ready", "ready", "failed"]
    deploys.resume(ctx, run["id"], who="ann")
    work(ctx, *three)
    assert runs.show_run(ctx, run["id"])["losses"] == []


def test_a_run_that_loses_more_than_it_may_has_failed(ctx: Context, three: list[str]) -> None:
    run = deploys.deploy(ctx, blueprint="three", who="ann")
    for _ in range(3):
        for host_id in three[1:]:
            do_next(ctx, host_id, "failed")
        ctx.clock.now += 600  # type: ignore[attr-defined]
    work(ctx, *three)
    ended = runs.show_run(ctx, run["id"])
    assert (ended["state"], ended["losses"]) == ("failed", [])


def test_a_task_that_may_be_tried_again_is_after_a_pause(ctx: Context, one: str, clock: Clock) -> None:
    run = deploys.deploy(ctx, who="ann")
    first = do_next(ctx, one, "failed", "mirror gone")
    assert first is not None
    assert claims.claim(ctx, one) is None
    task = runs.show_run(ctx, run["id"])["tasks"][0]
    assert (task["state"], task["tries"]) == ("pending", 1)
    assert "tried again in 10 s" in task["waiting_for"]
    clock.now += 11
    again = do_next(ctx, one)
    assert again is not None
    assert again["task_id"] == first["task_id"]
    assert any("mirror gone; tried again in 10 s (1 of 2)" in message for message in told(ctx, one))


def test_a_task_out_of_tries_has_failed(ctx: Context, one: str, clock: Clock) -> None:
    run = deploys.deploy(ctx, who="ann")
    for _ in range(3):
        assert do_next(ctx, one, "failed") is not None
        clock.now += 600
    assert runs.show_run(ctx, run["id"])["state"] == "failed"


def test_the_limit_of_a_resource_is_a_setting(ctx: Context, three: list[str]) -> None:
    narrow = replace(ctx, limits={"mirror": 1}, runs=KnownRuns())
    run = deploys.deploy(narrow, blueprint="three", who="ann")
    assert claims.claim(narrow, three[0]) is not None
    assert claims.claim(narrow, three[1]) is None
    waiting = next(task for task in runs.show_run(narrow, run["id"])["tasks"] if task["planned_id"].endswith("@n2"))
    assert "free place at mirror (limit 1)" in waiting["waiting_for"]


def test_why_tells_who_holds_the_lease_what_was_said_and_how_long_it_takes_here(
    ctx: Context, one: str, clock: Clock
) -> None:
    deploys.deploy(ctx, who="ann")
    for _ in range(2):
        task = claims.claim(ctx, one)
        assert task is not None
        clock.now += 40
        task_results.finish(ctx, one, task["task_id"], task["fence"], {"status": "changed", "steps": []})
    other = add_host(ctx, 2, "tservice")
    run = deploys.deploy(ctx, who="ann")
    task = claims.claim(ctx, one)
    assert task is not None
    said = [{"step": "install", "status": "running", "message": "Unpacking tdb-server", "at": 1.0}]
    claims.renew(ctx, one, task["task_id"], task["fence"], said)
    clock.now += 12
    found = runs.why(ctx, run["id"], "tservice.install@n2")
    [holder] = found["held_by"]
    assert (holder["host_name"], holder["running_s"], holder["usual_s"]) == ("n1", 12.0, 40.0)
    assert holder["said"] == "install: Unpacking tdb-server"
    assert "waits for" in found["sentence"]
    whole = runs.why(ctx, run["id"])
    assert "1 task(s) under way" in whole["sentence"]
    waiting = runs.show_run(ctx, run["id"])["tasks"]
    second = next(task for task in waiting if task["planned_id"] == "tdatabase.configure@n1")
    assert "held by n1 for 12 s of usually 40 s, last said: install: Unpacking tdb-server" in second["waiting_for"]
    assert second["usual_s"] == 40.0
    assert claims.claim(ctx, other) is None


def test_a_host_whose_tasks_wait_for_those_of_others_is_told_to_ask_again_soon(ctx: Context, one: str) -> None:
    other, bystander = add_host(ctx, 2, "tservice"), add_host(ctx, 3)
    deploys.deploy(ctx, who="ann")
    for host_id in (other, bystander):
        assert claims.claim(ctx, host_id) is None
    soon_s = claims.ask_again_s(ctx, other)
    assert soon_s is not None
    assert soon_s < POLL_S
    assert claims.ask_again_s(ctx, bystander) is None
    work(ctx, one, other)
    assert [claims.claim(ctx, host_id) for host_id in (one, other)] == [None, None]
    assert [claims.ask_again_s(ctx, host_id) for host_id in (one, other)] == [None, None]


@pytest.mark.parametrize(
    ("hosts_of_the_run", "agents", "expected"),
    [
        (2, 2, 0.2), (100, 100, 0.5), (1000, 1000, 5.0), (1000, 100, POLL_S), (5000, 5000, LONGEST_POLL_S),
        (None, 100, None), (None, 1000, 5.0), (None, 5000, LONGEST_POLL_S),
    ],
)  # fmt: skip
def test_the_more_hosts_there_are_the_seldomer_each_asks(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, hosts_of_the_run: int | None, agents: int, expected: float | None
) -> None:
    monkeypatch.setattr(ctx.database, "look_up", lambda asked: [(agents,)] if "count" in asked else [("r", 1)])
    monkeypatch.setattr(ctx.runs, "waits_among", lambda *_: hosts_of_the_run)
    assert claims.ask_again_s(ctx, "h") == expected


def test_a_run_whose_agent_never_comes_ends_with_its_name(ctx: Context, one: str, clock: Clock) -> None:
    run = deploys.deploy(ctx, who="ann")
    clock.now += 1700
    assert absent_agents.give_up(ctx) == 0
    clock.now += 200
    assert absent_agents.give_up(ctx) == 1
    ended = runs.show_run(ctx, run["id"])
    assert ended["state"] == "failed"
    assert "nothing was heard of the agent of n1 for" in ended["tasks"][0]["result"]["steps"][0]["message"]
    assert hosts.show(ctx, "n1")["state"] == "failed"


def test_an_agent_that_works_is_not_given_up(ctx: Context, one: str, clock: Clock) -> None:
    deploys.deploy(ctx, who="ann")
    clock.now += 5000
    seen(ctx, one)
    assert absent_agents.give_up(ctx) == 0
    assert claims.claim(ctx, one) is not None
    clock.now += 5000  # a task in hand has its lease
    assert absent_agents.give_up(ctx) == 0


def test_a_host_that_never_comes_may_be_lost(ctx: Context, three: list[str], clock: Clock) -> None:
    run = deploys.deploy(ctx, blueprint="three", who="ann")
    work(ctx, *three[:2])
    clock.now += 1900
    assert absent_agents.give_up(ctx) == 1
    ended = runs.show_run(ctx, run["id"])
    assert ended["state"] == "succeeded"
    assert [loss["host_name"] for loss in ended["losses"]] == ["n3"]


def test_a_host_that_reboots_keeps_its_task(ctx: Context, one: str, clock: Clock) -> None:
    deploys.deploy(ctx, who="ann")
    task = claims.claim(ctx, one)
    assert task is not None
    said = [{"step": "kernel", "status": "running", "message": "the host reboots: a new kernel"}]
    claims.renew(ctx, one, task["task_id"], task["fence"], said)
    clock.now += 600
    assert claims.expire_leases(ctx) == 0
    claims.renew(ctx, one, task["task_id"], task["fence"], [])
    clock.now += claims.LEASE_S + 1
    assert claims.expire_leases(ctx) == 1


def test_the_usual_time_is_the_last_one_on_this_host_or_that_of_a_change_elsewhere(
    ctx: Context, three: list[str], clock: Clock
) -> None:
    for host_id, took, status in ((three[0], 50, "changed"), (three[1], 70, "changed")):
        deploys.deploy(ctx, blueprint="three", limit=[host_id], who="ann")
        while (task := claims.claim(ctx, host_id)) is not None:
            clock.now += took
            task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": status, "steps": []})
    deploys.deploy(ctx, blueprint="three", limit=[three[0]], who="ann")
    while (task := claims.claim(ctx, three[0])) is not None:
        clock.now += 1
        task_results.finish(ctx, three[0], task["task_id"], task["fence"], {"status": "ok", "steps": []})
    found = runs.show_run(ctx, deploys.deploy(ctx, blueprint="three", who="ann")["id"])
    usual = {task["host_name"]: task["usual_s"] for task in found["tasks"] if task["name"] == "install"}
    assert usual == {"n1": 1.0, "n2": 70.0, "n3": 60.0}
    assert found["left_s"] == 140.0


def test_a_role_that_was_taken_away_is_removed_when_asked(ctx: Context, one: str) -> None:
    deploys.deploy(ctx, who="ann")
    work(ctx, one)
    assert [row["role"] for row in deployed_roles.show(ctx)] == ["tdatabase"]
    add_host(ctx, 2, "tservice")
    hosts.unassign(ctx, "n1", ["tdatabase"], who="ann")
    shown = plans.plan(ctx)
    assert [(row["host_name"], row["roles"], row["removed"]) for row in shown["leftover"]] == [
        ("n1", ["tdatabase"], False)
    ]
    assert not any(task["kind"] == "remove" for task in shown["tasks"])
    with_removal = plans.plan(ctx, remove_unassigned=True)
    assert [task["id"] for task in with_removal["tasks"] if task["kind"] == "remove"] == ["tdatabase.purge@n1"]
    assert with_removal["digest"] != shown["digest"]
    deploys.deploy(ctx, remove_unassigned=True, limit=["n1"], who="ann")
    assert work(ctx, one) == ["tdatabase: purge@1"]
    assert deployed_roles.show(ctx) == []
    assert any("the role tdatabase was removed from here" in message for message in told(ctx, one))


def test_a_removal_that_failed_is_still_remembered(ctx: Context, one: str) -> None:
    deploys.deploy(ctx, who="ann")
    work(ctx, one)
    hosts.unassign(ctx, "n1", ["tdatabase"], who="ann")
    deploys.deploy(ctx, remove_unassigned=True, who="ann")
    work(ctx, one, how=lambda _task: "failed")
    assert [row["role"] for row in deployed_roles.show(ctx)] == ["tdatabase"]


def test_a_dry_run_deploys_nothing_that_could_be_removed(ctx: Context, one: str) -> None:
    deploys.deploy(ctx, check=True, who="ann")
    work(ctx, one)
    assert deployed_roles.show(ctx) == []


def test_health_tells_since_when_a_check_fails_and_what_it_said(ctx: Context, one: str, clock: Clock) -> None:
    deploys.deploy(ctx, who="ann")
    work(ctx, one)
    deploys.verify(ctx, who="ann")
    work(ctx, one, how=lambda _task: "ok")
    began = clock.now
    for status in ("failed", "failed"):
        clock.now += 60
        deploys.verify(ctx, who="ann")
        do_next(ctx, one, status, "connection refused")
    [row] = check_results.show(ctx)
    [check] = row["checks"]
    assert (row["state"], row["since"], row["checked_at"]) == ("bad", began + 60, began + 120)
    assert (check["message"], check["level"]) == ("connection refused", 3)
    assert sum("round-trip is bad" in message for message in told(ctx, one)) == 1
    clock.now += 60
    deploys.verify(ctx, who="ann")
    do_next(ctx, one, "ok")
    assert check_results.show(ctx)[0]["state"] == "good"
    assert any("is good, after 2 min of being bad" in message for message in told(ctx, one))


@pytest.fixture
def watched(ctx: Context, one: str) -> Context:
    """Everything deployed, checks each five minutes, a dry run each hour."""
    found = replace(ctx, verify_every_s=300.0, drift_every_s=3600.0)
    deploys.deploy(found, who="ann")
    work(found, one)
    seen(found, one)
    return found


def test_checks_repeat_themselves_and_do_not_fill_the_timeline(watched: Context, one: str, clock: Clock) -> None:
    timer = RunTimer(watched)
    for _ in range(30):
        if timer.tick() is not None:
            work(watched, one, how=lambda _task: "ok")
        clock.now += 300
        seen(watched, one)
    by_timer = runs.list_runs(watched, origin="timer")
    assert {run["kind"] for run in by_timer} == {"verify", "deploy"}
    assert all(run["check"] for run in by_timer if run["kind"] == "deploy")
    before = len(told(watched, one))
    run_timer.tidy(watched)
    assert len(runs.list_runs(watched, origin="timer", kind="verify")) <= 20
    assert len(runs.list_runs(watched, origin="operator")) == 1
    timer.tick()
    work(watched, one, how=lambda _task: "ok")
    assert len(told(watched, one)) == before


def test_nothing_starts_by_itself_unless_it_was_asked_for(ctx: Context, one: str) -> None:
    deploys.deploy(ctx, who="ann")
    work(ctx, one)
    seen(ctx, one)
    assert RunTimer(ctx).tick() is None


def test_a_run_of_the_timer_gives_way_to_an_operator(watched: Context, one: str) -> None:
    started = RunTimer(watched).tick()
    assert started is not None
    task = claims.claim(watched, one)
    assert task is not None
    deploys.deploy(watched, who="bob")
    assert runs.show_run(watched, started)["state"] == "cancelled"
    with pytest.raises(Conflict, match="drop the task"):
        claims.renew(watched, one, task["task_id"], task["fence"], [])


def test_the_timer_waits_while_an_operator_works(watched: Context, one: str) -> None:
    deploys.deploy(watched, who="bob")
    assert RunTimer(watched).tick() is None


def test_what_keeps_the_timer_from_its_runs_is_told_once_for_each_reason(
    watched: Context, one: str, clock: Clock
) -> None:
    def held() -> list[tuple[str, str]]:
        found = audit.entries(watched, audit.Filter(who="timer"))
        return [(row["kind"], row["message"]) for row in reversed(found)]

    timer = RunTimer(watched)
    good = (watched.operator_dir / "roles/tdatabase/role.yaml").read_text()
    (watched.operator_dir / "roles/tdatabase/role.yaml").write_text(good.replace("summary:", "sumary:"))
    for _ in range(3):
        assert timer.tick() is None
        clock.now += 61
        seen(watched, one)
    assert [kind for kind, _ in held()] == ["verify_held", "drift_held"]
    assert "the checks that are due cannot begin: role tdatabase is broken: " in held()[0][1]
    (watched.operator_dir / "roles/tdatabase/role.yaml").write_text(good)
    assert timer.tick() is not None


def test_a_plan_that_could_not_be_made_is_not_made_anew_for_a_minute(watched: Context, one: str, clock: Clock) -> None:
    file = watched.operator_dir / "roles/tdatabase/role.yaml"
    good, timer = file.read_text(), RunTimer(replace(watched, drift_every_s=0.0))
    file.write_text(good.replace("summary:", "sumary:"))
    assert timer.tick() is None
    file.write_text(good)
    clock.now += 59
    seen(watched, one)
    assert timer.tick() is None
    clock.now += 2
    seen(watched, one)
    assert timer.tick() is not None


def test_a_role_without_checks_does_not_keep_dry_runs_from_their_turn(watched: Context, one: str, clock: Clock) -> None:
    file = watched.operator_dir / "roles/tdatabase/role.yaml"
    start, _, rest = file.read_text().partition("verify:")
    file.write_text(start + rest[rest.index("remove:") :])
    started = RunTimer(watched).tick()
    assert started is not None
    assert runs.show_run(watched, started)["check"] is True


def test_drift_is_told_by_host_and_step_once_and_nothing_is_changed(
    ctx: Context, watched: Context, one: str, clock: Clock
) -> None:
    only_drift = replace(watched, verify_every_s=0.0)
    timer = RunTimer(only_drift)
    for _ in range(2):
        assert timer.tick() is not None
        task = claims.claim(only_drift, one)
        assert task is not None
        assert task["check"] is True
        result = {"status": "ok", "steps": []}
        task_results.finish(only_drift, one, task["task_id"], task["fence"], result)
        do_next(only_drift, one, "changed", "the content differs", diff="-password = a\n+password = b\n")
        clock.now += 3601
        seen(only_drift, one)
    found = drift.show(only_drift)
    assert [(row["host_name"], row["role"], row["task"], row["step"]) for row in found["differs"]] == [
        ("n1", "tdatabase", "configure", "config")
    ]
    messages = told(ctx, one)
    assert sum("differs from its last deploy: tdatabase.configure.config" in message for message in messages) == 1
    assert hosts.show(ctx, "n1")["state"] == "ready"
    timer.tick()
    work(only_drift, one, how=lambda _task: "ok")
    assert drift.show(only_drift)["differs"] == []
    assert "is again as its last deploy made it" in told(ctx, one)[-1]


def test_a_secret_in_a_diff_of_a_dry_run_is_hidden(ctx: Context, one: str) -> None:
    deploys.deploy(ctx, check=True, who="ann")
    do_next(ctx, one)
    task = claims.claim(ctx, one)
    assert task is not None
    [value] = task["secrets"]
    told_by_agent = [{"name": "config", "type": "file", "status": "changed", "diff": f"+password = {value}\n"}]
    task_results.finish(ctx, one, task["task_id"], task["fence"], {"status": "changed", "steps": told_by_agent})
    last = runs.list_runs(ctx)[0]["id"]
    [step] = runs.show_run(ctx, last)["tasks"][1]["result"]["steps"]
    assert step["diff"] == "+password = [secret]\n"


def test_a_secret_in_what_an_agent_says_is_hidden(ctx: Context, one: str) -> None:
    run = deploys.deploy(ctx, who="ann")
    do_next(ctx, one)
    task = claims.claim(ctx, one)
    assert task is not None
    said = [{"step": "config", "status": "running", "message": f"writing {task['secrets'][0]}"}]
    claims.renew(ctx, one, task["task_id"], task["fence"], said)
    assert runs.show_run(ctx, run["id"])["tasks"][1]["said"] == "config: writing [secret]"


@pytest.mark.parametrize("seed", range(6))
def test_a_server_that_is_killed_at_any_moment_goes_on_with_the_run(
    ctx: Context, three: list[str], clock: Clock, seed: int
) -> None:
    """Another process knows only what is on the disk; agents come late, twice or not at all."""
    chance = random.Random(seed)
    run = deploys.deploy(ctx, blueprint="three", who="ann")
    server: Context = ctx
    held: dict[str, dict[str, Any]] = {}
    late: list[tuple[str, dict[str, Any]]] = []
    done = {"status": "changed", "steps": []}
    for _ in range(400):
        if runs.show_run(server, run["id"])["state"] != "running":
            break
        host_id, what = chance.choice(three), chance.random()
        if what < 0.1:
            server = replace(ctx, runs=KnownRuns())
            claims.grant_again(server)
        elif what < 0.25 and host_id in held:
            late.append((host_id, held.pop(host_id)))
            clock.now += claims.LEASE_S + 1
            claims.expire_leases(server)
            held.clear()
        elif what < 0.35 and late:
            other, task = late.pop()
            with pytest.raises(Conflict):
                task_results.finish(server, other, task["task_id"], task["fence"], done)
        elif host_id in held:
            task = held.pop(host_id)
            task_results.finish(server, host_id, task["task_id"], task["fence"], done)
        elif (found := claims.claim(server, host_id)) is not None:
            held[host_id] = found
    ended = runs.show_run(server, run["id"])
    assert ended["state"] in ("succeeded", "failed")
    if ended["state"] == "failed":  # only by an agent that vanished too often
        assert any(task["result"].get("silences", 0) >= claims.MAX_LEASES for task in ended["tasks"])


def test_two_processes_see_the_same_run(ctx: Context, one: str) -> None:
    other = replace(ctx, runs=KnownRuns())
    run = deploys.deploy(ctx, who="ann")
    assert do_next(other, one) is not None
    assert do_next(ctx, one) is not None
    assert claims.claim(other, one) is None
    assert runs.show_run(other, run["id"])["state"] == "succeeded"


def test_a_change_that_is_not_written_is_not_kept(ctx: Context, one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = deploys.deploy(ctx, who="ann")
    task = claims.claim(ctx, one)
    assert task is not None

    def broken(*_: object, **__: object) -> None:
        raise Problem("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(check_results, "note", broken)
        with pytest.raises(Problem):
            task_results.finish(ctx, one, task["task_id"], task["fence"], {"status": "ok", "steps": []})
    assert runs.show_run(ctx, run["id"])["tasks"][0]["state"] == "running"
    assert claims.claim(ctx, one) is None
    task_results.finish(ctx, one, task["task_id"], task["fence"], {"status": "ok", "steps": []})
    assert claims.claim(ctx, one) is not None
