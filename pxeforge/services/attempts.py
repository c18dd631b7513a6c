"""What hosts were armed for, newest first, and who still holds on to a profile or an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from pxeforge.services import hosts
from pxeforge.services.boot_menu import asks, choices_of
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import Attempt, Host, Profile

_SHOWN = 50
_READ = 500  # a menu is an attempt for each of its choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Who needs something: profiles by name, and the hosts that are armed with it or installing it."""

    profiles: tuple[str, ...] = ()
    hosts: tuple[dict[str, Any], ...] = ()  # id, name, mac, state

    def __bool__(self) -> bool:
        return bool(self.profiles or self.hosts)


def of_host(ctx: Context, text: str, *, limit: int = _SHOWN) -> list[dict[str, Any]]:
    """What the host was armed for, newest first. The further choices of a menu stand in its first one."""
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        rows = session.scalars(
            select(Attempt).where(Attempt.host_id == host.id).order_by(Attempt.armed_at.desc()).limit(_READ)
        ).all()
        further = {one.attempt_id for row in rows for one in choices_of(row.parameters)[1:]}
        shown = [row for row in rows if row.id not in further or row.answers_at is not None]
        return [{**hosts.attempt_view(row), "purpose": _purpose(row)} for row in shown[:limit]]


def show(ctx: Context, text: str, attempt_id: str) -> dict[str, Any]:
    """One attempt of the host; raises NotFound."""
    with ctx.database.read() as session:
        host, attempt = hosts.find(session, text), session.get(Attempt, attempt_id)
        if attempt is None or attempt.host_id != host.id:
            raise NotFound(f"{host.name or host.id} has no attempt {attempt_id!r}: see `pxeforge host attempts`")
        return {**hosts.attempt_view(attempt), "purpose": _purpose(attempt)}


def layers(ctx: Context, host_id: str) -> list[dict[str, Any]]:
    """The parameters that the profiles had when the host was armed for them, newest first."""
    with ctx.database.read() as session:
        query = select(Attempt.parameters).where(Attempt.host_id == host_id).order_by(Attempt.armed_at.desc())
        return list(session.scalars(query.limit(_SHOWN)))


def _purpose(attempt: Attempt) -> str:
    """install, rescue, memtest, wipe or menu."""
    return "menu" if asks(attempt.parameters) else attempt.purpose


def using_profile(ctx: Context, name: str) -> Use:
    """The hosts that are armed for the profile, or installing it."""
    return _open(ctx).get(("profile", name), Use())


def using_images(ctx: Context) -> dict[str, Use]:
    """Who needs an image, by its name (profiles, and hosts by any version) and by `name/version` (hosts)."""
    found = {key: use for (kind, key), use in _open(ctx).items() if kind == "image"}
    with ctx.database.read() as session:
        for name, image in session.execute(select(Profile.name, Profile.image).order_by(Profile.name)):
            use = found.get(image, Use())
            found[image] = Use(profiles=(*use.profiles, name), hosts=use.hosts)
    return found


def _open(ctx: Context) -> dict[tuple[str, str], Use]:
    """The hosts of all attempts that may still be used: by profile, by image, by the image's version."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    with ctx.database.read() as session:
        query = select(Attempt, Host).join(Host, Host.id == Attempt.host_id).where(Attempt.outcome.is_(None))
        for attempt, host in session.execute(query.order_by(Host.name)):
            shown = {"id": host.id, "name": host.name, "mac": next(iter(host.macs), ""), "state": host.state}
            name = attempt.image.partition("/")[0]
            for key in {("profile", attempt.profile), ("image", attempt.image), ("image", name)}:
                found.setdefault(key, {})[host.id] = shown
    return {key: Use(hosts=tuple(by_id.values())) for key, by_id in found.items()}
