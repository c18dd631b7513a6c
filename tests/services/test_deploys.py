"""Runs from start to end: tasks by lease, results, lost agents, two operators at once."""

import json
from dataclasses import replace
from typing import Any

import pytest

from pxeforge.services import (
    absent_agents,
    arming,
    claims,
    deploys,
    events,
    hosts,
    install_ends,
    plans,
    role_catalogue,
    runs,
    secrets,
    task_results,
)
from pxeforge.services.budgets import DEFAULT_BUDGETS
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound, Problem
from tests.conftest import MAC, Clock
from tests.database_views import all_that_is_in

pytestmark = pytest.mark.both_databases


@pytest.fixture
def host_id(ctx: Context, registered: dict[str, Any]) -> str:
    """A registered host with the roles base and mariadb."""
    known = [role["name"] for role in role_catalogue.known_roles(ctx)]
    hosts.assign(ctx, ["n1"], ["base", "mariadb"], who="test", known_roles=known)
    return str(hosts.show(ctx, "n1")["id"])


def work(ctx: Context, host_id: str, status: str = "changed") -> list[str]:
    """An agent that does all it is given; returns the titles in order."""
    done = []
    while (task := claims.claim(ctx, host_id)) is not None:
        done.append(task["title"])
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": status, "steps": []})
    return done


def test_a_plan_shows_tasks_and_starts_nothing(ctx: Context, host_id: str) -> None:
    shown = plans.plan(ctx)
    assert {task["role"] for task in shown["tasks"]} == {"base", "mariadb"}
    assert "mariadb" in shown["text"]
    assert shown["problems"] == []
    assert runs.list_runs(ctx) == []


def test_a_host_that_is_not_registered_is_left_out_by_name(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", roles=["base"], who="test")
    assert plans.plan(ctx)["problems"] == ["n1 has roles but is known: it is left out until it is registered"]
    with pytest.raises(Problem, match="n1 has roles but is known"):
        deploys.deploy(ctx, who="test")


def test_a_deploy_runs_every_task_in_order_and_makes_the_host_ready(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="test")
    assert hosts.show(ctx, "n1")["state"] == "configuring"
    done = work(ctx, host_id)
    assert len(done) == len(run["tasks"])
    assert done.index(next(t for t in done if t.startswith("base"))) < done.index(
        next(t for t in done if t.startswith("mariadb"))
    )
    assert runs.show_run(ctx, run["id"])["state"] == "succeeded"
    assert hosts.show(ctx, "n1")["state"] == "ready"


def test_a_failed_task_blocks_what_stands_on_it_and_names_the_step(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    step = {
        "name": "packages",
        "type": "packages",
        "status": "failed",
        "duration_s": 1.0,
        "output": "E: no package",
    }
    task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "failed", "steps": [step]})
    work(ctx, host_id)  # what does not stand on it goes on
    ended = runs.show_run(ctx, run["id"])
    assert ended["state"] == "failed"
    assert ended["counts"]["failed"] == 1
    assert ended["counts"]["blocked"] >= 1
    assert hosts.show(ctx, "n1")["state"] == "failed"
    told = [event["message"] for event in events.timeline(ctx, host_id)]
    assert any("FAILED at packages: E: no package" in message for message in told)


def test_a_failed_run_is_resumed_at_the_failed_task(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="test")
    first = claims.claim(ctx, host_id)
    assert first is not None
    task_results.finish(ctx, host_id, first["task_id"], first["fence"], {"status": "ok", "steps": []})
    second = claims.claim(ctx, host_id)
    assert second is not None
    task_results.finish(ctx, host_id, second["task_id"], second["fence"], {"status": "failed", "steps": []})
    gone_on = work(ctx, host_id)
    deploys.resume(ctx, run["id"], who="test")
    done = work(ctx, host_id)
    assert done[0] == second["title"]
    assert first["title"] not in done
    assert not set(gone_on) & set(done)
    assert runs.show_run(ctx, run["id"])["state"] == "succeeded"


def test_a_second_deploy_at_the_same_time_is_refused_with_the_reason(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="alice")
    with pytest.raises(Conflict, match=f"deploy {run['id']} of alice is running"):
        deploys.deploy(ctx, who="bob")


def test_one_host_does_one_task_at_a_time(ctx: Context, host_id: str) -> None:
    deploys.deploy(ctx, who="test")
    assert claims.claim(ctx, host_id) is not None
    assert claims.claim(ctx, host_id) is None


def test_a_silent_agent_loses_its_lease_and_a_late_result_is_harmless(ctx: Context, host_id: str, clock: Clock) -> None:
    deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    clock.now += claims.LEASE_S + 1
    assert claims.expire_leases(ctx) == 1
    again = claims.claim(ctx, host_id)
    assert again is not None
    assert (again["task_id"], again["fence"]) == (task["task_id"], task["fence"] + 1)
    with pytest.raises(Conflict, match="drop the task"):
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "ok", "steps": []})
    task_results.finish(ctx, host_id, again["task_id"], again["fence"], {"status": "ok", "steps": []})


def test_an_agent_that_renews_keeps_its_lease(ctx: Context, host_id: str, clock: Clock) -> None:
    deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    for _ in range(5):
        clock.now += claims.LEASE_S - 1
        claims.renew(ctx, host_id, task["task_id"], task["fence"], [])
        assert claims.expire_leases(ctx) == 0


def test_an_agent_that_vanishes_again_and_again_fails_the_task(ctx: Context, host_id: str, clock: Clock) -> None:
    run = deploys.deploy(ctx, who="test")
    for _ in range(claims.MAX_LEASES):
        assert claims.claim(ctx, host_id) is not None
        clock.now += claims.LEASE_S + 1
        claims.expire_leases(ctx)
    work(ctx, host_id)
    assert runs.show_run(ctx, run["id"])["state"] == "failed"


def test_a_resumed_task_has_all_its_tries_again(ctx: Context, host_id: str, clock: Clock) -> None:
    run = deploys.deploy(ctx, who="test")
    for _ in range(claims.MAX_LEASES):
        assert claims.claim(ctx, host_id) is not None
        clock.now += claims.LEASE_S + 1
        claims.expire_leases(ctx)
    work(ctx, host_id)
    deploys.resume(ctx, run["id"], who="test")
    assert claims.claim(ctx, host_id) is not None
    clock.now += claims.LEASE_S + 1
    claims.expire_leases(ctx)
    assert runs.show_run(ctx, run["id"])["state"] == "running"


def test_a_live_host_that_was_armed_and_disarmed_again_can_still_be_deployed(
    ctx: Context, host_id: str, profile: str
) -> None:
    arming.arm(ctx, "n1", profile=profile, who="test")
    install_ends.disarm(ctx, "n1", who="test")
    deploys.deploy(ctx, who="test")
    work(ctx, host_id)
    assert hosts.show(ctx, "n1")["state"] == "ready"


def test_a_host_cannot_touch_the_tasks_of_another(ctx: Context, host_id: str) -> None:
    deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    with pytest.raises(NotFound):
        task_results.finish(ctx, "another", task["task_id"], task["fence"], {"status": "ok", "steps": []})


def test_secrets_go_to_the_host_that_needs_them_and_nowhere_else(ctx: Context, host_id: str) -> None:
    deploys.deploy(ctx, who="test")
    value = ""
    while (task := claims.claim(ctx, host_id)) is not None:
        if task["secrets"]:
            value = task["secrets"][0]
            assert all(secret in str(task["steps"]) for secret in task["secrets"])
        step = {"name": "x", "type": "sql", "status": "changed", "duration_s": 0, "output": f"password is {value}!"}
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "changed", "steps": [step]})
    assert len(value) >= 24
    dump = all_that_is_in(ctx.database)
    assert value.encode() not in dump
    assert [entry["name"] for entry in secrets.list_secrets(ctx)] != []
    assert "value" not in secrets.list_secrets(ctx)[0]


def test_a_dry_run_leaves_the_state_of_the_host_alone(ctx: Context, host_id: str) -> None:
    deploys.deploy(ctx, check=True, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    assert task["check"] is True
    assert hosts.show(ctx, "n1")["state"] == "registered"


def test_verify_runs_the_checks_only(ctx: Context, host_id: str) -> None:
    run = deploys.verify(ctx, who="test")
    assert run["kind"] == "verify"
    assert len(run["tasks"]) >= 2
    assert all(title for title in work(ctx, host_id, "ok"))
    assert runs.show_run(ctx, run["id"])["state"] == "succeeded"
    assert hosts.show(ctx, "n1")["state"] == "registered"


def test_cancelling_ends_the_run_and_frees_the_way(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    assert deploys.cancel(ctx, run["id"], who="test")["state"] == "cancelled"
    with pytest.raises(Conflict):
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "ok", "steps": []})
    assert deploys.deploy(ctx, who="test")["state"] == "running"


def test_what_a_task_waits_for_is_told_by_name(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="test")
    waiting = [task["waiting_for"] for task in run["tasks"] if task["waiting_for"]]
    assert any("waits for" in text for text in waiting)


def test_a_ready_task_names_the_agent_that_is_silent(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="test")
    waiting = [task["waiting_for"] for task in run["tasks"] if task["waiting_for"]]
    assert any("waits for the agent of n1, which has never connected" in text for text in waiting)


def test_a_result_that_makes_no_sense_is_refused(ctx: Context, host_id: str) -> None:
    deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    with pytest.raises(Problem, match="ok, changed or failed"):
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "splendid"})


def test_an_unknown_blueprint_is_named(ctx: Context, host_id: str) -> None:
    with pytest.raises(NotFound, match="there is no blueprint 'nope'"):
        plans.plan(ctx, blueprint="nope")


def test_a_host_in_a_run_is_not_forgotten(ctx: Context, host_id: str) -> None:
    run = deploys.verify(ctx, who="test")
    with pytest.raises(Conflict, match=f"run cancel {run['id']}"):
        hosts.forget(ctx, "n1", who="test")
    deploys.cancel(ctx, run["id"], who="test")
    hosts.forget(ctx, "n1", who="test")
    with pytest.raises(Conflict, match="n1 was forgotten since"):
        deploys.resume(ctx, run["id"], who="test")
    assert runs.show_run(ctx, run["id"])["state"] == "cancelled"


def test_the_time_in_which_the_server_was_away_costs_no_lease(ctx: Context, host_id: str, clock: Clock) -> None:
    deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    clock.now += 10 * claims.LEASE_S
    claims.grant_again(ctx)
    assert claims.expire_leases(ctx) == 0
    assert claims.renew(ctx, host_id, task["task_id"], task["fence"], [])["cancel"] is False


def test_after_a_long_absence_of_ours_agents_have_the_time_to_find_us_again(
    ctx: Context, host_id: str, clock: Clock
) -> None:
    """Their pauses have become long by then, and a start takes its time on a busy computer."""
    run = deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    claims.grant_again(ctx)
    clock.now += 10_000
    for up_for_s in (0.0, claims.LEASE_S + claims.RETURN_S - 1):
        assert claims.expire_leases(ctx, up_for_s=up_for_s) == 0
    task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "ok", "steps": []})
    for up_for_s in (0.0, claims.RETURN_S + DEFAULT_BUDGETS["silence"]):
        assert absent_agents.give_up(ctx, up_for_s=up_for_s) == 0
    assert runs.show_run(ctx, run["id"])["state"] == "running"
    assert absent_agents.give_up(ctx, up_for_s=claims.RETURN_S + DEFAULT_BUDGETS["silence"] + 1) == 1


def test_a_secret_at_the_cut_of_a_long_output_is_still_hidden(ctx: Context, host_id: str) -> None:
    run = deploys.deploy(ctx, who="test")
    value = ""
    while (task := claims.claim(ctx, host_id)) is not None:
        values = task["secrets"]
        value = value or (values[0] if values else "")
        output = (values[0] if values else "") + "x" * 7990
        step = {"name": "s", "type": "command", "status": "ok", "output": output}
        task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "ok", "steps": [step]})
    assert value
    assert value[-10:] not in repr(runs.show_run(ctx, run["id"]))


def test_a_result_may_hold_any_characters(ctx: Context, host_id: str) -> None:
    """Among them those that databases do not take: NUL, and halves of pairs."""
    odd = "odd\x00 \ud800 \udfff \x1b[31m \U0001f600"
    run = deploys.deploy(ctx, who="test")
    task = claims.claim(ctx, host_id)
    assert task is not None
    claims.renew(ctx, host_id, task["task_id"], task["fence"], [{"step": odd, "status": odd, "message": odd}])
    step = {"id": odd, "name": odd, "type": odd, "status": "failed", "message": odd, "output": odd, "diff": odd}
    task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "failed", "steps": [step]})
    found = runs.show_run(ctx, run["id"])
    json.dumps(found).encode()
    assert found["tasks"][0]["result"]["steps"][0]["message"].startswith("odd")


def test_a_limited_plan_shows_the_chosen_hosts_only(ctx: Context, host_id: str) -> None:
    hosts.add(ctx, macs=["52:54:00:00:00:09"], name="n9", who="test")
    shown = plans.plan(ctx, limit=["n9"])
    assert shown["tasks"] == []
    assert "mariadb" not in shown["text"] + shown["dot"]


def test_a_plan_names_our_address_on_the_interface_the_host_is_reached_by(ctx: Context, host_id: str) -> None:
    address = hosts.show(ctx, "n1")["address"]
    two_wires = replace(ctx, source=lambda peer: "203.0.113.1" if peer == address else None)
    before, after = (str(plans.plan(one)["digest"]) for one in (ctx, two_wires))
    assert before != after
    deploys.deploy(two_wires, who="test")
    steps = []
    while (task := claims.claim(two_wires, host_id)) is not None:
        steps += task["steps"]
        task_results.finish(two_wires, host_id, task["task_id"], task["fence"], {"status": "changed", "steps": []})
    assert "203.0.113.1" in str(steps)
    assert ctx.addresses.boot_address not in str(steps)
