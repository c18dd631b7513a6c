"""Who is who: identities that two hosts show, NICs that were replaced or moved, and how an operator settles it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, SQLColumnExpression, String, and_, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from pxeforge.domain.identity import both_orders, identity_of, useful_serial, useful_uuid
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services import hosts, power_record
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.sightings import MOVED, mark, told_place
from pxeforge.store.tables import AgentCredential, Event, Host, IdentityNote, Nic, Run, RunTask

UUID_SHARED: Final = "uuid_shared"
SERIAL_SHARED: Final = "serial_shared"
NEW_NIC: Final = "new_nic"
NIC_CLAIMED: Final = "nic_claimed"
_MANY: Final = 500  # identities in one question: SQL takes only so many
# A NIC that joins or leaves a host in these states would change whom an install is for.
BUSY: Final = frozenset({"armed", "booting", "installing", "installed", "rescue", "wiping"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A host as far as its identity goes."""

    id: str
    name: str | None
    state: str
    uuid: str | None  # in one spelling for both byte orders
    told_uuid: str | None
    mac: str
    created_at: float

    @property
    def label(self) -> str:
        return self.name or self.mac or self.id

    @property
    def is_stranger(self) -> bool:
        return self.state == HostState.DISCOVERED.value and not self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    subject: str
    kind: str
    sentence: str
    remedy: str
    commands: tuple[str, ...]
    hosts: tuple[_Known, ...]
    mac: str | None = None
    since: float
    settled_at: float | None = None
    settled_by: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return conflict_id(self.subject)


def conflict_id(subject: str) -> str:
    """How a conflict is called on the command line: 8 hex digits."""
    return hashlib.sha256(subject.encode()).hexdigest()[:8]


# ---------------------------------------------------------------------------------------------- conflicts


def conflicts(ctx: Context, *, host: str | None = None, settled: bool = False) -> list[dict[str, Any]]:
    """What does not fit together, the newest first: {id, kind, sentence, remedy, commands, hosts, mac, since, …}.

    `host`: only what this one has part in. `settled`: also what an operator has accepted.
    """
    with ctx.database.read() as session:
        asked = hosts.find(session, host) if host else None
        found = _conflicts(session, asked)
        wanted = asked.id if asked else None
    return [
        _view(one) for one in sorted(found, key=lambda one: (-one.since, one.id))
        if (settled or one.settled_at is None) and (wanted is None or wanted in {known.id for known in one.hosts})
    ]  # fmt: skip


def _view(one: _Found) -> dict[str, Any]:
    shown = [{"id": host.id, "name": host.name, "mac": host.mac, "state": host.state} for host in one.hosts]
    return {
        "id": one.id, "kind": one.kind, "sentence": one.sentence, "remedy": one.remedy, "commands": list(one.commands),
        "hosts": shown, "mac": one.mac, "since": one.since, "settled_at": one.settled_at, "settled_by": one.settled_by,
    }  # fmt: skip


def _conflicts(session: Session, host: Host | None = None) -> list[_Found]:
    """All, or (among others) those in which this host has part."""
    notes = {note.subject: note for note in session.scalars(select(IdentityNote))}
    by_uuid, by_serial = _groups(session, *_shown_twice(session) if host is None else _shown_by(session, host))
    claims = {note.subject: note for note in notes.values() if note.subject.startswith(f"{NIC_CLAIMED}:")}
    owners = dict(_owners(session, [note.data["mac"] for note in claims.values()]))
    wanted = {one for group in (*by_uuid.values(), *by_serial.values()) for one in group} | set(owners.values())
    known = _known(session, wanted | {note.host_id for note in notes.values() if note.host_id})
    found = _shared(by_uuid, by_serial, known, notes)
    for note in notes.values():
        if note.subject.startswith(f"{MOVED}:") and note.host_id in known:
            found.append(_moved(note, known[note.host_id]))
        elif note.subject in claims and note.host_id in known:
            claim = _claim(note, known[note.host_id], known.get(owners.get(note.data["mac"], "")))
            found += [claim] if claim else []
    return found


def _shown_by(session: Session, host: Host) -> tuple[set[str], set[str]]:
    """The host's UUID in both byte orders, and its serial number in small letters as the database makes them."""
    serials = session.scalars(select(func.lower(Host.serial)).where(Host.id == host.id, Host.serial.is_not(None)))
    return set(both_orders(host.uuid)) if host.uuid else set(), set(serials)


def _shown_twice(session: Session) -> tuple[set[str], set[str]]:
    """The same of all hosts that share one: few do, and the database finds them by its indexes."""
    other = aliased(Host)
    turned = select(Host.uuid).join(other, and_(other.uuid == _turned(Host.uuid), other.id != Host.id))
    uuids = {
        *session.scalars(select(Host.uuid).where(Host.uuid.is_not(None)).group_by(Host.uuid).having(func.count() > 1)),
        *session.scalars(turned),
    }
    serial = func.lower(Host.serial)
    return uuids, set(
        session.scalars(select(serial).where(serial.is_not(None)).group_by(serial).having(func.count() > 1))
    )


def _turned(uuid: InstrumentedAttribute[str | None]) -> ColumnElement[str]:
    """As both_orders does."""
    parts = [func.substr(uuid, at, 2, type_=String) for at in (7, 5, 3, 1, 12, 10, 17, 15)]
    a, b, c, d, e, f, g, h = parts
    return a + b + c + d + "-" + e + f + "-" + g + h + func.substr(uuid, 19, type_=String)


def _groups(
    session: Session, uuids: Collection[str], serials: Collection[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:  # fmt: skip
    """Ids of hosts that share one of these UUIDs (in either byte order), and one of these serial numbers."""
    by_uuid: dict[str, list[str]] = {}
    by_serial: dict[str, list[str]] = {}
    for host_id, uuid in _having(session, Host.uuid, uuids):
        by_uuid.setdefault(min(both_orders(uuid)), []).append(host_id)
    for host_id, serial in _having(session, func.lower(Host.serial), serials):
        by_serial.setdefault(serial, []).append(host_id)
    return (
        {uuid: group for uuid, group in by_uuid.items() if len(group) > 1 and useful_uuid(uuid)},
        {serial: group for serial, group in by_serial.items() if len(group) > 1 and useful_serial(serial)},
    )


def _having(session: Session, column: SQLColumnExpression[Any], values: Collection[str]) -> Iterable[tuple[str, str]]:
    """Id and value of each host that has one of them."""
    wanted = sorted(values)
    for start in range(0, len(wanted), _MANY):
        some = wanted[start : start + _MANY]
        rows = session.execute(select(Host.id, column).where(column.in_(some)).order_by(Host.created_at))
        yield from ((host_id, value) for host_id, value in rows)


def _owners(session: Session, macs: Sequence[str]) -> Iterable[tuple[str, str]]:
    """MAC and host of these NICs."""
    for start in range(0, len(macs), _MANY):
        rows = session.execute(select(Nic.mac, Nic.host_id).where(Nic.mac.in_(macs[start : start + _MANY])))
        yield from ((row.mac, row.host_id) for row in rows)


def _known(session: Session, ids: Collection[str]) -> dict[str, _Known]:
    found: dict[str, _Known] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), _MANY):
        part = wanted[start : start + _MANY]
        first: dict[str, str] = {}
        for mac, host_id in session.execute(
            select(Nic.mac, Nic.host_id).where(Nic.host_id.in_(part)).order_by(Nic.mac)
        ):
            first.setdefault(host_id, mac)
        for row in session.execute(
            select(Host.id, Host.name, Host.state, Host.uuid, Host.created_at).where(Host.id.in_(part))
        ):
            found[row.id] = _Known(
                id=row.id, name=row.name, state=row.state, uuid=identity_of(row.uuid), told_uuid=row.uuid,
                mac=first.get(row.id, ""), created_at=row.created_at,
            )  # fmt: skip
    return found


def _shared(
    by_uuid: Mapping[str, list[str]], by_serial: Mapping[str, list[str]], known: Mapping[str, _Known],
    notes: Mapping[str, IdentityNote],
) -> list[_Found]:  # fmt: skip
    found = [_same(UUID_SHARED, uuid, [known[one] for one in ids], notes) for uuid, ids in by_uuid.items()]
    for serial, ids in by_serial.items():
        group = [known[one] for one in ids]
        # Those that share their UUID too are told of above.
        if not (len({host.uuid for host in group}) == 1 and group[0].uuid):
            found.append(_same(SERIAL_SHARED, serial, group, notes))
    return found


def _same(kind: str, value: str, group: Sequence[_Known], notes: Mapping[str, IdentityNote]) -> _Found:
    group = sorted(group, key=lambda host: (host.is_stranger, host.created_at, host.label))
    strangers = [host for host in group if host.is_stranger]
    subject = f"{kind}:{value}"[:200]
    note = notes.get(subject)
    is_settled = note is not None and note.settled_at is not None and {h.id for h in group} <= set(note.data["hosts"])
    what = "UUID" if kind == UUID_SHARED else "serial number"
    settle = f"pxeforge host settle {conflict_id(subject)}"
    labels = [host.label for host in group]
    shown = group[0].told_uuid if kind == UUID_SHARED else value
    common: dict[str, Any] = {
        "subject": subject, "hosts": tuple(group), "since": max(host.created_at for host in group),
        "settled_at": note.settled_at if note and is_settled else None,
        "settled_by": note.settled_by if note and is_settled else None,
    }  # fmt: skip
    if strangers and len(group) - len(strangers) == 1:
        known = group[0]
        return _Found(
            kind=NEW_NIC, mac=strangers[0].mac, **common,
            sentence=f"{', '.join(host.mac for host in strangers)} netboots with the {what} of {known.label}: a NIC "
            "was added or replaced, or two boards share it",
            remedy="if it is this host's NIC, attach it; else accept it as a host of its own",
            commands=(*(f"pxeforge host merge {known.label} {host.mac}" for host in strangers), settle),
        )  # fmt: skip
    return _Found(
        kind=kind, **common,
        sentence=f"{' and '.join(labels[:4])}{' and others' if len(labels) > 4 else ''} show one {what} ({shown}): one "
        "host is recorded twice, or their boards share it",
        remedy="if they are one host, merge them; else accept it",
        commands=(f"pxeforge host merge {labels[0]} {labels[1]}", settle),
    )  # fmt: skip


def _moved(note: IdentityNote, host: _Known) -> _Found:
    here, there = told_place(note.data["from"]), told_place(note.data["to"])
    return _Found(
        subject=note.subject, kind=MOVED, hosts=(host,), mac=note.data["mac"], since=note.at,
        settled_at=note.settled_at, settled_by=note.settled_by,
        sentence=f"{note.data['mac']} of {host.label} was at {here}, now it is at {there}: the host was moved, or its "
        "cable was",
        remedy="check its rack position, then accept the new place",
        commands=(
            f"pxeforge rule apply --replace {host.label}",
            f"pxeforge host set {host.label} --rack NAME --unit N",
            f"pxeforge host settle {conflict_id(note.subject)}",
        ),
    )  # fmt: skip


def _claim(note: IdentityNote, claimant: _Known, owner: _Known | None) -> _Found | None:
    """None once the NIC belongs to who reports it, or to nobody."""
    mac = note.data["mac"]
    if owner is None or owner.id == claimant.id:
        return None
    return _Found(
        subject=note.subject, kind=NIC_CLAIMED, hosts=(claimant, owner), mac=mac, since=note.at,
        settled_at=note.settled_at, settled_by=note.settled_by,
        sentence=f"{claimant.label} reports the NIC {mac}, which is recorded for {owner.label}: the card was moved, or "
        "one host is recorded twice",
        remedy="say whose it is: move the NIC, or merge the two hosts",
        commands=(
            f"pxeforge host nic move {mac} {claimant.label}",
            f"pxeforge host merge {claimant.label} {owner.label}",
            f"pxeforge host settle {conflict_id(note.subject)}",
        ),
    )  # fmt: skip


def claimed(session: Session, ctx: Context, host: Host, mac: str, other: Host) -> None:
    """Notes that the facts of `host` name a NIC that is recorded for `other`."""
    subject = f"{NIC_CLAIMED}:{host.id}:{mac}"
    if session.get(IdentityNote, subject) is None:
        session.add(IdentityNote(subject=subject, host_id=host.id, data={"mac": mac, "of": other.id}, at=ctx.clock()))


def settle(ctx: Context, wanted: str, *, who: str) -> dict[str, Any]:
    """Accepts a conflict as it is; it comes back when something about it changes. Raises NotFound."""
    with ctx.database.write() as session:
        found = next((one for one in _conflicts(session) if one.id == wanted and one.settled_at is None), None)
        if found is None:
            raise NotFound(f"there is no open conflict {wanted!r}: see `pxeforge host conflicts`")
        note = session.get(IdentityNote, found.subject)
        if note is None:
            note = IdentityNote(subject=found.subject, at=found.since, data={})
            session.add(note)
        note.data = {**note.data, "hosts": [host.id for host in found.hosts]}
        note.settled_at, note.settled_by = ctx.clock(), who
        for host in found.hosts:
            record(
                session, ctx, host_id=host.id, source="operator", kind="conflict_settled", who=who,
                message=f"accepted by {who}: {found.sentence}",
            )  # fmt: skip
        return {**_view(found), "settled_at": note.settled_at, "settled_by": who}


# ---------------------------------------------------------------------------------------------- NICs and merging


def merge(ctx: Context, keep: str, gone: str, *, who: str) -> dict[str, Any]:
    """One host of two records: `keep` gets the NICs, tags and events of `gone`, and what it does not know itself.

    Name, roles and settings of `keep` stay. Raises Problem.
    """
    with ctx.database.write() as session:
        one, other = hosts.find(session, keep), hosts.find(session, gone)
        merge_into(session, ctx, one, other, who=who)
        return hosts.view(one)


def merge_into(session: Session, ctx: Context, keep: Host, gone: Host, *, who: str) -> None:
    """The same in the caller's transaction."""
    if keep.id == gone.id:
        raise Problem(f"{keep.name or keep.id} cannot be merged with itself: name two hosts")
    for host in (keep, gone):
        _refuse_busy(session, host)
    if session.get(AgentCredential, gone.id) is not None:
        raise Conflict(
            f"{gone.label} was installed and has an agent: merge the other way round "
            f"(`pxeforge host merge {gone.label} {keep.label}`), or forget it first"
        )
    before = {"macs": list(keep.macs), "tags": list(keep.tags)}
    label, lost = gone.label, {"name": gone.name, "roles": [row.role for row in gone.roles], "macs": list(gone.macs)}
    for nic in list(gone.nics):
        nic.host = keep
    keep.tags = sorted({*keep.tags, *gone.tags})
    keep.uuid, keep.serial = keep.uuid or gone.uuid, keep.serial or gone.serial
    keep.facts = keep.facts or gone.facts
    keep.firmware = keep.firmware or gone.firmware
    keep.seen_at = max(filter(None, (keep.seen_at, gone.seen_at)), default=None)
    session.execute(update(Event).where(Event.host_id == gone.id).values(host_id=keep.id))
    power_record.hand_over(session, gone, keep)
    session.flush()
    session.expire(gone, ["nics"])
    session.delete(gone)
    session.flush()
    record(
        session, ctx, host_id=keep.id, source="operator", kind="merged", who=who,
        message=f"merged by {who}: {label} was this host",
        data={"before": {**before, "merged": lost}, "after": {"macs": list(keep.macs), "tags": list(keep.tags)}},
    )  # fmt: skip
    mark(session, ctx, keep)


def nic_add(ctx: Context, text: str, mac: str, *, who: str) -> dict[str, Any]:
    """A further NIC; one that only stood for a discovered host is taken over. Raises Problem."""
    with ctx.database.write() as session:
        host, address = hosts.find(session, text), _mac(mac)
        nic = session.get(Nic, address)
        if nic is not None and nic.host_id != host.id:
            if nic.host.state != HostState.DISCOVERED.value or nic.host.name:
                raise Conflict(
                    f"{address} belongs to {nic.host.label}: `pxeforge host nic move {address} {host.label}`, or "
                    f"`pxeforge host merge {host.label} {nic.host.label}` if they are one"
                )
            merge_into(session, ctx, host, nic.host, who=who)
        elif nic is None:
            _refuse_busy(session, host)
            before = list(host.macs)
            host.nics.append(Nic(mac=address))
            session.flush()
            _say(session, ctx, host, who, f"NIC {address} added by {who}", before)
        return hosts.view(host)


def nic_move(ctx: Context, mac: str, text: str, *, who: str) -> dict[str, Any]:
    """A NIC that was put into another host goes there, with its reserved address. Raises Problem."""
    with ctx.database.write() as session:
        nic, host = _nic(session, mac), hosts.find(session, text)
        former = nic.host
        if former.id == host.id:
            raise Problem(f"{nic.mac} belongs to {host.label} already")
        for one in (former, host):
            _refuse_busy(session, one)
        if len(former.nics) == 1:
            raise Conflict(
                f"{nic.mac} is the only NIC of {former.label}: merge the two "
                f"(`pxeforge host merge {host.label} {former.label}`), or give it another NIC first"
            )
        before, theirs = list(host.macs), list(former.macs)
        nic.host = host
        session.flush()
        for one in (former, host):
            session.expire(one, ["nics"])
        _say(session, ctx, host, who, f"NIC {nic.mac} moved here from {former.label} by {who}", before)
        _say(session, ctx, former, who, f"NIC {nic.mac} moved to {host.label} by {who}", theirs)
        return hosts.view(host)


def nic_remove(ctx: Context, mac: str, *, who: str) -> dict[str, Any]:
    """A NIC that is gone; the last one of a host stays. Raises Problem."""
    with ctx.database.write() as session:
        nic = _nic(session, mac)
        host = nic.host
        _refuse_busy(session, host)
        if len(host.nics) == 1:
            raise Conflict(f"{nic.mac} is the only NIC of {host.label}: add another one first, or forget the host")
        before = list(host.macs)
        host.nics.remove(nic)
        session.flush()
        _say(session, ctx, host, who, f"NIC {nic.mac} removed by {who}", before)
        return hosts.view(host)


def _say(session: Session, ctx: Context, host: Host, who: str, message: str, before: list[str]) -> None:
    record(
        session, ctx, host_id=host.id, source="operator", kind="changed", who=who, message=message,
        data={"before": {"macs": before}, "after": {"macs": list(host.macs)}},
    )  # fmt: skip
    mark(session, ctx, host)


def _refuse_busy(session: Session, host: Host) -> None:
    if host.state in BUSY:
        raise Conflict(f"{host.label} is {host.state}: a NIC now would change whom that is for; disarm it first")
    running = session.scalars(
        select(Run).join(RunTask).where(RunTask.host_id == host.id, Run.state == "running")
    ).first()
    if running is not None:
        raise Conflict(f"the {running.kind} {running.id} is running on {host.label}: wait for it, or cancel it")


def _nic(session: Session, mac: str) -> Nic:
    nic = session.get(Nic, _mac(mac))
    if nic is None:
        raise NotFound(f"no host has the NIC {mac}: see `pxeforge host list`")
    return nic


def _mac(text: str) -> str:
    try:
        return str(MacAddress.parse(text))
    except NotAMac as problem:
        raise Problem(str(problem)) from None
