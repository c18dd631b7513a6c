"""The thread of each process of `serve` that reads once a second what its servers have counted, and writes it down.

The servers count in plain dictionaries and do nothing else for it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from pxeforge.app.logs import lines_told
from pxeforge.services.context import Context
from pxeforge.services.tallies import FOLDER, Tally

_EVERY_S: Final = 1.0
Source = Callable[[], Mapping[str, float]]


class Counting(Protocol):
    """Whatever counts what it does: by its own thread, in steps that others may read between."""

    counters: Counter[str]


log = structlog.get_logger(__name__)


class TallyWriter:
    """start() once; stop() writes the last of it. `counting` and `levels` are by the server's name."""

    def __init__(
        self, ctx: Context, process: str, counting: Mapping[str, Counting], levels: Mapping[str, Source] | None = None
    ) -> None:
        database = ctx.database
        self._counts: dict[str, Source] = {name: _source(each) for name, each in counting.items()}
        self._counts |= {"log": lines_told, "database": lambda: {"dropped": database.dropped}}
        self._levels: dict[str, Source] = {**(levels or {}), "database": lambda: {"waiting": database.waiting}}
        self._tally = Tally(ctx.data_dir / FOLDER, process)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tally", daemon=True)
        self._failing = False

    def start(self) -> None:
        self._write()  # from now on we are seen
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._write()
        self._tally.close()

    def _work(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            self._write()

    def _write(self) -> None:
        """A full disk must not end the server: what is not written now is written later."""
        try:
            self._tally.tell(_named(self._counts), _named(self._levels))
            self._failing = False
        except OSError as problem:
            if not self._failing:
                log.warning("what was counted could not be written", reason=str(problem))
            self._failing = True


def _source(counting: Counting) -> Source:
    return lambda: counting.counters


def _named(sources: Mapping[str, Source]) -> dict[str, float]:
    # dict(): one step of the interpreter, so that nobody adds a name meanwhile.
    return {f"{server}.{name}": value for server, source in sources.items() for name, value in dict(source()).items()}
