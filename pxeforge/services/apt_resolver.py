"""Asks apt which packages a set of wishes draws in: in a private root, from indexes it is handed, offline."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pxeforge.services.problems import Problem

_HOST: Final = "cache.invalid"  # apt only has to name it
_LINE: Final = re.compile(rf"'http://{re.escape(_HOST)}/(\S+)' \S+ ([0-9]+).*")
_LIMIT_S: Final = 120


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """One Packages file, plain. `root` is the repository's: `<mirror>` or `<mirror>/<folder>`."""

    root: str
    suite: str
    component: str
    text: bytes


class AptResolver:
    """apt's view of a machine of `arch` on which nothing is installed yet."""

    def __init__(self, folder: Path, indexes: Sequence[PackageIndex], arch: str) -> None:
        self._folder = folder
        for part in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "lists/partial", "archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        lines = []
        for index in indexes:
            lines.append(f"deb [trusted=yes arch={arch}] http://{_HOST}/{index.root} {index.suite} {index.component}\n")
            place = f"{_HOST}/{index.root}/dists/{index.suite}/{index.component}/binary-{arch}/Packages"
            (folder / "lists" / place.replace("_", "%5f").replace("/", "_")).write_bytes(index.text)
        (folder / "etc/apt/sources.list").write_text("".join(lines))
        options = {
            "Dir": folder, "Dir::Etc": folder / "etc/apt", "Dir::State": folder, "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status", "Dir::Cache": folder,
            "Dir::Cache::archives": folder / "archives", "APT::Architecture": arch, "APT::Architectures": arch,
            "Debug::NoLocking": "true", "Acquire::Languages": "none", "APT::Get::AllowUnauthenticated": "true",
        }  # fmt: skip
        # Read before all else, so that nothing of this computer's own configuration is.
        (folder / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in options.items()))

    def files(self, wishes: Sequence[str], *, recommends: bool) -> dict[str, int]:
        """Sizes by name (`<mirror>/<path>`) of the packages that installing `wishes` downloads; raises Problem."""
        if not wishes:
            return {}
        depth = "--install-recommends" if recommends else "--no-install-recommends"
        command = ["apt-get", "-qq", "-y", "--print-uris", depth, "install", *wishes]
        surroundings = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C",
            "APT_CONFIG": str(self._folder / "apt.conf"),
        }
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, env=surroundings
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise Problem(f"apt-get cannot be asked which packages are needed: {problem}") from None
        if done.returncode != 0:
            said = " ".join(line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: "))
            raise Problem(f"apt finds no way to install what the profile wants: {said or done.stderr[-500:]}")
        found = [_LINE.fullmatch(line.strip()) for line in done.stdout.splitlines()]
        return {unquote(line[1]): int(line[2]) for line in found if line}


def resolved(indexes: Sequence[PackageIndex], arch: str, sets: Sequence[tuple[Sequence[str], bool]]) -> dict[str, int]:
    """What each of `sets` (wishes, with recommended packages or not) draws in, together; raises Problem."""
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="pxeforge-apt-") as name:
        resolver = AptResolver(Path(name), indexes, arch)
        for wishes, recommends in sets:
            found |= resolver.files(wishes, recommends=recommends)
    return found
