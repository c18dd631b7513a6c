"""Many hosts changed at once: every one of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from pxeforge.services import host_subjects, hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.store.tables import Host

CHANGES: Final = (
    "tags", "add_tags", "remove_tags", "roles", "add_roles", "remove_roles", "loader", "settings", "rack",
)  # fmt: skip
_LISTS: Final = tuple(key for key in CHANGES if key.endswith(("tags", "roles")))


class BadEdits(Problem):
    """Nothing was changed; the message has a line for each host that refuses."""

    def __init__(self, wrong: Sequence[tuple[str, str]]) -> None:
        said = "\n".join(f"{host}: {message}" for host, message in wrong)
        super().__init__(f"nothing was changed: mend this and try again\n{said}")
        self.wrong = tuple(wrong)


class _Undone(Exception):
    """Takes back what a dry run or a refused edit did."""


def apply(
    ctx: Context, names: Sequence[str], changes: Mapping[str, Any], who: str, *, where: str | None = None,
    dry_run: bool = False, known_roles: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Changes the hosts named, and those that `where` selects, in one transaction. Raises Problem, BadEdits.

    `changes`: tags and roles (exactly these), add_tags, remove_tags, add_roles, remove_roles, loader, settings (merged;
    None takes one away), rack. Gives {matched, changed, dry_run, hosts: [{host, id, changes: {key: [before, after]}}]}.
    """
    _check(ctx, changes, known_roles)
    if not names and not where:
        raise Problem("say which hosts: their names, or a selection like 'state=known tag=rack1'")
    done = every_one(
        ctx, lambda session: chosen_hosts(session, names, where),
        lambda session, host: _edit(session, ctx, host, changes, who), dry_run=dry_run,
    )  # fmt: skip
    changed = [one for one in done if one["changes"]]
    return {"matched": len(done), "changed": len(changed), "dry_run": dry_run, "hosts": done}


def every_one(
    ctx: Context, choose: Callable[[Session], Sequence[Host]], act: Callable[[Session, Host], dict[str, Any]], *,
    dry_run: bool = False, alone: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """What `act` gives for each of the hosts, once, in one transaction that a refusal of one of them takes back.

    Raises BadEdits, and of one host that is `alone` its own refusal.
    """
    done: list[dict[str, Any]] = []
    wrong: list[tuple[str, str]] = []
    try:
        with ctx.database.write() as session:
            for host in {host.id: host for host in choose(session)}.values():
                try:
                    with session.begin_nested():
                        done.append(act(session, host))
                except Problem as problem:
                    if alone:
                        raise
                    wrong.append((host.label, str(problem)))
            if wrong or dry_run:
                raise _Undone
    except _Undone:
        if wrong:
            raise BadEdits(wrong) from None
    return done


def _check(ctx: Context, changes: Mapping[str, Any], known_roles: Sequence[str] | None) -> None:
    unknown = [key for key in changes if key not in CHANGES]
    if unknown:
        raise Problem(f"unknown change {unknown[0]!r}: known are {', '.join(CHANGES)}")
    if not any(value is not None for value in changes.values()):
        raise Problem(f"say what to change: {', '.join(CHANGES)}")
    for key in _LISTS:
        value = changes.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise Problem(f"{key} must be a list of texts")
    for kind in ("tags", "roles"):
        if changes.get(kind) is not None and (changes.get(f"add_{kind}") or changes.get(f"remove_{kind}")):
            raise Problem(f"{kind} sets them exactly: leave add_{kind} and remove_{kind} away")
    if not isinstance(changes.get("settings") or {}, dict):
        raise Problem("settings must be an object")
    wanted = [*(changes.get("roles") or ()), *(changes.get("add_roles") or ())]
    if wanted:
        known = known_roles if known_roles is not None else _role_names(ctx)
        strange = [role for role in wanted if role not in known]
        if strange:
            raise NotFound(f"there is no role {strange[0]!r}: known are {', '.join(sorted(known))}")


def _role_names(ctx: Context) -> list[str]:
    from pxeforge.services import role_catalogue  # as heavy as the engine, and needed for roles only

    return role_catalogue.role_names(ctx)


def chosen_hosts(session: Session, names: Sequence[str], where: str | None) -> list[Host]:
    """Those that are named and those that `where` selects, some perhaps twice. Raises BadEdits, NotFound."""
    wrong, found = [], []
    for name in names:
        try:
            found.append(hosts.find(session, name))
        except Problem as problem:
            wrong.append((name, str(problem)))
    if wrong:
        raise BadEdits(wrong)
    if where:
        selected = host_subjects.select_hosts(session, where)
        if not selected and not found:
            raise NotFound(f"no host fits {where!r}: see `pxeforge host list`")
        found += selected
    return found


def _edit(session: Session, ctx: Context, host: Host, changes: Mapping[str, Any], who: str) -> dict[str, Any]:
    before = _comparable(host)
    settings = dict(changes.get("settings") or {})
    if changes.get("rack") is not None:
        settings["rack"] = changes["rack"] or None
    hosts.edit(
        session, ctx, host, who=who, tags=_merged(host.tags, changes, "tags"),
        roles=_merged([row.role for row in host.roles], changes, "roles"), loader=changes.get("loader"),
        settings=settings or None,
    )  # fmt: skip
    after = _comparable(host)
    differing = {key: [before[key], after[key]] for key in after if before[key] != after[key]}
    return {"host": host.label, "id": host.id, "changes": differing}


def _merged(present: Sequence[str], changes: Mapping[str, Any], kind: str) -> list[str] | None:
    """The list after the change; None where nothing is said of it."""
    if changes.get(kind) is not None:
        return list(changes[kind])
    add, remove = changes.get(f"add_{kind}") or [], changes.get(f"remove_{kind}") or []
    if not add and not remove:
        return None
    return [one for one in dict.fromkeys([*present, *add]) if one not in remove]


def _comparable(host: Host) -> dict[str, Any]:
    return {
        "state": host.state, "tags": sorted(host.tags), "roles": sorted(row.role for row in host.roles),
        "loader": host.loader, "settings": dict(host.settings),
    }  # fmt: skip
