"""The boot storm: thousands of machines switched on together, and the memory of all our processes meanwhile."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from bench.boot import start_proxy
from bench.fleet import make_fleet
from bench.scene import HOST, WIRES, Scene
from bench.table import Aim, Row

_LIMIT_S = 60.0
_SPREAD_S = 5.0  # between the first machine's power button and the last one's
_LOADERS = Path("/usr/lib/ipxe")


def measure_storm(scene: Scene, hosts: int, machines: int, rounds: int) -> list[Row]:
    """None may be lost; what became of the first lost ones is told on the way."""
    took, resident, lost = [], [], 0
    for number in range(rounds):
        fleet = make_fleet(scene.folder / f"storm-{number}", hosts)
        memory = Memory(start_proxy(scene, fleet.folder))
        words = f"-a {WIRES['pxeforge'].server} -g {HOST} -l {_LOADERS} -n {machines} -s {_SPREAD_S} -t {_LIMIT_S}"
        with memory:
            found = scene.load("storm_load", words, limit_s=_LIMIT_S + 30)
        scene.end()
        took.append(found["seconds"])
        lost += int(found["lost"])
        resident.append(memory.resident_mb)
        repeats = {name: found[name] for name in ("dhcp_repeats", "binl_repeats", "tftp_repeats", "retry_later")}
        way = f"one in {found['p50_s']} s (p99 {found['p99_s']})"
        sys.stderr.write(
            f"boot storm: {found['there']} of {found['machines']} there in {took[-1]} s, {way}, {repeats}, "
            f"RSS {memory.resident_mb:.0f} MB, PSS {memory.own_mb:.0f} MB\n"
        )
    title, spoilt = f"boot storm of {machines:,} machines", f"{lost} lost" if lost else ""
    return [
        Row(
            measure=f"{title}: until the last one has its answers",
            unit="s",
            ours=took,
            aim=Aim.most(_LIMIT_S),
            spoilt=spoilt,
        ),
        Row(
            measure=f"{title}: RSS of all our processes, peak",
            unit="MB",
            ours=resident,
            aim=Aim.most(512),
            spoilt=spoilt,
        ),
    ]


class Memory:
    """While it is entered: the peak of what a process and all its descendants hold, in millions of bytes.

    `resident_mb` counts shared pages once per process (RSS), `own_mb` shares them out (PSS).
    """

    def __init__(self, pid: int) -> None:
        self._pid, self.resident_mb, self.own_mb = pid, 0.0, 0.0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_now_and_then, daemon=True)

    def __enter__(self) -> Memory:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look_now_and_then(self) -> None:
        while True:
            sums = [_kilobytes(pid) for pid in family(self._pid)]
            self.resident_mb = max(self.resident_mb, sum(rss for rss, _ in sums) * 1024 / 1e6)
            self.own_mb = max(self.own_mb, sum(pss for _, pss in sums) * 1024 / 1e6)
            if self._over.wait(1.0):
                return


def family(pid: int) -> list[int]:
    """The process and all its descendants, as far as they live."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in children.read_text().split())
            except OSError:
                continue  # it ended just now
    return found


def _kilobytes(pid: int) -> tuple[int, int]:
    """RSS and PSS; nothing for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return sizes["Rss"], sizes["Pss"]
