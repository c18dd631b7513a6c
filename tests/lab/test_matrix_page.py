from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pxeforge.lab.matrix import COLUMNS, ROWS, Cell, Outcome
from pxeforge.lab.matrix_page import BEGIN, END, NoMarks, markdown, merged, package_version, replace_table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "firmware.md"
GREEN = Cell(row="ipxe", column="server", outcome=Outcome.GREEN, menu_s=7.2, kernel_s=14.0)
RED = Cell(row="ovmf", column="server", outcome=Outcome.RED, reason="no menu\n  was | fetched")


def boxes(table: str, title: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [box.strip() for box in line.strip("|").split(" | ")][1:]


def column(name: str) -> int:
    return [one.name for one in COLUMNS].index(name)


def test_every_row_and_column_has_a_box_and_a_green_one_its_times() -> None:
    table = markdown([GREEN], {"QEMU": "10.0"})
    for row in ROWS:
        assert len(boxes(table, row.title)) == len(COLUMNS)
    assert boxes(table, "SeaBIOS, iPXE ROM")[column("server")] == "**yes** 7 / 14 s"
    assert boxes(table, "SeaBIOS, iPXE ROM")[column("kea")] == "not run"
    assert "Made with QEMU 10.0." in table


def test_reasons_stand_below_the_table_once_each() -> None:
    other = Cell(row="aavmf", column="kea", outcome=Outcome.RED, reason=RED.reason)
    limited = Cell(row="aavmf", column="server", outcome=Outcome.LIMITED, reason="too old")
    table = markdown([RED, other, limited], {})
    assert boxes(table, "OVMF, PXE")[column("server")] == "failed (1)"
    assert boxes(table, "AAVMF (arm64), PXE")[column("kea")] == "failed (1)"
    assert boxes(table, "AAVMF (arm64), PXE")[column("server")] == "no (2)"
    assert [line for line in table.splitlines() if line[:1].isdigit()] == [
        "1. No menu was \\| fetched.",
        "2. Too old.",
    ]


def test_a_run_again_replaces_its_cells_and_leaves_the_others(tmp_path: Path) -> None:
    merged(tmp_path, [GREEN, RED], {"QEMU": "9", "kea": "2"})
    better = Cell(row="ovmf", column="server", outcome=Outcome.GREEN, menu_s=9, kernel_s=30)
    cells, versions = merged(tmp_path, [better], {"QEMU": "10"})
    assert cells == [GREEN, better]
    assert versions == {"QEMU": "10", "kea": "2"}


def test_only_what_is_between_the_marks_of_a_page_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nMore.\n")
    replace_table(page, "new")
    assert page.read_text() == f"# Title\n\n{BEGIN}\n\nnew\n{END}\n\nMore.\n"
    page.write_text("# Title\n")
    with pytest.raises(NoMarks, match="has no place for the table"):
        replace_table(page, "new")


def test_the_page_of_the_documents_has_a_line_for_every_row() -> None:
    text = PAGE.read_text()
    assert text.index(BEGIN) < text.index(END)
    table = text.split(BEGIN)[1].split(END)[0]
    for row in ROWS:
        assert len(boxes(table, row.title)) == len(COLUMNS)


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="needs Debian's dpkg")
def test_versions_are_those_of_debians_packages(tmp_path: Path) -> None:
    assert package_version("dpkg")
    assert package_version("no-such-package") is None
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: seabios\nStatus: install ok installed\nVersion: 1.16.3-2\nArchitecture: all\n"
        "Maintainer: x <x@example.org>\nDescription: x\n"
    )
    assert package_version("seabios", tmp_path) == "1.16.3-2"
