"""The reference pages in docs/ say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.app.reference import PAGES, STATE_WORDS, lifecycle_mermaid, settings_table, write_pages
from pxeforge.app.settings import MirrorSettings, Settings, SubnetSettings
from pxeforge.domain.lifecycle import NEXT, HostState
from pxeforge.services.answers import DEFAULTS
from pxeforge.services.budgets import DEFAULT_BUDGETS
from pxeforge.services.parameter_words import PARAMETER_WORDS

COMMITTED = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_committed_page_is_what_the_code_makes(name: str) -> None:
    committed = (COMMITTED / name).read_text()
    assert committed == PAGES[name](), "run: python -m pxeforge.app.reference docs/reference"


def test_every_page_is_written_whole(tmp_path: Path) -> None:
    write_pages(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(PAGES)


def test_every_transition_is_in_the_picture() -> None:
    arrows = [line.split(": ") for line in lifecycle_mermaid().splitlines() if " --> " in line and "[*]" not in line]
    drawn = {(*pair.strip().split(" --> "), signal) for pair, signals in arrows for signal in signals.split(", ")}
    assert drawn == {(before.value, after.value, signal.value) for (before, signal), after in NEXT.items()}


def test_every_parameter_and_state_is_explained_and_none_that_is_gone() -> None:
    assert set(PARAMETER_WORDS) == set(DEFAULTS)
    assert list(STATE_WORDS) == list(HostState)


def test_every_setting_has_a_row_with_a_meaning() -> None:
    simple, subnets, mirrors, budgets = settings_table().split("## Table")
    assert [line.split("`")[1] for line in budgets.splitlines() if line.startswith("| `")] == list(DEFAULT_BUDGETS)
    for page, settings in ((simple, Settings), (subnets, SubnetSettings), (mirrors, MirrorSettings)):
        rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
        assert [row[0].strip("| `") for row in rows] == list(settings.model_fields)
        assert all(len(row[-1].strip("| ")) > 5 for row in rows)
