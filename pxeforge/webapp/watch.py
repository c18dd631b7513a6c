"""What monitors ask: /metrics and /readyz, on the admin plane and on a listener of their own."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, Response, jsonify

from pxeforge.protocol.prometheus import CONTENT_TYPE
from pxeforge.services.metrics import Metrics
from pxeforge.services.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Watch:
    """One of each for all applications of a process."""

    readiness: Readiness
    metrics: Metrics


def add_routes(app: Flask, watch: Watch, *, says_why: bool) -> None:
    """`says_why`: /readyz tells what is wrong, not only with what; it is open to everybody."""

    @app.get("/readyz")
    def readyz() -> Response:
        checks = watch.readiness.checks()
        failed = any(check.seen for check in checks)
        told = {check.name: (check.seen if says_why else "failed") if check.seen else "ok" for check in checks}
        response = jsonify({"status": "not ready" if failed else "ready", "checks": told})
        response.status_code = 503 if failed else 200
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(watch.metrics.text(), content_type=CONTENT_TYPE)


def create_watch(watch: Watch) -> Flask:
    """The application of `metrics_listen`: no login, and nothing but these three routes."""
    app = Flask("pxeforge.watch", static_folder=None)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    add_routes(app, watch, says_why=False)
    return app
