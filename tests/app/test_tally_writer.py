"""What servers count is written down by a thread of its own, and the last of it when they stop."""

from __future__ import annotations

import time
from collections import Counter
from types import SimpleNamespace

import pytest

from pxeforge.app import tally_writer
from pxeforge.app.tally_writer import TallyWriter
from pxeforge.services.context import Context
from pxeforge.services.tallies import FOLDER, Told, read_all


def told(ctx: Context) -> Told:
    [one] = read_all(ctx.data_dir / FOLDER)
    return one


def test_what_is_counted_meanwhile_is_written_and_the_last_of_it_at_the_end(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally_writer, "_EVERY_S", 0.01)
    server = SimpleNamespace(counters=Counter(requests=1))
    writer = TallyWriter(ctx, "wire", {"tftp": server}, {"tftp": lambda: {"transfers": 4}})
    writer.start()
    assert told(ctx).counts["tftp.requests"] == 1
    server.counters["requests"] += 1
    while told(ctx).counts["tftp.requests"] < 2:
        time.sleep(0.005)  # the test's own limit ends it
    assert told(ctx).levels == {"tftp.transfers": 4, "database.waiting": 0}
    server.counters["requests"] += 1
    writer.stop()
    assert told(ctx).counts["tftp.requests"] == 3
    assert {"log.info", "database.dropped"} < told(ctx).counts.keys()


def test_a_file_that_cannot_be_written_stops_nothing(ctx: Context) -> None:
    server = SimpleNamespace(counters=Counter(requests=1))
    writer = TallyWriter(ctx, "wire", {"tftp": server})
    (ctx.data_dir / FOLDER / "wire.new").mkdir()
    writer.start()
    assert not read_all(ctx.data_dir / FOLDER)
    (ctx.data_dir / FOLDER / "wire.new").rmdir()
    writer.stop()
    assert told(ctx).counts["tftp.requests"] == 1
