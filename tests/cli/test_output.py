"""Tables of the CLI."""

from __future__ import annotations

import pytest

from pxeforge.cli.output import show_fields, show_table

_LONG = "a sentence that goes on for longer than any terminal is wide, " * 4


def test_a_table_into_a_pipe_has_every_cell_whole_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([{"check": "database", "seen": _LONG}], {"CHECK": "check", "SEEN": "seen"}, empty="-")
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["CHECK", "SEEN"]
    assert row.strip() == f"database  {_LONG}".strip()


def test_on_a_terminal_the_first_column_is_never_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    show_table([{"check": "database", "seen": _LONG}], {"CHECK": "check", "SEEN": "seen"}, empty="-")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("database  ")
    assert len(lines) > 5


def test_what_is_said_of_one_thing_has_no_signs_of_a_language(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields(
        {
            "name": "n1", "tags": ["a", "b"], "uuid": None,
            "nics": [{"mac": "02::1", "address": None}, {"mac": "02::2"}],
            "armed_until": 1795338317.82, "size_bytes": 480e9, "wipe": True, "roles": [],
            "attempt": {"profile": "p", "armed_at": 1795338317.82, "outcome": None},
            "settings": {"rack": {"name": "r", "unit": 3}},
        }
    )  # fmt: skip
    out = capsys.readouterr().out
    assert not set(out) & set("{}[]'")
    assert "None" not in out
    assert "1795338317" not in out
    lines = [line.split(None, 1) for line in out.splitlines()]
    assert [value for key, value in lines if key == "nics"] == ["mac 02::1", "mac 02::2"]
    assert ["tags", "a, b"] in lines
    assert ["size_bytes", "480.0 GB"] in lines
    assert ["wipe", "yes"] in lines
    assert ["settings", "rack (name r, unit 3)"] in lines
    assert {"roles", "uuid"}.isdisjoint(key for key, _ in lines)
