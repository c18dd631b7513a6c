"""Runs a power program: no shell, no terminal, a small environment, and a time after which it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from pxeforge.services.power_driver import Deadline, PowerFault

_MOST_OUTPUT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended; of what it said only the beginning."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.err.strip() or self.out.strip()


def run(argv: Sequence[str], secrets: Mapping[str, str], deadline: Deadline) -> Ended:
    """`secrets` go into the environment, which only root and the same user can read. Raises PowerFault."""
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **secrets}
    # Files, not pipes: a child of the program that lives on could keep a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                list(argv), env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        except OSError as problem:
            raise PowerFault(f"{argv[0]} cannot be started ({problem.strerror}): install it") from None
        try:
            code = process.wait(deadline.left_s())
        except (subprocess.TimeoutExpired, PowerFault):
            os.killpg(process.pid, signal.SIGKILL)  # not waited for yet: the number is still its own
            process.wait()
            raise PowerFault(f"{argv[0]} did not end in time and was ended") from None
        return Ended(code, _beginning(out), _beginning(err))


def _beginning(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(_MOST_OUTPUT).decode(errors="replace")
