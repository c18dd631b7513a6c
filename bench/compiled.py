"""The load generators are C programs beside this file, compiled when they are needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent


class CannotBench(Exception):
    """Something that the measurement needs is missing; the message says what to install."""


def compiled(name: str, into: Path) -> Path:
    """The executable made of bench/<name>.c, in the folder `into`; raises CannotBench."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotBench("the load generators are C programs and there is no compiler: install the package gcc")
    target = into / name
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(target), str(_HERE / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotBench(f"{name}.c does not compile (is libc6-dev installed?):\n{done.stderr}")
    return target
