"""Plans grow with the hosts, not with their square: counted, not timed (for time see bench/plans.py)."""

from __future__ import annotations

import pytest

from bench.plans import CONTROLLERS, compiled, shipped_roles
from pxeforge.engine.plan import Plan

HOSTS = 150


@pytest.fixture(scope="module")
def plans() -> tuple[Plan, Plan]:
    roles = shipped_roles()
    return compiled(roles, HOSTS), compiled(roles, 2 * HOSTS)


def edges(plan: Plan) -> int:
    return sum(len(task.after) + len(task.opens) for task in plan.tasks)


def test_twice_the_hosts_make_no_more_than_twice_the_edges(plans: tuple[Plan, Plan]) -> None:
    small, large = plans
    assert edges(large) <= 2 * edges(small)
    assert edges(large) < 4 * len(large.tasks)


def test_a_step_that_is_the_same_on_all_hosts_is_there_once(plans: tuple[Plan, Plan]) -> None:
    """So a thousand hosts with a list of a thousand hosts in a file need not fill the memory."""
    _, large = plans
    computes = [task for task in large.tasks if int(task.host_name[1:]) >= CONTROLLERS]
    for task in computes:
        for step in task.steps:
            if step["name"] == "hosts":
                assert len(str(step["params"]["content"]).splitlines()) >= 2 * HOSTS
    every = {id(step) for task in computes for step in task.steps if step["name"] == "hosts"}
    assert len(every) == 1
