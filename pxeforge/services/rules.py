"""Rules that name, tag, rack and profile hosts and give them roles: kept, tried and applied.

They are asked in order. For the name, the profile and the rack position the first rule that gives one counts, and only
where the host has none; tags and roles of all of them add up, and none is taken away. What a rule gave counts for
those behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pxeforge.domain.host_name import why_no_host_name
from pxeforge.domain.host_rules import (
    BadRule,
    Gives,
    NoValue,
    Rule,
    Subject,
    as_host_name,
    as_rack_name,
    fill,
    misses,
    read_criteria,
    read_gives,
)
from pxeforge.domain.identity import identity_of
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import arming, hosts, identity, profiles, racks
from pxeforge.services.context import Context, new_id
from pxeforge.services.events import differing, record, told_lately
from pxeforge.services.host_subjects import select_hosts, subjects_of
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.racks import Position, position_of
from pxeforge.services.versions import expect_rule, version_of_rule
from pxeforge.store.tables import Attempt, Host, Rack, RuleMark, Token
from pxeforge.store.tables import Rule as RuleRow

MOST: Final = 1000  # hosts that a rule changes by itself, unless it says otherwise: a flood of made-up MACs ends there
_MOST_NUMBER: Final = 100_000
_BATCH: Final = 200  # hosts per transaction when rules are applied by themselves
_NEAR: Final = 50  # near misses that a dry run tells of
RESERVED_NAMES: Final = frozenset({"apply", "test"})  # addresses of the API, beside those of rules
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,55})")


# ---------------------------------------------------------------------------------------------- kept


def list_rules(ctx: Context) -> list[dict[str, Any]]:
    """In the order in which they are asked: {name, position, enabled, when, set, most, applied, …}."""
    with ctx.database.read() as session:
        return [_view(row, number) for number, row in enumerate(_rows(session), start=1)]


def show(ctx: Context, name: str) -> dict[str, Any]:
    """With its version; raises NotFound."""
    with ctx.database.read() as session:
        row = _find(session, name)
        number = next(number for number, one in enumerate(_rows(session), start=1) if one is row)
        return {**_view(row, number), "version": version_of_rule(row)}


def add(
    ctx: Context, name: str, *, when: Mapping[str, Any], gives: Mapping[str, Any], enabled: bool = True,
    position: int | None = None, most: int = MOST, who: str,
) -> dict[str, Any]:  # fmt: skip
    """A new rule, behind the others unless `position` (from 1) says where. Raises Problem."""
    if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise Problem(f"{name!r} is no name of a rule: use letters, digits and _ . -, at most 56 (not apply, test)")
    _check_most(most)
    criteria, given = _read(when, gives)
    with ctx.database.write() as session:
        _check_given(ctx, session, given)
        if session.scalars(select(RuleRow).where(RuleRow.name == name)).first() is not None:
            raise Conflict(f"there is a rule {name} already: change it, or choose another name")
        rows, now = _rows(session), ctx.clock()
        row = RuleRow(
            id=new_id(), name=name, position=len(rows) + 1, enabled=enabled, criteria=criteria, gives=given.kept(),
            most=most, applied=0, created_at=now, changed_at=now,
        )  # fmt: skip
        session.add(row)
        _renumber([*rows, row], row, position or len(rows) + 1)
        session.flush()
        _audit(session, ctx, row, "rule_added", who, {}, _told(row))
        return _view(row, row.position)


def change(
    ctx: Context, name: str, *, who: str, when: Mapping[str, Any] | None = None, gives: Mapping[str, Any] | None = None,
    enabled: bool | None = None, most: int | None = None, new_name: str | None = None,
    expected_version: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Sets what is given, leaves the rest; of `when` and `gives` a key with None goes away. Raises Problem, Stale."""
    with ctx.database.write() as session:
        row = _find(session, name)
        expect_rule(session, row, expected_version)
        before = _told(row)
        criteria, given = _read(_overlaid(row.criteria, when), _overlaid(row.gives, gives))
        _check_given(ctx, session, given)
        row.criteria, row.gives = criteria, given.kept()
        row.enabled = row.enabled if enabled is None else enabled
        if most is not None:
            _check_most(most)
            row.most = most
        if new_name is not None and new_name != row.name:
            if not _NAME.fullmatch(new_name) or new_name in RESERVED_NAMES:
                raise Problem(
                    f"{new_name!r} is no name of a rule: use letters, digits and _ . -, at most 56 (not apply, test)"
                )
            if session.scalars(select(RuleRow).where(RuleRow.name == new_name)).first() is not None:
                raise Conflict(f"there is a rule {new_name} already: choose another name")
            row.name = new_name
        if before != _told(row):
            row.changed_at = ctx.clock()
            _audit(session, ctx, row, "rule_changed", who, before, _told(row))
        session.flush()
        return {**_view(row, row.position), "version": version_of_rule(row)}


def move(ctx: Context, name: str, position: int, *, who: str) -> dict[str, Any]:
    """Puts a rule at another place in the order, from 1. Raises Problem."""
    with ctx.database.write() as session:
        row = _find(session, name)
        before = {"position": row.position}
        _renumber(_rows(session), row, position)
        if before["position"] != row.position:
            _audit(session, ctx, row, "rule_moved", who, before, {"position": row.position})
        session.flush()
        return _view(row, row.position)


def remove(ctx: Context, name: str, *, who: str, expected_version: str | None = None) -> None:
    """What the rule gave to hosts stays with them. Raises NotFound, Stale."""
    with ctx.database.write() as session:
        row = _find(session, name)
        expect_rule(session, row, expected_version)
        before = _told(row)
        session.delete(row)
        session.flush()
        for number, other in enumerate(_rows(session), start=1):
            other.position = number
        _audit(session, ctx, row, "rule_removed", who, before, {})


def _rows(session: Session) -> list[RuleRow]:
    return list(session.scalars(select(RuleRow).order_by(RuleRow.position, RuleRow.created_at)))


def _find(session: Session, name: str) -> RuleRow:
    row = session.scalars(select(RuleRow).where(RuleRow.name == name)).first()
    if row is None:
        raise _unknown(name)
    return row


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no rule {name!r}: see `pxeforge rule list`")


def _renumber(rows: Iterable[RuleRow], moved: RuleRow, position: int) -> None:
    others = [row for row in rows if row is not moved]
    others.insert(max(1, min(position, len(others) + 1)) - 1, moved)
    for number, row in enumerate(others, start=1):
        row.position = number


def _overlaid(old: Mapping[str, Any], new: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in {**old, **(new or {})}.items() if value is not None}


def _read(when: Mapping[str, Any], gives: Mapping[str, Any]) -> tuple[dict[str, list[str]], Gives]:
    try:
        return read_criteria(when), read_gives(gives)
    except BadRule as problem:
        raise Problem(f"the rule is not usable: {problem}") from None


def _check_most(most: int) -> None:
    if not 1 <= most <= 1_000_000:
        raise Problem("most is how many hosts a rule may change by itself: 1 to 1000000")


def _check_given(ctx: Context, session: Session, gives: Gives) -> None:
    """Whether there is what the rule gives; raises Problem."""
    if gives.profile:
        profiles.get(session, gives.profile)
    if gives.roles:
        from pxeforge.services import role_catalogue  # as heavy as the engine, and needed for roles only

        role_catalogue.check_roles(ctx, gives.roles)
    bad = [tag for tag in gives.tags if not hosts.is_tag(tag)]
    if bad:
        raise Problem(f"{bad[0]!r} is not a tag: use letters, digits and _ . : -")


def _told(row: RuleRow) -> dict[str, Any]:
    return {
        "name": row.name, "enabled": row.enabled, "when": dict(row.criteria), "set": dict(row.gives), "most": row.most
    }  # fmt: skip


def _view(row: RuleRow, position: int) -> dict[str, Any]:
    return {
        "id": row.id, "position": position, **_told(row), "applied": row.applied, "created_at": row.created_at,
        "changed_at": row.changed_at,
    }  # fmt: skip


def _audit(
    session: Session, ctx: Context, row: RuleRow, kind: str, who: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    record(
        session, ctx, source="operator", kind=kind, who=who, message=f"{kind.replace('_', ' ')}: {row.name} by {who}",
        data=differing(before, after),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- what they would do


@dataclass(slots=True)
class _Outcome:
    """What the rules have for one host. `given`: rule, key and value, in order."""

    host: Host
    fitting: list[Rule] = field(default_factory=list)
    given: list[tuple[Rule, str, Any]] = field(default_factory=list)
    notes: list[tuple[Rule, str]] = field(default_factory=list)
    attach_to: tuple[Rule, str, str] | None = None  # rule, host id, label
    arm: tuple[Rule, str] | None = None  # rule, profile

    def of(self, rule: Rule) -> dict[str, Any]:
        return {key: value for one, key, value in self.given if one.id == rule.id}


class _World:
    """What decisions hang on beside the host itself; kept up to date while many hosts are decided on."""

    def __init__(self, session: Session, rules: Sequence[Rule], *, by_hand: bool) -> None:
        self.rules = rules
        self.left = {rule.id: None if by_hand else max(0, rule.most - rule.applied) for rule in rules}
        self.names = set(session.scalars(select(Host.name).where(Host.name.is_not(None))))
        self._next: dict[str, int] = {}  # where to look on for a free number, by template
        self.places: dict[str, list[tuple[Position, str, str]]] = {}
        self._identities: dict[str, list[tuple[str, str, str | None]]] = {}
        self._attempted: set[str] = set()
        if any(rule.gives.rack for rule in rules):
            self.tall = {row.name: row.height for row in session.scalars(select(Rack))}
            settings = select(Host.id, Host.name, Host.settings).where(Host.rack.is_not(None))
            for host_id, name, found in session.execute(settings):
                self.stands(position_of(found), host_id, name or host_id)
        if any(rule.gives.attach or rule.gives.arm for rule in rules):
            for host_id, state, name, uuid in session.execute(select(Host.id, Host.state, Host.name, Host.uuid)):
                known = identity_of(uuid)
                if known:
                    self._identities.setdefault(known, []).append((host_id, state, name))
        if any(rule.gives.arm for rule in rules):
            # Only installs have tokens: a host that was armed to be discovered was never installed.
            installs = select(Attempt.host_id).join(Token, Token.attempt_id == Attempt.id).distinct()
            self._attempted = set(session.scalars(installs))

    def stands(self, place: Position | None, host_id: str, label: str) -> None:
        if place is not None:
            others = [one for one in self.places.get(place.rack, ()) if one[1] != host_id]
            self.places[place.rack] = [*others, (place, host_id, label)]

    def in_the_way(self, place: Position, host_id: str) -> str | None:
        """Who stands there, or why it does not fit; None: it is free."""
        tall = self.tall.get(place.rack, racks.HEIGHT)
        if place.units and place.units[-1] > tall:
            return f"rack {place.rack} has {tall} units, not {place.units[-1]}"
        for taken, other, label in self.places.get(place.rack, ()):
            if other != host_id and set(taken.units) & set(place.units):
                return f"{label} stands at {taken}"
        return None

    def same_identity(self, host: Host) -> list[tuple[str, str, str | None]]:
        """The others with its UUID: id, state, name."""
        known = identity_of(host.uuid)
        return [one for one in self._identities.get(known or "", ()) if one[0] != host.id]

    def was_armed(self, host_id: str) -> bool:
        return host_id in self._attempted

    def free_name(self, template: str, subject: Subject) -> str:
        """Raises NoValue."""
        if "{n" not in template:
            name = _host_name(template, subject, None)
            if name in self.names:
                raise NoValue(f"the name {name} belongs to another host")
            return name
        start = self._next.get(template, 1)
        for number in range(start, start + _MOST_NUMBER):
            name = _host_name(template, subject, number)
            if name not in self.names:
                if template == "".join(re.split(r"\{(?!n[:}])[a-z_]+[^}]*\}", template)):
                    self._next[template] = number  # no other field in it: all below are taken
                return name
        raise NoValue(f"no number is free for {template}")


def _host_name(template: str, subject: Subject, number: int | None) -> str:
    name = as_host_name(fill(template, subject, n=number))
    if not name:
        raise NoValue(f"{template} gives no host name")
    why_not = why_no_host_name(name)
    if why_not is not None:
        raise NoValue(why_not)
    return name


def _decide(world: _World, host: Host, subject: Subject, *, replace_: bool) -> _Outcome:
    outcome, decided = _Outcome(host), set[str]()
    for rule in world.rules:
        if misses(rule.criteria, subject):
            continue
        outcome.fitting.append(rule)
        if world.left[rule.id] == 0:
            outcome.notes.append((rule, f"it has changed {rule.applied} hosts, as many as it may by itself"))
            continue
        if rule.gives.attach and _attaches(world, rule, host, subject, outcome):
            return outcome
        before = len(outcome.given)
        subject = _give(world, rule, host, subject, outcome, decided, replace_)
        if rule.gives.arm and outcome.arm is None:
            _arms(world, rule, host, outcome)
        left = world.left[rule.id]
        if left is not None and (len(outcome.given) > before or (outcome.arm and outcome.arm[0] is rule)):
            world.left[rule.id] = left - 1
    return outcome


def _give(
    world: _World, rule: Rule, host: Host, subject: Subject, outcome: _Outcome, decided: set[str], replace_: bool
) -> Subject:
    """Adds to the outcome what the rule gives; the host as it is then. Rack before name: the name may tell the rack."""
    gives = rule.gives
    if gives.rack and "rack" not in decided and (subject.rack is None or replace_):
        place = _place(world, rule, host, subject, outcome)
        if place is not None:
            decided.add("rack")
            world.stands(place, host.id, host.name or host.id)
            subject = replace(subject, rack=place.rack, unit=place.unit)
            if place != position_of(host.settings):
                outcome.given.append((rule, "rack", place.kept()))
    if gives.name and subject.name is None:
        try:
            name = world.free_name(gives.name, subject)
            world.names.add(name)
            subject = replace(subject, name=name)
            outcome.given.append((rule, "name", name))
        except NoValue as problem:
            outcome.notes.append((rule, f"no name: {problem}"))
    if gives.profile and "profile" not in decided and (replace_ or not host.settings.get("profile")):
        decided.add("profile")
        if host.settings.get("profile") != gives.profile:
            outcome.given.append((rule, "profile", gives.profile))
    for key, wanted, present in (("tags", gives.tags, subject.tags), ("roles", gives.roles, subject.roles)):
        new = [one for one in wanted if one not in present]
        if new:
            both = (*present, *new)
            subject = replace(subject, tags=both) if key == "tags" else replace(subject, roles=both)
            outcome.given.append((rule, key, new))
    return subject


def _place(world: _World, rule: Rule, host: Host, subject: Subject, outcome: _Outcome) -> Position | None:
    gives = rule.gives
    try:
        name = as_rack_name(fill(gives.rack or "", subject))
        unit = fill(gives.unit, subject).strip() if gives.unit else None
        if not name:
            raise NoValue(f"{gives.rack} gives no name of a rack")
        if unit is not None and not re.fullmatch(r"\d{1,4}", unit):
            raise NoValue(f"{gives.unit} gives {unit[:40]!r}, which is no unit")
        raw = {"name": name, "unit": int(unit) if unit else None, "height": gives.height}
        place = racks.parse(raw)
    except (NoValue, Problem) as problem:
        outcome.notes.append((rule, f"no rack position: {problem}"))
        return None
    why = world.in_the_way(place, host.id)
    if why is not None:
        outcome.notes.append((rule, f"no rack position: {why}"))
        return None
    return place


def _attaches(world: _World, rule: Rule, host: Host, subject: Subject, outcome: _Outcome) -> bool:
    """Whether this is nothing but another NIC of a host that we know."""
    if host.state != HostState.DISCOVERED.value or subject.name:
        return False
    known = [one for one in world.same_identity(host) if one[1] != HostState.DISCOVERED.value]
    if len(known) != 1:
        return False
    host_id, state, name = known[0]
    if state in identity.BUSY:
        said = f"not attached to {name or host_id}, which is {state}: it would get what that host is armed for"
        outcome.notes.append((rule, said))
        return False
    outcome.attach_to = (rule, host_id, name or host_id)
    return True


def _arms(world: _World, rule: Rule, host: Host, outcome: _Outcome) -> None:
    """A rule arms a host only for its first install, and only one that nobody else could be."""
    why = None
    if host.state not in (HostState.DISCOVERED.value, HostState.KNOWN.value):
        why = f"it is {host.state}"
    elif host.registered_at is not None or world.was_armed(host.id):
        why = "it was armed before: rules arm a host once, for its first install"
    elif world.same_identity(host):
        why = "another host shows the same UUID: see `pxeforge host conflicts`"
    if why is None:
        outcome.arm = (rule, rule.gives.profile or "")
    else:
        outcome.notes.append((rule, f"not armed: {why}"))


def dry_run(
    ctx: Context, rule: str | Mapping[str, Any] | None = None, *, where: str | None = None, replace_: bool = False
) -> list[dict[str, Any]]:
    """What the rules would do, changing nothing: first the hosts that fit, then near misses (one criterion missed).

    `rule`: the name of one, or one that is not kept yet ({"when": …, "set": …}, asked behind the others); None: all of
    them. Each: {host, id, rule, matches, changes: {key: [before, after]}, attach_to, arm, notes, missing}.
    """
    with ctx.database.read() as session:
        rules, tried = _tried(session, ctx, rule)
        chosen = select_hosts(session, where) if where else list(session.scalars(select(Host).order_by(Host.name)))
        subjects = subjects_of(session, chosen)
        world = _World(session, rules, by_hand=False)
        found: list[dict[str, Any]] = []
        near: list[dict[str, Any]] = []
        for host in chosen:
            outcome = _decide(world, host, subjects[host.id], replace_=replace_)
            for one in tried:
                if one in outcome.fitting:
                    found.append(_told_match(outcome, one))
                elif len(near) < _NEAR and one in tried[:1] and rule is not None:
                    missing = misses(one.criteria, subjects[host.id])
                    if len(missing) == 1 and len(one.criteria) > 1:
                        near.append(_told_miss(host, one, missing))
    return found + near


def _tried(
    session: Session, ctx: Context, rule: str | Mapping[str, Any] | None
) -> tuple[list[Rule], list[Rule]]:  # fmt: skip
    """The rules that are asked, in order, and of which of them it is told."""
    rules = [_rule(row) for row in _rows(session)]
    enabled = [one for one in rules if one.enabled]
    if rule is None:
        return enabled, enabled
    if isinstance(rule, str):
        one = next((one for one in rules if one.name == rule), None)
        if one is None:
            raise _unknown(rule)
        return [other for other in rules if other.enabled or other.id == one.id], [one]
    criteria, gives = _read(rule.get("when") or {}, rule.get("set") or {})
    _check_given(ctx, session, gives)
    one = Rule(id="new", name=str(rule.get("name") or "new"), criteria=criteria, gives=gives, most=MOST)
    return [*enabled, one], [one]


def _rule(row: RuleRow) -> Rule:
    return Rule(
        id=row.id, name=row.name, criteria=row.criteria, gives=read_gives(row.gives), enabled=row.enabled,
        most=row.most, applied=row.applied,
    )  # fmt: skip


def _told_match(outcome: _Outcome, rule: Rule) -> dict[str, Any]:
    host = outcome.host
    before: dict[str, Any] = {
        "name": host.name, "tags": list(host.tags), "roles": [row.role for row in host.roles],
        "profile": host.settings.get("profile"), "rack": host.settings.get("rack"),
    }  # fmt: skip
    changes = {
        key: [before[key], [*before[key], *value] if key in ("tags", "roles") else value]
        for key, value in outcome.of(rule).items()
    }
    attach, arm = outcome.attach_to, outcome.arm
    return {
        "host": host.label, "id": host.id, "rule": rule.name, "matches": True, "changes": changes,
        "attach_to": attach[2] if attach and attach[0].id == rule.id else None,
        "arm": arm[1] if arm and arm[0].id == rule.id else None,
        "notes": [note for one, note in outcome.notes if one.id == rule.id], "missing": [],
    }  # fmt: skip


def _told_miss(host: Host, rule: Rule, missing: list[str]) -> dict[str, Any]:
    return {
        "host": host.label, "id": host.id, "rule": rule.name, "matches": False, "changes": {}, "attach_to": None,
        "arm": None, "notes": [], "missing": missing,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- applied


def apply(
    ctx: Context, *, rule: str | None = None, names: Sequence[str] = (), where: str | None = None,
    replace_: bool = False, who: str,
) -> dict[str, Any]:  # fmt: skip
    """Applies the rules (or one of them, also a disabled one) by hand to all hosts, or to those named or selected.

    `replace_`: rack position and profile also where the host has one. Raises Problem. Gives {looked_at, changed,
    armed, hosts: [{host, given: {rule: {key: value}}}], problems: [{host, message}]}.
    """
    with ctx.database.read() as session:
        if names:
            ids = [hosts.find(session, name).id for name in names]
        elif where:
            ids = [host.id for host in select_hosts(session, where)]
        else:
            ids = list(session.scalars(select(Host.id).order_by(Host.created_at)))
        if rule is not None:
            _find(session, rule)
    done = _apply_to(ctx, ids, only=rule, by_hand=True, replace_=replace_, by=who)
    with ctx.database.write() as session:
        record(
            session, ctx, source="operator", kind="rules_applied", who=who,
            message=f"{'rule ' + rule if rule else 'the rules'} applied by {who} to {len(ids)} hosts: "
            f"{done['changed']} changed",
        )  # fmt: skip
    return done


def apply_marked(ctx: Context) -> int:
    """Applies the enabled rules to the hosts of which something new is known; returns how many it looked at."""
    with ctx.database.read() as session:
        newest = session.scalars(select(RuleMark).order_by(RuleMark.at).limit(_BATCH))
        marks = {row.host_id: row.at for row in newest}
        is_any = session.scalar(select(func.count()).select_from(RuleRow).where(RuleRow.enabled))
    if not marks:
        return 0
    if is_any:
        _apply_to(ctx, list(marks), only=None, by_hand=False, replace_=False, by=None)
    # Only now: whoever is killed before does it again, and a host that was marked anew meanwhile keeps its mark.
    with ctx.database.write() as session:
        for host_id, at in marks.items():
            session.execute(delete(RuleMark).where(RuleMark.host_id == host_id, RuleMark.at == at))
    return len(marks)


def _apply_to(
    ctx: Context, ids: Sequence[str], *, only: str | None, by_hand: bool, replace_: bool, by: str | None
) -> dict[str, Any]:
    changed: list[dict[str, Any]] = []
    problems: list[dict[str, str]] = []
    to_arm: list[tuple[str, str, tuple[Rule, str]]] = []
    with ctx.database.write() as session:
        rows = {row.id: row for row in _rows(session) if (row.enabled if only is None else row.name == only)}
        chosen = _chosen(session, ids)
        subjects = subjects_of(session, chosen)
        world = _World(session, [_rule(row) for row in rows.values()], by_hand=by_hand)
        for host in chosen:
            label, outcome = host.label, _decide(world, host, subjects[host.id], replace_=replace_)
            told = [f"{one.name}: {note}" for one, note in outcome.notes]
            try:
                with session.begin_nested():
                    given = _carry_out(session, ctx, outcome, rows, by)
            except Problem as problem:
                given = {}
                told.append(str(problem))
            else:
                if outcome.arm is not None:
                    to_arm.append((host.id, label, outcome.arm))
            for message in told:
                problems.append({"host": label, "message": message})
                _complain(session, ctx, host.id, message)
            if given:
                changed.append({"host": host.label if outcome.attach_to is None else label, "given": given})
    armed = [
        label for host_id, label, (by_rule, profile) in to_arm
        if _arm(ctx, host_id, label, by_rule, profile, problems)
    ]  # fmt: skip
    return {
        "looked_at": len(chosen), "changed": len(changed), "armed": armed, "hosts": changed, "problems": problems
    }  # fmt: skip


def _chosen(session: Session, ids: Sequence[str]) -> list[Host]:
    found = {}
    for start in range(0, len(ids), _BATCH):
        part = session.scalars(select(Host).where(Host.id.in_(ids[start : start + _BATCH])))
        found.update({host.id: host for host in part})
    return [found[one] for one in ids if one in found]


def _carry_out(
    session: Session, ctx: Context, outcome: _Outcome, rows: Mapping[str, RuleRow], by: str | None
) -> dict[str, dict[str, Any]]:
    """What was given, by rule. Raises Problem."""
    if outcome.attach_to is not None:
        rule, keep_id, label = outcome.attach_to
        identity.merge_into(session, ctx, session.get_one(Host, keep_id), outcome.host, who=_who(rule, by))
        rows[rule.id].applied += 1
        return {rule.name: {"attached to": label}}
    given: dict[str, dict[str, Any]] = {}
    for rule in outcome.fitting:
        values = outcome.of(rule)
        if values:
            _hand_over(session, ctx, outcome.host, rule, values, by)
            rows[rule.id].applied += 1
            given[rule.name] = values
    return given


def _hand_over(
    session: Session, ctx: Context, host: Host, rule: Rule, values: Mapping[str, Any], by: str | None
) -> None:
    """Tags alone vouch for nobody: such a host stays discovered."""
    settings = {key: values[key] for key in ("rack", "profile") if key in values}
    roles = [*(row.role for row in host.roles), *values["roles"]] if "roles" in values else None
    hosts.edit(
        session, ctx, host, who=_who(rule, by), name=values.get("name"),
        tags=[*host.tags, *values["tags"]] if "tags" in values else None, roles=roles, settings=settings or None,
        adopts=set(values) != {"tags"},
    )  # fmt: skip


def _who(rule: Rule, by: str | None) -> str:
    """Who the audit log names: the rule, and who applied it by hand."""
    return (f"rule {rule.name}" if by is None else f"rule {rule.name} by {by}")[:63]


def _arm(
    ctx: Context, host_id: str, label: str, rule: Rule, profile: str, problems: list[dict[str, str]]
) -> bool:  # fmt: skip
    try:
        arming.arm(ctx, host_id, profile=profile, who=_who(rule, None), first_only=True)
    except Problem as problem:
        message = f"{rule.name}: not armed: {problem}"
        problems.append({"host": label, "message": message})
        with ctx.database.write() as session:
            _complain(session, ctx, host_id, message)
        return False
    return True


def _complain(session: Session, ctx: Context, host_id: str, message: str) -> None:
    if session.get(Host, host_id) is None or told_lately(
        session, ctx, host_id, "rule_failed", f"rule {message}", within_s=86400
    ):
        return
    record(session, ctx, host_id=host_id, source="server", kind="rule_failed", message=f"rule {message}")
