"""The end of a rescue system or a memory test: the operator says so, or the host is seen elsewhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState, Signal, advance
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.services.events import insert
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import Host


def end(ctx: Context, text: str, *, who: str) -> dict[str, Any]:
    """The operator is done with it; raises Conflict where the host is in no rescue system."""
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        hosts.move(session, ctx, host, Signal.RESCUE_OVER, who=who, message=f"rescue ended by {who}")
        host.armed_until = None
        session.flush()
        return hosts.view(host)


def agent_is_up(session: Session, ctx: Context, host: Host) -> None:
    """The installed system runs, so the rescue system does not."""
    if host.state == HostState.RESCUE.value:
        said = "rescue is over: the installed system is up"
        hosts.move(session, ctx, host, Signal.RESCUE_OVER, source="agent", message=said)
        host.armed_until = None


def netbooted(statements: Statements, host_id: str, at: float) -> None:
    """Its firmware asks for a boot again, so what was handed out runs no more; in a small change of the wire."""
    before, after = HostState.RESCUE, advance(HostState.RESCUE, Signal.RESCUE_OVER)
    changed = statements.run(
        "UPDATE hosts SET state = :after, armed_until = NULL WHERE id = :id AND state = :before",
        id=host_id, before=before.value, after=after.value,
    )  # fmt: skip
    if changed:
        insert(
            statements, at=at, host_id=host_id, source="dhcp", kind=Signal.RESCUE_OVER.value,
            message="rescue is over: the host netboots again", data={"from": before.value, "to": after.value},
        )  # fmt: skip
