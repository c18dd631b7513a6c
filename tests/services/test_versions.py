"""Whoever changes what is not as they saw it is told who changed it."""

from __future__ import annotations

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, hosts, identity, profiles
from pxeforge.services.context import Context
from pxeforge.services.problems import Stale
from tests.conftest import MAC, Clock


@pytest.fixture
def n1(ctx: Context) -> str:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    return "n1"


def seen(ctx: Context) -> str:
    return str(hosts.show(ctx, MAC)["version"])


def test_the_second_of_two_operators_is_told_what_the_first_did(ctx: Context, n1: str) -> None:
    both = seen(ctx)
    hosts.change(ctx, n1, tags=["rack1"], who="bob", expected_version=both)
    with pytest.raises(Stale, match=r"the host n1 is not as you saw it: the last change is bob's, .* tags changed"):
        hosts.change(ctx, n1, tags=["rack2"], who="ann", expected_version=both)
    assert hosts.show(ctx, n1)["tags"] == ["rack1"]
    hosts.change(ctx, n1, tags=["rack2"], who="ann", expected_version=seen(ctx))


def test_an_answer_to_a_change_has_the_version_for_the_next_one(ctx: Context, n1: str) -> None:
    first = hosts.change(ctx, n1, tags=["a"], who="ann", expected_version=seen(ctx))["version"]
    second = hosts.set_roles(ctx, n1, ["base"], who="ann", known_roles=["base"], expected_version=first)["version"]
    third = hosts.unassign(ctx, n1, ["base"], who="ann", expected_version=second)["version"]
    assert first == third != second
    hosts.forget(ctx, n1, who="ann", expected_version=third)


def test_every_edit_of_a_host_looks_at_the_version(ctx: Context, n1: str) -> None:
    hosts.assign(ctx, [n1], ["base"], who="ann", known_roles=["base"])
    for edit in (
        lambda: hosts.change(ctx, n1, name="n2", who="x", expected_version="0" * 16),
        lambda: hosts.set_roles(ctx, n1, [], who="x", known_roles=["base"], expected_version="0" * 16),
        lambda: hosts.unassign(ctx, n1, ["base"], who="x", expected_version="0" * 16),
        lambda: hosts.forget(ctx, n1, who="x", expected_version="0" * 16),
    ):
        with pytest.raises(Stale):
            edit()
    assert (hosts.show(ctx, n1)["name"], hosts.show(ctx, n1)["roles"]) == ("n1", ["base"])


def test_what_changes_by_itself_makes_no_new_version(ctx: Context, n1: str, clock: Clock) -> None:
    before = seen(ctx)
    clock.now += 60
    with ctx.database.write() as session:
        host = hosts.find(session, n1)
        host.seen_at, host.address, host.facts = clock.now, "192.0.2.7", {"ram_bytes": 1}
        host.nics[0].address = "192.0.2.7"
    assert seen(ctx) == before


def test_what_operators_edit_makes_one(ctx: Context, n1: str) -> None:
    versions = [seen(ctx)]
    for change in ({"name": "n2"}, {"tags": ["x"]}, {"loader": "ipxe"}, {"settings": {"parameters": {"locale": "de"}}}):
        hosts.change(ctx, MAC, who="ann", **change)  # type: ignore[arg-type]
        versions.append(seen(ctx))
    hosts.assign(ctx, [MAC], ["base"], who="ann", known_roles=["base"])
    identity.nic_add(ctx, MAC, "52:54:00:00:00:99", who="ann")
    assert len({*versions, seen(ctx)}) == len(versions) + 1


def test_profiles_and_users_have_versions_too(ctx: Context) -> None:
    profiles.create(ctx, "p", image="debian-13", parameters={}, who="ann")
    profiles.create(ctx, "p-2", image="debian-13", parameters={}, who="eve")
    old = profiles.show(ctx, "p")["version"]
    new = profiles.change(ctx, "p", parameters={"locale": "de_DE.UTF-8"}, who="bob", expected_version=old)["version"]
    with pytest.raises(Stale, match="the last change is bob's"):
        profiles.change(ctx, "p", parameters={}, who="ann", expected_version=old)
    profiles.remove(ctx, "p", who="ann", expected_version=new)
    accounts.add(ctx, "carl", "correct horse battery", role=UserRole.ADMIN, who="ann")
    accounts.add(ctx, "dora", "correct horse battery", role=UserRole.VIEWER, who="ann")
    old = accounts.show(ctx, "dora")["version"]
    accounts.set_role(ctx, "dora", UserRole.OPERATOR, who="bob", expected_version=old)
    for edit in (
        lambda: accounts.set_role(ctx, "dora", UserRole.ADMIN, who="ann", expected_version=old),
        lambda: accounts.remove(ctx, "dora", who="ann", expected_version=old),
    ):
        with pytest.raises(Stale, match=r"the user dora .* bob's, .*: dora is now operator"):
            edit()
