"""Which version of a thing somebody looked at, and whether it is still that one when they change it.

A version says what operators can edit, by its content, and nothing that changes by itself: when a host was last seen
makes no new version of it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from pxeforge.services.problems import Stale
from pxeforge.store.tables import Event, Host, Profile, User


def version_of(host: Host) -> str:
    """16 hex digits: name, tags, loader, settings, roles, MACs and reserved addresses."""
    return _digest(
        {
            "id": host.id, "name": host.name, "tags": host.tags, "loader": host.loader, "settings": host.settings,
            "roles": sorted(row.role for row in host.roles),
            "nics": sorted((nic.mac, nic.reserved_address or "") for nic in host.nics),
        }
    )  # fmt: skip


def version_of_profile(profile: Profile) -> str:
    return _digest({"image": profile.image, "template": profile.template, "parameters": profile.parameters})


def version_of_user(user: User) -> str:
    return _digest({"name": user.name, "role": user.role, "created_at": user.created_at})


def expect_host(session: Session, host: Host, version: str | None) -> None:
    """Raises Stale, saying who changed the host last, unless it still has this version (None: any will do)."""
    if version not in (None, version_of(host)):
        raise _stale(session, f"the host {host.name or host.id}", Event.host_id == host.id)


def expect_profile(session: Session, profile: Profile, version: str | None) -> None:
    """The same for a profile."""
    if version not in (None, version_of_profile(profile)):
        of_it = [f"profile {profile.name} {done}" for done in ("changed", "created")]
        raise _stale(session, f"the profile {profile.name}", Event.message.in_(of_it))


def expect_user(session: Session, user: User, version: str | None) -> None:
    """The same for a user."""
    if version not in (None, version_of_user(user)):
        about = Event.message.startswith(f"{user.name} is now ", autoescape=True)
        added = Event.message.startswith(f"user {user.name} added ", autoescape=True)
        raise _stale(session, f"the user {user.name}", Event.kind.startswith("user_") & (about | added))


def _stale(session: Session, what: str, of_it: ColumnElement[bool]) -> Stale:
    newest = select(Event).where(of_it, Event.who.is_not(None)).order_by(Event.id.desc()).limit(1)
    last = session.scalars(newest).first()
    by = "it was changed meanwhile"
    if last is not None:
        at = datetime.datetime.fromtimestamp(last.at, datetime.UTC)
        by = f"the last change is {last.who}'s, {at:%Y-%m-%d %H:%M:%S} UTC: {last.message}"
    return Stale(f"{what} is not as you saw it: {by}; load it again and repeat your change")


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
