"""The REST API, version 1: thin over the use cases; who may call it is decided by the application around it.

Each topic has a module of its own, `api_<topic>.py`. A route is declared where it stands (webapp/told.py).
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app

from pxeforge.services.context import Context
from pxeforge.webapp import (
    api_accounts,
    api_bulk,
    api_catalogue,
    api_events,
    api_fleet,
    api_hosts,
    api_identity,
    api_lifecycle,
    api_own_password,
    api_power,
    api_rules,
    api_runs,
    api_texts,
    api_webhooks,
)
from pxeforge.webapp.openapi import description
from pxeforge.webapp.told import told

_TOPICS = (
    api_hosts,
    api_bulk,
    api_lifecycle,
    api_power,
    api_identity,
    api_rules,
    api_fleet,
    api_texts,
    api_events,
    api_catalogue,
    api_runs,
    api_accounts,
    api_own_password,
    api_webhooks,
)


def create_api(ctx: Context) -> Blueprint:
    """Routes below /api/v1; `g.who` is the acting user. Bodies and answers are JSON objects or arrays."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    for topic in _TOPICS:
        topic.add_routes(api, ctx)

    @api.get("/openapi.json")
    @told(gives=dict[str, Any])
    def openapi() -> Any:
        """This description of the API (OpenAPI 3.1)."""
        return description(current_app)

    return api
