"""The audit log: every change with who, from where, before and after; secrets never."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, audit, events, hosts, install_ends, profiles
from pxeforge.services.acting import Actor, acting, acts
from pxeforge.services.audit import Filter, entries
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound
from tests.conftest import ACCOUNT, MAC, Clock, write_image
from tests.database_views import plan_of

pytestmark = pytest.mark.both_databases
HASH = "$6$saltsalt$" + "a" * 86
ANN = Actor(who="ann", role=UserRole.OPERATOR, via="token ci", address="192.0.2.9")


@pytest.fixture
def ann() -> Iterator[Actor]:
    acts(ANN)
    yield ANN
    acts(None)


def last(ctx: Context, kind: str) -> dict[str, Any]:
    return entries(ctx, Filter(kind=kind), limit=1)[0]


def test_a_change_tells_who_from_where_and_how(ctx: Context, ann: Actor) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    told = last(ctx, "changed")
    assert (told["who"], told["via"], told["address"]) == ("ann", "token ci", "192.0.2.9")
    assert told["data"] == {"before": {"name": None}, "after": {"name": "n1"}}
    assert acting() == ann


def test_what_nobody_did_tells_no_way_and_is_no_entry(ctx: Context, ann: Actor) -> None:
    with ctx.database.write() as session:
        events.record(session, ctx, source="server", kind="started", message="server started")
    [told] = events.recent(ctx)
    assert (told["via"], told["address"]) == (None, None)
    assert entries(ctx, Filter()) == []


def test_a_change_that_fails_leaves_no_entry(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    hosts.add(ctx, macs=["52:54:00:00:00:02"], who="ann")
    before = len(entries(ctx, Filter()))
    with pytest.raises(Conflict):
        hosts.change(ctx, "52:54:00:00:00:02", name="n1", tags=["rack1"], who="ann")
    assert len(entries(ctx, Filter())) == before


def test_hosts_and_profiles_tell_before_and_after(ctx: Context) -> None:
    host = hosts.add(ctx, macs=[MAC], name="n1", roles=["base"], who="ann")
    assert last(ctx, "assigned")["data"] == {"before": {"roles": []}, "after": {"roles": ["base"]}}
    hosts.unassign(ctx, "n1", ["base"], who="ann")
    assert last(ctx, "unassigned")["data"] == {"before": {"roles": ["base"]}, "after": {"roles": []}}
    hosts.forget(ctx, "n1", who="ann")
    gone = last(ctx, "forgotten")
    assert (gone["host_id"], gone["data"]["before"]["macs"]) == (host["id"], [MAC])
    assert next(one["kind"] for one in entries(ctx, Filter(host=host["id"]))) == "forgotten"

    profiles.create(ctx, "p", image="debian-13", parameters={"timezone": "UTC"}, who="ann")
    assert last(ctx, "profile_created")["data"]["after"]["timezone"] == "UTC"
    profiles.change(ctx, "p", parameters={"timezone": "Europe/Rome", "light": True}, image="debian-12", who="ann")
    assert last(ctx, "profile_changed")["data"] == {
        "before": {"image": "debian-13", "timezone": "UTC"},
        "after": {"image": "debian-12", "timezone": "Europe/Rome", "light": True},
    }
    profiles.change(ctx, "p", parameters={}, unset=["light"], who="ann")
    assert last(ctx, "profile_changed")["data"] == {"before": {"light": True}, "after": {}}
    profiles.remove(ctx, "p", who="ann")
    assert last(ctx, "profile_removed")["data"]["before"]["image"] == "debian-12"


@pytest.mark.parametrize("called", ["n9", "N9", MAC, MAC.upper().replace(":", "-"), "52:54:00:00:00:02"])
def test_what_a_forgotten_host_was_called_still_leads_to_its_entries(ctx: Context, called: str) -> None:
    for _ in range(2):
        hosts.add(ctx, macs=[MAC, "52:54:00:00:00:02"], name="n9", who="ann")
        hosts.forget(ctx, "n9", who="ann")
    kinds = [one["kind"] for one in entries(ctx, Filter(host=called))]
    assert kinds == ["forgotten", "changed", "adopt"] * 2
    hosts.add(ctx, macs=[MAC], name="n9", who="bob")
    known_now = [one["who"] for one in entries(ctx, Filter(host="n9"))]
    assert known_now == ["bob", "bob"]


def test_a_host_that_never_was_is_unknown_to_the_audit_log(ctx: Context) -> None:
    with pytest.raises(NotFound, match="no host is known as 'n9'"):
        entries(ctx, Filter(host="n9"))


def test_arming_tells_what_for(ctx: Context, armed: dict[str, Any]) -> None:
    data = last(ctx, "arm")["data"]
    assert (data["from"], data["to"], data["after"]["image"]) == ("known", "armed", "debian-13/20250803")
    install_ends.disarm(ctx, "n1", who="ann")
    assert last(ctx, "disarm")["data"]["to"] == "known"


def test_no_secret_and_no_hash_is_told_and_a_changed_one_is_seen_to_differ(ctx: Context) -> None:
    write_image(ctx.data_dir)
    other, phrase = HASH.replace("a", "b"), "an unlikely passphrase"
    own = {"accounts": [{**ACCOUNT, "password_hash": HASH}], "root_password_hash": HASH}
    late = {"extra_lines": [f"d-i x/y string '{HASH}'", "d-i x/z string http://me:sesame-proxy@10.0.0.9:3128"]}
    profiles.create(ctx, "p", image="debian-13", parameters={**own, **late}, who="ann")
    profiles.change(ctx, "p", parameters={"root_password_hash": other}, who="ann")
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    hosts.change(ctx, "n1", settings={"parameters": own}, who="ann")
    accounts.add(ctx, "bob", phrase, role=UserRole.VIEWER, who="ann")
    accounts.set_password(ctx, "bob", phrase + "!", who="ann")
    with ctx.database.read() as session:
        stored = str([event.data for event in session.query(events.Event)])
    for secret in (HASH, other, phrase, "argon2", "sesame"):
        assert secret not in stored
    changed = last(ctx, "profile_changed")["data"]
    assert changed["before"]["root_password_hash"] != changed["after"]["root_password_hash"]


def test_conditions_and_pages(ctx: Context, clock: Clock) -> None:
    began = clock.now
    for number in range(6):
        clock.now += 10
        acts(Actor(who=f"u{number % 2}", role=UserRole.ADMIN, via="session" if number < 3 else "token ci"))
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], name=f"n{number}", who=f"u{number % 2}")
    acts(None)
    every = entries(ctx, Filter())
    assert [one["id"] for one in every] == sorted((one["id"] for one in every), reverse=True)
    paged: list[dict[str, Any]] = []
    while page := entries(ctx, Filter(before=paged[-1]["id"] if paged else None), limit=5):
        paged += page
    assert paged == every
    assert {one["who"] for one in entries(ctx, Filter(who="u1"))} == {"u1"}
    assert {one["via"] for one in entries(ctx, Filter(via="token"))} == {"token ci"}
    assert entries(ctx, Filter(via="token c")) == entries(ctx, Filter(address="192.0.2.1")) == []
    assert len(entries(ctx, Filter(kind="adopt", since=began + 30, until=began + 40))) == 2
    assert {one["host_id"] for one in entries(ctx, Filter(host="n3"))} == {hosts.show(ctx, "n3")["id"]}
    assert entries(ctx, Filter(host="0" * 12)) == []
    assert entries(ctx, Filter(), limit=0) == []
    with pytest.raises(NotFound):
        entries(ctx, Filter(host="ghost"))


def test_the_log_of_a_year_is_read_by_an_index(ctx: Context) -> None:
    for condition in ("", "AND who = 'ann' "):
        query = f"SELECT * FROM events WHERE who IS NOT NULL {condition}ORDER BY id DESC LIMIT 10"
        plan = " ".join(plan_of(ctx.database, query))
        assert "events_audited" in plan or "events_by_who" in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


def test_the_limit_is_a_limit(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], who="ann")
    assert len(entries(ctx, Filter(), limit=10**9)) <= audit.MOST
    assert entries(ctx, Filter(), limit=-1) == []
