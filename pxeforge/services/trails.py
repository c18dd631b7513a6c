"""What was heard of hosts since they were armed last, read from their events in one go for many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.diagnosis import Mark, Trail
from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.services.boot_menu import Purpose, asks
from pxeforge.services.timeline import by_ipxe, is_kernel, is_loader, monotonic
from pxeforge.store.tables import AgentCredential, Attempt, Event, Host

_AT_ONCE: Final = 200  # hosts of one query
_REBOOT_S: Final = 20  # netboots so close to each other are one: firmware asks several times
# Event kinds that are a mark of their own name.
_PLAIN: Final = {
    Signal.ARM.value: "armed", Signal.MENU_FETCHED.value: "menu", Signal.FINISHED.value: "finished",
    Signal.REGISTER.value: "registered", "agent_connected": "agent",
}  # fmt: skip
_WORDS: Final = ("installer_step", "early", "disks", "late", "wipe", "progress", "late_failed")
_ENDS: Final = (Signal.GAVE_UP.value, Signal.RUN_FAILED.value)
_FOLLOWED: Final = (
    "netboot", "tftp_sent", "loader_fetched", "image_fetched", Signal.ANSWERS_FETCHED.value,
    Signal.WIPE_BEGUN.value, Signal.RETIRE.value, *_PLAIN, *_WORDS, *_ENDS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Followed:
    """A host with its trail and the parameters it was armed with."""

    host_id: str
    trail: Trail
    layer: dict[str, Any]


def trails(session: Session, host_ids: Sequence[str], now: float) -> list[Followed]:
    """The trails of these hosts; one that is gone is left out."""
    found: list[Followed] = []
    for start in range(0, len(host_ids), _AT_ONCE):
        found += _chunk(session, host_ids[start : start + _AT_ONCE], now)
    return found


def _chunk(session: Session, host_ids: Sequence[str], now: float) -> list[Followed]:
    hosts = session.execute(
        select(Host.id, Host.state, Host.armed_until, Attempt.purpose, Attempt.parameters, AgentCredential.seen_at)
        .add_columns(AgentCredential.host_id, Host.facts["boot_id"].as_string().label("boot_id"))
        .outerjoin(Attempt, Attempt.id == Host.attempt_id)
        .outerjoin(AgentCredential, AgentCredential.host_id == Host.id)
        .where(Host.id.in_(host_ids))
    ).all()
    rows: dict[str, list[Any]] = {host.id: [] for host in hosts}
    columns = (Event.id, Event.host_id, Event.at, Event.source, Event.kind, Event.message, Event.data)
    query = (
        select(*columns)
        .join(Host, Host.id == Event.host_id).outerjoin(Attempt, Attempt.id == Host.attempt_id)
        .where(Host.id.in_(list(rows)), Event.id > Attempt.since_event, Event.kind.in_(_FOLLOWED))
        .order_by(Event.id)
    )  # fmt: skip
    for event in session.execute(query):
        rows[event.host_id].append(event)
    followed = []
    for host in hosts:
        layer = host.parameters or {}
        trail = Trail(
            state=HostState(host.state), armed_until=host.armed_until, agent_seen_at=host.seen_at,
            # Whoever registered by its shell told no boot id: its Python is too old for an agent.
            has_agent=host.host_id is not None and (host.seen_at is not None or bool(host.boot_id)),
            starts_unattended=host.purpose in (Purpose.INSTALL.value, Purpose.WIPE.value) and not asks(layer),
        )  # fmt: skip
        walk(trail, rows[host.id], now)
        followed.append(Followed(host.id, trail, layer))
    return followed


def walk(trail: Trail, events: Sequence[Any], now: float) -> None:
    """Takes the events of one host, in the order in which they were written, into its trail."""
    for event, mark in _marked(events, now):
        if event.kind in (Signal.ARM.value, Signal.RETIRE.value):
            _begin_anew(trail)
        _take(trail, event, mark)


def _marked(events: Sequence[Any], now: float) -> Iterable[tuple[Any, Mark]]:
    for event, at in zip(events, monotonic([event.at for event in events], now), strict=True):
        yield event, Mark(event.id, at, event.message)


def _begin_anew(trail: Trail) -> None:
    fresh = Trail(state=trail.state)
    for name in (
        "netboot", "offered", "local", "loader", "menu", "kernel", "answers", "word", "step", "late", "finished",
        "registered", "agent", "ended", "failed_in",
    ):  # fmt: skip
        setattr(trail, name, getattr(fresh, name))
    trail.starts.clear()
    trail.boots_after.clear()


def _take(trail: Trail, event: Any, mark: Mark) -> None:
    if event.kind in _PLAIN:
        setattr(trail, _PLAIN[event.kind], mark)
        if event.kind in (Signal.REGISTER.value, "agent_connected"):
            trail.boots_after.clear()
    elif event.kind == "netboot":
        _netbooted(trail, event, mark)
    elif event.kind in (Signal.ANSWERS_FETCHED.value, Signal.WIPE_BEGUN.value):
        if event.data.get("from") != event.data.get("to"):
            trail.answers = mark
    elif event.kind in _WORDS:
        _spoke(trail, event, mark)
    elif event.kind in _ENDS:
        trail.ended, trail.ended_by_server = mark, event.source == "server"
        trail.failed_in = HostState(event.data["from"]) if event.data.get("from") else None
    elif is_kernel(event):
        trail.kernel = mark
    elif is_loader(event):
        trail.loader = mark


def _netbooted(trail: Trail, event: Any, mark: Mark) -> None:
    if trail.failed_in is HostState.ARMED:
        return  # its time is over: that it is told so now says nothing of why it did not boot
    trail.netboot = mark
    if event.data.get("decision") == "install":
        _offered(trail, mark)
        return
    trail.local = mark
    last = trail.boots_after[-1] if trail.boots_after else None
    if (trail.registered or trail.finished) is not None and (last is None or mark.at - last.at > _REBOOT_S):
        trail.boots_after.append(mark)


def _offered(trail: Trail, mark: Mark) -> None:
    """A firmware that takes nothing asks every minute: only after it took something it has started anew."""
    taken = _newest(trail.loader, trail.menu, trail.kernel)
    if trail.offered is None or trail.offered.id < max(taken, _newest(trail.local)):
        trail.offered = mark
    last = trail.starts[-1] if trail.starts else None
    by_chained = by_ipxe(mark.message) and _newest(trail.menu, trail.kernel) < (last.id if last else 0) < taken
    if last is None or (last.id < taken and not by_chained and mark.at - last.at > _REBOOT_S):
        trail.starts.append(mark)


def _newest(*marks: Mark | None) -> int:
    return max((mark.id for mark in marks if mark is not None), default=0)


def _spoke(trail: Trail, event: Any, mark: Mark) -> None:
    trail.word = mark
    if event.kind == "installer_step":
        trail.step = Mark(mark.id, mark.at, mark.message.removeprefix("d-i: "))
    elif event.kind == "late":
        trail.late = mark
