"""What the server does by itself: at its start, and every few seconds."""

from __future__ import annotations

from pxeforge.services import deploys, diagnosis_watch, discovery, events, expiry, images, rules
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
    deploys.grant_again(ctx)
    with ctx.database.write() as session:
        record(session, ctx, source="server", kind="started", message="server started")


def tick(ctx: Context) -> None:
    """Ends what took too long and gives up leases whose agents fell silent."""
    expiry.expire(ctx)
    deploys.expire_leases(ctx)
    diagnosis_watch.look(ctx)
    rules.apply_marked(ctx)


def tidy(ctx: Context) -> None:
    """Now and then: keeps what strangers can write within bounds."""
    events.prune(ctx)
    discovery.prune(ctx)
