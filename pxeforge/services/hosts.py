"""Hosts: found by any of their names, listed, named, given roles, forgotten."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer

from pxeforge.domain.boot import LoaderChoice
from pxeforge.domain.host_name import why_no_host_name
from pxeforge.domain.lifecycle import HostState, IllegalSignal, Signal, advance
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services import diagnosis, power_record, racks, reservations
from pxeforge.services.answers import check_host_parameters
from pxeforge.services.context import Context, new_id
from pxeforge.services.events import insert, record
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.versions import expect_host, version_of
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import AgentCredential, Assignment, Attempt, Host, Nic, Run, RunTask

FORGOTTEN = "forgotten"  # the kind of the event that is left of a host
_TAG = re.compile(r"[A-Za-z0-9_.:-]{1,63}")
_UNDER_WAY = frozenset(
    state.value
    for state in (
        HostState.ARMED, HostState.BOOTING, HostState.INSTALLING, HostState.INSTALLED, HostState.WIPING,
    )
)  # fmt: skip
_SETTINGS = {"disk", "wipe", "parameters", "network", "rack", "profile"}


def find(session: Session, text: str) -> Host:
    """The host behind a MAC in any spelling, a UUID, a name or an id prefix; raises NotFound or Conflict."""
    try:
        nic = session.get(Nic, str(MacAddress.parse(text)))
        if nic is not None:
            return nic.host
    except NotAMac:
        pass
    lowered = text.strip().lower()
    rows: Sequence[Host] = session.scalars(select(Host).where((Host.name == lowered) | (Host.id == lowered))).all()
    if not rows:
        rows = session.scalars(select(Host).where(Host.uuid == lowered)).all()
    if not rows and re.fullmatch(r"[0-9a-f]{3,11}", lowered):
        rows = session.scalars(select(Host).where(Host.id.startswith(lowered))).all()
    if not rows:
        raise NotFound(f"no host is known as {text!r}: see `pxeforge host list`")
    if len(rows) > 1:
        raise Conflict(f"{text!r} fits {len(rows)} hosts: use the MAC address")
    return rows[0]


def by_mac(session: Session, mac: MacAddress) -> Host | None:
    nic = session.get(Nic, str(mac))
    return nic.host if nic else None


def view(host: Host, *, agent: AgentCredential | None = None) -> dict[str, Any]:
    """The host as the API, CLI and pages show it."""
    return {
        "id": host.id,
        "name": host.name,
        "state": host.state,
        "macs": [nic.mac for nic in host.nics],
        "nics": [
            {"mac": nic.mac, "name": nic.name, "address": nic.address, "reserved_address": nic.reserved_address}
            for nic in host.nics
        ],
        "address": host.address,
        "uuid": host.uuid,
        "serial": host.serial,
        "firmware": host.firmware,
        "loader": host.loader,
        "tags": host.tags,
        "roles": [row.role for row in host.roles],
        "settings": host.settings,
        "armed_until": host.armed_until,
        "created_at": host.created_at,
        "seen_at": host.seen_at,
        "registered_at": host.registered_at,
        "agent_seen_at": agent.seen_at if agent else None,
        "agent_version": agent.version if agent else None,
        "clock_skew_s": agent.clock_skew_s if agent else None,
    }


def list_hosts(
    ctx: Context, *, state: str | None = None, tag: str | None = None, role: str | None = None
) -> list[dict[str, Any]]:
    with ctx.database.read() as session:
        query = select(Host).order_by(Host.name.is_(None), Host.name, Host.created_at)
        if state:
            query = query.where(Host.state == _state(state).value)
        agents = {row.host_id: row for row in session.scalars(select(AgentCredential))}
        # What a host reported of itself is most of its row, and this list does not show it.
        views = [view(host, agent=agents.get(host.id)) for host in session.scalars(query.options(defer(Host.facts)))]
    return [
        one for one in views if (tag is None or tag in one["tags"]) and (role is None or role in one["roles"])
    ]  # fmt: skip


def show(ctx: Context, text: str) -> dict[str, Any]:
    """One host with its facts, its current attempt and its version (services/versions.py)."""
    with ctx.database.read() as session:
        host = find(session, text)
        attempt = session.get(Attempt, host.attempt_id) if host.attempt_id else None
        return {
            **view(host, agent=session.get(AgentCredential, host.id)),
            "facts": host.facts,
            "attempt": attempt_view(attempt) if attempt else None,
            "diagnosis": diagnosis.told(session, [host.id]).get(host.id),
            "version": version_of(host),
        }


def id_of(ctx: Context, text: str) -> str:
    """Raises NotFound, Conflict."""
    with ctx.database.read() as session:
        return find(session, text).id


def labels(ctx: Context, ids: Collection[str]) -> dict[str, str]:
    """What people call these hosts: the name, else the first MAC; a host that is gone is not in it."""
    with ctx.database.read() as session:
        named = session.execute(select(Host.id, Host.name).where(Host.id.in_(ids))).all()
        nameless = [host_id for host_id, name in named if not name]
        first = select(Nic.host_id, func.min(Nic.mac)).where(Nic.host_id.in_(nameless)).group_by(Nic.host_id)
        macs = dict(session.execute(first).all()) if nameless else {}
        return {host_id: name or macs.get(host_id, host_id) for host_id, name in named}


def attempt_view(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.id, "profile": attempt.profile, "image": attempt.image, "armed_at": attempt.armed_at,
        "armed_by": attempt.armed_by, "expires_at": attempt.expires_at, "answers_at": attempt.answers_at,
        "registered_at": attempt.registered_at, "outcome": attempt.outcome,
    }  # fmt: skip


def add(
    ctx: Context,
    *,
    macs: Sequence[str],
    name: str | None = None,
    roles: Sequence[str] = (),
    tags: Sequence[str] = (),
    who: str,
) -> dict[str, Any]:
    """A host the operator vouches for before it was ever seen, or adopts if it was.

    One that somebody vouched for already stays as it is: raises Conflict where it is not what is given.
    """
    parsed = [_mac(text) for text in macs]
    if not parsed:
        raise Problem("a host needs at least one MAC address")
    with ctx.database.write() as session:
        known = {host.id: host for mac in parsed if (host := by_mac(session, mac))}
        if len(known) > 1:
            raise Conflict("these MAC addresses belong to different hosts: forget one of them first")
        host = next(iter(known.values()), None) or _new_host(ctx, session, HostState.DISCOVERED)
        if host.state != HostState.DISCOVERED.value:
            _check_agrees(host, parsed, name, roles, tags)
            return view(host)
        present = {nic.mac for nic in host.nics}
        host.nics.extend(Nic(mac=str(mac)) for mac in dict.fromkeys(parsed) if str(mac) not in present)
        move(session, ctx, host, Signal.ADOPT, who=who, message=f"added by {who}")
        _change(session, ctx, host, who, name=name, tags=list(tags) or None)
        if roles:
            _assign(session, ctx, host, roles, who)
        session.flush()
        return view(host)


def _check_agrees(
    host: Host, macs: Sequence[MacAddress], name: str | None, roles: Sequence[str], tags: Sequence[str]
) -> None:
    """Raises Conflict if the host that is known by one of these MACs is not what was said of it."""
    label = host.label
    others = {
        "MAC address": [str(mac) for mac in macs if str(mac) not in host.macs],
        "name": [name] if name is not None and name != host.name else [],
        "role": [role for role in roles if role not in {row.role for row in host.roles}],
        "tag": [tag for tag in tags if tag not in host.tags],
    }
    mac = next(str(mac) for mac in macs if str(mac) in host.macs)
    for what, values in others.items():
        if values:
            how = "nic add" if what == "MAC address" else "set"
            raise Conflict(
                f"{mac} belongs to host {label} already, which has not the {what} {values[0]}: nothing was changed; "
                f"`pxeforge host {how} {label}` changes it"
            )


def change(
    ctx: Context,
    text: str,
    *,
    who: str,
    name: str | None = None,
    tags: list[str] | None = None,
    loader: str | None = None,
    settings: dict[str, Any] | None = None,
    reserve: dict[str, Any] | None = None,
    expected_version: str | None = None,
) -> dict[str, Any]:
    """Sets what is given and leaves the rest (a setting that is None goes away); a discovered host becomes known.

    `reserve`: addresses by MAC, as reservations.reserve takes them. Raises Stale if the host is not what the caller
    saw (`expected_version`).
    """
    with ctx.database.write() as session:
        host = find(session, text)
        expect_host(session, host, expected_version)
        if host.state == HostState.DISCOVERED.value:
            move(session, ctx, host, Signal.ADOPT, who=who, message=f"adopted by {who}")
        _change(session, ctx, host, who, name=name, tags=tags, loader=loader, settings=settings, reserve=reserve)
        session.flush()
        return {**view(host), "version": version_of(host)}


def put(
    session: Session,
    ctx: Context,
    macs: Sequence[MacAddress],
    *,
    who: str,
    name: str | None = None,
    tags: list[str] | None = None,
    roles: Sequence[str] | None = None,
    loader: str | None = None,
    settings: dict[str, Any] | None = None,
    reserve: dict[str, Any] | None = None,
) -> Host:
    """The host with these MACs as a table of hosts describes it, in the caller's transaction; raises Problem.

    Made or adopted if need be; it gets these MACs besides its own. What is None stays; tags and roles become exactly
    these. Where nothing differs nothing is written, not even an event.
    """
    known = {host.id: host for mac in macs if (host := by_mac(session, mac))}
    if len(known) > 1:
        raise Conflict("these MAC addresses belong to different hosts: forget one of them first")
    host = next(iter(known.values()), None) or _new_host(ctx, session, HostState.DISCOVERED)
    present = {nic.mac for nic in host.nics}
    host.nics.extend(Nic(mac=str(mac)) for mac in dict.fromkeys(macs) if str(mac) not in present)
    edit(
        session, ctx, host, who=who, name=name, tags=tags, roles=roles, loader=loader, settings=settings,
        reserve=reserve,
    )  # fmt: skip
    return host


def edit(
    session: Session,
    ctx: Context,
    host: Host,
    *,
    who: str,
    name: str | None = None,
    tags: list[str] | None = None,
    roles: Sequence[str] | None = None,
    loader: str | None = None,
    settings: dict[str, Any] | None = None,
    reserve: dict[str, Any] | None = None,
    adopts: bool = True,
) -> None:
    """Sets what is given in the caller's transaction; tags and roles become exactly these. Raises Problem.

    A discovered host becomes known, unless it is not vouched for by this (`adopts`).
    """
    if adopts and host.state == HostState.DISCOVERED.value:
        move(session, ctx, host, Signal.ADOPT, who=who, message=f"added by {who}")
    _change(session, ctx, host, who, name=name, tags=tags, loader=loader, settings=settings, reserve=reserve)
    if roles is not None:
        _unassign(session, ctx, host, [row.role for row in host.roles if row.role not in roles], who)
        _assign(session, ctx, host, roles, who)
    session.flush()


def is_tag(text: object) -> bool:
    return isinstance(text, str) and _TAG.fullmatch(text) is not None


def _change(
    session: Session,
    ctx: Context,
    host: Host,
    who: str,
    *,
    name: str | None = None,
    tags: list[str] | None = None,
    loader: str | None = None,
    settings: dict[str, Any] | None = None,
    reserve: dict[str, Any] | None = None,
) -> None:
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def put(key: str, value: Any) -> None:
        old = getattr(host, key)
        if old != value:
            before[key], after[key] = old, value
            setattr(host, key, value)

    if name is not None:
        why_not = why_no_host_name(name)
        if why_not is not None:
            raise Problem(why_not)
        other = session.scalars(select(Host).where(Host.name == name, Host.id != host.id)).first()
        if other is not None:
            raise Conflict(f"the name {name} belongs to host {other.id}: choose another")
        put("name", name)
    if tags is not None:
        bad = [tag for tag in tags if not is_tag(tag)]
        if bad:
            raise Problem(f"{bad[0]!r} is not a tag: use letters, digits and _ . : -")
        put("tags", sorted(set(tags)))
    if loader is not None:
        try:
            put("loader", LoaderChoice(loader).value)
        except ValueError:
            choices = ", ".join(choice.value for choice in LoaderChoice)
            raise Problem(f"{loader!r} is not a loader: choose one of {choices}") from None
    if settings is not None:
        unknown = set(settings) - _SETTINGS
        if unknown:
            raise Problem(f"unknown host setting {min(unknown)!r}: known are {', '.join(sorted(_SETTINGS))}")
        merged = {key: value for key, value in {**host.settings, **settings}.items() if value is not None}
        if "network" in settings:
            network = reservations.merged(host.settings.get("network", {}), merged.pop("network", None))
            if network != host.settings.get("network", {}):
                reservations.check(ctx, network)
            merged |= {"network": network} if network else {}
        if settings.get("rack") is not None:
            merged["rack"] = racks.checked(session, host, settings["rack"])
        if not isinstance(merged.get("profile", ""), str):
            raise Problem("host setting profile must be the name of a profile: see `pxeforge profile list`")
        own = merged.get("parameters", {})
        if not isinstance(own, dict):
            raise Problem("host setting parameters must be an object: the profile parameters of this host alone")
        check_host_parameters({**own, **{key: merged[key] for key in ("disk", "wipe") if key in merged}})
        put("settings", merged)
    if reserve is not None:
        former = reservations.reserved(host)
        reservations.reserve(session, ctx, host, reserve)
        if former != reservations.reserved(host):
            before["reserved addresses"], after["reserved addresses"] = former, reservations.reserved(host)
    if after:
        record(
            session, ctx, host_id=host.id, source="operator", kind="changed", who=who,
            message=f"{', '.join(sorted(after))} changed", data={"before": before, "after": after},
        )  # fmt: skip


def check_may_be_forgotten(state: str) -> None:
    """Raises Conflict: forgetting must not disarm a host, or leave an installer without its host, on the way."""
    if state in _UNDER_WAY:
        raise Conflict(f"the host is {state}: disarm it first, then forget it")


def forget(ctx: Context, text: str, *, who: str, expected_version: str | None = None) -> None:
    """Removes the host, its NICs, roles and credentials; one that is armed or installing is refused."""
    with ctx.database.write() as session:
        host = find(session, text)
        expect_host(session, host, expected_version)
        check_may_be_forgotten(host.state)
        busy = session.scalars(
            select(Run).join(RunTask).where(RunTask.host_id == host.id, Run.state == "running")
        ).first()
        if busy is not None:
            raise Conflict(f"the {busy.kind} {busy.id} is running on it: wait or `pxeforge run cancel {busy.id}`")
        label, before = host.name or host.id, _remembered(host)
        session.delete(host)
        power_record.forget(session, host.id)
        record(
            session, ctx, host_id=host.id, source="operator", kind=FORGOTTEN, who=who,
            message=f"host {label} forgotten by {who}", data={"before": before},
        )  # fmt: skip


def _remembered(host: Host) -> dict[str, Any]:
    """What an operator said of the host: with this it could be added again."""
    keys = ("name", "state", "macs", "tags", "roles", "loader", "settings", "serial")
    whole = view(host)
    return {key: whole[key] for key in keys}


def assign(
    ctx: Context, texts: Sequence[str], roles: Sequence[str], *, who: str, known_roles: Sequence[str]
) -> list[dict[str, Any]]:
    """Gives roles to hosts, all or none; raises Problem for a role that does not exist."""
    unknown = [role for role in roles if role not in known_roles]
    if unknown:
        raise NotFound(f"there is no role {unknown[0]!r}: known are {', '.join(sorted(known_roles))}")
    with ctx.database.write() as session:
        hosts = [find(session, text) for text in texts]
        for host in hosts:
            _assign(session, ctx, host, roles, who)
        session.flush()
        return [view(host) for host in hosts]


def _assign(session: Session, ctx: Context, host: Host, roles: Sequence[str], who: str) -> None:
    present = {row.role for row in host.roles}
    new = [role for role in dict.fromkeys(roles) if role not in present]
    for role in new:
        host.roles.append(Assignment(role=role, assigned_at=ctx.clock(), assigned_by=who))
    if new:
        record(
            session, ctx, host_id=host.id, source="operator", kind="assigned", who=who,
            message=f"role {', '.join(new)} assigned by {who}",
            data={"before": {"roles": sorted(present)}, "after": {"roles": sorted({*present, *new})}},
        )  # fmt: skip


def unassign(
    ctx: Context, text: str, roles: Sequence[str], *, who: str, expected_version: str | None = None
) -> dict[str, Any]:
    with ctx.database.write() as session:
        host = find(session, text)
        expect_host(session, host, expected_version)
        if not any(row.role in roles for row in host.roles):
            raise NotFound(f"the host has no role {', '.join(roles)}: see `pxeforge host show`")
        _unassign(session, ctx, host, roles, who)
        session.flush()
        return {**view(host), "version": version_of(host)}


def set_roles(
    ctx: Context, text: str, roles: Sequence[str], *, who: str, known_roles: Sequence[str],
    expected_version: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The host gets exactly these roles; raises Problem, Stale."""
    unknown = [role for role in roles if role not in known_roles]
    if unknown:
        raise NotFound(f"there is no role {unknown[0]!r}: known are {', '.join(sorted(known_roles))}")
    with ctx.database.write() as session:
        host = find(session, text)
        expect_host(session, host, expected_version)
        _unassign(session, ctx, host, [row.role for row in host.roles if row.role not in roles], who)
        _assign(session, ctx, host, roles, who)
        session.flush()
        return {**view(host), "version": version_of(host)}


def _unassign(session: Session, ctx: Context, host: Host, roles: Sequence[str], who: str) -> None:
    before = sorted(row.role for row in host.roles)
    gone = [row for row in host.roles if row.role in roles]
    for row in gone:
        host.roles.remove(row)
    if gone:
        record(
            session, ctx, host_id=host.id, source="operator", kind="unassigned", who=who,
            message=f"role {', '.join(row.role for row in gone)} taken away by {who}",
            data={"before": {"roles": before}, "after": {"roles": sorted(row.role for row in host.roles)}},
        )  # fmt: skip


def move(
    session: Session,
    ctx: Context,
    host: Host,
    signal: Signal,
    *,
    message: str,
    source: str = "operator",
    who: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """One lifecycle transition with its event, in the caller's transaction; raises Conflict."""
    before = HostState(host.state)
    try:
        after = advance(before, signal)
    except IllegalSignal as problem:
        raise Conflict(f"{host.name or host.id}: {problem}") from problem
    host.state = after.value
    record(
        session, ctx, host_id=host.id, source=source, kind=signal.value, who=who, message=message,
        data={"from": before.value, "to": after.value, **(data or {})},
    )  # fmt: skip


def discover(statements: Statements, mac: MacAddress, at: float) -> str:
    """A host for a MAC nobody knows yet, in a small change of the wire; returns its id."""
    host_id = new_id()
    statements.run(
        """INSERT INTO hosts (id, state, loader, tags, settings, facts, created_at)
           VALUES (:id, :state, 'auto', '[]', '{}', '{}', :at)""",
        id=host_id, state=HostState.DISCOVERED.value, at=at,
    )  # fmt: skip
    statements.run("INSERT INTO nics (mac, host_id) VALUES (:mac, :id)", mac=str(mac), id=host_id)
    message = f"{mac} seen for the first time"
    insert(statements, at=at, host_id=host_id, source="dhcp", kind="discovered", message=message)
    return host_id


def _new_host(ctx: Context, session: Session, state: HostState) -> Host:
    host = Host(id=new_id(), state=state.value, created_at=ctx.clock(), tags=[], settings={}, facts={}, loader="auto")
    session.add(host)
    return host


def _mac(text: str) -> MacAddress:
    try:
        return MacAddress.parse(text)
    except NotAMac as problem:
        raise Problem(str(problem)) from None


def _state(text: str) -> HostState:
    try:
        return HostState(text)
    except ValueError:
        raise Problem(f"{text!r} is not a state: use one of {', '.join(s.value for s in HostState)}") from None
