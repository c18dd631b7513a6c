"""What the page of a host tells beside the host itself: what holds it up, what does not fit, what it went through."""

from __future__ import annotations

from typing import Any, Final

from pxeforge.services import check_results, deployed_roles, diagnosis, event_list, hosts, identity, timeline
from pxeforge.services.context import Context
from pxeforge.services.event_list import Wanted

ATTEMPTS_SHOWN: Final = 5
EVENTS_SHOWN: Final = 300
SOURCES: Final = ("dhcp", "tftp", "http", "installer", "agent", "engine", "operator", "server")


def overview(ctx: Context, host_id: str) -> dict[str, Any]:
    """`diagnosis` (or None), `conflicts`, `stages` and `services`, as their services give them; and `gone`: roles that
    were deployed here and that it no longer has.
    """
    with ctx.database.read() as session:
        host = hosts.find(session, host_id)
        found = diagnosis.diagnosis_of(ctx, host)
        given = {row.role for row in host.roles}
    return {
        "diagnosis": found,
        "conflicts": identity.conflicts(ctx, host=host_id),
        "services": check_results.show(ctx, host_id=host_id),
        "gone": [row["role"] for row in deployed_roles.show(ctx, host_id) if row["role"] not in given],
        "stages": timeline.stages_of(ctx, host_id, attempts=ATTEMPTS_SHOWN),
    }


def events(
    ctx: Context, host_id: str, *, source: str | None = None, before_id: int | None = None
) -> tuple[list[dict[str, Any]], int | None]:
    """Oldest first, each with `since_s` since the one before; and the `before_id` of the part before, if any."""
    wanted = Wanted(host=host_id, source=source)
    rows = event_list.newest(ctx, wanted, before_id=before_id, limit=EVENTS_SHOWN + 1)
    older = rows[EVENTS_SHOWN - 1]["id"] if len(rows) > EVENTS_SHOWN else None
    told = rows[::-1]
    for before, event in zip([None, *told], told, strict=False):
        event["since_s"] = round(event["at"] - before["at"], 3) if before else 0.0
    return told[-EVENTS_SHOWN:], older
