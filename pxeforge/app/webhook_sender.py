"""Sends webhooks, in threads of the admin process: a receiver that is slow holds up nobody but itself."""

from __future__ import annotations

import threading
import time
from typing import Final

import structlog

from pxeforge.services import webhooks
from pxeforge.services.context import Context

log = structlog.get_logger(__name__)
_EVERY_S: Final = 1.0
_THREADS: Final = 4
_AT_ONCE: Final = 50  # deliveries of one webhook before the others have their turn
_TIDY_EVERY_S: Final = 3600.0


class WebhookSender:
    """Ends with its process; what it was about to send is sent by the next one."""

    def __init__(self, ctx: Context, *, every_s: float = _EVERY_S) -> None:
        self._ctx, self._every_s = ctx, every_s
        self._seen: dict[str, int] = {}
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begins nothing more. What is under way ends with the process: it is sent again by the next one."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        next_tidy = time.monotonic()
        while not self._stop.is_set():
            try:
                self.round()
                if time.monotonic() >= next_tidy:
                    next_tidy = time.monotonic() + _TIDY_EVERY_S
                    webhooks.tidy(self._ctx)
            except Exception:
                # A full disk or a locked database must not end it; the next round tries again.
                log.exception("webhooks failed")
            self._stop.wait(self._every_s)

    def round(self) -> None:
        """Queues what happened, and gives each webhook that has something due to a thread."""
        webhooks.enqueue(self._ctx, self._seen)
        for webhook_id, _ in webhooks.due(self._ctx):
            with self._lock:
                if webhook_id in self._busy or len(self._busy) >= _THREADS:
                    continue
                self._busy.add(webhook_id)
            threading.Thread(target=self._safely, args=[webhook_id], name="webhook", daemon=True).start()

    def _safely(self, webhook_id: str) -> None:
        try:
            self._drain(webhook_id)
        except Exception:
            log.exception("a webhook failed", webhook=webhook_id)
        finally:
            with self._lock:
                self._busy.discard(webhook_id)

    def _drain(self, webhook_id: str) -> None:
        """In the order of the events, until one is not taken: the others would not be either."""
        for _ in range(_AT_ONCE):
            waiting = dict(webhooks.due(self._ctx)).get(webhook_id)
            if waiting is None or self._stop.is_set() or not webhooks.deliver(self._ctx, waiting):
                return
