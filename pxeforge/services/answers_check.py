"""Asks debconf itself whether it would read a preseed file (`debconf-set-selections --checkonly`)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Final

BINARY: Final = "debconf-set-selections"
TIMEOUT_S: Final = 20
# A database in memory: the system's is locked while packages are installed, and would be waited for or refused.
_DATABASE: Final = b"""Config: config
Templates: templates

Name: config
Driver: Pipe
InFd: none
OutFd: none

Name: templates
Driver: Pipe
InFd: none
OutFd: none
"""


class AnswersCheckProblem(Exception):
    """The check itself could not be run."""


def debconf_complaints(text: str, *, binary: str = BINARY) -> list[str] | None:
    """What debconf says about the file, one sentence each; None where the program is not installed.

    Debconf reads far more than is right (see render/lint.py): an empty list alone proves little.
    Raises AnswersCheckProblem when it does not end in time.
    """
    program = shutil.which(binary)
    if program is None:
        return None
    try:
        with _database() as (number, path):
            done = subprocess.run(
                [program, "--checkonly"], input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False,
                env={**os.environ, "DEBCONF_SYSTEMRC": path}, pass_fds=(number,),
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise AnswersCheckProblem(f"{binary} did not end within {TIMEOUT_S} s") from None
    except OSError as error:
        raise AnswersCheckProblem(f"{binary} could not be started: {error.strerror}") from None
    said = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if done.returncode != 0 and not said:
        return [f"{binary} ended with {done.returncode} and said nothing"]
    return said


@contextlib.contextmanager
def _database() -> Iterator[tuple[int, str]]:
    """Number and path of a file that tells debconf to use a database in memory."""
    number = os.memfd_create("debconf.conf")
    try:
        os.write(number, _DATABASE)
        yield number, f"/proc/self/fd/{number}"
    finally:
        os.close(number)
