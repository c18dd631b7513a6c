"""The end of a wipe, as the host reports it."""

from __future__ import annotations

from pxeforge.domain.lifecycle import Signal
from pxeforge.render.erasure import AfterWipe, Erasure
from pxeforge.services import hosts
from pxeforge.services.boot_menu import ERASE
from pxeforge.services.context import Context, digest
from pxeforge.services.install_ends import close_attempts
from pxeforge.services.install_tokens import redeem
from pxeforge.services.retirement import retire_host
from pxeforge.store.tables import Attempt, Host, Token


def wiped(ctx: Context, token: str, said: str, *, peer: str) -> None:
    """All disks that were named are erased; the token is used up."""
    with ctx.database.write() as session:
        ticket = redeem(ctx, token, "installer", "wiped", peer)
        host, attempt = session.get_one(Host, ticket.host.id), session.get_one(Attempt, ticket.attempt.id)
        erasure = Erasure.parse(attempt.parameters[ERASE])
        hosts.move(
            session, ctx, host, Signal.WIPED, source="installer", message=f"erased {erasure.words()}: {said[:2000]}",
            data={"serials": list(erasure.serials), "report": said[:2000]},
        )  # fmt: skip
        session.get_one(Token, digest(token)).used_at = ctx.clock()
        close_attempts(session, host, "wiped")
        host.armed_until = None
        if erasure.after is AfterWipe.RETIRED:
            retire_host(session, ctx, host, who=None, why=f"as {attempt.armed_by} wanted once its disks are erased")
