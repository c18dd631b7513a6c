"""What the server does by itself every few seconds, and now and then, in a thread of the admin process."""

from __future__ import annotations

import threading
import time
from typing import Final

import structlog

from pxeforge.services import tallies
from pxeforge.services.context import Context
from pxeforge.services.housekeeping import Housekeeping
from pxeforge.services.milestones import Milestones
from pxeforge.services.problems import StoreUnavailable

log = structlog.get_logger(__name__)
_EVERY_S: Final = 5.0
_TIDY_EVERY_S: Final = 600.0


class Upkeep:
    """Ends with its process."""

    def __init__(self, ctx: Context, milestones: Milestones) -> None:
        self._ctx, self._milestones = ctx, milestones
        self._housekeeping = Housekeeping(ctx)

    def start(self) -> None:
        threading.Thread(target=self._work, name="upkeep", daemon=True).start()

    def _work(self) -> None:
        since = next_tidy = time.monotonic()
        while True:
            try:
                if not self._hears_agents():
                    since = time.monotonic()
                self._housekeeping.tick(up_for_s=time.monotonic() - since)
                self._milestones.follow()
                if time.monotonic() >= next_tidy:
                    next_tidy = time.monotonic() + _TIDY_EVERY_S
                    self._housekeeping.tidy()
            except (StoreUnavailable, OSError) as problem:
                log.error("housekeeping waits for the disk or the database", reason=str(problem))
            except Exception:  # must not end it; the next round tries again
                log.exception("housekeeping failed")
            time.sleep(_EVERY_S)

    def _hears_agents(self) -> bool:
        """On a busy computer the process that they talk to begins long after ours, and silence counts from then on."""
        return tallies.is_alive(self._ctx.data_dir / tallies.FOLDER, "agent")
