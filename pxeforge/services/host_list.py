"""The list of hosts, a page at a time: filtered, sorted and counted by the database, however many there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Float, Select, Text, cast, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, defer

from pxeforge.domain.lifecycle import HostState
from pxeforge.services import diagnosis
from pxeforge.services.context import Context
from pxeforge.services.hosts import view
from pxeforge.services.problems import Problem
from pxeforge.store.tables import AgentCredential, Assignment, Host, Nic

MOST: Final = 500  # hosts of one page
_SORTS: Final[dict[str, InstrumentedAttribute[Any]]] = {
    "name": Host.name, "state": Host.state, "address": Host.address, "serial": Host.serial,
    "firmware": Host.firmware, "seen_at": Host.seen_at, "created_at": Host.created_at,
    "registered_at": Host.registered_at,
}  # fmt: skip
SORTS: Final = tuple(_SORTS)
_MOST_WORDS: Final = 12
_PART_OF_MAC: Final = re.compile(r"[0-9a-f]{0,2}(:[0-9a-f]{2}){2,5}(:[0-9a-f]?)?")  # three bytes, or nearly
# Of which letters these are made: a word with another one is not looked for there, which would read all hosts anew.
_LETTERS: Final[tuple[tuple[InstrumentedAttribute[Any], frozenset[str]], ...]] = (
    (Host.name, frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")),
    (Host.address, frozenset("0123456789abcdef:.")),
    (Host.uuid, frozenset("0123456789abcdef-")),
    (Host.id, frozenset("0123456789abcdef")),
)
_MOST_IDS: Final = 900  # values of one statement: SQLite takes 32,766, older ones 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which hosts, in which order. What is empty is not asked for; all that is given must fit."""

    # Words; each must occur in name, state, address, serial, UUID, id, a MAC, a role or a tag. Three bytes of a MAC
    # that some NIC has (52:54:00) are looked for among NICs alone.
    text: str = ""
    states: tuple[str, ...] = ()  # any of them
    tag: str | None = None
    role: str | None = None  # "" is a host without any
    firmware: str | None = None  # as hosts tell it; "" is a host that told none
    rack: str | None = None  # its name; "" is a host without a place
    serial: str | None = None  # whole, capitals or not
    ids: frozenset[str] | None = None  # none but these
    but: frozenset[str] | None = None  # none of these
    sort: str = "name"  # one of SORTS; hosts that have no such value come last
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`hosts` as hosts.view shows them; `found` fit in all, of `total`; `counts` by state, of all hosts."""

    hosts: list[dict[str, Any]]
    found: int
    total: int
    counts: dict[str, int]


def page(ctx: Context, wanted: Wanted, *, limit: int = 100, offset: int = 0, facts: bool = False) -> Page:
    """The hosts from number `offset` on, `limit` at most (MOST). Raises Problem for a state or order we do not know.

    `facts`: with what each host reported about itself.
    """
    limit, offset = min(max(limit, 0), MOST), max(offset, 0)
    with ctx.database.read() as session:
        fitting = _fitting(session, wanted)
        query = _ordered(wanted, fitting)
        counts = _counts(session)
        total = sum(counts.values())
        if fitting:
            # Looked for once: ten thousand ids cost less than the same search a second time, to count.
            ids = session.scalars(query).all()
            found, chosen = len(ids), ids[offset : offset + limit]
        else:
            found, chosen = total, session.scalars(query.limit(limit).offset(offset)).all()
        return Page(hosts=_views(session, chosen, facts=facts), found=found, total=total, counts=counts)


def counts(ctx: Context) -> dict[str, int]:
    """How many hosts are in each state, those with none too."""
    with ctx.database.read() as session:
        return _counts(session)


def matching(ctx: Context, wanted: Wanted) -> list[str]:
    """The ids of all hosts that fit, in order: what "select all" on the page means."""
    with ctx.database.read() as session:
        return list(session.scalars(_ordered(wanted, _fitting(session, wanted))))


def names(ctx: Context) -> dict[str, str]:
    """What people call each host, by its id: the name, else a MAC. Without loading what else is known of them."""
    with ctx.database.read() as session:
        named = {host_id: name for host_id, name in session.execute(select(Host.id, Host.name)) if name}
        nameless = select(Nic.host_id, func.min(Nic.mac)).join(Host).where(Host.name.is_(None)).group_by(Nic.host_id)
        return {**dict(session.execute(nameless).all()), **named}


def role_counts(ctx: Context) -> dict[str, int]:
    """How many hosts have each role that any has."""
    with ctx.database.read() as session:
        counted = select(Assignment.role, func.count()).group_by(Assignment.role)
        return dict(session.execute(counted).all())


def roles_of(ctx: Context, ids: Sequence[str]) -> dict[str, list[str]]:
    """By host id, in the order in which they were given; hosts that are gone are left out."""
    found: dict[str, list[str]] = {}
    with ctx.database.read() as session:
        for start in range(0, len(ids), _MOST_IDS):
            some = ids[start : start + _MOST_IDS]
            found |= {host_id: [] for host_id in session.scalars(select(Host.id).where(Host.id.in_(some)))}
            given = select(Assignment.host_id, Assignment.role).where(Assignment.host_id.in_(some))
            for host_id, role in session.execute(given.order_by(Assignment.assigned_at)):
                found[host_id].append(role)
    return found


def racks(ctx: Context) -> list[str]:
    """The names of all racks that a host has a place in."""
    with ctx.database.read() as session:
        return sorted(session.scalars(select(Host.rack).where(Host.rack.is_not(None)).distinct()))


def _counts(session: Session) -> dict[str, int]:
    found = dict(session.execute(select(Host.state, func.count()).group_by(Host.state)).all())
    return {state.value: found.get(state.value, 0) for state in HostState}


def _ordered(wanted: Wanted, fitting: Sequence[ColumnElement[bool]]) -> Select[str]:
    """Ids only: facts of hosts are large, and sorting must not carry them."""
    column = _SORTS.get(wanted.sort)
    if column is None:
        raise Problem(f"hosts cannot be sorted by {wanted.sort!r}: use one of {', '.join(SORTS)}")
    order = column.desc() if wanted.descending else column.asc()
    return select(Host.id).where(*fitting).order_by(order.nulls_last(), Host.id)


def _views(session: Session, ids: Sequence[str], *, facts: bool = False) -> list[dict[str, Any]]:
    """In the order of `ids`."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), _MOST_IDS):
        some = ids[start : start + _MOST_IDS]
        agents = select(AgentCredential).where(AgentCredential.host_id.in_(some))
        by_host = {agent.host_id: agent for agent in session.scalars(agents)}
        held_up = diagnosis.told(session, some)
        query = select(Host).where(Host.id.in_(some))
        if not facts:  # they are large, and few lists show them
            query = query.options(defer(Host.facts))
        for host in session.scalars(query):
            told: dict[str, Any] = {"facts": host.facts} if facts else {}
            told["diagnosis"] = held_up.get(host.id)
            found[host.id] = view(host, agent=by_host.get(host.id)) | told
    return [found[one] for one in ids if one in found]


def _fitting(session: Session, wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.states:
        found.append(Host.state.in_([_state(text) for text in wanted.states]))
    if wanted.tag is not None:
        # Tags are kept as JSON; `replace` tells capitals apart on every database, and LIKE does not.
        kept = cast(Host.tags, Text)
        found.append(func.replace(kept, f'"{wanted.tag}"', "") != kept)
    if wanted.role == "":
        found.append(Host.id.not_in(select(Assignment.host_id)))
    elif wanted.role is not None:
        found.append(Host.id.in_(select(Assignment.host_id).where(Assignment.role == wanted.role)))
    if wanted.firmware is not None:
        found.append(Host.firmware == wanted.firmware if wanted.firmware else Host.firmware.is_(None))
    if wanted.rack is not None:
        found.append(Host.rack == wanted.rack if wanted.rack else Host.rack.is_(None))
    if wanted.serial is not None:
        found.append(func.lower(Host.serial) == wanted.serial.lower())
    if wanted.but is not None:
        found.append(Host.id.not_in(wanted.but))
    if wanted.ids is not None:
        found.append(Host.id.in_(wanted.ids))
    words = wanted.text.split()
    if len(words) > _MOST_WORDS:
        raise Problem(f"search for {_MOST_WORDS} words at most")
    found.extend(_has(session, word) for word in words)
    return found


def _has(session: Session, word: str) -> ColumnElement[bool]:
    """The word occurs in what the list shows of the host; MACs may be written with dashes."""
    word = word.lower()
    in_nics = select(Nic.host_id).where(Nic.mac.contains(word.replace("-", ":"), autoescape=True))
    if _PART_OF_MAC.fullmatch(word) and session.scalars(in_nics.limit(1)).first() is not None:
        return Host.id.in_(in_nics)
    in_roles = select(Assignment.host_id).where(Assignment.role.contains(word, autoescape=True))
    return or_(
        Host.state.in_([state.value for state in HostState if word in state.value]),
        *(column.contains(word, autoescape=True) for column, letters in _LETTERS if letters.issuperset(word)),
        *(func.lower(column).contains(word, autoescape=True) for column in (Host.serial, cast(Host.tags, Text))),
        Host.id.in_(in_nics),
        Host.id.in_(in_roles),
    )


def _state(text: str) -> str:
    try:
        return HostState(text).value
    except ValueError:
        raise Problem(f"{text!r} is not a state: use one of {', '.join(s.value for s in HostState)}") from None


def rows_after(
    ctx: Context, wanted: Wanted, after: Sequence[Any] | None, *, limit: int = 100
) -> list[dict[str, Any]]:  # fmt: skip
    """The hosts behind the one with these sort keys (its value of `wanted.sort`, and its id); None: from the first on.

    Unlike a number of hosts to leave out, this stays right while hosts come and go.
    """
    with ctx.database.read() as session:
        fitting = _fitting(session, wanted)
        if after is not None:
            fitting.append(_behind(wanted, *after))
        return _views(session, list(session.scalars(_ordered(wanted, fitting).limit(limit))))


def _behind(wanted: Wanted, value: Any, host_id: str) -> ColumnElement[bool]:
    column = _SORTS[wanted.sort]
    if value is not None and isinstance(value, str) is isinstance(column.type, Float):
        raise Problem("this part belongs to a list in another order: begin again with the first one")
    if value is None:
        return column.is_(None) & (Host.id > host_id)
    beyond = column < value if wanted.descending else column > value
    return or_(beyond, (column == value) & (Host.id > host_id), column.is_(None))
