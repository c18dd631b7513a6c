"""What hosts that are not installed yet will get is told, and never mixed with what can be deployed now."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from pxeforge.services import hosts, later_hosts, plans
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import AgentCredential, Host

pytestmark = pytest.mark.both_databases


def add(ctx: Context, number: int, *roles: str, state: str = "known", agent: bool = False) -> str:
    host_id = str(
        hosts.add(ctx, macs=[f"52:54:00:00:00:{number:02x}"], name=f"n{number}", roles=roles, who="ann")["id"]
    )
    with ctx.database.write() as session:
        host = session.get_one(Host, host_id)
        host.state, host.address = state, f"192.0.2.{number}"
        if agent:
            session.add(AgentCredential(host_id=host_id, digest=host_id, issued_at=ctx.clock(), seen_at=ctx.clock()))
    return host_id


def told(ctx: Context, **asked: Any) -> dict[str, list[str]]:
    return {one["host_name"]: one["roles"] for one in later_hosts.later(ctx, **asked)}


def test_a_host_that_is_not_installed_is_told_with_its_roles_in_order_and_their_tasks(ctx: Context) -> None:
    host_id = add(ctx, 1, "mariadb", state="armed")
    (found,) = later_hosts.later(ctx)
    assert (found["host_id"], found["state"]) == (host_id, "armed")
    assert found["roles"] == ["base", "mariadb"]  # base comes along
    assert {"role": "base", "name": "names"} in found["tasks"]
    assert {task["role"] for task in found["tasks"]} == {"base", "mariadb"}
    assert plans.plan(ctx)["tasks"] == []


def test_once_it_is_registered_it_is_in_the_plan_instead(ctx: Context) -> None:
    add(ctx, 1, "base", state="registered", agent=True)
    assert told(ctx) == {}
    assert {task["host_name"] for task in plans.plan(ctx)["tasks"]} == {"n1"}


def test_hosts_out_of_use_and_hosts_without_roles_are_not_waited_for(ctx: Context) -> None:
    add(ctx, 1, "base", state="retired")
    add(ctx, 2)
    assert told(ctx) == {}


def test_a_draft_counts_instead_of_what_is_saved(ctx: Context) -> None:
    one, two = add(ctx, 1, "mariadb"), add(ctx, 2)
    assert told(ctx, assigned={one: [], two: ["base"]}) == {"n2": ["base"]}


def test_only_hosts_that_are_asked_for(ctx: Context) -> None:
    add(ctx, 1, "base")
    add(ctx, 2, "base")
    assert told(ctx, limit=["n2"]) == {"n2": ["base"]}
    with pytest.raises(NotFound):
        told(ctx, limit=["n3"])


def test_roles_that_do_not_go_together_are_told_without_tasks(ctx: Context) -> None:
    host_id = add(ctx, 1)
    (found,) = later_hosts.later(ctx, assigned={host_id: ["no-such-role"]})
    assert (found["roles"], found["tasks"]) == (["no-such-role"], [])


def test_a_plan_and_what_follows_it_are_of_one_look(ctx: Context) -> None:
    one, two = add(ctx, 1, "base", state="registered", agent=True), add(ctx, 2, "mariadb")
    folder = ctx.operator_dir / "blueprints"
    folder.mkdir(parents=True)
    rules = "  - match: {name: n1}\n    roles: [base]\n  - match: {name: n2}\n    roles: [mariadb]\n"
    (folder / "ours.yaml").write_text(f"name: ours\nsummary: s\nhosts:\n{rules}")
    statements: list[str] = []
    event.listen(ctx.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    for wish, asked in (
        (plans.Wish("ours"), {"blueprint": "ours"}),
        (plans.Wish(assigned={one: ["mariadb"], two: ["base"]}), {"assigned": {one: ["mariadb"], two: ["base"]}}),
    ):
        apart = plans.plan(ctx, **asked), later_hosts.later(ctx, **asked)
        statements.clear()
        plans.plan(ctx, **asked)
        alone = len(statements)
        statements.clear()
        assert later_hosts.plan_and_later(ctx, wish) == apart
        assert len(statements) == alone
    assert [row["host_name"] for row in apart[1]] == ["n2"]
    assert {task["host_name"] for task in apart[0]["tasks"]} == {"n1"}
    _, only = later_hosts.plan_and_later(ctx, plans.Wish("ours"), later_limit=["n1"])
    assert only == []
