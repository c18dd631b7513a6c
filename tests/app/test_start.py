"""What is looked at before a start touches anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.app.settings import BadSettings, load_settings
from pxeforge.app.start import start


def test_a_data_directory_whose_socket_would_have_too_long_a_path_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * (107 - len(str(tmp_path)) - len("//pxeforge.sock") + 3))
    settings = load_settings({"data_dir": folder, "interfaces": ["lo"]}, environment={})
    with pytest.raises(BadSettings, match=r"is 3 bytes too long for the socket in it: choose a shorter path"):
        start(settings, print)
    assert not folder.exists()
