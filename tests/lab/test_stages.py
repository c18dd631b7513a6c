from __future__ import annotations

import pytest

from pxeforge.lab.stages import Mark, marks_of, table, unix_seconds

EVENTS: list[dict[str, object]] = [
    {"at": 112.5, "kind": "answers.fetched", "source": "http", "message": "answers sent"},
    {"at": 100.0, "kind": "boot.menu", "source": "http", "message": "menu sent"},
    {
        "at": 120.0,
        "kind": "syslog",
        "source": "d-i",
        "message": "main-menu[335]: INFO: Menu item 'partman-base' selected",
    },
    {"at": 121.0, "kind": "syslog", "source": "d-i", "message": "partman: mke2fs 1.47"},
    {
        "at": 122.0,
        "kind": "syslog",
        "source": "d-i",
        "message": "main-menu[335]: INFO: Menu item 'partman-base' selected",
    },
]


def test_events_become_marks_in_order_of_time_and_chatter_is_left_out() -> None:
    assert marks_of(EVENTS) == [
        Mark(100.0, "boot.menu: menu sent"),
        Mark(112.5, "answers.fetched: answers sent"),
        Mark(120.0, "d-i: partman-base"),
    ]


def test_the_table_shows_when_each_stage_began_and_how_long_it_took() -> None:
    lines = table(marks_of(EVENTS), start=99, end=200, ending="powered off").splitlines()
    assert [line.split(maxsplit=2) for line in lines[1:-1]] == [
        ["1.0", "12.5", "boot.menu: menu sent"],
        ["13.5", "7.5", "answers.fetched: answers sent"],
        ["21.0", "80.0", "d-i: partman-base"],
    ]
    assert lines[-1].split() == ["101.0", "powered", "off"]


def test_a_table_without_marks_still_says_how_long_it_took() -> None:
    assert table([], start=5, end=8).splitlines()[-1].split() == ["3.0", "end"]


@pytest.mark.parametrize(
    "at", [86400, 86400.0, "1970-01-02T00:00:00", "1970-01-02T00:00:00Z", "1970-01-02T01:00:00+01:00"]
)
def test_times_may_be_numbers_or_iso_text(at: object) -> None:
    assert unix_seconds(at) == 86400.0


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError):
        unix_seconds("yesterday")
