"""Packages of roles are fetched into the cache from the moment a host is given a role, also while it is installed.

What was fetched for whom stands in the table `role_prefetches`; so a killed server goes on where it was, and a role
that is given again is looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState
from pxeforge.engine.plan import PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role, Roles, RoleTask
from pxeforge.services import blueprints, plans, prefetch
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.image_store import latest_image
from pxeforge.services.package_cache import PackageCache
from pxeforge.services.problems import Problem
from pxeforge.services.role_catalogue import roles_at_hand
from pxeforge.store.tables import Assignment, Attempt, Host, RolePrefetch

_AGAIN_S: Final = 3600.0  # after a failure
_HOSTS_AT_ONCE: Final = 200
_LONGEST_REST_S: Final = 2.0  # between two hosts, of which there may be thousands
_IDLE: Final = (HostState.DISCOVERED.value, HostState.RETIRED.value, HostState.WIPING.value)


@dataclass(frozen=True, slots=True)
class System:
    """What a host runs, or will run once it is installed."""

    suite: str
    arch: str


# By host whose system is not known yet: what its row said then, and until when it is not read again.
Waiting = dict[str, tuple[tuple[Any, ...], float]]


def look(ctx: Context, cache: PackageCache, waiting: Waiting | None = None) -> int:
    """Fetches what hosts with new roles will ask for; returns how many hosts were served. May take minutes.

    `waiting` is kept from look to look: thousands of hosts of which nothing is known yet must not be read each time.
    """
    if cache.offline:
        return 0
    waiting = {} if waiting is None else waiting
    with ctx.database.read() as session:
        due = _due(session, ctx, waiting)
    if not due:
        return 0
    try:
        roles, releases = roles_at_hand(ctx), blueprints.releases_at_hand(ctx)
    except Problem:  # a file is broken: whoever plans is told; later it may be mended
        return 0
    only_packages, served = _only_packages(roles), 0
    for system, hosts in _by_system(ctx, due, waiting).items():
        wanted = {}
        for host, names in hosts:
            began = time.thread_time()
            wanted[host.id] = _packages(host, names, system, only_packages, releases)
            ctx.courtesy.give_way(time.thread_time() - began, _LONGEST_REST_S)
        _serve(ctx, cache, system, hosts, wanted)
        served += len(hosts)
    return served


def _due(session: Session, ctx: Context, waiting: Waiting) -> list[tuple[Host, list[str]]]:
    """Hosts with roles that nothing was fetched for yet, or in vain a while ago."""
    done = select(RolePrefetch).where(
        RolePrefetch.host_id == Assignment.host_id, RolePrefetch.role == Assignment.role,
        (RolePrefetch.state != "failed") | (RolePrefetch.at > ctx.clock() - _AGAIN_S),
    )  # fmt: skip
    query = (
        select(Host.id, Assignment.role, Host.registered_at, Host.attempt_id)
        .join(Assignment, Assignment.host_id == Host.id)
        .where(~done.exists(), Host.state.not_in(_IDLE)).order_by(Host.id, Assignment.assigned_at)
    )  # fmt: skip
    roles: dict[str, list[str]] = {}
    for host_id, role, registered_at, attempt_id in session.execute(query):
        stamp, until = waiting.get(host_id, ((), 0.0))
        if stamp != (registered_at, attempt_id) or until <= ctx.clock():
            roles.setdefault(host_id, []).append(role)
    chosen = list(roles)[:_HOSTS_AT_ONCE]
    hosts = session.scalars(select(Host).where(Host.id.in_(chosen)).order_by(Host.id))
    return [(host, roles[host.id]) for host in hosts]


def _by_system(
    ctx: Context, due: Sequence[tuple[Host, list[str]]], waiting: Waiting
) -> dict[System, list[tuple[Host, list[str]]]]:  # fmt: skip
    """Hosts whose system is not known yet wait: without an image nobody knows which packages."""
    found: dict[System, list[tuple[Host, list[str]]]] = {}
    coming, images = _installs(ctx, due), dict[str, System | None]()
    for host, names in due:
        system = _running(host) or _coming(ctx, coming.get(host.attempt_id or ""), images)
        if system is not None:
            found.setdefault(system, []).append((host, names))
            waiting.pop(host.id, None)
        else:
            waiting[host.id] = ((host.registered_at, host.attempt_id), ctx.clock() + _AGAIN_S)
    return found


def _running(host: Host) -> System | None:
    """By what the installed system has reported."""
    told = host.facts.get("os")
    if host.registered_at is None or not isinstance(told, dict) or told.get("id") not in ("debian", "ubuntu"):
        return None
    suite, kernel = str(told.get("codename") or ""), str(host.facts.get("kernel") or "")
    return System(suite, "arm64" if kernel.endswith("arm64") else "amd64") if suite else None


def _installs(ctx: Context, due: Sequence[tuple[Host, list[str]]]) -> dict[str, str]:
    """Attempt to install, and its image."""
    attempts = [host.attempt_id for host, _ in due if host.attempt_id is not None]
    query = select(Attempt.id, Attempt.image).where(Attempt.id.in_(attempts), Attempt.purpose == "install")
    with ctx.database.read() as session:
        return {row.id: row.image for row in session.execute(query)}


def _coming(ctx: Context, armed_for: str | None, images: dict[str, System | None]) -> System | None:
    """By the image that it was armed for."""
    name = (armed_for or "").partition("/")[0]
    if not name:
        return None
    if name not in images:
        image = latest_image(ctx.data_dir, name)
        images[name] = System(image.suite, image.arch) if image is not None and image.suite else None
    return images[name]


def _packages(
    host: Host, names: Sequence[str], system: System, roles: Roles, releases: Mapping[str, Release]
) -> list[str] | Problem:
    """The packages that these roles, and those they require, install on the host; or why that is not known yet."""
    facts = host.facts if _running(host) else {**host.facts, "os": _os_of(system, releases)}
    alone = PlanHost(
        host_id=host.id, name=host.name or host.id,
        roles=tuple(name for name in names if name in roles or name in roles.broken),
        addresses=(host.address,) if host.address else (), facts=facts,
    )  # fmt: skip
    if not alone.roles:
        return []
    server = PlanServer(address="192.0.2.1", boot_url="http://192.0.2.1")
    try:
        compiled = compile_plan([alone], roles, server=server, releases=releases)
    except PlanProblem as problem:
        return Problem(str(problem))
    return plans.packages_in(compiled.tasks)


def _os_of(system: System, releases: Mapping[str, Release]) -> dict[str, str]:
    """What a system of this suite will say of itself, as the release packs know it."""
    match = next((dict(release.match) for release in releases.values() if release.suite == system.suite), {})
    return {"codename": system.suite, **match}


def _only_packages(roles: Roles) -> Roles:
    """The roles with nothing in them but their steps that install packages: no order, no other host, no disk."""
    reduced = {
        name: replace(role, tasks=tuple(_reduced(role)), disks=None, networks=()) for name, role in roles.items()
    }
    return Roles(reduced, roles.broken)


def _reduced(role: Role) -> Iterable[RoleTask]:
    for task in role.tasks:
        steps = tuple(step for step in task.steps if step.type == "packages")
        if steps and task.kind == "deploy":
            yield replace(task, steps=steps, requires=(), after=())


def _serve(
    ctx: Context, cache: PackageCache, system: System, hosts: Sequence[tuple[Host, list[str]]],
    wanted: Mapping[str, list[str] | Problem],
) -> None:  # fmt: skip
    """One look at the indexes and one round of downloads for all hosts of this system."""
    names = list(dict.fromkeys(name for each in wanted.values() if isinstance(each, list) for name in each))
    said = _fetched(cache, system, names) if names else "nothing"
    for host, roles in hosts:
        mine = wanted[host.id]
        if isinstance(mine, Problem):
            _note(ctx, host.id, roles, "failed", None)
        elif not mine:
            _note(ctx, host.id, roles, "nothing", None)
        elif isinstance(said, Problem):
            _note(ctx, host.id, roles, "failed", f"could not be fetched into the cache: {said}")
        else:
            _note(ctx, host.id, roles, "fetched", said)


def _fetched(cache: PackageCache, system: System, names: Sequence[str]) -> str | Problem:
    try:
        needs = prefetch.needs_of_packages(cache, system.suite, system.arch, names)
        missing = prefetch.missing_of(cache, needs)
        problems = prefetch.fetch_missing(cache, needs)
    except Problem as problem:
        return problem
    if problems:
        return Problem(f"{len(problems)} of {len(missing)} files: {problems[0]}")
    size = sum(size or 0 for size in missing.values())
    return f"are in the cache: {len(needs.files)} files, of which {len(missing)} ({size / 1e6:.0f} MB) were fetched now"


def _note(ctx: Context, host_id: str, roles: Sequence[str], state: str, said: str | None) -> None:
    with ctx.database.write() as session:
        given = {row.role for row in session.scalars(select(Assignment).where(Assignment.host_id == host_id))}
        still = [role for role in roles if role in given]  # one may have been taken away meanwhile
        if not still:
            return
        session.execute(delete(RolePrefetch).where(RolePrefetch.host_id == host_id, RolePrefetch.role.in_(still)))
        for role in still:
            session.add(RolePrefetch(host_id=host_id, role=role, state=state, at=ctx.clock()))
        if said is not None:
            record(
                session, ctx, host_id=host_id, source="server", kind="packages_fetched",
                message=f"packages of {', '.join(still)} {said}", data={"state": state},
            )  # fmt: skip


def view(ctx: Context, host_id: str) -> list[dict[str, Any]]:
    with ctx.database.read() as session:
        rows = session.scalars(select(RolePrefetch).where(RolePrefetch.host_id == host_id).order_by(RolePrefetch.role))
        return [{"role": row.role, "state": row.state, "at": row.at} for row in rows]
