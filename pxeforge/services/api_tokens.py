"""API tokens: a way in for programs, shown once, stored as SHA-256, with a role, an end and a last use."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Any, Final

from sqlalchemy import select

from pxeforge.domain.user_role import UserRole
from pxeforge.services.accounts import parse_role
from pxeforge.services.acting import TOKEN, Actor
from pxeforge.services.context import Context, digest, new_id
from pxeforge.services.events import record
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import ApiToken, User

DEFAULT_S: Final = 90 * 86400
LONGEST_S: Final = 366 * 86400
_SHORTEST_S: Final = 60
_PREFIX: Final = "pxf_"  # scanners that look for leaked secrets know it by this
_SHAPE: Final = re.compile(r"pxf_[A-Za-z0-9_-]{43}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_STEP_S: Final = 60  # how exactly `used_at` is kept: not every request is a write
ROOT: Final = "root"  # who acts by a token that belongs to no user


def create(
    ctx: Context, *, name: str, role: str, actor: Actor, user: str | None = None, for_s: float = DEFAULT_S
) -> dict[str, Any]:
    """A token of `user`'s, with the clear text as `token`: it is never shown again.

    Without `user` it is the actor's own (root's, where root acts). Raises Problem.
    """
    wanted = parse_role(role)
    if not _NAME.fullmatch(name):
        raise Problem(f"{name!r} is not a token name: use letters, digits and . _ -, at most 63 characters")
    if not _SHORTEST_S <= for_s <= LONGEST_S:
        raise Problem("a token lives for a minute to 366 days: use --expires, e.g. --expires 30d")
    owner = _owner(actor, user)
    clear = _PREFIX + secrets.token_urlsafe(32)
    with ctx.database.write() as session:
        most = UserRole.ADMIN
        if owner is not None:
            row = session.get(User, owner)
            if row is None:
                raise NotFound(f"there is no user {owner}: see `pxeforge user list`")
            if row.disabled:
                raise Conflict(f"{owner} is disabled: enable the user first (`pxeforge user enable {owner}`)")
            most = UserRole(row.role)
        if not most.covers(wanted):
            raise Forbidden(f"a token can do at most what its user can: {owner} is {most.value}, not {wanted.value}")
        same = select(ApiToken).where(ApiToken.user_name.is_not_distinct_from(owner), ApiToken.name == name)
        if session.scalars(same).first() is not None:
            raise Conflict(f"{owner or ROOT} has a token {name} already: revoke it or choose another name")
        token = ApiToken(
            id=new_id(), digest=digest(clear), name=name, user_name=owner, role=wanted.value, created_at=ctx.clock(),
            expires_at=ctx.clock() + for_s,
        )  # fmt: skip
        session.add(token)
        record(
            session, ctx, source="operator", kind="token_created", who=actor.who,
            message=f"API token {name} of {owner or ROOT} made ({wanted.value})", data={"after": _view(token)},
        )  # fmt: skip
        return {**_view(token), "token": clear}


def _owner(actor: Actor, user: str | None) -> str | None:
    """Whose token it is to be; None: root's. Only an admin makes tokens for others. Raises Forbidden."""
    if actor.by_token:
        raise Forbidden("a token cannot make tokens: log in with a password, or use the socket as root")
    mine = None if actor.local else actor.who
    if user is None or user == mine:
        return mine
    if not actor.role.covers(UserRole.ADMIN):
        raise Forbidden("only an admin makes tokens for other users")
    return user


def actor_of(ctx: Context, clear: str, *, address: str) -> Actor | None:
    """Who acts by this token and what it may do now; None: it is unknown, revoked or expired, or its user is gone or
    disabled.
    """
    if not _SHAPE.fullmatch(clear):
        return None
    wanted, now = digest(clear), ctx.clock()
    with ctx.database.read() as session:
        row = session.execute(
            select(ApiToken, User)
            .outerjoin(User, User.name == ApiToken.user_name)
            .where(ApiToken.digest == wanted, ApiToken.expires_at > now)
        ).first()
    if row is None or not hmac.compare_digest(row.ApiToken.digest, wanted):
        return None
    token: ApiToken = row.ApiToken
    user: User | None = row.User
    if (user is None and token.user_name is not None) or (user is not None and user.disabled):
        return None
    if token.used_at is None or abs(now - token.used_at) >= _STEP_S:
        ctx.database.post(lambda statements: _used(statements, token.id, now))
    role = UserRole(token.role).at_most(UserRole(user.role)) if user else UserRole(token.role)
    return Actor(who=token.user_name or ROOT, role=role, via=f"{TOKEN} {token.name}", address=address)


def _used(statements: Statements, token_id: str, at: float) -> int:
    return statements.run("UPDATE api_tokens SET used_at = :at WHERE id = :id", at=at, id=token_id)


def revoke(ctx: Context, text: str, *, actor: Actor) -> dict[str, Any]:
    """Ends a token by its id, or by its name where only one has it; an admin those of others too. Raises Problem."""
    with ctx.database.write() as session:
        rows = session.scalars(select(ApiToken).where((ApiToken.id == text) | (ApiToken.name == text))).all()
        mine = [row for row in rows if _may_see(actor, row)]
        if not mine:
            raise NotFound(f"there is no token {text!r}: see `pxeforge token list`")
        exact = [row for row in mine if row.id == text] or mine
        if len(exact) > 1:
            raise Conflict(f"{len(exact)} users have a token {text!r}: use its id, see `pxeforge token list`")
        [token] = exact
        session.delete(token)
        record(
            session, ctx, source="operator", kind="token_revoked", who=actor.who,
            message=f"API token {token.name} of {token.user_name or ROOT} revoked", data={"before": _view(token)},
        )  # fmt: skip
        return _view(token)


def list_tokens(ctx: Context, *, actor: Actor) -> list[dict[str, Any]]:
    """One's own tokens; an admin sees everybody's. Never the clear text, which nobody has."""
    with ctx.database.read() as session:
        rows = session.scalars(select(ApiToken).order_by(ApiToken.user_name, ApiToken.name))
        now = ctx.clock()
        return [
            {**_view(row), "used_at": row.used_at, "expired": row.expires_at <= now}
            for row in rows
            if _may_see(actor, row)
        ]


def _may_see(actor: Actor, token: ApiToken) -> bool:
    return actor.role.covers(UserRole.ADMIN) or token.user_name == actor.who


def _view(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.id, "name": token.name, "user": token.user_name or ROOT, "role": token.role,
        "created_at": token.created_at, "expires_at": token.expires_at,
    }  # fmt: skip
