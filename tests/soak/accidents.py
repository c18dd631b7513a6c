"""What happens to the server: killed, restarted, its disk full, its clock set."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import Final

from tests.soak.model import Model
from tests.soak.world import World

_CLOCKS_S: Final = (0, 0, 90, 3600, 4 * 3600, 2 * 86400, -600, -86400)


class Accidents:
    """One after the other; `repair` ends what lasts."""

    def __init__(self, world: World, model: Model, chance: random.Random) -> None:
        self._world, self._model, self._chance = world, model, chance
        self.counts: Counter[str] = Counter()
        self._coming_back: list[threading.Thread] = []

    def one(self, *, until: float) -> None:
        """A while of peace, then an accident; not after `until` (monotonic)."""
        rest = self._chance.uniform(2, 9)
        time.sleep(max(0.0, min(rest, until - time.monotonic())))
        if time.monotonic() >= until:
            return
        accidents = {
            self.child_killed: 30, self.server_killed: 15, self.server_restarted: 10, self.disk_full: 15,
            self.clock_set: 25,
        }  # fmt: skip
        [accident] = self._chance.choices(list(accidents), list(accidents.values()))
        self.counts[accident.__name__] += 1
        accident()

    def child_killed(self) -> None:
        children = [(name, pid) for name, pids in self._world.children().items() for pid in pids]
        if not children:
            return
        name, pid = self._chance.choice(sorted(children))
        self.counts[f"{name} killed"] += 1
        self._world.begin_trouble()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        back = threading.Thread(target=self._back, daemon=True)
        back.start()
        if self._chance.random() < 0.5:
            back.join()
        else:  # the next accident does not wait for the end of this one
            self._coming_back.append(back)

    def server_killed(self) -> None:
        with self._world.trouble():
            self._world.kill()
            self._start()

    def server_restarted(self) -> None:
        with self._world.trouble():
            if (code := self._world.stop()) != 0:
                self._model.wrong(f"the server ended with {code} when it was asked to")
            self._start()

    def disk_full(self) -> None:
        """For some seconds; now and then a process is killed meanwhile, or the server is started on the full disk."""
        self._world.fill_disk()
        try:
            time.sleep(self._chance.uniform(1, 6))
            what = self._chance.random()
            if what < 0.25:
                self.child_killed()
            elif what < 0.4:
                self._start_on_full_disk()
        finally:
            self._world.free_disk()

    def _start_on_full_disk(self) -> None:
        with self._world.trouble():
            self.counts["started on a full disk"] += 1
            self._world.kill()
            refused = self._world.start()
            if refused is not None:
                self.counts["refused to start on a full disk"] += 1
                if "Traceback" in refused:
                    self._model.wrong(f"on a full disk it ends with a traceback: {refused[-400:]}")
                self._world.free_disk()
                self._start()

    def clock_set(self) -> None:
        self._world.set_clock(float(self._chance.choice(_CLOCKS_S)))

    def repair(self) -> None:
        """The disk has room again, and whoever was killed is back."""
        self._world.free_disk()
        if not self._world.is_running:
            self._model.wrong("the server was gone")
            with self._world.trouble():
                self._start()
        while self._coming_back:
            self._coming_back.pop().join()

    def _start(self) -> None:
        refused = self._world.start()
        if refused is not None:
            self._model.wrong(f"the server did not start again: {refused}")

    def _back(self) -> None:
        try:
            late = self._world.wait_back()
        finally:
            self._world.end_trouble()
        if late is not None:
            self._model.wrong(f"a child did not come back: {late}")
