"""What waits for a person: hosts that something holds up, and identities that do not fit together."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from pxeforge.services import diagnosis, identity
from pxeforge.services.context import Context

_MOST: Final = 500
_REMEMBERED_S: Final = 5.0  # both look at every host


class Attention:
    """From any thread; what was found is good for some seconds."""

    def __init__(self, ctx: Context) -> None:
        self._ctx, self._lock = ctx, threading.Lock()
        self._known: tuple[float, list[dict[str, Any]]] | None = None

    def all(self) -> list[dict[str, Any]]:
        """The newest first, 500 at most: {name, sentence, remedy, since, hosts: [{id, label}]}."""
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] >= _REMEMBERED_S:
                self._known = (time.monotonic(), _found(self._ctx))
            return self._known[1]

    def host_ids(self) -> frozenset[str]:
        return frozenset(host["id"] for one in self.all() for host in one["hosts"])


def _found(ctx: Context) -> list[dict[str, Any]]:
    held_up = [
        {
            "name": one["name"], "sentence": one["sentence"], "remedy": one["remedy"], "since": one["since"],
            "hosts": [{"id": one["host_id"], "label": one["host"]}],
        }
        for one in diagnosis.what_needs_attention(ctx, _MOST)
    ]  # fmt: skip
    strange = [
        {
            "name": one["kind"], "sentence": one["sentence"], "remedy": one["remedy"], "since": one["since"],
            "hosts": [{"id": host["id"], "label": _label(host)} for host in one["hosts"]],
        }
        for one in identity.conflicts(ctx)
    ]  # fmt: skip
    return sorted([*held_up, *strange], key=lambda one: -(one["since"] or 0))[:_MOST]


def _label(host: dict[str, Any]) -> str:
    macs = host.get("macs") or [host.get("mac")]
    return str(host.get("name") or macs[0] or host["id"])
