"""Login and logout, the users with their roles, one's own password, and API tokens."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, sessions
from pxeforge.services.context import Context
from pxeforge.services.password_policy import MIN_LENGTH
from pxeforge.services.problems import Forbidden, Problem
from pxeforge.webapp.auth import Guard, TooManyLogins, safe_next

_DAY_S: Final = 86400
_LIVES: Final = {"1 day": 1, "1 week": 7, "30 days": 30, "90 days": 90, "1 year": 365}


def add_routes(pages: Blueprint, ctx: Context, guard: Guard) -> None:
    _login_routes(pages, guard)
    _own_routes(pages, ctx, guard)
    _token_routes(pages, ctx)
    _admin_routes(pages, ctx)


def _login_routes(pages: Blueprint, guard: Guard) -> None:
    @pages.route("/login", methods=["GET", "POST"])
    def login() -> ResponseReturnValue:
        target = safe_next(request.values.get("next"))
        if guard.trusted_socket or (request.method == "GET" and g.who):
            return redirect(target, 303)
        problem, status = "", 200
        if request.method == "POST":
            try:
                if guard.sign_in(request.form.get("name", ""), request.form.get("password", "")):
                    return redirect(target, 303)
                problem, status = "The name or the password is wrong.", 403
            except TooManyLogins as refused:
                problem, status = str(refused), refused.status
        return render_template("login.html", next=target, problem=problem), status

    @pages.post("/logout")
    def logout() -> ResponseReturnValue:
        guard.end_session()
        return redirect(url_for("pages.login"), 303)


def _own_routes(pages: Blueprint, ctx: Context, guard: Guard) -> None:
    @pages.get("/users")
    def user_list() -> ResponseReturnValue:
        return _page(ctx)

    @pages.post("/users/logout-everywhere")
    def logout_everywhere() -> ResponseReturnValue:
        """All of one's own sessions, this one too."""
        g.back = url_for("pages.user_list")
        if guard.trusted_socket:
            raise Problem("root is not logged in here: use `pxeforge user logout NAME`")
        sessions.end_all(ctx, g.who, who=g.who)
        guard.end_session()
        return redirect(url_for("pages.login"), 303)

    @pages.post("/users/password")
    def password_change() -> ResponseReturnValue:
        """One's own password; every other session of the user ends, this one goes on."""
        g.back = url_for("pages.user_list")
        if guard.trusted_socket:
            raise Problem("root has no password here: use `pxeforge user passwd NAME`")
        new = request.form.get("new", "")
        if new != request.form.get("again", ""):
            raise Problem("the two new passwords differ: type them again")
        _change_own(ctx, guard, new)
        return redirect(g.back, 303)

    @pages.route("/password", methods=["GET", "POST"])
    def first_password() -> ResponseReturnValue:
        """Asked of whoever logged in with a password that somebody else set, before anything else."""
        target = safe_next(request.values.get("next"))
        if not g.actor.must_change:
            return redirect(target, 303)
        problem, status = "", 200
        if request.method == "POST":
            try:
                new = request.form.get("new", "")
                if new != request.form.get("again", ""):
                    raise Problem("the two new passwords differ: type them again")
                _change_own(ctx, guard, new)
                return redirect(target, 303)
            except Problem as refused:
                problem, status = str(refused), refused.status
        return render_template("password.html", name=g.who, next=target, problem=problem, least=MIN_LENGTH), status


def _change_own(ctx: Context, guard: Guard, new: str) -> None:
    """With the old password of the form; this browser goes on. Raises Problem."""
    old = request.form.get("old", "")
    if guard.role_for(g.who, old) is None:
        raise Forbidden("the old password is wrong: nothing was changed")
    accounts.change_own(ctx, g.who, old, new)
    guard.start_session(g.who)
    flash("Your password is changed; your other sessions have ended.", "good")


def _token_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.post("/users/tokens")
    def token_create() -> ResponseReturnValue:
        """The clear text is in this answer and nowhere else: no redirect."""
        g.back = url_for("pages.user_list", _anchor="tokens")
        made = api_tokens.create(
            ctx, name=request.form.get("name", "").strip(), role=request.form.get("role", UserRole.VIEWER.value),
            for_s=_DAY_S * _LIVES.get(request.form.get("lives", ""), 30), actor=g.actor,
        )  # fmt: skip
        return _page(ctx, made["token"])

    @pages.post("/users/tokens/<token>/revoke")
    def token_revoke(token: str) -> ResponseReturnValue:
        g.back = url_for("pages.user_list", _anchor="tokens")
        gone = api_tokens.revoke(ctx, token, actor=g.actor)
        flash(f"The token {gone['name']} of {gone['user']} is revoked.", "good")
        return redirect(g.back, 303)


def _admin_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.post("/users")
    def user_add() -> ResponseReturnValue:
        g.back = url_for("pages.user_list")
        name = request.form.get("name", "").strip()
        role = accounts.parse_role(request.form.get("role", UserRole.VIEWER.value))
        accounts.add(ctx, name, request.form.get("password", ""), role=role, who=g.who, must_change=True)
        flash(f"The user {name} was added as {role.value}; the first login asks for another password.", "good")
        return redirect(g.back, 303)

    @pages.post("/users/<name>/password")
    def user_password(name: str) -> ResponseReturnValue:
        """A password for one login, made here; it is in this answer and nowhere else: no redirect."""
        g.back = url_for("pages.user_list")
        if name == g.who:
            raise Problem("this is your own password: change it below, where the old one is asked")
        made = accounts.password_for_once()
        accounts.set_password(ctx, name, made, who=g.who, must_change=True)
        return _page(ctx, once=(name, made))

    @pages.post("/users/<name>/role")
    def user_role(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.user_list")
        role = accounts.parse_role(request.form.get("role", ""))
        accounts.set_role(ctx, name, role, who=g.who, expected_version=request.form.get("version") or None)
        flash(f"{name} is {role.value} from now on.", "good")
        return redirect(g.back, 303)

    @pages.post("/users/<name>/logout")
    def user_logout(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.user_list")
        ended = sessions.end_all(ctx, name, who=g.who)
        flash(f"{name} is logged out of {ended} browser{'' if ended == 1 else 's'}.", "good")
        return redirect(g.back, 303)

    @pages.post("/users/<name>/disable")
    def user_disable(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.user_list")
        accounts.set_disabled(ctx, name, True, who=g.who)
        flash(f"{name} is disabled: sessions have ended, and API tokens do not count.", "good")
        return redirect(g.back, 303)

    @pages.post("/users/<name>/enable")
    def user_enable(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.user_list")
        accounts.set_disabled(ctx, name, False, who=g.who)
        flash(f"{name} may log in again; API tokens count again.", "good")
        return redirect(g.back, 303)

    @pages.post("/users/<name>/remove")
    def user_remove(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.user_list")
        if request.form.get("confirm") != "yes":
            raise Problem(f"tick the box to confirm that {name} is to be removed")
        accounts.remove(ctx, name, who=g.who, expected_version=request.form.get("version") or None)
        flash(f"The user {name} was removed, with sessions and tokens.", "good")
        return redirect(g.back, 303)


def _page(ctx: Context, clear_token: str = "", once: tuple[str, str] | None = None) -> str:
    return render_template(
        "users.html", users=accounts.list_users(ctx), versions=accounts.versions(ctx),
        tokens=api_tokens.list_tokens(ctx, actor=g.actor),
        sessions=sessions.list_sessions(ctx, g.who), roles=[role.value for role in UserRole],
        mine=[role.value for role in UserRole if g.actor.role.covers(role)], lives=list(_LIVES),
        clear_token=clear_token, once=once, least=MIN_LENGTH,
    )  # fmt: skip
