"""`python -m tests.soak`: rounds of disorder, each followed by a silence in which all must hold."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.children import resident_mb
from bench.scene import ip
from tests.soak.accidents import Accidents
from tests.soak.checks import Checks, summary
from tests.soak.machines import Machine
from tests.soak.model import Model
from tests.soak.operators import ACCOUNT, PROFILE, Operator
from tests.soak.wire import Relay
from tests.soak.world import WIRE, World

_INSIDE: Final = "PXEFORGE_SOAK_NAMESPACE"
_ROUND_S: Final = 40.0
_MACHINE_THREADS, _MACHINES_EACH, _OPERATORS = 6, 8, 3
_SETTLED_S: Final = 90.0  # how long what is under way may take to come to its end
# Descriptors of an idle child beside those of its start: each thread keeps a connection to the database, of 3 files.
_MORE_FILES: Final = 60
_NO_ROOM: Final = re.compile("No space left|disk is full|has no room|cannot be (read|written|opened)")
_MORE_MB: Final = 60.0


def main() -> int:
    options = _options()
    if os.geteuid() != 0:
        sys.stderr.write("soak: network namespaces need root\n")
        return 2
    if _INSIDE not in os.environ:
        # In namespaces of its own nothing of this computer's network is touched, and nothing is left behind.
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-m", "tests.soak", *sys.argv[1:]])
    folder = Path(tempfile.mkdtemp(prefix="pxeforge-soak-", dir=options.folder))
    soak = Soak(folder, options.seed, accidents=not options.calm)
    try:
        soak.run(options.minutes * 60)
    finally:
        soak.end()
    sys.stdout.write(soak.report())
    if not soak.model.broken and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.stdout.write(f"the server's log and the database are in {folder}\n")
    return 1 if soak.model.broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (default 2)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance but the computer's own (default 1)")
    parser.add_argument("--calm", action="store_true", help="no accidents: machines and operators only")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where logs are kept")
    parser.add_argument("--keep", action="store_true", help="keep the folder even if all held")
    return parser.parse_args()


class Rack:
    """Machines that take turns in one thread."""

    def __init__(self, machines: list[Machine], chance: random.Random) -> None:
        self._machines, self._chance = machines, chance

    def live(self) -> None:
        self._chance.choice(self._machines).live()


class Soak:
    """One run from its seed."""

    def __init__(self, folder: Path, seed: int, *, accidents: bool) -> None:
        self.seed, self.model, self.world = seed, Model(), World(folder)
        self._with_accidents = accidents
        self._go, self._over = threading.Event(), threading.Event()
        self._standing, self._threads = threading.Semaphore(0), list[threading.Thread]()
        self._baseline: dict[int, tuple[str, int, float]] = {}  # pid → name, descriptors, MB
        self._relay: Relay | None = None
        self._sizes: dict[str, list[tuple[int, int]]] = {}
        self._most: dict[str, tuple[int, int]] = {}  # of idle children by name: descriptors, MB
        self.rounds = 0

    def run(self, seconds: float) -> None:
        ip("link set lo up")
        ip("route add local 172.16.0.0/16 dev lo")
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
        WIRE.make()
        self.world.prepare()
        refused = self.world.start()
        if refused is not None:
            raise SystemExit(f"soak: the server does not start: {refused}")
        self._relay = Relay(random.Random(f"{self.seed} relay"))
        self._prepare()
        self._remember_idle()
        accidents = Accidents(self.world, self.model, random.Random(f"{self.seed} accidents"))
        ends, told = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            self.rounds += 1
            self._go.set()
            round_ends = min(ends, time.monotonic() + _ROUND_S)
            while time.monotonic() < round_ends:
                if self._with_accidents:
                    accidents.one(until=round_ends)
                else:
                    time.sleep(0.5)
            self._silence(accidents)
            wrong, told = self.model.broken[told:], len(self.model.broken)
            sys.stderr.writelines(f"soak: WRONG {line}\n" for line in wrong)
            sys.stderr.write(f"soak: round {self.rounds}, {told} wrong, {dict(accidents.counts)}\n")

    def _prepare(self) -> None:
        chance = random.Random(f"{self.seed} machines")
        status, content = self.world.admin(
            "POST", "/api/v1/profiles", {"name": PROFILE, "image": "bench", "parameters": {"accounts": [ACCOUNT]}}
        )
        if status != 201:
            raise SystemExit(f"soak: the profile was refused: {content!r}")
        assert self._relay is not None
        racks = [
            [
                Machine(number, self.world, self.model, self._relay, random.Random(chance.random()))
                for number in range(start, start + _MACHINES_EACH)
            ]
            for start in range(0, _MACHINE_THREADS * _MACHINES_EACH, _MACHINES_EACH)
        ]
        macs = [machine.mac for rack in racks for machine in rack]
        for number in range(_OPERATORS):
            operator = Operator(f"op{number}", self.world, self.model, random.Random(chance.random()), macs)
            if number == 0:
                for mac in macs[::2]:  # the others are discovered
                    operator.add(mac)
            self._thread(operator.act, random.Random(chance.random()), 0.5)
        for rack in racks:
            self._thread(Rack(rack, random.Random(chance.random())).live, random.Random(chance.random()), 0.4)

    def _thread(self, act: Callable[[], None], chance: random.Random, most_s: float) -> None:
        def work() -> None:
            while not self._over.is_set():
                if not self._go.is_set():
                    self._standing.release()
                    self._go.wait()
                    continue
                try:
                    act()
                except Exception as problem:
                    self.model.wrong(f"the soak itself: {type(problem).__name__}: {problem}")
                time.sleep(chance.random() * most_s)

        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ------------------------------------------------------------------ silence

    def _silence(self, accidents: Accidents) -> None:
        """Nobody does anything, the server is whole again: now everything must hold."""
        self._go.clear()
        accidents.repair()
        for _ in self._threads:
            self._standing.acquire()
        late = self.world.wait_back()
        if late is not None:
            self.model.wrong(f"the server did not come back by itself: {late}")
            return
        time.sleep(1.5)  # what nobody waits for is written within a moment
        checks, deadline = Checks(self.world.data_dir), time.monotonic() + _SETTLED_S
        while (found := checks.everything(self.model.promises, self.world.now())) and time.monotonic() < deadline:
            time.sleep(3)  # upkeep ends what took too long
        for each in found:
            self.model.wrong(each)
        self._check_idle()

    def _remember_idle(self) -> None:
        time.sleep(1)
        for name, pids in self.world.children().items():
            for pid in pids:
                self._baseline[pid] = (name, _descriptors(pid), resident_mb(pid))

    def _check_idle(self) -> None:
        """A child that lived through the round has let go of what it opened in it."""
        deadline = time.monotonic() + 40  # connections that are kept alive end by themselves
        while (over := self._grown()) and time.monotonic() < deadline:
            time.sleep(2)
        for each in over:
            self.model.wrong(each)
        known = self._baseline
        self._baseline = {}
        for name, pids in self.world.children().items():
            for pid in pids:
                files, mb = self._most.get(name, (0, 0))
                self._most[name] = (max(files, _descriptors(pid)), max(mb, round(resident_mb(pid))))
                self._baseline[pid] = known.get(pid) or (name, _descriptors(pid), resident_mb(pid))

    def _grown(self) -> list[str]:
        found = []
        for name, pids in self.world.children().items():
            for pid in pids:
                if pid not in self._baseline:
                    continue
                _, files, mb = self._baseline[pid]
                if _descriptors(pid) > files + _MORE_FILES:
                    found.append(f"{name} has {_descriptors(pid)} descriptors open, {files} at its start")
                if resident_mb(pid) > mb + _MORE_MB:
                    found.append(f"{name} has grown from {mb:.0f} to {resident_mb(pid):.0f} MB")
        return found

    # ------------------------------------------------------------------ the end

    def end(self) -> None:
        self._over.set()
        self._go.set()
        for thread in self._threads:
            thread.join(100)
        if self._relay is not None:
            self._relay.close()
        self._sizes = {
            name: [(_descriptors(pid), round(resident_mb(pid))) for pid in pids]
            for name, pids in (self.world.children() if self.world.is_running else {}).items()
        }
        if self.world.is_running and (code := self.world.stop()) != 0:
            self.model.wrong(f"the server ended with {code} when it was asked to")
        for last, count in self.world.tracebacks().items():
            if not _NO_ROOM.search(last):
                self.model.wrong(f"a traceback in the log, {count} times: {last}")

    def report(self) -> str:
        lines = [f"seed {self.seed}: {self.rounds} rounds, {self.world.starts} starts of the server, "]
        lines[0] += f"{self.world.slow_starts} of them too slow on a busy computer"
        lines += [f"  {count:6d} {what}" for what, count in sorted(self.model.counts.items())]
        lines.append(f"  descriptors and MB of idle children, at most: {json.dumps(self._most)}")
        lines.append(f"  descriptors and MB at the end: {json.dumps(self._sizes)}")
        lines += [f"WRONG {line}" for line in self.model.broken[:200]]
        if self.model.broken:
            lines += [f"  in all {count:4d} × {what}" for what, count in summary(self.model.broken).most_common()]
        else:
            lines.append("everything held")
        return "\n".join(lines) + "\n"


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


if __name__ == "__main__":
    sys.exit(main())
