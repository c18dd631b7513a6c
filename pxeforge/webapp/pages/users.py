"""Login and logout, the list of users, and one's own password."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import accounts
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden, Problem
from pxeforge.webapp.auth import Guard, TooManyLogins, safe_next


def add_routes(pages: Blueprint, ctx: Context, guard: Guard) -> None:
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
        session.clear()
        return redirect(url_for("pages.login"), 303)

    @pages.get("/users")
    def user_list() -> ResponseReturnValue:
        return render_template("users.html", users=accounts.list_users(ctx))

    @pages.post("/users")
    def user_add() -> ResponseReturnValue:
        g.back = url_for("pages.user_list")
        name = request.form.get("name", "").strip()
        accounts.add(ctx, name, request.form.get("password", ""), who=g.who)
        flash(f"The user {name} was added.", "good")
        return redirect(g.back, 303)

    @pages.post("/users/password")
    def password_change() -> ResponseReturnValue:
        """One's own password; every other session of the user ends, this one goes on."""
        g.back = url_for("pages.user_list")
        if guard.trusted_socket:
            raise Problem("root has no password here: use `pxeforge user password NAME`")
        new = request.form.get("new", "")
        if new != request.form.get("again", ""):
            raise Problem("the two new passwords differ: type them again")
        if guard.epoch_for(g.who, request.form.get("old", "")) is None:
            raise Forbidden("the old password is wrong: nothing was changed")
        accounts.set_password(ctx, g.who, new, who=g.who)
        epoch = guard.epoch_for(g.who, new)
        if epoch is not None:
            guard.start_session(g.who, epoch)
        flash("Your password is changed; your other sessions have ended.", "good")
        return redirect(g.back, 303)
