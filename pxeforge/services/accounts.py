"""Users: their roles, passwords (argon2id; one that somebody else set is for once), and a brake on guessing."""

from __future__ import annotations

import ipaddress
import secrets
import threading
from collections import OrderedDict
from typing import Any, Final, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pxeforge.domain.user_role import UserRole
from pxeforge.services import password_policy, sessions
from pxeforge.services.acting import PASSWORD, Actor
from pxeforge.services.context import Context
from pxeforge.services.events import differing, record
from pxeforge.services.problems import Conflict, NotFound, Problem, TooMany
from pxeforge.services.versions import expect_user, version_of_user
from pxeforge.store.tables import User

_HASHER = PasswordHasher()
# Verified for unknown names too, so that the answer takes the same time whether the name exists or not.
_NOBODY = _HASHER.hash(secrets.token_hex(16))
_RESERVED: Final = frozenset({"root", "server", "import"})  # who acts without being a user


class Throttle:
    """Refuses more than `limit` failures per `window_s` seconds for one key (name + address)."""

    def __init__(self, limit: int = 8, window_s: float = 300.0, max_keys: int = 10_000) -> None:
        self._limit, self._window_s, self._max_keys = limit, window_s, max_keys
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def blocked(self, key: str, now: float) -> bool:
        with self._lock:
            recent = [at for at in self._failures.get(key, []) if now - at < self._window_s]
            return len(recent) >= self._limit

    def failed(self, key: str, now: float) -> None:
        with self._lock:
            recent = [at for at in self._failures.pop(key, []) if now - at < self._window_s]
            self._failures[key] = [*recent, now]
            while len(self._failures) > self._max_keys:
                self._failures.popitem(last=False)


def parse_role(text: str) -> UserRole:
    """Raises Problem."""
    try:
        return UserRole(text)
    except ValueError:
        raise Problem(f"{text!r} is not a role of users: choose one of {', '.join(UserRole)}") from None


def password_for_once() -> str:
    """For a first login: nobody has to think of one that will be changed at once."""
    return secrets.token_urlsafe(12)


def ensure_admin(ctx: Context) -> str | None:
    """At the first start: makes the user `admin` and returns the clear password, which is for once; else None."""
    password = password_for_once()
    with ctx.database.write() as session:
        if session.scalars(select(User.name)).first() is not None:
            return None
        session.add(_user(ctx, "admin", password, UserRole.ADMIN, must_change=True))
        record(
            session, ctx, source="server", kind="user_added", who="server",
            message="user admin made at the first start",
            data={"after": {"name": "admin", "role": UserRole.ADMIN.value}},
        )  # fmt: skip
    return password


def login(ctx: Context, throttle: Throttle, name: str, password: str, address: str) -> UserRole | None:
    """The user's role, or None; raises TooMany when there were too many failures."""
    key, now = f"{name[:64]}@{_neighbourhood(address)}", ctx.clock()
    if throttle.blocked(key, now):
        raise TooMany("too many failed logins: wait five minutes and try again")
    with ctx.database.read() as session:
        user = session.get(User, name)
    try:
        good = _HASHER.verify(user.password_hash if user else _NOBODY, password) and user is not None
    except (VerificationError, InvalidHashError):
        good = False
    if not good or user is None or user.disabled:
        throttle.failed(key, now)
        if user is not None:  # the brake bounds these; names that do not exist would not be bounded
            with ctx.database.write() as session:
                record(
                    session, ctx, source="server", kind="login_failed", who=user.name,
                    message=_refused(user, address, good=good),
                    actor=Actor(who=user.name, role=UserRole(user.role), via=PASSWORD, address=address),
                )  # fmt: skip
        return None
    return UserRole(user.role)


def _refused(user: User, address: str, *, good: bool) -> str:
    """For the audit log only: whoever tries is told the same in both cases."""
    return f"{user.name} is disabled: login refused from {address}" if good else (
        f"wrong password for {user.name} from {address}"
    )  # fmt: skip


def _neighbourhood(address: str) -> str:
    """Whom one guesser can pass for: an IPv6 network of 64 bits is a single subscriber's."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def add(ctx: Context, name: str, password: str, *, role: UserRole, who: str, must_change: bool = False) -> None:
    """`must_change`: the password is for the first login only, because whoever adds the user knows it."""
    _check(name, password)
    with ctx.database.write() as session:
        if session.get(User, name) is not None:
            raise Conflict(f"there is a user {name} already")
        session.add(_user(ctx, name, password, role, must_change=must_change))
        record(
            session, ctx, source="operator", kind="user_added", who=who,
            message=f"user {name} added as {role.value} by {who}", data={"after": {"name": name, "role": role.value}},
        )  # fmt: skip


def set_password(ctx: Context, name: str, password: str, *, who: str, must_change: bool = False) -> None:
    """Also ends every session of the user. `must_change`: it is for the next login only."""
    password_policy.check(name, password)
    hashed = _HASHER.hash(password)
    with ctx.database.write() as session:
        user = _find(session, name)
        before, user.password_hash, user.must_change = user.must_change, hashed, must_change
        sessions.drop(session, name)
        record(
            session, ctx, source="operator", kind="password_changed", who=who,
            message=f"password of {name} changed by {who}" + (", for the next login only" if must_change else ""),
            data=differing({"must_change": before}, {"must_change": must_change}) if before != must_change else None,
        )  # fmt: skip


def change_own(ctx: Context, name: str, old: str, new: str) -> None:
    """The user's own choice, after `login` said that `old` is right: the account may be used from now on."""
    if old == new:
        raise Problem("the new password is the old one: choose another")
    set_password(ctx, name, new, who=name)


class Standing(NamedTuple):
    """What a user's name and password are good for just now; another password is another standing."""

    role: UserRole
    must_change: bool
    password_hash: str


def standing(ctx: Context, name: str) -> Standing | None:
    """None: the user is gone or disabled."""
    with ctx.database.read() as session:
        user = session.get(User, name)
        if user is None or user.disabled:
            return None
        return Standing(UserRole(user.role), user.must_change, user.password_hash)


def must_change(ctx: Context, name: str) -> bool:
    """Whether the user may do nothing but choose a password of their own."""
    with ctx.database.read() as session:
        user = session.get(User, name)
        return user is not None and user.must_change


def set_role(ctx: Context, name: str, role: UserRole, *, who: str, expected_version: str | None = None) -> None:
    """Counts at once, for sessions and tokens too; the last admin stays one. Raises Stale (services/versions.py)."""
    with ctx.database.write() as session:
        user = _find(session, name)
        expect_user(session, user, expected_version)
        before = UserRole(user.role)
        if before is role:
            return
        if _is_last_admin(session, user):
            raise Conflict("the last admin cannot be made less: make another user admin first")
        user.role = role.value
        record(
            session, ctx, source="operator", kind="user_role_changed", who=who,
            message=f"{name} is now {role.value} instead of {before.value}, by {who}",
            data={"before": {"role": before.value}, "after": {"role": role.value}},
        )  # fmt: skip


def set_disabled(ctx: Context, name: str, disabled: bool, *, who: str) -> dict[str, Any]:
    """Disabled: no login, every session has ended, and no API token of the user counts until it is enabled again.

    Returns the user as the list shows it. Raises Conflict for the last admin.
    """
    with ctx.database.write() as session:
        user = _find(session, name)
        if user.disabled is disabled:
            return _view(user)
        if disabled and _is_last_admin(session, user):
            raise Conflict("the last admin cannot be disabled: make another user admin first")
        user.disabled = disabled
        sessions.drop(session, name)
        record(
            session, ctx, source="operator", kind="user_disabled" if disabled else "user_enabled", who=who,
            message=f"{name} is now {'disabled' if disabled else 'enabled again'}, by {who}",
            data={"before": {"disabled": not disabled}, "after": {"disabled": disabled}},
        )  # fmt: skip
        return _view(user)


def remove(ctx: Context, name: str, *, who: str, expected_version: str | None = None) -> None:
    """With the user go its sessions and API tokens."""
    with ctx.database.write() as session:
        user = _find(session, name)
        expect_user(session, user, expected_version)
        if _is_last_admin(session, user):
            raise Conflict("the last admin cannot be removed: make another user admin first")
        session.delete(user)
        record(
            session, ctx, source="operator", kind="user_removed", who=who, message=f"user {name} removed by {who}",
            data={"before": {"name": name, "role": user.role}},
        )  # fmt: skip


def list_users(ctx: Context) -> list[dict[str, Any]]:
    with ctx.database.read() as session:
        rows = session.scalars(select(User).order_by(User.name))
        return [_view(user) for user in rows]


def versions(ctx: Context) -> dict[str, str]:
    """The version of each user by name (services/versions.py)."""
    with ctx.database.read() as session:
        return {user.name: version_of_user(user) for user in session.scalars(select(User))}


def show(ctx: Context, name: str) -> dict[str, Any]:
    """One user as the list shows it, with its version (services/versions.py); raises NotFound."""
    with ctx.database.read() as session:
        user = _find(session, name)
        return {**_view(user), "version": version_of_user(user)}


def _view(user: User) -> dict[str, Any]:
    return {
        "name": user.name, "role": user.role, "created_at": user.created_at, "must_change": user.must_change,
        "disabled": user.disabled,
    }  # fmt: skip


def _find(session: Session, name: str) -> User:
    user = session.get(User, name)
    if user is None:
        raise NotFound(f"there is no user {name}: see `pxeforge user list`")
    return user


def _is_last_admin(session: Session, user: User) -> bool:
    """Whether without this one nobody could come in as an admin."""
    able = select(func.count()).where(User.role == UserRole.ADMIN.value, User.disabled.is_(False))
    return user.role == UserRole.ADMIN.value and not user.disabled and session.scalar(able) == 1


def _user(ctx: Context, name: str, password: str, role: UserRole, *, must_change: bool) -> User:
    return User(
        name=name, password_hash=_HASHER.hash(password), created_at=ctx.clock(), role=role.value,
        must_change=must_change,
    )  # fmt: skip


def _check(name: str, password: str) -> None:
    if not name or len(name) > 63 or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise Problem("a user name has letters, digits, - and _ only")
    if name in _RESERVED:
        raise Problem(f"{name} would be mistaken in the audit log: choose another name")
    password_policy.check(name, password)
