"""What the server does by itself: at its start, and every few seconds."""

from __future__ import annotations

import math

from pxeforge.services import (
    absent_agents,
    check_results,
    claims,
    diagnosis_watch,
    discovery,
    events,
    expiry,
    images,
    power_orders,
    rules,
    run_timer,
)
from pxeforge.services.context import Context
from pxeforge.services.events import record


def at_start(ctx: Context) -> None:
    """Removes what a killed process left half, packs the agent, and says that we are here."""
    from pxeforge.engine.agent_bundle import build_agent
    from pxeforge.services.image_staging import sweep_incoming
    from pxeforge.services.package_cache import tidy_cache

    sweep_incoming(ctx.data_dir)
    images.sweep(ctx)
    tidy_cache(ctx.data_dir / "cache")
    build_agent(ctx.data_dir / "agent" / "pxeforge-agent.pyz")
    claims.grant_again(ctx)
    with ctx.database.write() as session:
        record(session, ctx, source="server", kind="started", message="server started")


class Housekeeping:
    """What is done again and again, by one process."""

    def __init__(self, ctx: Context) -> None:
        self._ctx, self._run_timer = ctx, run_timer.RunTimer(ctx)

    def tick(self, *, up_for_s: float = math.inf) -> None:
        """Ends what took too long and gives up leases whose agents fell silent. `up_for_s`: since our start."""
        expiry.expire(self._ctx)
        claims.expire_leases(self._ctx, up_for_s=up_for_s)
        absent_agents.give_up(self._ctx, up_for_s=up_for_s)
        self._run_timer.tick()
        diagnosis_watch.look(self._ctx)
        rules.apply_marked(self._ctx)
        power_orders.give_up(self._ctx)

    def tidy(self) -> None:
        """Now and then: keeps what strangers can write within bounds."""
        events.prune(self._ctx)
        discovery.prune(self._ctx)
        run_timer.tidy(self._ctx)
        check_results.tidy(self._ctx)
        power_orders.tidy(self._ctx)
