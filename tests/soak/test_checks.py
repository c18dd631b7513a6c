"""The soak's own judgement: what is wrong is seen, and what is right is not called wrong."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, insert, update

from pxeforge.services import arming, hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import DhcpLease, Event, Host
from tests.conftest import MAC, Clock
from tests.soak.checks import Checks
from tests.soak.model import Model, Promise


def found(ctx: Context, clock: Clock, *promises: Promise) -> list[str]:
    with ctx.database.read():  # what was posted is written
        pass
    return Checks(ctx.data_dir).everything(promises, clock.now)


def test_nothing_is_wrong_with_an_install_that_went_well(
    ctx: Context, clock: Clock, registered: dict[str, Any]
) -> None:
    host_id = registered["host_id"]
    kept = [Promise(host_id, kind) for kind in ("arm", "answers_fetched", "register")]
    assert found(ctx, clock, *kept) == []


def test_a_state_that_was_skipped_is_seen(ctx: Context, clock: Clock, registered: dict[str, Any]) -> None:
    with ctx.database.write() as session:
        session.execute(delete(Event).where(Event.kind == "answers_fetched"))
    assert any("went on from installing, but it was armed" in said for said in found(ctx, clock))


def test_a_state_that_the_timeline_does_not_tell_is_seen(ctx: Context, clock: Clock, armed: dict[str, Any]) -> None:
    with ctx.database.write() as session:
        session.execute(update(Host).values(state="ready"))
    said = found(ctx, clock)
    assert any("is ready, and its timeline ends with armed" in each for each in said)
    assert any("is ready, and its attempts" in each for each in said)


def test_an_acknowledged_change_without_its_event_is_seen(ctx: Context, clock: Clock) -> None:
    host = hosts.add(ctx, macs=[MAC], name="n1", who="test")
    hosts.change(ctx, MAC, tags=["kept"], who="test")
    assert found(ctx, clock, Promise(host["id"], "changed", "kept")) == []
    [said] = found(ctx, clock, Promise(host["id"], "changed", "lost"))
    assert "there is no such event" in said
    [said] = found(ctx, clock, Promise(host["id"], "arm"))
    assert "was told arm 1 times, its timeline knows 0" in said


def test_a_host_that_is_armed_beyond_its_time_is_seen(ctx: Context, clock: Clock, armed: dict[str, Any]) -> None:
    clock.now += arming.ARMED_FOR_S + 60
    [said] = found(ctx, clock)
    assert "after its time was over" in said


def test_two_leases_of_one_machine_are_seen(ctx: Context, clock: Clock) -> None:
    with ctx.database.write() as session:
        rows = [{"address": f"10.0.0.{n}", "mac": MAC, "expires_at": clock.now + 60, "state": "bound"} for n in (1, 2)]
        session.execute(insert(DhcpLease), rows)
    [said] = found(ctx, clock)
    assert f"{MAC} holds" in said


def test_a_file_that_was_left_half_written_is_seen(ctx: Context) -> None:
    (ctx.data_dir / ".addresses.json.0123abcd").write_text("{")
    (ctx.data_dir / "addresses.json").write_text("{")
    assert len(Checks(ctx.data_dir).half_files()) == 2


def test_answers_for_a_token_that_has_ended_are_wrong_and_those_asked_before_are_not() -> None:
    model = Model()
    model.token_seen(MAC, "t")
    before = time.monotonic()
    model.tokens_ended(model.tokens_of(MAC))
    model.answers_given(MAC, "t", before)
    assert model.broken == []
    model.answers_given(MAC, "t", time.monotonic())
    assert "whose end was acknowledged" in model.broken[0]


def test_an_address_lent_to_two_machines_at_once_is_wrong() -> None:
    model, other = Model(), "52:54:00:00:00:02"
    model.leased(MAC, "10.0.0.1", 300, now=1000)
    model.leased(other, "10.0.0.1", 300, now=1301)
    assert model.broken == []
    model.leased(MAC, "10.0.0.1", 300, now=1400)
    assert "while" in model.broken[0]
