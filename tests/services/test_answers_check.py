"""debconf's own word on a preseed file."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from pxeforge.services.answers_check import BINARY, debconf_complaints


@pytest.mark.skipif(shutil.which(BINARY) is None, reason="needs debconf")
def test_debconf_accepts_a_good_file_and_complains_about_a_bad_one() -> None:
    assert debconf_complaints("d-i mirror/country string manual\n# comment\n") == []
    assert debconf_complaints("nonsense\n")


@pytest.mark.skipif(shutil.which(BINARY) is None, reason="needs debconf")
def test_a_database_that_is_locked_by_apt_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "debconf.conf"
    stanza = "Name: {0}\nDriver: File\nMode: 644\nFilename: " + str(tmp_path) + "/{0}.dat\n"
    system.write_text(
        "Config: config\nTemplates: templates\n\n" + "\n".join(map(stanza.format, ("config", "templates")))
    )
    monkeypatch.setenv("DEBCONF_SYSTEMRC", str(system))
    with (tmp_path / "config.dat").open("w") as database:
        fcntl.flock(database, fcntl.LOCK_EX)
        locked = subprocess.run([BINARY, "--checkonly"], input=b"", capture_output=True, check=False)
        assert locked.returncode == 1
        assert debconf_complaints("d-i mirror/country string manual\n") == []


def test_without_debconf_there_is_no_answer() -> None:
    assert debconf_complaints("x", binary="no-such-program-here") is None


def test_a_failure_without_a_word_is_told(tmp_path: Path) -> None:
    program = tmp_path / "silent"
    program.write_text("#!/bin/sh\ncat >/dev/null\nexit 3\n")
    program.chmod(0o755)
    assert debconf_complaints("x", binary=str(program)) == [f"{program} ended with 3 and said nothing"]
