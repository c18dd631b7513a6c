"""Operators: passwords (argon2id), sessions by epoch, and a brake on guessing."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select

from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import Conflict, NotFound, Problem, TooMany
from pxeforge.store.tables import User

_HASHER = PasswordHasher()
# Verified for unknown names too, so that the answer takes the same time whether the name exists or not.
_NOBODY = _HASHER.hash(secrets.token_hex(16))
_MIN_LENGTH = 10


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


def ensure_admin(ctx: Context) -> str | None:
    """At the first start: makes the user `admin` and returns the one-time clear password; else None."""
    password = secrets.token_urlsafe(12)
    with ctx.database.write() as session:
        if session.scalars(select(User.name)).first() is not None:
            return None
        session.add(_user(ctx, "admin", password))
        record(session, ctx, source="server", kind="user_added", message="user admin made at the first start")
    return password


def login(ctx: Context, throttle: Throttle, name: str, password: str, address: str) -> int | None:
    """The user's session epoch, or None; raises Problem when there were too many failures."""
    key, now = f"{name[:64]}@{address}", ctx.clock()
    if throttle.blocked(key, now):
        raise TooMany("too many failed logins: wait five minutes and try again")
    with ctx.database.read() as session:
        user = session.get(User, name)
    try:
        good = _HASHER.verify(user.password_hash if user else _NOBODY, password) and user is not None
    except (VerificationError, InvalidHashError):
        good = False
    if not good or user is None:
        throttle.failed(key, now)
        if user is not None:  # the brake bounds these; names that do not exist would not be bounded
            with ctx.database.write() as session:
                record(
                    session, ctx, source="server", kind="login_failed",
                    message=f"wrong password for {user.name} from {address}",
                )  # fmt: skip
        return None
    return user.session_epoch


def session_valid(ctx: Context, name: str, epoch: int) -> bool:
    with ctx.database.read() as session:
        user = session.get(User, name)
        return user is not None and user.session_epoch == epoch


def add(ctx: Context, name: str, password: str, *, who: str) -> None:
    _check(name, password)
    with ctx.database.write() as session:
        if session.get(User, name) is not None:
            raise Conflict(f"there is a user {name} already")
        session.add(_user(ctx, name, password))
        record(session, ctx, source="operator", kind="user_added", who=who, message=f"user {name} added by {who}")


def set_password(ctx: Context, name: str, password: str, *, who: str) -> None:
    """Also ends every session of the user."""
    _check(name, password)
    with ctx.database.write() as session:
        user = session.get(User, name)
        if user is None:
            raise NotFound(f"there is no user {name}")
        user.password_hash = _HASHER.hash(password)
        user.session_epoch += 1
        record(session, ctx, source="operator", kind="user_changed", who=who, message=f"password of {name} changed")


def remove(ctx: Context, name: str, *, who: str) -> None:
    with ctx.database.write() as session:
        user = session.get(User, name)
        if user is None:
            raise NotFound(f"there is no user {name}")
        if len(session.scalars(select(User.name)).all()) == 1:
            raise Conflict("the last user cannot be removed: add another first")
        session.delete(user)
        record(session, ctx, source="operator", kind="user_removed", who=who, message=f"user {name} removed by {who}")


def list_users(ctx: Context) -> list[dict[str, Any]]:
    with ctx.database.read() as session:
        return [{"name": u.name, "created_at": u.created_at} for u in session.scalars(select(User).order_by(User.name))]


def _user(ctx: Context, name: str, password: str) -> User:
    # A random first epoch: the sessions of a user who was removed must not fit the next user of that name.
    return User(
        name=name, password_hash=_HASHER.hash(password), created_at=ctx.clock(), session_epoch=secrets.randbits(30)
    )


def _check(name: str, password: str) -> None:
    if not name or len(name) > 63 or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise Problem("a user name has letters, digits, - and _ only")
    if len(password) < _MIN_LENGTH:
        raise Problem(f"the password is too short: use at least {_MIN_LENGTH} characters")
