"""What is under way: who is furthest comes first, and the numbers of runs and disk are those of the data."""

from __future__ import annotations

from pxeforge.services import events, hosts, overview
from pxeforge.services.context import Context
from pxeforge.store.tables import Host, Run, RunTask


def test_hosts_that_install_come_before_those_that_wait(ctx: Context) -> None:
    for number, state in enumerate(("armed", "ready", "installing", "booting", "known")):
        host_id = hosts.add(ctx, macs=[f"52:54:00:00:00:{number:02x}"], name=f"h-{state}", who="test")["id"]
        with ctx.database.write() as session:
            session.get_one(Host, host_id).state = state
    assert [one["state"] for one in overview.under_way(ctx, limit=9)] == ["installing", "booting", "armed"]
    assert [one["state"] for one in overview.under_way(ctx, limit=2)] == ["installing", "booting"]


def test_the_newest_event_grows_with_every_word_in_a_timeline(ctx: Context) -> None:
    assert overview.newest_event(ctx) == 0
    host_id = hosts.add(ctx, macs=["52:54:00:00:00:01"], who="test")["id"]
    before = overview.newest_event(ctx)
    with ctx.database.write() as session:
        events.record(session, ctx, host_id=host_id, source="http", kind="x", message="said")
    assert overview.newest_event(ctx) == before + 1


def test_a_run_that_goes_on_comes_first_with_what_is_over(ctx: Context) -> None:
    with ctx.database.write() as session:
        for run_id, state, at in (("old", "running", 1.0), ("new", "failed", 2.0)):
            session.add(Run(id=run_id, kind="deploy", state=state, started_by="ann", created_at=at))
        session.flush()
        for number in range(3):
            session.add(
                RunTask(id=f"t{number}", run_id="old", planned_id="p", position=number, host_id="h", role="base",
                        name="x", state="ok" if number else "pending", finished_at=1.5 if number else None)
            )  # fmt: skip
    told = [(one["id"], one["over"], one["tasks"]) for one in overview.runs(ctx, limit=5)]
    assert told == [("old", 2, 3), ("new", 0, 0)]


def test_the_room_is_that_of_the_data_directory(ctx: Context) -> None:
    room = overview.room(ctx)
    assert 0 < room.free <= room.total
    assert room.cache_used == 0
