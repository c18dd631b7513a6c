"""Ends what took too long: armed hosts nobody booted, installs and wipes that never called back, rescue systems."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.services import hosts
from pxeforge.services.boot_menu import PLAN, asks
from pxeforge.services.budgets import effective
from pxeforge.services.context import Context
from pxeforge.services.install_ends import close_attempts, give_up
from pxeforge.store.tables import Attempt, Host

_WHY = {
    HostState.ARMED.value: "never netbooted while it was armed: check boot order, cabling and VLAN, then arm it again",
    HostState.BOOTING.value: "menu fetched, answers never asked: the kernel or its network did not come up",
    HostState.INSTALLING.value: "answers fetched, late_command never called: see the last installer lines before this",
    HostState.INSTALLED.value: "installed but never registered: see /var/log/pxeforge-late.log of the new system",
    HostState.WIPING.value: "the wipe began and never reported its end: see the last installer lines before this",
}


def expire(ctx: Context) -> None:
    """Each host in a transaction of its own, with its event."""
    now = ctx.clock()
    with ctx.database.read() as session:
        waiting = select(Host.id).where(Host.armed_until.is_not(None), Host.armed_until <= now)
        overdue = list(session.scalars(waiting))
    for host_id in overdue:
        with ctx.database.write() as session:
            host = session.get(Host, host_id)
            if host is not None and host.armed_until is not None and host.armed_until <= now:
                _end(session, ctx, host)


def _end(session: Session, ctx: Context, host: Host) -> None:
    attempt = session.get(Attempt, host.attempt_id) if host.attempt_id else None
    if host.state == HostState.RESCUE.value:
        said = "the time for a rescue system or a memory test is over"
        hosts.move(session, ctx, host, Signal.RESCUE_OVER, source="server", message=said)
        host.armed_until = None
    elif host.state == HostState.BOOTING.value and attempt is not None and PLAN in attempt.parameters:
        _served(session, ctx, host, attempt)
    else:
        give_up(session, ctx, host, _WHY.get(host.state, "time is over"), source="server")


def _served(session: Session, ctx: Context, host: Host, attempt: Attempt) -> None:
    """The end of an arming after which nobody calls back."""
    if asks(attempt.parameters):
        said = "nobody chose from the menu in time: the host is disarmed"
        hosts.move(session, ctx, host, Signal.NOT_CHOSEN, source="server", message=said)
        close_attempts(session, host, "not chosen")
        host.armed_until = None
        return
    said = f"the {attempt.purpose} it was armed for was handed out, once: the host is disarmed"
    hosts.move(session, ctx, host, Signal.SERVED, source="server", message=said)
    close_attempts(session, host, "served")
    host.armed_until = ctx.clock() + effective(ctx.budgets, attempt.parameters)["rescue"]
