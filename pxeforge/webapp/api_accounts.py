"""Users, API tokens and the audit log, by the API."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, audit, sessions
from pxeforge.services.context import Context
from pxeforge.webapp.api_events import Event
from pxeforge.webapp.paging import Part, first
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told


class User(TypedDict):
    name: str
    role: UserRole
    created_at: float
    must_change: Annotated[bool, Says(text="the password is for one login only")]
    disabled: Annotated[bool, Says(text="nobody comes in as this user: no login, no session, no API token")]


class UserRoleShown(TypedDict):
    name: str
    role: UserRole


class NewUser(TypedDict):
    name: str
    password: str
    role: NotRequired[UserRole]
    must_change: NotRequired[Annotated[bool, Says(text="the password is for the first login only; true without it")]]


class UserChange(TypedDict):
    role: UserRole


class NewPassword(TypedDict):
    password: str
    must_change: NotRequired[Annotated[bool, Says(text="it is for the next login only; true for another user's")]]


class PasswordSet(TypedDict):
    name: str
    must_change: bool


class LoggedOut(TypedDict):
    name: str
    sessions: Annotated[int, Says(text="browsers that were logged out")]


class Me(TypedDict):
    """Who asks, and how they came in."""

    name: str
    role: UserRole
    via: str
    address: str | None


class Token(TypedDict):
    id: str
    name: str
    user: str
    role: UserRole
    created_at: float
    expires_at: float


class TokenInList(Token):
    """With its last use."""

    used_at: float | None
    expired: bool


class MadeToken(Token):
    """`token` is shown this once."""

    token: str


class NewToken(TypedDict):
    name: str
    role: NotRequired[UserRole]
    user: NotRequired[Annotated[str, Says(text="whose token it is to be; admins only")]]
    for_s: NotRequired[Annotated[float, Says(text="how long it lives; 90 days without it")]]


class AuditAsked(TypedDict):
    """Which changes; all that is given must fit."""

    who: NotRequired[str]
    kind: NotRequired[str]
    host: NotRequired[str]
    via: NotRequired[Annotated[str, Says(text="session, password, token, token NAME, local")]]
    address: NotRequired[str]
    since: NotRequired[Annotated[float, Says(text="unix seconds")]]
    until: NotRequired[Annotated[float, Says(text="unix seconds")]]
    before: NotRequired[Annotated[int, Says(text="only entries with a smaller id", least=0)]]


def add_routes(api: Blueprint, ctx: Context) -> None:
    _user_routes(api, ctx)
    _token_routes(api, ctx)

    @api.get("/me")
    @told(gives=Me)
    def who_am_i() -> Any:
        """Who asks, and with which role."""
        return {"name": g.who, "role": g.actor.role.value, "via": g.actor.via, "address": g.actor.address}

    @api.get("/audit")
    @told(asks=AuditAsked, gives=Event, pages=Pages(keys=((int,),)), problems=(404, 409))
    def audit_log(query: dict[str, Any], part: Part) -> Any:
        """Who changed what, from where, newest first."""
        after = [] if part.after is None else [int(part.after[0] or 0)]
        before = [*after, *([query.pop("before")] if query.get("before") else [])]
        query.pop("before", None)
        wanted = audit.Filter(**query, before=min(before) if before else None)
        return first(audit.entries(ctx, wanted, limit=part.limit + 1), part.limit, lambda row: (row["id"],))


def _user_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/users")
    @told(gives=User, pages=Pages(names=("name",)))
    def list_users() -> Any:
        """All users."""
        return accounts.list_users(ctx)

    @api.get("/users/<name>")
    @told(gives=User, problems=(404,))
    def show_user(name: str) -> Any:
        """One user."""
        return accounts.show(ctx, name)

    @api.post("/users")
    @told(takes=NewUser, gives=UserRoleShown, status=201, problems=(409,), once=True)
    def add_user(body: dict[str, Any]) -> Any:
        """Adds a user; a viewer unless a role is named."""
        role = UserRole(body.get("role", UserRole.VIEWER))
        accounts.add(
            ctx, body["name"], body["password"], role=role, who=g.who, must_change=body.get("must_change", True)
        )  # fmt: skip
        return {"name": body["name"], "role": role.value}

    @api.patch("/users/<name>")
    @told(takes=UserChange, gives=UserRoleShown, problems=(404, 409), versioned=True)
    def change_user(name: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """Gives the user another role; it counts at once."""
        accounts.set_role(ctx, name, UserRole(body["role"]), who=g.who, expected_version=expected_version)
        return {"name": name, "role": body["role"]}

    @api.post("/users/<name>/password")
    @told(takes=NewPassword, gives=PasswordSet, problems=(404,))
    def set_password(name: str, body: dict[str, Any]) -> Any:
        """Sets a password and ends every session of the user."""
        must_change = body.get("must_change", name != g.who)
        accounts.set_password(ctx, name, body["password"], who=g.who, must_change=must_change)
        return {"name": name, "must_change": must_change}

    @api.post("/users/<name>/logout")
    @told(gives=LoggedOut, problems=(404,))
    def logout_user(name: str) -> Any:
        """Ends every session of the user; API tokens go on."""
        return {"name": name, "sessions": sessions.end_all(ctx, name, who=g.who)}

    @api.post("/users/<name>/disable")
    @told(gives=User, problems=(404, 409))
    def disable_user(name: str) -> Any:
        """Ends every session of the user; neither a login nor an API token of the user is taken until it is enabled."""
        return accounts.set_disabled(ctx, name, True, who=g.who)

    @api.post("/users/<name>/enable")
    @told(gives=User, problems=(404,))
    def enable_user(name: str) -> Any:
        """The user may log in again, with the same password; API tokens that have not expired count again."""
        return accounts.set_disabled(ctx, name, False, who=g.who)

    @api.delete("/users/<name>")
    @told(problems=(404, 409), versioned=True)
    def remove_user(name: str, expected_version: str | None) -> Any:
        """Removes the user with their sessions and tokens."""
        accounts.remove(ctx, name, who=g.who, expected_version=expected_version)
        return {}


def _token_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/tokens")
    @told(gives=TokenInList, pages=Pages(names=("user", "name", "id")))
    def list_tokens() -> Any:
        """One's own tokens; an admin sees everybody's. Never their clear text."""
        return api_tokens.list_tokens(ctx, actor=g.actor)

    @api.post("/tokens")
    @told(takes=NewToken, gives=MadeToken, status=201, problems=(404, 409), once=True)
    def create_token(body: dict[str, Any]) -> Any:
        """Makes an API token; its clear text is in this answer only. Not with a token."""
        return api_tokens.create(
            ctx, name=body["name"], role=body.get("role", UserRole.VIEWER.value), user=body.get("user"),
            for_s=body.get("for_s", api_tokens.DEFAULT_S), actor=g.actor,
        )  # fmt: skip

    @api.delete("/tokens/<token>")
    @told(gives=Token, problems=(404, 409))
    def revoke_token(token: str) -> Any:
        """Ends a token, by its id, or by its name where only one has it."""
        return api_tokens.revoke(ctx, token, actor=g.actor)
