from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import BEGIN, END, replace_table
from bench.table import Aim, Growth, Row, growth_markdown, markdown


def row(ours: list[float], theirs: list[float], least: float = 1.0) -> Row:
    return Row(measure="TFTP", unit="MB/s", aim=Aim.ratio(least), ours=ours, peers={"dnsmasq": theirs})


def last_line(one: Row) -> str:
    return markdown([one]).splitlines()[-1]


def test_a_busy_round_does_not_count() -> None:
    assert row([300, 30, 320], [100, 10, 400], 3.0).reached
    assert not row([300, 30, 320], [100, 10, 400], 3.1).reached


@pytest.mark.parametrize(
    ("aim", "figure", "reached"),
    [(Aim.least(250), 250, True), (Aim.least(250), 249, False), (Aim.most(20), 20, True), (Aim.most(20), 21, False)],
)
def test_a_row_without_a_peer_has_a_bound(aim: Aim, figure: float, reached: bool) -> None:
    assert Row(measure="x", unit="/s", aim=aim, ours=[figure]).reached is reached


def test_of_several_peers_the_fastest_one_counts() -> None:
    peers = {"dnsmasq": [10.0], "Kea": [200.0]}
    assert not Row(measure="x", unit="/s", aim=Aim.ratio(1.0), ours=[100], peers=peers).reached


def test_what_went_wrong_on_the_way_spoils_a_good_figure() -> None:
    spoilt = Row(measure="DHCP", unit="/s", aim=Aim.least(3000), ours=[4000], spoilt="3 dropped")
    assert not spoilt.reached
    assert last_line(spoilt) == "| DHCP | **4,000/s** | — | — | ≥ 3,000/s: missed (3 dropped) |"


def test_the_table_shows_medians_ratio_and_spread() -> None:
    line = last_line(row([250, 200, 300], [100, 100, 100], 2.5))
    assert line == "| TFTP | 250 MB/s | dnsmasq 100 | **2.50** (2.00 to 3.00) | ≥ 2.5 × |"


def test_the_table_shows_a_bound_the_rounds_and_every_peer() -> None:
    several = Row(
        measure="DHCP", unit="ms", aim=Aim.most(20), ours=[10, 2.5, 40], peers={"a": [5, 5, 5], "b": [1, 1, 1]}
    )
    ratios = "**2.00** (0.50 to 8.00), **10.00** (2.50 to 40.00)"
    assert last_line(several) == f"| DHCP | **10 ms** (2.5 to 40) | a 5, b 1 | {ratios} | ≤ 20 ms |"


def test_growth_is_the_time_with_the_most_hosts_by_that_with_the_fewest() -> None:
    table = growth_markdown([Growth(measure="menu", times_ms={100: 1.0, 10_000: 1.25})]).splitlines()
    assert table[0] == "| one at a time, ms | 100 hosts | 10,000 hosts | ratio |"
    assert table[-1] == "| menu | 1.00 | 1.25 | **1.25** |"


def test_only_the_measured_part_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    replace_table(page, "new")
    replace_table(page, "newer")
    assert page.read_text() == f"before\n{BEGIN}\n\nnewer\n{END}\nafter\n"
