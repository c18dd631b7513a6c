"""Drafts of roles: what they come to, and that saving one is all or nothing and overwrites nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services import assignments, events, hosts
from pxeforge.services.assignments import Change, Draft
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Stale

MACS = ("52:54:00:12:34:56", "52:54:00:12:34:57")
ROLES = st.sampled_from(["base", "mariadb", "other"])
CHANGES = st.lists(st.builds(Change, st.sampled_from(["a", "b"]), ROLES, st.booleans()), max_size=12)


@pytest.fixture
def two(ctx: Context) -> list[str]:
    return [str(hosts.add(ctx, macs=[mac], name=f"n{mac[-1]}", who="test")["id"]) for mac in MACS]


def draft(ctx: Context, *changes: Change) -> Draft:
    present = {host["id"]: host["roles"] for host in hosts.list_hosts(ctx)}
    return Draft().with_changes(changes, present)


@given(wishes=CHANGES, before=st.dictionaries(st.sampled_from(["a", "b"]), st.lists(ROLES, unique=True)))
def test_a_draft_comes_to_what_the_last_wish_about_each_role_says(
    wishes: list[Change], before: dict[str, list[str]]
) -> None:
    made = Draft()
    for wish in wishes:  # one by one, as they come from a page
        made = made.with_changes([wish], before)
    last = {(one.host_id, one.role): one.gives for one in wishes}
    for host_id in ("a", "b"):
        expected = {
            role for role in ("base", "mariadb", "other")
            if last.get((host_id, role), role in before.get(host_id, ()))
        }  # fmt: skip
        found = made.roles_of(host_id, before.get(host_id, []))
        assert set(found) == expected
        assert len(found) == len(set(found))
    assert set(made.seen) == set(made.touched)
    assert all(one.gives != (one.role in before.get(one.host_id, ())) for one in made.changes)


def test_a_draft_is_saved_as_a_whole_with_who_did_it(ctx: Context, two: list[str]) -> None:
    mine = draft(ctx, *(Change(one, role, True) for one in two for role in ("base", "mariadb")))
    assert assignments.save(ctx, mine, "ann") == {"given": 4, "taken": 0, "hosts": 2}
    assert {tuple(host["roles"]) for host in hosts.list_hosts(ctx)} == {("base", "mariadb")}
    last = events.timeline(ctx, two[0])[-1]
    assert (last["who"], last["data"]["after"]["roles"]) == ("ann", ["base", "mariadb"])


def test_whoever_changed_one_of_the_hosts_meanwhile_is_named_and_nothing_is_saved(ctx: Context, two: list[str]) -> None:
    mine = draft(ctx, *(Change(one, "base", True) for one in two))
    hosts.assign(ctx, two[1:], ["mariadb"], who="bob", known_roles=["mariadb"])
    with pytest.raises(Stale, match="assigned by bob"):
        assignments.save(ctx, mine, "ann")
    assert hosts.show(ctx, two[0])["roles"] == []
    assignments.save(ctx, assignments.refreshed(ctx, mine), "ann")
    assert set(hosts.show(ctx, two[1])["roles"]) == {"base", "mariadb"}


def test_changes_of_what_the_draft_does_not_touch_disturb_nobody(ctx: Context, two: list[str]) -> None:
    mine = draft(ctx, Change(two[0], "base", True))
    hosts.assign(ctx, two[1:], ["mariadb"], who="bob", known_roles=["mariadb"])
    hosts.change(ctx, two[0], tags=["new"], who="bob")
    assignments.save(ctx, mine, "ann")
    assert hosts.show(ctx, two[0])["roles"] == ["base"]


def test_a_role_or_a_host_that_is_gone_is_named(ctx: Context, two: list[str]) -> None:
    with pytest.raises(NotFound, match="there is no role 'vanished'"):
        assignments.save(ctx, draft(ctx, Change(two[0], "vanished", True)), "ann")
    mine = draft(ctx, Change(two[0], "base", True), Change(two[1], "base", True))
    hosts.forget(ctx, two[1], who="bob")
    with pytest.raises(NotFound, match="was forgotten meanwhile"):
        assignments.save(ctx, mine, "ann")
    assert hosts.show(ctx, two[0])["roles"] == []
    assert assignments.refreshed(ctx, mine).touched == two[:1]
