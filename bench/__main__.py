"""`python -m bench`: measures pxeforge beside its peers and prints tables. Needs root; about ten minutes."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import files
from bench.answers import measure_answers
from bench.boot import measure_boot
from bench.cache import measure_cache
from bench.compiled import CannotBench
from bench.dhcp import measure_exchanges
from bench.growth import measure_growth
from bench.scene import Scene, make_wires
from bench.storm import measure_storm
from bench.table import Growth, Row, growth_markdown, markdown

_INSIDE = "PXEFORGE_BENCH_NAMESPACE"
_MEMORY = Path("/dev/shm")
_NAMES = (*files.NAMES, "cache", "dhcp", "boot", "storm", "answers", "growth")
_FLEETS = 3  # rounds of the rows that need a new fleet and a new server each time


def main() -> int:
    options = _options()
    if os.geteuid() != 0:
        return _say("the measurement makes network namespaces: run it as root")
    if _INSIDE not in os.environ:
        # In namespaces of its own nothing of this computer's network is touched, and nothing is left behind.
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-m", "bench", *sys.argv[1:]])
    make_wires()
    where = environment()
    rows: list[Row] = []
    growth: list[Growth] = []
    try:
        _run(options, rows, growth)
    except CannotBench as problem:
        return _say(str(problem))
    tables = markdown(rows) if rows else ""
    if growth:
        tables += f"\n{growth_markdown(growth)}" if rows else growth_markdown(growth)
    sys.stdout.write(f"\n{where}\n\n{tables}")
    if options.into is not None:
        replace_table(options.into, f"{where}\n\n{tables}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=_NAMES, help="these rows (may be repeated)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement (default 2)")
    parser.add_argument(
        "--disk", type=Path, default=Path("/var/tmp"), help="folder on a real disk, for databases (default /var/tmp)"
    )
    parser.add_argument("--hosts", type=int, default=10_000, help="hosts in the database (default 10,000)")
    parser.add_argument("--machines", type=int, default=2000, help="machines in the boot storm (default 2,000)")
    parser.add_argument("--into", type=Path, help="Markdown file whose measured part is replaced")
    return parser.parse_args()


def _run(options: argparse.Namespace, rows: list[Row], growth: list[Growth]) -> None:
    """Each part with servers of its own; what it has measured is added to `rows` or `growth`."""
    wanted = options.only or _NAMES
    transfers = [name for name in files.NAMES if name in wanted]
    fleets = min(options.rounds, _FLEETS)
    if transfers:
        with _scene(_MEMORY) as scene:
            rows += files.measure_transfers(scene, transfers, options.rounds, options.seconds)
    if "cache" in wanted:
        with _scene(_MEMORY) as scene:
            rows.append(measure_cache(scene, options.rounds, options.seconds))
    if "dhcp" in wanted:
        with _scene(options.disk) as scene:
            rows.append(measure_exchanges(scene, options.hosts, options.rounds, options.seconds))
    if "boot" in wanted:
        with _scene(options.disk) as scene:
            rows += measure_boot(scene, options.hosts, fleets)
    if "storm" in wanted:
        with _scene(options.disk) as scene:
            rows += measure_storm(scene, max(options.hosts, options.machines), options.machines, fleets)
    if "answers" in wanted:
        rows += measure_answers(options.rounds)
    if "growth" in wanted:
        with _scene(options.disk) as scene:
            growth += measure_growth(scene)


@contextlib.contextmanager
def _scene(place: Path) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="pxeforge-bench-", dir=place) as name:
        scene = Scene(Path(name))
        try:
            yield scene
        finally:
            scene.end()


def environment() -> str:
    """Where it is measured and how busy that computer is already, in one line."""
    peers = []
    for name, option in (("dnsmasq", "--version"), ("nginx", "-v"), ("kea-dhcp4", "-v")):
        try:
            said = subprocess.run([name, option], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        first = (said.stdout or said.stderr).splitlines()[0].split("Copyright")[0]
        peers.append(f"Kea {first}" if name == "kea-dhcp4" else first.removeprefix("nginx version:").strip())
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return (
        f"{os.cpu_count()} CPUs shared by servers and load generator, Linux {kernel}, "
        f"Python {platform.python_version()}; peers: {', '.join(peers)}; load average before the run "
        f"{os.getloadavg()[0]:.1f}."
    )


BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def replace_table(path: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Puts `text` between the two marks of the page."""
    begin, end = marks
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(begin, 1)
    _, after = rest.split(end, 1)
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


def _say(problem: str) -> int:
    sys.stderr.write(f"bench: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
