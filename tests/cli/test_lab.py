from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pxeforge.cli.main import main
from pxeforge.lab.keeper import NO_SITE
from pxeforge.lab.matrix import COLUMNS, ROWS
from pxeforge.lab.site_dhcp import Brand


def test_rows_and_columns_of_the_matrix_are_listed_without_running_one(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["lab", "matrix", "--list", "--dir", str(tmp_path)])
    assert listed.exit_code == 0
    names = [line.split()[1] for line in listed.output.splitlines()]
    assert names == [one.name for one in (*ROWS, *COLUMNS)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flag", "what"), [("--only", "row"), ("--column", "column")])
def test_a_row_or_column_that_does_not_exist_is_refused_with_those_that_do(flag: str, what: str) -> None:
    refused = CliRunner().invoke(main, ["lab", "matrix", flag, "no-such"])
    assert refused.exit_code == 2
    assert f"there is no {what} 'no-such': choose one of " in refused.output


def test_a_lab_can_stand_beside_every_brand_there_is() -> None:
    refused = CliRunner().invoke(main, ["lab", "up", "--beside", "no-such"])
    assert refused.exit_code == 2
    for choice in (NO_SITE, *(brand.value for brand in Brand)):
        assert f"'{choice}'" in refused.output
