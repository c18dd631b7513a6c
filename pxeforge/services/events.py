"""The timeline: events are written with the change they tell of, and read back with durations."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from sqlalchemy import CursorResult, delete, func, select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import Signal
from pxeforge.services.acting import Actor, acting
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide_everywhere
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import Event

KEPT_PER_HOST: Final = 5000
_PEERS: Final = ("dhcp", "tftp", "http", "installer")  # whoever is on the boot network can cause these
# Transitions are kept, but for those that a netbooting host can cause again and again.
_REPEATED: Final = (Signal.MENU_FETCHED, Signal.ANSWERS_FETCHED, Signal.WIPE_BEGUN)
_MILESTONES: Final = tuple(signal.value for signal in Signal if signal not in _REPEATED)


def record(
    session: Session,
    ctx: Context,
    *,
    source: str,
    kind: str,
    message: str,
    host_id: str | None = None,
    run_id: str | None = None,
    who: str | None = None,
    data: dict[str, Any] | None = None,
    actor: Actor | None = None,
) -> None:
    """Adds one event to the transaction of the change it tells of; `message` may hold what a peer wrote.

    With `who` it is a line of the audit log: it tells from where, as the one who is acting (or `actor`) came in, and
    secrets in `data` are replaced by marks.
    """
    actor = (actor or acting()) if who else None
    session.add(
        Event(
            at=ctx.clock(), source=source, kind=kind, message=_plain(message), host_id=host_id, run_id=run_id, who=who,
            data=hide_everywhere(ctx, data) if who and data else data or {},
            via=actor.via if actor else None, address=actor.address if actor else None,
        )
    )  # fmt: skip


def differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`data` for a change: only what is not the same before and after."""
    keys = [key for key in {**before, **after} if (key in before, before.get(key)) != (key in after, after.get(key))]
    return {
        "before": {key: before[key] for key in keys if key in before},
        "after": {key: after[key] for key in keys if key in after},
    }


_INSERT: Final = """
    INSERT INTO events (host_id, run_id, at, source, kind, message, who, data)
    VALUES (:host_id, NULL, :at, :source, :kind, :message, NULL, :data)
"""


def insert(
    statements: Statements, *, at: float, host_id: str | None, source: str, kind: str, message: str,
    data: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """The same in a small change of the wire (`Database.change`, `Database.post`)."""
    statements.run(
        _INSERT, at=at, host_id=host_id, source=source, kind=kind, message=_plain(message), data=json.dumps(data or {})
    )


# In the order in which they happened: stages and diagnoses go by the ids of events.
_NOTE: Final = """
    INSERT INTO events (host_id, at, source, kind, message, data)
    SELECT value ->> 0, CAST(value ->> 1 AS float), value ->> 2, value ->> 3, value ->> 4, value -> 5
    FROM json_each(:rows) ORDER BY key
"""
_NOTE_BY_MAC: Final = """
    INSERT INTO events (host_id, at, source, kind, message, data)
    SELECT n.host_id, CAST(value ->> 1 AS float), value ->> 2, value ->> 3, value ->> 4, value -> 5
    FROM json_each(:rows) JOIN nics n ON n.mac = value ->> 0 ORDER BY key
"""


def note(
    ctx: Context, host_id: str, *, source: str, kind: str, message: str, data: dict[str, Any] | None = None
) -> None:
    """One event that changes nothing else and that nobody waits for: never blocks."""
    ctx.database.post_row(_NOTE, host_id, ctx.clock(), source, kind, _plain(message), data or {})


def note_by_mac(
    ctx: Context, mac: str, *, source: str, kind: str, message: str, data: dict[str, Any] | None = None
) -> None:
    """The same for the host with this MAC address, if there is one by then."""
    ctx.database.post_row(_NOTE_BY_MAC, mac, ctx.clock(), source, kind, _plain(message), data or {})


def _plain(text: str) -> str:
    """Without control characters (they would drive an operator's terminal) and half surrogate pairs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def told_lately(session: Session, ctx: Context, host_id: str, kind: str, message: str, *, within_s: float) -> bool:
    """Whether the host's timeline said exactly this within the last `within_s` seconds: peers repeat themselves."""
    query = (
        select(Event.id)
        .where(Event.host_id == host_id, Event.kind == kind, Event.message == _plain(message))
        .where(Event.at > ctx.clock() - within_s)
        .limit(1)
    )
    return session.scalars(query).first() is not None


def prune(ctx: Context, *, keep: int = KEPT_PER_HOST) -> int:
    """Drops the oldest of what peers made us note beyond `keep` per host, so that nobody can fill the disk that way.

    What operators, runs and the server itself did is never dropped. Returns how many events went.
    """
    by_peers = Event.source.in_(_PEERS)
    with ctx.database.read() as session:
        # Counted over an index alone, whoever made them: with millions of events that is a tenth of the time.
        crowded = session.scalars(select(Event.host_id).group_by(Event.host_id).having(func.count() > keep)).all()
    gone = 0
    for host_id in crowded:
        with ctx.database.write() as session:
            of_host = (Event.host_id == host_id, by_peers, ~Event.kind.in_(_MILESTONES))
            oldest_kept = session.scalars(
                select(Event.id).where(*of_host).order_by(Event.id.desc()).offset(keep - 1).limit(1)
            ).first()
            if oldest_kept is not None:
                ended = session.execute(delete(Event).where(*of_host, Event.id < oldest_kept))
                gone += cast(CursorResult[Any], ended).rowcount
    return gone


def event_view(event: Event) -> dict[str, Any]:
    return {
        "id": event.id, "at": event.at, "source": event.source, "kind": event.kind, "message": event.message,
        "who": event.who, "host_id": event.host_id, "run_id": event.run_id, "data": event.data,
        "via": event.via, "address": event.address,
    }  # fmt: skip


def timeline(ctx: Context, host_id: str, *, after_id: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
    """The host's events from the one behind `after_id` on, oldest first, `limit` at most (None: all of them).

    Each has `since_s`, the seconds since the one before, also where that is not shown.
    """
    of_host = select(Event).where(Event.host_id == host_id)
    with ctx.database.read() as session:
        rows = session.scalars(of_host.where(Event.id > after_id).order_by(Event.id).limit(limit)).all()
        one_before = of_host.where(Event.id <= after_id).order_by(Event.id.desc()).limit(1)
        last = session.scalars(one_before).first() if rows and after_id > 0 else None
    views = [event_view(row) for row in rows]
    ats = [last.at if last else None, *(view["at"] for view in views)]
    for before, view in zip(ats, views, strict=False):
        view["since_s"] = round(view["at"] - before, 3) if before is not None else 0.0
    return views


def recent(ctx: Context, *, limit: int = 50) -> list[dict[str, Any]]:
    """The newest events of all hosts, newest first."""
    with ctx.database.read() as session:
        return [event_view(row) for row in session.scalars(select(Event).order_by(Event.id.desc()).limit(limit))]
