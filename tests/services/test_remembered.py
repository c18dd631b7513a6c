"""A file is read again only when it has changed."""

from pathlib import Path

import pytest

from pxeforge.services import remembered
from pxeforge.services.remembered import Remembered


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "LOOK_EVERY_S", 0.0)
    reads: list[str] = []

    def read(path: Path) -> str:
        reads.append(path.name)
        return path.read_text()

    file, text = tmp_path / "f", Remembered(read)
    file.write_text("one")
    assert [text(file), text(file), len(reads)] == ["one", "one", 1]
    file.write_text("another")
    assert [text(file), len(reads)] == ["another", 2]


def test_a_file_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    text = Remembered(Path.read_text)
    with pytest.raises(FileNotFoundError):
        text(tmp_path / "f")
    (tmp_path / "f").write_text("now")
    assert text(tmp_path / "f") == "now"


def test_a_change_is_noticed_after_the_pause_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, text = tmp_path / "f", Remembered(Path.read_text)
    file.write_text("one")
    monkeypatch.setattr(remembered, "LOOK_EVERY_S", 3600.0)
    assert text(file) == "one"
    file.write_text("another")
    assert text(file) == "one"
