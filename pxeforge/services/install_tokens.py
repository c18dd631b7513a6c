"""The tokens of an attempt: made from its identity, told good from spent."""

from __future__ import annotations

import hmac

from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.services import wire_hosts
from pxeforge.services.context import Context
from pxeforge.services.events import note
from pxeforge.services.problems import Forbidden
from pxeforge.services.wire_hosts import Standing, Ticket

ANSWERS_GRACE_S = 900  # an installer may read its answers again this long, never later
_ANSWERS_IN = frozenset({HostState.ARMED, HostState.BOOTING, HostState.INSTALLING, HostState.WIPING})
_INSTALLS = frozenset({HostState.INSTALLING, HostState.INSTALLED})
# What an installer token is good for, by the states in which that makes sense.
_GOOD_IN = {
    **dict.fromkeys(("early", "progress", "failed"), _INSTALLS | {HostState.WIPING}),
    **dict.fromkeys(("disks", "late", "finished", "register"), _INSTALLS),
    **dict.fromkeys(("wipe", "wiped"), frozenset({HostState.WIPING})),
}
ENROL = "enrol"  # the purpose of an attempt that no netboot belongs to: a host with a system of its own registers
SEED_FILES = ("meta-data", "vendor-data")  # what cloud-init asks for beside its user-data


def token_of(ctx: Context, attempt_id: str, purpose: str) -> str:
    """Derived, not stored: the same menu can be rendered twice, and the database alone opens nothing."""
    return ctx.sign("install tokens", f"{attempt_id}/{purpose}")


def redeem(ctx: Context, token: str, purpose: str, what: str, peer: str) -> Ticket:
    """The attempt and host behind a token, or Forbidden (with an event on the host, if the token was ever good)."""
    ticket = wire_hosts.by_token(ctx, token)
    if ticket is None or not hmac.compare_digest(ticket.purpose, purpose):
        raise Forbidden("this token is not known here")
    why = refusal(ticket.standing, what, ctx.clock())
    if why is not None:
        said = f"token for {what} refused to {peer}: {why}"
        if ctx.news.is_new(ticket.host.id, said, ctx.clock()):
            note(ctx, ticket.host.id, source="http", kind="token_refused", message=said)
        raise Forbidden(f"this token is refused: {why}")
    return ticket


def refusal(token: Standing, what: str, now: float) -> str | None:
    """Why a token does not open `what` now; None: it does."""
    if token.used_at is not None:
        return "it was used already"
    if token.outcome is not None:
        return f"its install is over ({token.outcome})"
    if now >= token.expires_at:
        return "its time is over"
    if token.for_what == ENROL:
        good = what == "register" and (token.state, Signal.ENROL) in NEXT
        return None if good else f"the host is {token.state.value}"
    if what in ("answers", *SEED_FILES):
        if token.state not in _ANSWERS_IN:
            return f"the host is {token.state.value}"
        if token.answers_at is not None and now > token.answers_at + ANSWERS_GRACE_S:
            return "the answers were fetched before"
        return None
    return None if token.state in _GOOD_IN[what] else f"the host is {token.state.value}"
