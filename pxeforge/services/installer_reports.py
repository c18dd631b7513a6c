"""The installer tells how far it came, that it has finished, or that it stops."""

from __future__ import annotations

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.services import hosts
from pxeforge.services.budgets import effective
from pxeforge.services.context import Context
from pxeforge.services.events import note, record
from pxeforge.services.install_ends import give_up
from pxeforge.services.install_tokens import redeem
from pxeforge.store.tables import Attempt, Host


def progress(ctx: Context, token: str, said: str, *, peer: str) -> None:
    """A wipe that reports gets its whole time anew: large disks take long."""
    ticket = redeem(ctx, token, "installer", "progress", peer)
    if ticket.host.state is not HostState.WIPING:
        note(ctx, ticket.host.id, source="installer", kind="progress", message=said or "installer reported")
        return
    with ctx.database.write() as session:
        ticket = redeem(ctx, token, "installer", "progress", peer)
        host, attempt = session.get_one(Host, ticket.host.id), session.get_one(Attempt, ticket.attempt.id)
        host.armed_until = attempt.expires_at = ctx.clock() + effective(ctx.budgets, attempt.parameters)["wiping"]
        record(session, ctx, host_id=host.id, source="installer", kind="progress", message=said or "wipe reported")


def finished(ctx: Context, token: str, said: str, *, peer: str) -> None:
    """The installer has done its work; what is left is that the new system registers."""
    with ctx.database.write() as session:
        ticket = redeem(ctx, token, "installer", "finished", peer)
        host, attempt = session.get_one(Host, ticket.host.id), session.get_one(Attempt, ticket.attempt.id)
        if host.state == HostState.INSTALLING.value:  # else its first report came, and our answer was lost
            finish(session, ctx, host, attempt, said or "the installer has finished")


def finish(session: Session, ctx: Context, host: Host, attempt: Attempt, said: str) -> None:
    """Moves an installing host on, in the caller's transaction."""
    hosts.move(session, ctx, host, Signal.FINISHED, source="installer", message=said)
    host.armed_until = attempt.expires_at = ctx.clock() + effective(ctx.budgets, attempt.parameters)["installed"]


def failed(ctx: Context, token: str, stage: str, said: str, *, peer: str) -> None:
    """The installer stops by its own decision. A late failure is only told: the registration may still come."""
    with ctx.database.write() as session:
        ticket = redeem(ctx, token, "installer", "failed", peer)
        if stage == "late":
            note(ctx, ticket.host.id, source="installer", kind="late_failed", message=said or "late failed")
        else:
            host = session.get_one(Host, ticket.host.id)
            give_up(session, ctx, host, f"{stage}: {said or 'the installer gave up'}", source="installer")
