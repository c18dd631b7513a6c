"""Tables of the CLI."""

from __future__ import annotations

import pytest

from pxeforge.cli.output import show_table

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
