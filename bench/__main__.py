"""`python -m bench`: measures pxeforge beside dnsmasq and nginx and prints a table. Needs root; about two minutes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.compiled import CannotBench, compiled
from bench.scene import (
    DNSMASQ,
    HTTP_PORT,
    IMAGE,
    LARGE,
    NGINX,
    NGINX_PORT,
    OURS,
    SMALL,
    Scene,
    make_network,
    write_files,
)
from bench.table import Row, markdown

_INSIDE = "PXEFORGE_BENCH_NAMESPACE"
_SPARE_S = 30.0  # what a load generator may need beyond its seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A row to be: the load generator's words (`{address}` is the server) and how much longer than others it runs."""

    name: str
    title: str
    program: str
    words: str
    ours: str
    theirs: str
    peer: str
    least: float
    longer: float = 1.0


_TFTP = f"-a {{address}} -p 69 -n {IMAGE}/{SMALL} -s 10.99.1 -b 1468"
_HTTP = f"-a {{address}} -u /{IMAGE}/{LARGE} -c 16"
MEASURES = (
    Measure(
        name="tftp-window", title="TFTP, 16 clients, blksize 1468, windowsize 16, 2 MB file", program="tftp_load",
        words=f"{_TFTP} -c 16 -w 16", ours=OURS, theirs=DNSMASQ, peer="dnsmasq", least=2.5,
    ),
    Measure(
        name="tftp-lockstep", title="TFTP, 64 clients in lockstep, blksize 1468, 2 MB file", program="tftp_load",
        words=f"{_TFTP} -c 64 -w 1", ours=OURS, theirs=DNSMASQ, peer="dnsmasq", least=1.0,
    ),
    Measure(
        name="tftp-loss", title="TFTP, 16 clients, windowsize 16, 2 % of all blocks lost", program="tftp_load",
        words=f"{_TFTP} -c 16 -w 16 -l 0.02", ours=OURS, theirs=DNSMASQ, peer="dnsmasq", least=1.0, longer=2.5,
    ),
    Measure(
        name="http", title="HTTP, 16 clients, 40 MB file", program="http_load",
        words=_HTTP, ours=f"{OURS} -p {HTTP_PORT}", theirs=f"{NGINX} -p {NGINX_PORT}", peer="nginx", least=1.0,
    ),
)  # fmt: skip


def main() -> int:
    options = _options()
    if os.geteuid() != 0:
        return _say("the measurement makes a network namespace: run it as root")
    if _INSIDE not in os.environ:
        # In a namespace of its own nothing of this computer's network is touched, and nothing is left behind.
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, "-m", "bench", *sys.argv[1:]])
    make_network()
    where = environment()
    chosen = [measure for measure in MEASURES if not options.only or measure.name in options.only]
    # In memory, so that no disk is measured.
    with tempfile.TemporaryDirectory(prefix="pxeforge-bench-", dir="/dev/shm") as name:
        scene = Scene(Path(name))
        try:
            rows = _run(scene, chosen, options.rounds, options.seconds)
        except CannotBench as problem:
            return _say(str(problem))
        finally:
            scene.end()
    table = markdown(rows)
    sys.stdout.write(f"\n{where}\n\n{table}")
    if options.into is not None:
        replace_table(options.into, f"{where}\n\n{table}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [measure.name for measure in MEASURES]
    parser.add_argument("--only", action="append", choices=names, help="this row (may be repeated)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement (default 2)")
    parser.add_argument("--into", type=Path, help="Markdown file whose measured part is replaced")
    return parser.parse_args()


def _run(scene: Scene, chosen: list[Measure], rounds: int, seconds: float) -> list[Row]:
    write_files(scene.folder)
    loads = {program: compiled(program, scene.folder) for program in sorted({m.program for m in chosen})}
    scene.start_pxeforge()
    starts: dict[str, Callable[[], None]] = {"dnsmasq": scene.start_dnsmasq, "nginx": scene.start_nginx}
    for peer in sorted({measure.peer for measure in chosen}):
        starts[peer]()
    return [_measure(scene, measure, loads[measure.program], rounds, seconds) for measure in chosen]


def _measure(scene: Scene, measure: Measure, load: Path, rounds: int, seconds: float) -> Row:
    """Ours and theirs in turn, so that a busy moment of this computer hits both."""
    file = scene.folder / IMAGE / (LARGE if measure.program == "http_load" else SMALL)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        for results, address in ((ours, measure.ours), (theirs, measure.theirs)):
            words = measure.words.format(address=address).split()
            command = [str(load), *words, "-f", str(file), "-t", str(seconds * measure.longer)]
            limit_s = seconds * measure.longer + _SPARE_S
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
            if done.returncode != 0:
                raise CannotBench(f"{measure.title}: {address} failed:\n{done.stderr}{done.stdout}")
            results.append(float(json.loads(done.stdout)["mb_per_s"]))
        sys.stderr.write(f"{measure.title}: {ours[-1]} MB/s, {measure.peer} {theirs[-1]} MB/s\n")
    return Row(measure=measure.title, peer=measure.peer, least=measure.least, ours=ours, theirs=theirs)


def environment() -> str:
    """Where it is measured and how busy that computer is already, in one line."""
    peers = []
    for command in (["dnsmasq", "--version"], ["nginx", "-v"]):
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        first = (said.stdout or said.stderr).splitlines()[0].split("Copyright")[0]
        peers.append(first.removeprefix("nginx version:").strip())
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return (
        f"{os.cpu_count()} CPUs shared by servers and load generator, Linux {kernel}, "
        f"Python {platform.python_version()}; peers: {', '.join(peers)}; load average before the run "
        f"{os.getloadavg()[0]:.1f}."
    )


BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def replace_table(path: Path, text: str) -> None:
    """Puts `text` between the two marks of the page."""
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _say(problem: str) -> int:
    sys.stderr.write(f"bench: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
