"""Whether the server can do its work now: what load balancers, containers and `pxeforge health` ask."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as TooSlow
from dataclasses import dataclass
from typing import Final

from pxeforge.services import tallies
from pxeforge.services.context import Context
from pxeforge.services.problems import StoreUnavailable

LEAST_FREE_BYTES: Final = 256 << 20  # with less the database soon cannot grow
_DATABASE_S: Final = 2.0
_REMEMBERED_S: Final = 1.0  # whoever asks without a login must not keep the database busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`seen` says what is wrong and holds no secret; empty where all is well."""

    name: str
    seen: str = ""


class Readiness:
    """From any thread."""

    def __init__(
        self, ctx: Context, processes: Sequence[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`processes`: those that have to live; None: nothing serves here."""
        self._ctx, self._processes, self._clock = ctx, processes, clock
        self._lock = threading.Lock()
        self._known: tuple[float, list[Check]] | None = None

    def checks(self) -> list[Check]:
        """All of them; what was found is good for a second."""
        with self._lock:
            if self._known is None or self._clock() - self._known[0] >= _REMEMBERED_S:
                found = [self._database(), self._children(), self._disk()]
                self._known = (self._clock(), found)
            return self._known[1]

    def is_ready(self) -> bool:
        return not any(check.seen for check in self.checks())

    def _database(self) -> Check:
        try:
            self._ctx.database.share(lambda _, rows: [True for _ in rows], None).result(_DATABASE_S)
        except TooSlow:
            return Check(name="database", seen=f"no change could be written within {_DATABASE_S:.0f} s")
        except StoreUnavailable:
            return Check(name="database", seen="does not answer: see the log")
        except Exception as problem:
            return Check(name="database", seen=f"cannot be written ({type(problem).__name__}): see the log")
        return Check(name="database")

    def _children(self) -> Check:
        if self._processes is None:
            return Check(name="children", seen="pxeforge serve is not running")
        told = tallies.read_all(self._ctx.data_dir / tallies.FOLDER)
        missing = sorted(set(self._processes) - {one.process for one in told if one.alive})
        return Check(name="children", seen=f"not running: {', '.join(missing)}" if missing else "")

    def _disk(self) -> Check:
        try:
            free = shutil.disk_usage(self._ctx.data_dir).free
        except OSError as problem:
            return Check(name="disk", seen=f"the data directory cannot be read ({problem.strerror})")
        if free < LEAST_FREE_BYTES:
            return Check(name="disk", seen=f"{free >> 20} MiB free, {LEAST_FREE_BYTES >> 20} are needed: make room")
        return Check(name="disk")
