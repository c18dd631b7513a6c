"""Carries out the imports of images that people ask the server for, from a thread of the admin process.

Each is a process of its own (app/image_import.py): what unpacking takes of memory is given back, pages need not share
a processor's turn with it, and it can be cancelled at any moment. It dies with us.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Final

import structlog

from pxeforge.app.processes import PARENT_VARIABLE
from pxeforge.services import image_imports
from pxeforge.services.context import Context
from pxeforge.services.image_staging import sweep_incoming
from pxeforge.services.problems import StoreUnavailable

log = structlog.get_logger(__name__)
_EVERY_S: Final = 1.0
AT_ONCE: Final = 2


class ImageImporter:
    """Ends with its process, and the imports with it: the next one says that they were broken off."""

    def __init__(self, ctx: Context, environment: Mapping[str, str] = os.environ) -> None:
        self._ctx, self._environment = ctx, environment
        self._running: dict[str, tuple[image_imports.Wanted, subprocess.Popen[bytes]]] = {}
        self._has_begun = False

    def start(self) -> None:
        threading.Thread(target=self._work, name="image-importer", daemon=True).start()

    def _work(self) -> None:
        # The kernel ends a child with the thread that began it: this one lasts as long as the process.
        while True:
            try:
                self.round()
            except (StoreUnavailable, OSError) as problem:
                log.error("imports of images wait for the disk or the database", reason=str(problem))
            except Exception:  # must not end it; the next round tries again
                log.exception("imports of images failed")
            time.sleep(_EVERY_S)

    def round(self) -> None:
        """Looks after those that run, and begins what waits."""
        if not self._has_begun:
            self._clear_up()
            self._has_begun = True
        for wanted, process in list(self._running.values()):
            if process.poll() is None and image_imports.wanted(self._ctx, wanted.id) is None:
                process.kill()
                process.wait()
            if process.returncode is not None:
                self._over(wanted, process.returncode)
        while len(self._running) < AT_ONCE:
            taken = image_imports.take(self._ctx, busy=tuple(self._running))
            if taken is None:
                break
            self._begin(taken)

    def _clear_up(self) -> None:
        for name in image_imports.break_off(self._ctx):
            log.warning("an import was broken off", image=name)
        sweep_incoming(self._ctx.data_dir)

    def _begin(self, wanted: image_imports.Wanted) -> None:
        command = [sys.executable, "-m", "pxeforge.app.image_import", wanted.id]
        environment = {**self._environment, PARENT_VARIABLE: str(os.getpid())}
        try:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        except OSError as problem:
            image_imports.fail(self._ctx, wanted.id, f"no process could be started for it ({problem}): try again")
            return
        self._running[wanted.name] = wanted, process

    def _over(self, wanted: image_imports.Wanted, code: int) -> None:
        """It has said itself how it ended, unless it was killed."""
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        image_imports.fail(
            self._ctx, wanted.id,
            f"its process {how}, no half image is left: look whether the server has memory left and what its log says, "
            "then import it again",
        )  # fmt: skip
        del self._running[wanted.name]
        sweep_incoming(self._ctx.data_dir)
