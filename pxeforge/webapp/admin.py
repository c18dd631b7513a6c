"""The admin plane: web pages and REST API behind one login, or on the root-only socket."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, flash, g, redirect, render_template, request, send_file
from flask.typing import ResponseReturnValue
from jinja2 import FileSystemLoader, StrictUndefined
from werkzeug.exceptions import HTTPException, NotFound

import pxeforge
from pxeforge.assets import AssetMissing, asset_dirs, find_asset
from pxeforge.domain.user_role import UserRole
from pxeforge.services.acting import Actor
from pxeforge.services.context import Context
from pxeforge.services.courtesy import Courtesy
from pxeforge.services.metrics import Metrics
from pxeforge.services.problems import Problem
from pxeforge.services.readiness import Readiness
from pxeforge.services.sessions import LONGEST_S
from pxeforge.webapp import problem_types
from pxeforge.webapp.access import CoveredJson
from pxeforge.webapp.api import create_api
from pxeforge.webapp.auth import Guard, csrf_token, is_api
from pxeforge.webapp.pages import create_pages
from pxeforge.webapp.told import use_context
from pxeforge.webapp.unavailable import answer_unavailable
from pxeforge.webapp.watch import Watch, add_routes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_MAX_REQUEST_BYTES = 4 * 1024 * 1024
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    # No Strict-Transport-Security: it holds for all ports of a name, and the boot plane beside us is plain HTTP.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def create_admin(ctx: Context, *, trusted_socket: bool = False, watch: Watch | None = None) -> Flask:
    """The admin app; `trusted_socket` is for the unix socket that only root can open (no login there).

    `watch`: what monitors are told; without it nothing serves here.
    """
    operator_dir = ctx.operator_dir / "web"
    app = Flask("pxeforge", static_folder=None, root_path=str(Path(__file__).parent))
    app.config.update(
        SECRET_KEY=ctx.key_for("sessions"),
        # __Host-: the browser itself insists on Secure, Path=/ and no Domain.
        SESSION_COOKIE_NAME="__Host-pxeforge",
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=LONGEST_S),
        MAX_CONTENT_LENGTH=_MAX_REQUEST_BYTES,
        MAX_FORM_MEMORY_SIZE=_MAX_REQUEST_BYTES,
    )
    app.jinja_loader = FileSystemLoader([folder / "templates" for folder in asset_dirs("web", operator_dir)])
    app.jinja_env.undefined = StrictUndefined
    guard = Guard(ctx, trusted_socket=trusted_socket)
    app.json = CoveredJson(app, guard.cover)
    app.before_request(guard.check)
    app.teardown_request(guard.over)
    app.after_request(_harden)
    app.register_error_handler(Problem, _on_problem)
    app.register_error_handler(HTTPException, _on_http_error)
    answer_unavailable(app, _on_unavailable)

    @app.get("/static/<path:name>")
    def web_file(name: str) -> Response:
        try:
            return send_file(find_asset("web", f"static/{name}", operator_dir))
        except (AssetMissing, OSError):  # OSError: a name that no file system takes
            raise NotFound(f"there is no file {name}") from None

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.context_processor
    def page_frame() -> dict[str, Any]:
        return {
            "who": g.get("who") if _may_look_around() else None,  # without it there is no menu
            "role": g.actor.role.value if g.get("actor") else None,
            "may": _may,
            "version": pxeforge.__version__,
            "trusted_socket": trusted_socket,
            "csrf_token": (lambda: "") if trusted_socket else csrf_token,
            "layout": "fragment.html" if request.headers.get("HX-Request") else "page.html",
        }

    readiness = Readiness(ctx)
    watch = watch or Watch(readiness, Metrics(ctx, readiness))
    add_routes(app, watch, says_why=trusted_socket)
    use_context(app, ctx)
    app.register_blueprint(create_api(ctx))
    app.register_blueprint(create_pages(ctx, guard, watch.readiness))
    _give_way_to(app, ctx.courtesy)
    return app


def _give_way_to(app: Flask, courtesy: Courtesy) -> None:
    """Work that can wait does so while an answer is made; one that is sent bit by bit is not waited for."""
    answer = app.wsgi_app

    def answer_first(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        with courtesy.answering():
            return answer(environ, start_response)

    app.wsgi_app = answer_first  # type: ignore[method-assign]


def _may_look_around() -> bool:
    actor: Actor | None = g.get("actor")
    return actor is not None and not actor.must_change


def _may(role: str) -> bool:
    """Whether who looks at a page has this role or a greater one."""
    actor: Actor | None = g.get("actor")
    return actor is not None and actor.role.covers(UserRole(role))


def _harden(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Cache-Control"] = "no-cache" if request.endpoint == "web_file" else "no-store"
    return response


def _on_problem(problem: Problem) -> ResponseReturnValue:
    if is_api(request):
        return problem_types.answer(problem.status, str(problem), getattr(problem, "errors", ()))
    if "back" in g and problem.status != 429:
        flash(str(problem), "error")
        return redirect(g.back, 303)
    return _error_page(problem.status, str(problem))


def _on_unavailable(reason: str) -> ResponseReturnValue:
    return problem_types.answer(503, reason) if is_api(request) else _error_page(503, reason)


def _on_http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None or error.code is None or error.code < 400:
        return error.get_response()
    if not is_api(request):
        return _error_page(error.code, _WORDS.get(error.code, error.description or error.name))
    response = problem_types.answer(error.code, error.description or error.name)
    if error.code == 405:
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="pxeforge", charset="UTF-8"'
    return response


_WORDS = {
    404: "There is no such page.",
    405: "This address takes another kind of request: use the buttons on the pages.",
    413: "That was too much at once: send less.",
    500: "Something went wrong in pxeforge itself: its log says what.",
}


def _error_page(status: int, message: str) -> ResponseReturnValue:
    title = problem_types.TYPES[status].title if status in problem_types.TYPES else "Refused"
    return render_template("error.html", title=title, message=message), status
