"""The commands' page in docs/ says what the command line takes."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from pxeforge.cli.main import main
from pxeforge.cli.reference import PAGE, commands_table, write_page

COMMITTED = Path(__file__).parents[2] / "docs" / "reference"


def test_the_committed_page_is_what_the_commands_make() -> None:
    committed = (COMMITTED / PAGE).read_text()
    assert committed == commands_table(), "run: python -m pxeforge.cli.reference docs/reference"


def test_every_command_on_the_page_exists() -> None:
    heads = [line.split()[2:] for line in commands_table().splitlines() if line.startswith("## pxeforge ")]
    paths = [[word for word in head if word.islower() and word.isalpha()] for head in heads]
    assert ["host", "arm"] in paths
    assert ["serve"] in paths
    for path in paths:
        assert CliRunner().invoke(main, [*path, "--help"]).exit_code == 0, path


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    write_page(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [PAGE]
