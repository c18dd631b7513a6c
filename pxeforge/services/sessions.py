"""Browsers that are logged in: each ends when it is idle, when it is old, or when somebody ends it."""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pxeforge.domain.user_role import UserRole
from pxeforge.services.acting import SESSION, Actor
from pxeforge.services.context import Context, digest
from pxeforge.services.events import record
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import LoginSession, User

LONGEST_S: Final = 8 * 3600
IDLE_S: Final = 3600
_STEP_S: Final = 60  # how exactly `seen_at` is kept: not every request is a write
_BROWSER_LONG: Final = 200


class SessionUser(NamedTuple):
    """Who is logged in; `must_change`: with a password that somebody else set."""

    name: str
    role: UserRole
    must_change: bool = False


def start(ctx: Context, name: str, *, address: str, browser: str) -> str:
    """What the cookie is to say; the user has just proved who it is. Raises NotFound if it is gone or disabled now."""
    key, now = secrets.token_urlsafe(32), ctx.clock()
    with ctx.database.write() as session:
        user = session.get(User, name)
        if user is None or user.disabled:
            raise NotFound(f"there is no user {name} who may log in")
        session.execute(delete(LoginSession).where(~_lives(now)))
        session.add(
            LoginSession(
                digest=digest(key), user_name=name, created_at=now, seen_at=now, address=address,
                browser=browser[:_BROWSER_LONG],
            )
        )  # fmt: skip
        record(
            session, ctx, source="operator", kind="login", who=name, message=f"{name} logged in from {address}",
            actor=Actor(who=name, role=UserRole(user.role), via=SESSION, address=address),
        )  # fmt: skip
    return key


def user_of(ctx: Context, key: str, *, active: bool) -> SessionUser | None:
    """Whose session it is, and what the user may do now; None: it has ended. `active`: a person did something."""
    now = ctx.clock()
    with ctx.database.read() as session:
        row = session.execute(
            select(LoginSession, User)
            .join(User, User.name == LoginSession.user_name)
            .where(LoginSession.digest == digest(key), _lives(now), User.disabled.is_(False))
        ).first()
    if row is None:
        return None
    if active and now - row.LoginSession.seen_at >= _STEP_S:
        with ctx.database.write() as session:
            current = session.get(LoginSession, row.LoginSession.digest)
            if current is not None:
                current.seen_at = now
    return SessionUser(row.User.name, UserRole(row.User.role), row.User.must_change)


def end(ctx: Context, key: str) -> None:
    with ctx.database.write() as session:
        gone = session.get(LoginSession, digest(key))
        if gone is not None:
            session.delete(gone)
            record(
                session, ctx, source="operator", kind="logout", who=gone.user_name,
                message=f"{gone.user_name} logged out",
            )  # fmt: skip


def end_all(ctx: Context, name: str, *, who: str) -> int:
    """Logs the user out everywhere; returns of how many browsers. API tokens go on. Raises NotFound."""
    with ctx.database.write() as session:
        if session.get(User, name) is None:
            raise NotFound(f"there is no user {name}: see `pxeforge user list`")
        gone = drop(session, name)
        record(
            session, ctx, source="operator", kind="logout_everywhere", who=who,
            message=f"{name} logged out everywhere by {who}", data={"sessions": gone},
        )  # fmt: skip
    return gone


def drop(session: Session, name: str) -> int:
    """Ends the user's sessions in the caller's transaction; returns how many there were."""
    rows = session.scalars(select(LoginSession).where(LoginSession.user_name == name)).all()
    for row in rows:
        session.delete(row)
    return len(rows)


def drop_all(session: Session) -> None:
    """Logs everybody out, in the caller's transaction."""
    session.execute(delete(LoginSession))


def list_sessions(ctx: Context, name: str) -> list[dict[str, Any]]:
    """The user's living sessions, the newest first."""
    with ctx.database.read() as session:
        rows = session.scalars(
            select(LoginSession)
            .where(LoginSession.user_name == name, _lives(ctx.clock()))
            .order_by(LoginSession.created_at.desc())
        )
        return [
            {"created_at": r.created_at, "seen_at": r.seen_at, "address": r.address, "browser": r.browser} for r in rows
        ]


def _lives(now: float) -> Any:
    """Not before its time either: a clock that was wrong must not make a session live longer."""
    return (
        (LoginSession.created_at > now - LONGEST_S)
        & (LoginSession.created_at <= now)
        & (LoginSession.seen_at > now - IDLE_S)
    )
