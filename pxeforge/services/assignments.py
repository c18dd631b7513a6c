"""Roles given to hosts as a draft: what is wrong with it, what its plan would be, and all of it saved at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pxeforge.engine.disk_needs import lacking_disks
from pxeforge.engine.plan import PlanProblem, role_order
from pxeforge.engine.roles import Role, Roles, absent
from pxeforge.services import hosts, later_hosts, plans, role_catalogue
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Stale
from pxeforge.store.tables import Assignment, Event, Host

_MOST_TOLD: Final = 3
_SAVED: Final = ("assigned", "unassigned")


@dataclass(frozen=True, slots=True)
class Change:
    """One role given to a host or taken away from it."""

    host_id: str
    role: str
    gives: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be changed. `seen`: the roles of each host it touches, as whoever drafts it saw them."""

    changes: tuple[Change, ...] = ()
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def touched(self) -> list[str]:
        return list(dict.fromkeys(change.host_id for change in self.changes))

    def roles_of(self, host_id: str, present: Sequence[str]) -> list[str]:
        """The host's roles once the draft is saved."""
        mine = [change for change in self.changes if change.host_id == host_id]
        gone = {change.role for change in mine if not change.gives}
        return [*(role for role in present if role not in gone), *(one.role for one in mine if one.gives)]

    def with_changes(self, more: Iterable[Change], present: Mapping[str, Sequence[str]]) -> Draft:
        """The draft after `more`: what a host has already is not given, and what was given here is only undone."""
        kept = {(one.host_id, one.role): one for one in self.changes}
        for change in more:
            has = change.role in present.get(change.host_id, ())
            kept.pop((change.host_id, change.role), None)
            if has != change.gives:
                kept[change.host_id, change.role] = change
        touched = {change.host_id for change in kept.values()}
        known = {**{host_id: frozenset(roles) for host_id, roles in present.items()}, **self.seen}
        return Draft(changes=tuple(kept.values()), seen={one: known.get(one, frozenset()) for one in touched})


@dataclass(frozen=True, slots=True)
class Remark:
    """What an operator should know before saving; an error keeps the plan from being made."""

    kind: Literal["error", "warn", "info"]
    text: str


def remarks(host: Mapping[str, Any], names: Sequence[str], known: Mapping[str, Role]) -> list[Remark]:
    """About these roles on this host (hosts.view with `facts`), worst first."""
    if not names:
        return []
    lost = [name for name in names if name not in known]
    found = [Remark("error", _lost(name, known)) for name in lost]
    names = [name for name in names if name in known]
    try:
        order = role_order(names, known)
    except PlanProblem as problem:
        return [*found, Remark("error", str(problem))]
    found += _hardware(host, [known[name] for name in order])
    if host["registered_at"] is None:
        found.append(Remark("warn", "not registered yet: install it first"))
    for name in order:
        if name not in names:
            asks = next(one for one in order if name in known[one].requires)
            found.append(Remark("info", f"{name} comes along: {asks} needs it"))
    return found


def _lost(name: str, known: Mapping[str, Role]) -> str:
    if isinstance(known, Roles) and name in known.broken:
        return ": ".join(absent(name, known))
    return f"there is no role {name} any more: take it away"


def _hardware(host: Mapping[str, Any], roles: Sequence[Role]) -> list[Remark]:
    needs = {role.name: role.disks for role in roles if role.disks is not None}
    if not needs:
        return []
    facts = host.get("facts") or {}
    if not any("system" in disk for disk in facts.get("disks") or () if isinstance(disk, dict)):
        who = ", ".join(sorted(needs))
        return [Remark("warn", f"{who} needs disks of its own, and this host's are not known before it is installed")]
    lacking = lacking_disks(facts, needs)
    return [Remark("error", lacking)] if lacking else []


def plan_and_later(ctx: Context, draft: Draft) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a deploy would do once the draft is saved, as plans.plan tells it, and `later`; raises Problem."""
    assigned = _assigned(ctx, draft)
    plan, follows = later_hosts.plan_and_later(ctx, plans.Wish(assigned=assigned), later_limit=tuple(assigned))
    return plan, follows if assigned else []


def later(ctx: Context, draft: Draft) -> list[dict[str, Any]]:
    """What is done on hosts of the draft once they are installed, as later_hosts.later tells it."""
    assigned = _assigned(ctx, draft)
    return later_hosts.later(ctx, assigned=assigned, limit=tuple(assigned)) if assigned else []


def _assigned(ctx: Context, draft: Draft) -> dict[str, list[str]]:
    with ctx.database.read() as session:
        present = {host.id: [row.role for row in host.roles] for host in _hosts(session, draft.touched)}
    return {one: draft.roles_of(one, roles) for one, roles in present.items()}


def assigned_hosts(ctx: Context) -> int:
    """How many hosts have a role: what a plan is made of."""
    with ctx.database.read() as session:
        return session.scalar(select(func.count(Assignment.host_id.distinct()))) or 0


def save(ctx: Context, draft: Draft, who: str) -> dict[str, int]:
    """All of it in one transaction, or nothing; gives how many were `given`, `taken`, on how many `hosts`.

    Raises Stale where somebody changed the roles of a host since it was seen, NotFound for a host or role that is gone.
    """
    role_catalogue.check_roles(ctx, [change.role for change in draft.changes if change.gives])
    with ctx.database.write() as session:
        rows = {host.id: host for host in _hosts(session, draft.touched)}
        gone = [one for one in draft.touched if one not in rows]
        if gone:
            raise NotFound(f"the host {gone[0]} was forgotten meanwhile: leave it out")
        _refuse_stale(session, draft, rows)
        for host in rows.values():
            wanted = draft.roles_of(host.id, [row.role for row in host.roles])
            hosts.edit(session, ctx, host, who=who, roles=wanted, adopts=False)
    given = sum(change.gives for change in draft.changes)
    return {"given": given, "taken": len(draft.changes) - given, "hosts": len(rows)}


def refreshed(ctx: Context, draft: Draft) -> Draft:
    """The same wish on what is so now, to look at after Stale; hosts that are gone are left out."""
    with ctx.database.read() as session:
        present = {host.id: [row.role for row in host.roles] for host in _hosts(session, draft.touched)}
    still = [change for change in draft.changes if change.host_id in present]
    return Draft().with_changes(still, present)


def _refuse_stale(session: Session, draft: Draft, rows: Mapping[str, Host]) -> None:
    changed = [
        host for host in rows.values() if frozenset(row.role for row in host.roles) != draft.seen.get(host.id)
    ]  # fmt: skip
    if not changed:
        return
    told = [f"{hosts.view(host)['name'] or host.id} ({_last_change(session, host)})" for host in changed[:_MOST_TOLD]]
    more = f" and {len(changed) - _MOST_TOLD} more" if len(changed) > _MOST_TOLD else ""
    raise Stale(
        f"nothing was saved: the roles of {', '.join(told)}{more} are not as you saw them; "
        "look at your draft again, it is still here"
    )


def _last_change(session: Session, host: Host) -> str:
    of_roles = select(Event).where(Event.host_id == host.id, Event.kind.in_(_SAVED)).order_by(Event.id.desc()).limit(1)
    last = session.scalars(of_roles).first()
    return last.message if last else "changed meanwhile"


def _hosts(session: Session, ids: Sequence[str]) -> list[Host]:
    found: list[Host] = []
    for start in range(0, len(ids), 500):
        found += session.scalars(select(Host).where(Host.id.in_(ids[start : start + 500])))
    return found
