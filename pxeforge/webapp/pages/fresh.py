"""Pages that refresh themselves: nothing is rendered again while nothing has happened."""

from __future__ import annotations

from typing import Final

from flask import Response, request

from pxeforge.services.context import Context
from pxeforge.services.overview import newest_event

_AGES_S: Final = 15  # after so long the page is made again all the same: "5 s ago" must not stand still


def mark(ctx: Context) -> str:
    """What the page puts into `data-seen` of its live part."""
    return f"{newest_event(ctx)}-{int(ctx.clock() // _AGES_S)}"


def unchanged(now: str) -> Response | None:
    """The answer for a page that already shows this; live.js says which mark it has."""
    if request.headers.get("HX-Request") and request.headers.get("X-Seen") == now:
        return Response(status=204)
    return None
