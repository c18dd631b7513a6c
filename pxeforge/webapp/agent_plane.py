"""The agent plane: TLS, a bearer credential per host, nothing but what an agent needs."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from pxeforge.services import agents, claims, task_results
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.json_body import json_object
from pxeforge.webapp.unavailable import answer_unavailable

_MAX_BODY = 2 * 1024 * 1024
_BUSY = "the server cannot write just now: try again"  # why is for its operators
_LAST_CLOCK = 2.0**40  # unix seconds beyond which no clock is right


def create_agent_plane(ctx: Context) -> Flask:
    """Every route needs the credential; who holds it can see and finish the tasks of its own host only."""
    app = Flask("pxeforge.agents", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY
    app.register_error_handler(Problem, _refused)
    app.register_error_handler(HTTPException, _http_error)
    answer_unavailable(app, lambda _: _answer({"detail": _BUSY}, 503))

    @app.before_request
    def authenticate() -> Response | None:
        kind, _, credential = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not credential:
            return _answer({"detail": "a bearer credential is needed"}, 401)
        g.host_id = agents.authenticate(ctx, credential)
        return None

    @app.post("/v1/hello")
    def hello() -> Response:
        body = _body()
        facts = body.get("facts") if isinstance(body.get("facts"), dict) else {}
        clock = body.get("clock", (facts or {}).get("clock"))
        return jsonify(
            agents.hello(
                ctx, g.host_id, version=str(body.get("version", "")), boot_id=str(body.get("boot_id", "")),
                facts=facts or {}, clock=clock if isinstance(clock, int | float) and 0 <= clock < _LAST_CLOCK else None,
                peer=request.remote_addr or "",
            )
        )  # fmt: skip

    @app.post("/v1/claim")
    def claim() -> Response:
        task = claims.claim(ctx, g.host_id)
        if task is not None:
            return jsonify(task)
        soon_s = claims.ask_again_s(ctx, g.host_id)
        return jsonify({"poll_s": soon_s}) if soon_s is not None else Response(status=204)

    @app.post("/v1/tasks/<task_id>/events")
    def events(task_id: str) -> Response:
        body = _body()
        told = body.get("events")
        said = [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []
        return jsonify(claims.renew(ctx, g.host_id, task_id, _fence(body), said))

    @app.post("/v1/tasks/<task_id>/result")
    def result(task_id: str) -> Response:
        body = _body()
        task_results.finish(ctx, g.host_id, task_id, _fence(body), body)
        return jsonify({})

    return app


def _body() -> dict[str, Any]:
    body = json_object(request)
    if body is None:
        raise Problem("the body must be a JSON object")
    return body


def _fence(body: dict[str, Any]) -> int:
    fence = body.get("fence")
    if not isinstance(fence, int) or isinstance(fence, bool):
        raise Problem("fence must be a number")
    return fence


def _answer(content: dict[str, Any], status: int) -> Response:
    response = jsonify(content)
    response.status_code = status
    return response


def _refused(problem: Exception) -> Response:
    return _answer({"detail": str(problem)}, problem.status if isinstance(problem, Problem) else 500)


def _http_error(problem: Exception) -> Response:
    code = (problem.code if isinstance(problem, HTTPException) else None) or 500
    return _answer({"detail": getattr(problem, "name", "error")}, code)
