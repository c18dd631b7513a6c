"""Power of many hosts: ordered at once, done beside the request a few at a time, and told as it is done.

An order stands in the database, so that whoever asks hears what became of it. Who works on one holds a lock that the
kernel drops with its process: an order without it was broken off, which `give_up` tells in the hosts' timelines.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from pxeforge.services import power
from pxeforge.services.context import Context, new_id
from pxeforge.services.events import record
from pxeforge.services.power_turns import IN_ORDERS, claim_order, turn_in_order
from pxeforge.services.problems import NotFound, Problem, TooMany
from pxeforge.store.tables import PowerOrder, PowerOrderHost

log = structlog.get_logger(__name__)
KEPT_S: Final = 86400.0
AT_ONCE: Final = 8  # orders of one process
_places = threading.BoundedSemaphore(AT_ONCE)
_OPEN: Final = ("waiting", "underway")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What each host of an order gets."""

    id: str
    action: str
    who: str
    force: bool
    soft: bool


def order(
    ctx: Context, texts: Sequence[str], action: str, *, who: str, force: bool = False, soft: bool = False
) -> dict[str, Any]:
    """Begins with it, and tells what was ordered, as `show` does. A host that cannot be switched says so at once.

    Raises Problem for what is no action and for too many hosts, TooMany.
    """
    wanted, asked = power.checked_action(action, soft), power.different(texts)
    new = _Order(id=new_id(), action=wanted.value, who=who, force=force, soft=soft)
    if not _places.acquire(blocking=False):
        raise TooMany(f"{AT_ONCE} orders for the power of many hosts are under way: wait until one has ended")
    claim: int | None = None
    try:
        claim = claim_order(ctx, new.id)
        with ctx.database.write() as session:
            row = PowerOrder(
                id=new.id, action=new.action, soft=soft, force=force, who=who, created_at=ctx.clock(),
                hosts=list(_rows(ctx, session, new, asked)),
            )  # fmt: skip
            session.add(row)
            session.flush()
            waiting = [one.id for one in row.hosts if one.progress == "waiting"]
            row.ended_at = None if waiting else ctx.clock()
            told = _view(row)
    except BaseException:
        _over(claim)
        raise
    if waiting:
        _Work(ctx, new, waiting, claim).start()
    else:
        _over(claim)
    return told


def _over(claim: int | None) -> None:
    """Nobody works on the order any more."""
    if claim is not None:
        os.close(claim)
    _places.release()


def _rows(ctx: Context, session: Session, new: _Order, texts: Iterable[str]) -> Iterable[PowerOrderHost]:
    """One for each host, however often and by whichever name it was asked for."""
    wanted, seen = power.checked_action(new.action, new.soft), set[str]()
    for position, text in enumerate(texts):
        row = PowerOrderHost(
            id=new_id(), order_id=new.id, position=position, host=text, progress="waiting", state="unknown"
        )  # fmt: skip
        try:
            host_id, label = power.check_may(session, text, wanted, force=new.force)
        except Problem as problem:
            row.progress, row.error, row.ended_at = "failed", str(problem), ctx.clock()
            yield row
            continue
        if host_id not in seen:
            seen.add(host_id)
            row.host_id, row.host = host_id, label
            yield row


def show(ctx: Context, order_id: str) -> dict[str, Any]:
    """{id, action, soft, force, who, created_at, ended_at, hosts: [{host, id, progress, state, message, note, error,
    ended_at}]}. Raises NotFound.
    """
    with ctx.database.read() as session:
        row = session.get(PowerOrder, order_id)
        if row is None:
            raise NotFound(
                f"there is no power order {order_id}: they are kept for a day, timelines of hosts for longer"
            )
        return _view(row)


def _view(row: PowerOrder) -> dict[str, Any]:
    return {
        "id": row.id, "action": row.action, "soft": row.soft, "force": row.force, "who": row.who,
        "created_at": row.created_at, "ended_at": row.ended_at,
        "hosts": [
            {"host": one.host, "id": one.host_id, "progress": one.progress, "state": one.state,
             "message": one.message, "note": one.note, "error": one.error, "ended_at": one.ended_at}
            for one in row.hosts
        ],
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- working


class _Work:
    """The threads of one order; the last one ends it, and who starts them counts as one."""

    def __init__(self, ctx: Context, new: _Order, waiting: Sequence[str], claim: int | None) -> None:
        self._ctx, self._order, self._waiting, self._claim = ctx, new, deque(waiting), claim
        self._busy, self._lock = 1, threading.Lock()

    def start(self) -> None:
        """Where no thread is to be had at all the order is one that was broken off."""
        try:
            for number in range(min(IN_ORDERS, len(self._waiting))):
                # Each with a copy of who is acting, for the audit log. They do not keep the process from ending.
                work, name = contextvars.copy_context(), f"power-{self._order.id}-{number}"
                thread = threading.Thread(target=work.run, args=(self._work,), name=name, daemon=True)
                with self._lock:
                    self._busy += 1
                try:
                    thread.start()
                except RuntimeError:
                    log.exception("a power order has fewer threads than it should", order=self._order.id)
                    self._done()
                    break
        finally:
            self._done()

    def _work(self) -> None:
        try:
            while self._waiting:
                with turn_in_order():
                    try:
                        row_id = self._waiting.popleft()
                    except IndexError:
                        return
                    self._one(row_id)
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1
            last = self._busy == 0
        if last:
            self._end()

    def _one(self, row_id: str) -> None:
        ctx, new = self._ctx, self._order
        with ctx.database.read() as session:
            host_id = session.get_one(PowerOrderHost, row_id).host_id

        def keep(session: Session, told: dict[str, Any]) -> None:
            _set(session, ctx, row_id, told)

        try:
            power.act_in_turn(
                ctx, str(host_id), new.action, who=new.who, force=new.force, soft=new.soft, keep=keep
            )  # fmt: skip
        except Problem as problem:
            self._refused(row_id, str(problem))
        except Exception:
            log.exception("a power action failed", order=new.id, host=host_id)
            self._refused(row_id, "pxeforge itself failed: its log says why")

    def _refused(self, row_id: str, why: str) -> None:
        """Nothing tells of it yet where it was refused before it began."""
        with self._ctx.database.write() as session:
            row = session.get_one(PowerOrderHost, row_id)
            if row.progress in _OPEN:
                message = f"power {self._order.action} ordered by {self._order.who} was not done: {why}"
                record(
                    session, self._ctx, host_id=row.host_id, source="server", kind="power_failed", message=message
                )  # fmt: skip
                _set(session, self._ctx, row_id, {"progress": "failed", "error": why})

    def _end(self) -> None:
        """What could not be written down is told by `give_up`, once nobody holds the order any more."""
        try:
            with self._ctx.database.write() as session:
                row = session.get_one(PowerOrder, self._order.id)
                if all(one.progress not in _OPEN for one in row.hosts):
                    row.ended_at = self._ctx.clock()
        finally:
            _over(self._claim)


def _set(session: Session, ctx: Context, row_id: str, told: dict[str, Any]) -> None:
    ended = {} if told["progress"] in _OPEN else {"ended_at": ctx.clock()}
    session.execute(update(PowerOrderHost).where(PowerOrderHost.id == row_id).values(**told, **ended))


# ---------------------------------------------------------------------------------------------- broken off


def give_up(ctx: Context) -> int:
    """Ends the orders that nobody works on any more, and says so in the timelines; how many there were."""
    with ctx.database.read() as session:
        unfinished = session.scalars(select(PowerOrder.id).where(PowerOrder.ended_at.is_(None))).all()
    given_up = 0
    for order_id in unfinished:
        claim = claim_order(ctx, order_id)
        if claim is None:
            continue
        try:
            given_up += _break_off(ctx, order_id)
        finally:
            os.close(claim)
    return given_up


def _break_off(ctx: Context, order_id: str) -> bool:
    with ctx.database.write() as session:
        row = session.get(PowerOrder, order_id)
        if row is None or row.ended_at is not None:
            return False
        for one in row.hosts:
            if one.progress not in _OPEN:
                continue
            if one.progress == "waiting":
                one.error = "the server ended before its turn came: order it again"
            else:
                one.error = f"the server ended meanwhile: look what came of it (`pxeforge power status {one.host}`)"
            message = f"power {row.action} ordered by {row.who} was broken off: {one.error}"
            record(session, ctx, host_id=one.host_id, source="server", kind="power_broken_off", message=message)
            one.progress, one.ended_at = "broken-off", ctx.clock()
        row.ended_at = ctx.clock()
    return True


def tidy(ctx: Context) -> None:
    """What became of orders is in the timelines for longer."""
    old = PowerOrder.created_at < ctx.clock() - KEPT_S
    with ctx.database.read() as session:
        some = session.scalars(select(PowerOrder.id).where(old, PowerOrder.ended_at.is_not(None)).limit(1)).first()
    if some is not None:
        with ctx.database.write() as session:
            session.execute(delete(PowerOrder).where(old, PowerOrder.ended_at.is_not(None)))
