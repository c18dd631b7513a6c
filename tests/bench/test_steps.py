from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.engine import Line, table
from bench.steps import hundred_steps, measure_steps


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg-query is missing")
def test_a_hundred_steps_find_nothing_to_do_the_second_time(tmp_path: Path) -> None:
    assert len(hundred_steps(tmp_path)) == 100
    assert measure_steps(tmp_path, 1) > 0


def test_a_figure_that_was_missed_says_so() -> None:
    lines = table(
        [Line("a plan", 4.321, "s", 5), Line("memory", 1234.5, "MB", 200), Line("tasks", 0.5, "/s")]
    ).splitlines()
    assert lines[2:] == [
        "| a plan | **4.32 s** | ≤ 5 s |",
        "| memory | **1,234 MB** | ≤ 200 MB: missed |",
        "| tasks | **0.5 /s** | — |",
    ]
