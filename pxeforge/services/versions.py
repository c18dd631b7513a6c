"""Which version of a thing somebody looked at, and whether it is still that one when they change it.

A version says what operators can edit, by its content, and nothing that changes by itself: when a host was last seen
makes no new version of it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from pxeforge.services.problems import Stale
from pxeforge.store.tables import Event, Host, Profile, Rule, Secret, User, Webhook

NONE_YET: Final = ""  # the version of what nobody has set: no ETag is empty
_DONE_TO_RULES: Final = ("added", "changed", "moved")


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
    return _digest({"name": user.name, "role": user.role, "created_at": user.created_at, "disabled": user.disabled})


def version_of_rule(rule: Rule) -> str:
    """Without its place in the order, which other rules change too."""
    return _digest(
        {
            "id": rule.id, "name": rule.name, "enabled": rule.enabled, "when": rule.criteria, "set": rule.gives,
            "most": rule.most,
        }
    )  # fmt: skip


def version_of_rack(name: str, height: int, note: str) -> str:
    """Of what is said of a rack; one that nothing was said of has the usual height and no note."""
    return _digest({"name": name, "height": height, "note": note})


def version_of_power(host: Host, settings: Mapping[str, Any], password: Secret | None) -> str:
    """How the host's power is reached; a password that was set anew makes a new version."""
    return _digest({"id": host.id, "settings": settings, "password": password.ciphertext if password else None})


def version_of_webhook(webhook: Webhook) -> str:
    return _digest({"id": webhook.id, "url": webhook.url, "events": webhook.events})


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


def expect_rule(session: Session, rule: Rule, version: str | None) -> None:
    """The same for a rule."""
    if version not in (None, version_of_rule(rule)):
        of_it = [Event.message.startswith(f"rule {done}: {rule.name} by ", autoescape=True) for done in _DONE_TO_RULES]
        raise _stale(session, f"the rule {rule.name}", Event.kind.startswith("rule_") & or_(*of_it))


def expect_rack(session: Session, name: str, present: Collection[str], version: str | None) -> None:
    """The same for a rack, of which `present` are the names of the version that it has: NONE_YET may be one."""
    if version is not None and version not in present:
        of_it = [
            Event.message.startswith(f"rack {name} {done} by ", autoescape=True) for done in ("changed", "removed")
        ]
        raise _stale(session, f"the rack {name}", Event.kind.startswith("rack_") & or_(*of_it))


def expect_power(session: Session, host: Host, present: Collection[str], version: str | None) -> None:
    """The same for how a host's power is reached."""
    if version is not None and version not in present:
        of_it = (Event.host_id == host.id) & Event.kind.in_(("power_set", "power_cleared"))
        raise _stale(session, f"the power of {host.name or host.id}", of_it)


def expect_webhook(session: Session, webhook: Webhook, version: str | None) -> None:
    """The same for a webhook."""
    if version not in (None, version_of_webhook(webhook)):
        raise _stale(session, f"the webhook {webhook.id}", Event.kind.startswith("webhook_"))


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
