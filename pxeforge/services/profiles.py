"""Profiles: an image, an answer template and the parameters it is filled with."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.services.answers import DEFAULTS, check_parameters
from pxeforge.services.context import Context
from pxeforge.services.events import differing, record
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.versions import expect_profile, version_of_profile
from pxeforge.store.tables import Attempt, Profile

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def get(session: Session, name: str) -> Profile:
    profile = session.get(Profile, name)
    if profile is None:
        known = ", ".join(session.scalars(select(Profile.name).order_by(Profile.name))) or "none yet"
        raise NotFound(f"there is no profile {name!r}: known are {known}")
    return profile


def view(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name, "image": profile.image, "template": profile.template,
        "parameters": profile.parameters, "created_at": profile.created_at,
    }  # fmt: skip


def list_profiles(ctx: Context) -> list[dict[str, Any]]:
    with ctx.database.read() as session:
        return [view(row) for row in session.scalars(select(Profile).order_by(Profile.name))]


def show(ctx: Context, name: str) -> dict[str, Any]:
    """The profile and, as `effective`, every parameter with its default filled in."""
    with ctx.database.read() as session:
        profile = get(session, name)
        effective = {**DEFAULTS, **profile.parameters}
        return {**view(profile), "effective": effective, "version": version_of_profile(profile)}


def create(
    ctx: Context, name: str, *, image: str, template: str = "debian.cfg.j2", parameters: dict[str, Any], who: str
) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise Problem(f"{name!r} is not a profile name: use a-z, 0-9 and . _ -")
    check_parameters(parameters)
    with ctx.database.write() as session:
        if session.get(Profile, name) is not None:
            raise Conflict(f"there is a profile {name} already: change it with `pxeforge profile set`")
        profile = Profile(
            name=name, image=image, template=template, parameters=parameters, created_at=ctx.clock()
        )  # fmt: skip
        session.add(profile)
        record(
            session, ctx, source="operator", kind="profile_created", who=who, message=f"profile {name} created",
            data={"after": _told(profile)},
        )  # fmt: skip
        return view(profile)


def clone(ctx: Context, name: str, new: str, *, who: str) -> dict[str, Any]:
    """A profile of another name with the image, template and parameters of this one."""
    found = show(ctx, name)
    return create(
        ctx, new, image=found["image"], template=found["template"], parameters=found["parameters"], who=who
    )  # fmt: skip


def ensure(
    ctx: Context, name: str, *, image: str, who: str, template: str = "debian.cfg.j2",
    parameters: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """The profile that comes with an image, unless the operator already has one of that name."""
    with ctx.database.read() as session:
        if session.get(Profile, name) is not None:
            return
    create(ctx, name, image=image, template=template, parameters=parameters or {}, who=who)


def change(
    ctx: Context,
    name: str,
    *,
    parameters: dict[str, Any],
    unset: list[str] | None = None,
    image: str | None = None,
    template: str | None = None,
    who: str,
    expected_version: str | None = None,
) -> dict[str, Any]:
    """Sets and unsets parameters; hosts that are armed keep what they were armed with. Raises Problem, Stale."""
    unknown = (set(unset or []) | set(parameters)) - set(DEFAULTS)
    if unknown:
        raise Problem(f"unknown parameter {min(unknown)!r}: known are {', '.join(sorted(DEFAULTS))}")
    with ctx.database.write() as session:
        profile = get(session, name)
        expect_profile(session, profile, expected_version)
        before = _told(profile)
        merged = {key: value for key, value in profile.parameters.items() if key not in (unset or [])}
        check_parameters({**merged, **parameters})
        profile.parameters = {**merged, **parameters}
        profile.image = image or profile.image
        profile.template = template or profile.template
        if before != _told(profile):
            record(
                session, ctx, source="operator", kind="profile_changed", who=who, message=f"profile {name} changed",
                data=differing(before, _told(profile)),
            )  # fmt: skip
        return {**view(profile), "version": version_of_profile(profile)}


def _told(profile: Profile) -> dict[str, Any]:
    """What the audit log tells of a profile, each parameter by its name."""
    return {"image": profile.image, "template": profile.template, **profile.parameters}


def remove(ctx: Context, name: str, *, who: str, expected_version: str | None = None) -> None:
    with ctx.database.write() as session:
        profile = get(session, name)
        expect_profile(session, profile, expected_version)
        busy = session.scalars(select(Attempt).where(Attempt.profile == name, Attempt.outcome.is_(None))).first()
        if busy is not None:
            raise Conflict(f"a host is armed for the profile {name}: disarm it first")
        session.delete(profile)
        record(
            session, ctx, source="operator", kind="profile_removed", who=who, message=f"profile {name} removed",
            data={"before": _told(profile)},
        )  # fmt: skip
