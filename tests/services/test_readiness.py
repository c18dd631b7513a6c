"""Ready is who can write the database, has all processes and room on the disk."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from sqlalchemy import text

from pxeforge.services import readiness
from pxeforge.services.context import Context
from pxeforge.services.readiness import Readiness
from pxeforge.services.tallies import FOLDER, Tally
from pxeforge.store.database import Database


def seen(ready: Readiness) -> dict[str, str]:
    return {check.name: check.seen for check in ready.checks()}


def test_with_all_processes_there_everything_is_well(ctx: Context) -> None:
    Tally(ctx.data_dir / FOLDER, "wire").tell({}, {})
    ready = Readiness(ctx, ["wire"])
    assert seen(ready) == {"database": "", "children": "", "disk": ""}
    assert ready.is_ready()


def test_a_missing_process_is_named(ctx: Context) -> None:
    ready = Readiness(ctx, ["wire", "boot-0"])
    assert seen(ready)["children"] == "not running: boot-0, wire"
    assert not ready.is_ready()


def test_without_serve_nothing_is_ready(ctx: Context) -> None:
    assert seen(Readiness(ctx))["children"] == "pxeforge serve is not running"


def test_a_database_that_somebody_else_keeps_locked_is_not_writable(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_DATABASE_S", 0.1)
    somebody_else = Database(ctx.data_dir / "pxeforge.db")
    with somebody_else.write() as session:
        session.execute(text("SELECT 1"))
        assert "could be written within" in seen(Readiness(ctx, []))["database"]
    assert not seen(Readiness(ctx, []))["database"]


def test_a_full_disk_is_told_with_what_is_needed(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(ctx.data_dir)
    monkeypatch.setattr(readiness, "LEAST_FREE_BYTES", usage.total + (1 << 20))
    assert "are needed: make room" in seen(Readiness(ctx, []))["disk"]


def test_whoever_asks_often_gets_what_was_found_within_the_last_second(ctx: Context) -> None:
    now: list[Any] = [100.0]
    ready = Readiness(ctx, ["wire"], clock=lambda: now[0])
    assert not ready.is_ready()
    Tally(ctx.data_dir / FOLDER, "wire").tell({}, {})
    now[0] += 0.9
    assert not ready.is_ready()
    now[0] += 0.2
    assert ready.is_ready()
