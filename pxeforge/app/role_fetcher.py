"""Fetches packages of roles that hosts were given into the cache, in a thread of the admin process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import structlog

from pxeforge.services.context import Context
from pxeforge.services.problems import StoreUnavailable

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings

log = structlog.get_logger(__name__)
_EVERY_S: Final = 15.0


class RoleFetcher:
    """Ends with its process; what it was fetching is fetched again."""

    def __init__(self, ctx: Context, settings: Settings) -> None:
        self._ctx, self._settings = ctx, settings
        self._over = threading.Event()

    def start(self) -> None:
        if self._settings.prefetch_roles and not self._settings.mirror_offline:
            threading.Thread(target=self._work, name="role-fetcher", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def _work(self) -> None:
        from pxeforge.app.upstream import open_cache
        from pxeforge.services import role_prefetch

        cache = open_cache(self._settings, for_hosts=False)
        waiting: role_prefetch.Waiting = {}
        while not self._over.wait(_EVERY_S):
            try:
                role_prefetch.look(self._ctx, cache, waiting)
            except (StoreUnavailable, OSError) as problem:
                log.error("packages of roles wait for the disk or the database", reason=str(problem))
            except Exception:  # must not end it; the next round tries again
                log.exception("packages of roles could not be fetched")
