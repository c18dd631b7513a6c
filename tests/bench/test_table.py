from __future__ import annotations

from pathlib import Path

from bench.__main__ import BEGIN, END, replace_table
from bench.table import Row, markdown


def row(ours: list[float], theirs: list[float], least: float = 1.0) -> Row:
    return Row(measure="TFTP", peer="dnsmasq", least=least, ours=ours, theirs=theirs)


def test_the_ratio_is_the_median_of_the_rounds_so_that_a_busy_round_does_not_count() -> None:
    assert row([300, 30, 320], [100, 10, 400]).ratio == 3.0


def test_a_row_says_whether_its_aim_is_reached() -> None:
    assert row([250], [100], 2.5).reached
    assert not row([249], [100], 2.5).reached


def test_the_table_shows_medians_ratio_and_spread() -> None:
    line = markdown([row([250, 200, 300], [100, 100, 100], 2.5)]).splitlines()[-1]
    assert line == "| TFTP | 250 | dnsmasq 100 | **2.50** (2.00 to 3.00) | ≥ 2.5 |"


def test_only_the_measured_part_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    replace_table(page, "new")
    replace_table(page, "newer")
    assert page.read_text() == f"before\n{BEGIN}\n\nnewer\n{END}\nafter\n"
