"""The timeline: plain text, no echo, and bounded whatever peers do."""

from typing import Any

import pytest

from pxeforge.services import events, hosts
from pxeforge.services.context import Context
from tests.conftest import MAC, Clock

pytestmark = pytest.mark.both_databases


def note(ctx: Context, host_id: str, source: str, message: str) -> None:
    with ctx.database.write() as session:
        events.record(session, ctx, host_id=host_id, source=source, kind="noted", message=message)


def test_what_a_peer_wrote_cannot_drive_a_terminal_or_break_the_store(ctx: Context) -> None:
    host = hosts.add(ctx, macs=[MAC], who="test")
    note(ctx, host["id"], "installer", "a\x1b[2Jb\ud800c\nd")
    assert events.timeline(ctx, host["id"])[-1]["message"] == "a [2Jb c\nd"


def test_the_same_words_are_news_again_after_a_while(ctx: Context, clock: Clock) -> None:
    host = hosts.add(ctx, macs=[MAC], who="test")
    note(ctx, host["id"], "http", "x\x07")
    with ctx.database.read() as session:
        assert events.told_lately(session, ctx, host["id"], "noted", "x\x07", within_s=60)
        assert not events.told_lately(session, ctx, host["id"], "noted", "y", within_s=60)
        clock.now += 61
        assert not events.told_lately(session, ctx, host["id"], "noted", "x\x07", within_s=60)


def test_a_timeline_can_be_read_on_from_any_event_and_none_is_left_out(ctx: Context, clock: Clock) -> None:
    host = hosts.add(ctx, macs=[MAC], who="test")
    for number in range(7):
        clock.now += number
        note(ctx, host["id"], "installer", f"line {number}")
    whole, read = events.timeline(ctx, host["id"]), list[dict[str, Any]]()
    while part := events.timeline(ctx, host["id"], after_id=read[-1]["id"] if read else 0, limit=3):
        assert len(part) <= 3
        read += part
    assert read == whole
    assert [row["since_s"] for row in whole] == [0, 0, 1, 2, 3, 4, 5, 6]


def test_peers_cannot_fill_the_disk_and_what_operators_did_stays(ctx: Context) -> None:
    host = hosts.add(ctx, macs=[MAC], who="test")
    for number in range(8):
        note(ctx, host["id"], "installer", f"line {number}")
    assert events.prune(ctx, keep=3) == 5
    told = [event["message"] for event in events.timeline(ctx, host["id"])]
    assert told == ["added by test", "line 5", "line 6", "line 7"]
    assert events.prune(ctx, keep=3) == 0
