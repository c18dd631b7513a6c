"""`python -m bench.engine`: what the engine costs: plans, steps, and a thousand agents on one server. Needs root."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.__main__ import replace_table
from bench.agents import Figures, make_site, measure_agents
from bench.compiled import CannotBench
from bench.scene import WIRES, Scene, make_wires
from bench.steps import measure_steps

MARKS: Final = ("<!-- engine -->", "<!-- /engine -->")
PARTS: Final = ("plan", "steps", "agents")
_INSIDE = "PXEFORGE_BENCH_NAMESPACE"
_WIRE = WIRES["pxeforge"]


@dataclass(frozen=True, slots=True)
class Line:
    """One measure; `most` is what it may be at most, None where nothing was promised."""

    measure: str
    value: float
    unit: str
    most: float | None = None

    def markdown(self) -> str:
        figure = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        aim = "—" if self.most is None else f"≤ {self.most:g} {self.unit}"
        missed = ": missed" if self.most is not None and self.value > self.most else ""
        return f"| {self.measure} | **{figure} {self.unit}** | {aim}{missed} |"


def table(lines: Iterable[Line]) -> str:
    return "\n".join(["| measure | figure | to reach |", "| --- | --- | --- |", *[line.markdown() for line in lines]])


def plan_lines(hosts: int, tasks: int) -> list[Line]:
    """In a process of its own, as memory that was used once is not seen again."""
    command = [sys.executable, "-m", "bench.plans", "--hosts", str(hosts), "--tasks", str(tasks), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotBench(f"the plan was not made: {done.stderr[-1000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    what = f"plan for {told['hosts']:,} hosts of the shipped roles: {told['tasks']:,} tasks, {told['steps']:,} steps"
    return [Line(what, told["time_s"], "s", 5), Line("memory that it takes", told["memory_mb"], "MB", 200)]


def steps_lines(times: int) -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="pxeforge-steps-") as name:
        took = measure_steps(Path(name), times)
    return [Line("100 steps on one host that find nothing to do", took, "s", 0.5)]


def agents_lines(found: Figures) -> list[Line]:
    who = f"{found.agents:,} agents"
    return [
        Line(f"{who} with nothing to do: an answer takes, median", found.idle_p50 * 1000, "ms"),
        Line(f"{who} with nothing to do: an answer takes, 99 of 100", found.idle_p99 * 1000, "ms"),
        Line(f"{who} with nothing to do: of one processor", found.idle_cpu * 100, "%"),
        Line("until a deploy to all of them has begun", found.start_s, "s"),
        Line("tasks done in a second", found.tasks_per_s, "/s"),
        Line("steps done in a second", found.steps_per_s, "/s"),
        Line("meanwhile, 99 of 100: a question that finds nothing", found.busy_p99 * 1000, "ms"),
        Line("meanwhile, 99 of 100: a task is given out", found.claim_p99 * 1000, "ms"),
        Line("meanwhile, 99 of 100: a result is taken", found.result_p99 * 1000, "ms"),
        *[Line(f"RSS of the {name} process(es) afterwards", mb, "MB") for name, mb in sorted(found.rss.items())
          if name in ("admin", "agent")],
    ]  # fmt: skip


def _agents(options: argparse.Namespace) -> Figures:
    with tempfile.TemporaryDirectory(prefix="pxeforge-agents-", dir=options.disk) as name:
        folder = Path(name)
        make_site(folder / "data", folder / "operator", options.agents, options.tasks, options.steps)
        scene = Scene(folder)
        os.environ["PXEFORGE_OPERATOR_DIR"] = str(folder / "operator")
        try:
            served = scene.pxeforge(folder / "data", "--interface lan --dhcp proxy", inside=_WIRE.inside)
            return measure_agents(
                _WIRE.server, folder / "data", served.pid, agents=options.agents, tasks=options.tasks,
                idle_s=options.seconds,
            )  # fmt: skip
        finally:
            scene.end()


def main(words: Sequence[str]) -> int:
    options = _options(words)
    parts = options.only or PARTS
    if "agents" in parts and os.geteuid() != 0:
        sys.stderr.write("bench.engine: agents need network namespaces: run it as root, or with --only plan|steps\n")
        return 1
    if "agents" in parts and _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-m", "bench.engine", *words])
    load = os.getloadavg()[0]
    lines: list[Line] = []
    try:
        lines += plan_lines(options.hosts, 60) if "plan" in parts else []
        lines += steps_lines(options.times) if "steps" in parts else []
        if "agents" in parts:
            make_wires()
            lines += agents_lines(_agents(options))
    except CannotBench as problem:
        sys.stderr.write(f"bench.engine: {problem}\n")
        return 1
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    text = (
        f"{os.cpu_count()} CPUs shared by server and agents, Linux {kernel}, Python {platform.python_version()}, load "
        f"average before the run {load:.1f}; {options.tasks} tasks of {options.steps} steps for each agent.\n\n"
        f"{table(lines)}\n"
    )
    sys.stdout.write(f"\n{text}")
    if options.into is not None:
        replace_table(options.into, text, MARKS)
    return 0


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="these parts (may be repeated)")
    parser.add_argument("--hosts", type=int, default=1000, help="hosts of the plan (default 1,000)")
    parser.add_argument("--times", type=int, default=7, help="how often the hundred steps are done (default 7)")
    parser.add_argument("--agents", type=int, default=1000, help="agents (default 1,000)")
    parser.add_argument("--tasks", type=int, default=10, help="tasks of each agent (default 10)")
    parser.add_argument("--steps", type=int, default=5, help="steps of each task (default 5)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long they have nothing to do (default 20)")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="folder on a real disk, for the database")
    parser.add_argument("--into", type=Path, help="Markdown file whose part about the engine is replaced")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
