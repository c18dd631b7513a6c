"""debconf's own word on a preseed file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pxeforge.services.answers_check import BINARY, debconf_complaints


@pytest.mark.skipif(shutil.which(BINARY) is None, reason="needs debconf")
def test_debconf_accepts_a_good_file_and_complains_about_a_bad_one() -> None:
    assert debconf_complaints("d-i mirror/country string manual\n# comment\n") == []
    assert debconf_complaints("nonsense\n")


def test_without_debconf_there_is_no_answer() -> None:
    assert debconf_complaints("x", binary="no-such-program-here") is None


def test_a_failure_without_a_word_is_told(tmp_path: Path) -> None:
    program = tmp_path / "silent"
    program.write_text("#!/bin/sh\ncat >/dev/null\nexit 3\n")
    program.chmod(0o755)
    assert debconf_complaints("x", binary=str(program)) == [f"{program} ended with 3 and said nothing"]
