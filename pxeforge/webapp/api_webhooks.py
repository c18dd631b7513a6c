"""Webhooks by the API: addresses that are told of events, and what came of each message."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.services import webhooks
from pxeforge.services.context import Context
from pxeforge.webapp.paging import Part, first
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told

State = Literal["waiting", "delivered", "dead"]


class Webhook(TypedDict):
    """An address that is told of events. `stopped`: why it is not any more."""

    id: str
    url: str
    events: list[str]
    created_at: float
    created_by: str
    stopped: str | None
    waiting: int
    delivered: int
    dead: int


class MadeWebhook(Webhook):
    """`secret` is shown this once."""

    secret: str


class NewWebhook(TypedDict):
    url: Annotated[str, Says(text="http:// or https://")]
    events: NotRequired[Annotated[list[str], Says(text="patterns of SOURCE.KIND, e.g. operator.arm; all without it")]]
    secret: NotRequired[Annotated[str, Says(text="whsec_ and 24 to 64 bytes in base64; made without it")]]


class Delivery(TypedDict):
    """One message. `status`: the HTTP status of the last try."""

    id: str
    webhook_id: str
    event_id: int | None
    type: str
    state: State
    tries: int
    next_at: float | None
    created_at: float
    tried_at: float | None
    status: int | None
    error: str | None


class DeliveriesAsked(TypedDict):
    state: NotRequired[State]


def add_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/webhooks")
    @told(gives=Webhook, pages=Pages(names=("id",)))
    def list_webhooks() -> Any:
        """All webhooks with their queues."""
        return webhooks.list_webhooks(ctx)

    @api.post("/webhooks")
    @told(takes=NewWebhook, gives=MadeWebhook, status=201, problems=(409,), once=True)
    def add_webhook(body: dict[str, Any]) -> Any:
        """From now on the address is told of events. The secret is in this answer only."""
        return webhooks.add(ctx, body["url"], events=body.get("events"), secret=body.get("secret"), who=g.who)

    @api.get("/webhooks/<webhook>")
    @told(gives=Webhook, problems=(404,))
    def show_webhook(webhook: str) -> Any:
        """One webhook."""
        return webhooks.show(ctx, webhook)

    @api.delete("/webhooks/<webhook>")
    @told(problems=(404,), versioned=True)
    def remove_webhook(webhook: str, expected_version: str | None) -> Any:
        """Removes the webhook with all its deliveries."""
        webhooks.remove(ctx, webhook, who=g.who, expected_version=expected_version)
        return {}

    @api.post("/webhooks/<webhook>/test")
    @told(gives=Delivery, problems=(404,), once=True)
    def test_webhook(webhook: str) -> Any:
        """Sends a message of the type pxeforge.test now and tells what came of it."""
        return webhooks.test(ctx, webhook)

    _delivery_routes(api, ctx)


def _delivery_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/webhooks/<webhook>/deliveries")
    @told(asks=DeliveriesAsked, gives=Delivery, pages=Pages(keys=((float, int), (str,))), problems=(404,))
    def list_deliveries(webhook: str, query: dict[str, Any], part: Part) -> Any:
        """The messages of the webhook, newest first; those that are over for a week."""
        rows = webhooks.deliveries(ctx, webhook, state=query.get("state"), after=part.after, limit=part.limit + 1)
        return first(rows, part.limit, lambda row: (row["created_at"], row["id"]))

    @api.post("/webhooks/<webhook>/deliveries/<delivery>/retry")
    @told(gives=Delivery, problems=(404, 409), once=True)
    def retry_delivery(webhook: str, delivery: str) -> Any:
        """Tries a message again that was given up or waits."""
        return webhooks.retry(ctx, webhook, delivery, who=g.who)
