"""Times, sizes and lists read well."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.webapp.pages import readable


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (86_400 * 3 + 4 * 3600, "3 d 4 h"),
        (-12, "-12 s"),
        (None, "–"),
    ],
)
def test_a_duration_is_told_in_the_two_units_that_matter(seconds: float | None, text: str) -> None:
    assert readable.duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e9))
def test_a_duration_never_shows_sixty_seconds_or_minutes(seconds: float) -> None:
    assert not re.search(r"\b60 (s|min)", readable.duration(seconds))


@pytest.mark.parametrize(
    ("at", "text"), [(None, "never"), (99.5, "just now"), (70, "30 s ago"), (-200, "5 min ago"), (-7200, "2 h ago")]
)
def test_the_past_is_told_in_one_unit(at: float | None, text: str) -> None:
    assert readable.ago(at, 100.0) == text


def test_the_time_that_is_left_ends() -> None:
    assert [readable.left(until, 100.0) for until in (None, 100, 160, 7300)] == ["–", "over", "1 min left", "2 h left"]


@pytest.mark.parametrize(
    ("count", "disk", "ram"),
    [
        (960_197_124_096, "960 GB", "894 GiB"),
        (3_840_755_982_336, "3.84 TB", "3.49 TiB"),
        (137_438_953_472, "137 GB", "128 GiB"),
        (0, "0 B", "0 B"),
    ],
)
def test_disks_are_told_in_decimal_and_memory_in_binary_units(count: int, disk: str, ram: str) -> None:
    assert (readable.size(count), readable.memory(count)) == (disk, ram)


def test_a_long_output_shows_its_end() -> None:
    shown = readable.tail("\n".join(str(n) for n in range(100)), 3).splitlines()
    assert shown == ["… 97 lines before", "97", "98", "99"]
