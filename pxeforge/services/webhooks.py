"""Webhooks: addresses of others that are told of events, signed (Standard Webhooks 1.0), at least once.

The timeline is the queue. Each webhook has a cursor in it; what fits becomes a delivery in the transaction that moves
the cursor, so that nothing is left out by whoever is killed. At most MOST_WAITING deliveries of a webhook wait; then
its cursor stands still. A delivery is tried until it is taken, or given up after the last of RETRIES_S.
"""

from __future__ import annotations

import base64
import datetime
import fnmatch
import hmac
import json
import re
import secrets
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pxeforge.services import event_list
from pxeforge.services.context import Context, new_id
from pxeforge.services.events import record
from pxeforge.services.hidden import hide_everywhere
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.versions import expect_webhook, version_of_webhook
from pxeforge.services.webhook_target import Limits, NotDelivered, check_url, post
from pxeforge.store.tables import Event, Webhook, WebhookDelivery

MOST: Final = 50
MOST_WAITING: Final = 1000
RETRIES_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)  # three days in all
KEPT_S: Final = 7 * 86400.0  # how long what is over can be looked at
TEST: Final = "pxeforge.test"
_SEEN_AT_ONCE: Final = 500
_LONGEST_ERROR: Final = 300
_GONE: Final = 410
_PATTERN: Final = re.compile(r"[a-z0-9_*?]{1,40}(\.[a-z0-9_*?]{1,40})?")
_MOST_PATTERNS: Final = 50
_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/]{32,88}={0,2}")


# ---------------------------------------------------------------------------------------------- kept


def add(
    ctx: Context, url: str, *, events: list[str] | None = None, secret: str | None = None, who: str
) -> dict[str, Any]:  # fmt: skip
    """From now on `url` is told of events whose `source.kind` fits one of the patterns `events` (none: all of them).

    The answer holds `secret`, which is never shown again; raises Problem.
    """
    patterns = _checked(events or [])
    check_url(url, limits_of(ctx))
    clear = _new_secret() if secret is None else secret
    if not _SECRET.fullmatch(clear) or not 24 <= len(_key(clear)) <= 64:
        raise Problem("a webhook's secret is whsec_ and 24 to 64 bytes in base64: leave it out and get one made")
    with ctx.database.write() as session:
        if (session.scalar(select(func.count()).select_from(Webhook)) or 0) >= MOST:
            raise Conflict(f"there are {MOST} webhooks already: remove one first")
        if session.scalars(select(Webhook).where(Webhook.url == url)).first() is not None:
            raise Conflict("there is a webhook for this address already: remove it first")
        row = Webhook(
            id=new_id(), url=url, events=patterns, secret=_fernet(ctx).encrypt(clear.encode()).decode(),
            created_at=ctx.clock(), created_by=who, cursor=session.scalar(select(func.max(Event.id))) or 0,
        )  # fmt: skip
        session.add(row)
        record(
            session, ctx, source="operator", kind="webhook_added", who=who, message=f"webhook {row.id} to {url} added",
            data={"after": {"url": url, "events": patterns}},
        )  # fmt: skip
        return {**_view(row, {}), "secret": clear}


def list_webhooks(ctx: Context) -> list[dict[str, Any]]:
    """All of them with their queues; never their secrets."""
    with ctx.database.read() as session:
        rows = session.scalars(select(Webhook).order_by(Webhook.created_at, Webhook.id)).all()
        counts = _counts(session)
        return [_view(row, counts.get(row.id, {})) for row in rows]


def show(ctx: Context, webhook_id: str) -> dict[str, Any]:
    """One of them with its version; raises NotFound."""
    with ctx.database.read() as session:
        row = _find(session, webhook_id)
        return {**_view(row, _counts(session).get(webhook_id, {})), "version": version_of_webhook(row)}


def remove(ctx: Context, webhook_id: str, *, who: str, expected_version: str | None = None) -> None:
    """With it go its deliveries, also those that wait. Raises NotFound, Stale."""
    with ctx.database.write() as session:
        row = _find(session, webhook_id)
        expect_webhook(session, row, expected_version)
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == row.id))
        session.delete(row)
        record(
            session, ctx, source="operator", kind="webhook_removed", who=who,
            message=f"webhook {row.id} to {row.url} removed", data={"before": {"url": row.url, "events": row.events}},
        )  # fmt: skip


def test(ctx: Context, webhook_id: str) -> dict[str, Any]:
    """Sends a message of type TEST now, once; what came of it is a delivery like the others. Raises NotFound."""
    with ctx.database.write() as session:
        row = _find(session, webhook_id)
        told = {"webhook": row.id, "message": "pxeforge can reach you"}
        # Not the sender's while we try: it is due when we would have been killed.
        made = _delivery(ctx, row, None, TEST, told, next_at=ctx.clock() + 60)
        session.add(made)
        delivery_id = made.id
    deliver(ctx, delivery_id, once=True)
    return show_delivery(ctx, webhook_id, delivery_id)


def deliveries(
    ctx: Context, webhook_id: str, *, state: str | None = None, after: Any = None, limit: int = 100
) -> list[dict[str, Any]]:  # fmt: skip
    """Newest first; those behind the one that was made at `after[0]` with the id `after[1]`. Raises NotFound."""
    row = WebhookDelivery
    with ctx.database.read() as session:
        _find(session, webhook_id)
        query = select(row).where(row.webhook_id == webhook_id).order_by(row.created_at.desc(), row.id.desc())
        if state is not None:
            query = query.where(row.state == state)
        if after is not None:
            at, last = after
            query = query.where((row.created_at < at) | ((row.created_at == at) & (row.id < last)))
        return [_delivery_view(one) for one in session.scalars(query.limit(limit))]


def show_delivery(ctx: Context, webhook_id: str, delivery_id: str) -> dict[str, Any]:
    """One delivery; raises NotFound."""
    with ctx.database.read() as session:
        return _delivery_view(_find_delivery(session, webhook_id, delivery_id))


def retry(ctx: Context, webhook_id: str, delivery_id: str, *, who: str) -> dict[str, Any]:
    """A delivery that was given up, or waits, is tried again soon, with all its tries; a stopped webhook goes on."""
    with ctx.database.write() as session:
        row = _find_delivery(session, webhook_id, delivery_id)
        if row.state == "delivered":
            raise Conflict(f"the delivery {row.id} was taken already")
        row.state, row.tries, row.next_at = "waiting", 0, ctx.clock()
        session.get_one(Webhook, webhook_id).stopped = None
        record(
            session, ctx, source="operator", kind="webhook_retried", who=who,
            message=f"delivery {row.id} of webhook {webhook_id} is tried again",
        )  # fmt: skip
        return _delivery_view(row)


# ---------------------------------------------------------------------------------------------- queued and sent


def enqueue(ctx: Context, seen: dict[str, int]) -> int:
    """Makes deliveries of what happened since; returns how many. `seen`: how far each webhook was looked through by
    this process, beyond what its cursor says (what fits no pattern is not worth a write).
    """
    with ctx.database.read() as session:
        rows = session.scalars(select(Webhook).where(Webhook.stopped.is_(None))).all()
        waiting = {webhook: counts.get("waiting", 0) for webhook, counts in _counts(session).items()}
        newest = session.scalar(select(func.max(Event.id))) or 0
    made = 0
    for row in rows:
        start = max(row.cursor, seen.get(row.id, 0))
        room = MOST_WAITING - waiting.get(row.id, 0)
        if start < newest and room > 0:
            made += _enqueue(ctx, row, start, room, seen)
    return made


def _enqueue(ctx: Context, row: Webhook, start: int, room: int, seen: dict[str, int]) -> int:
    looked = event_list.after(ctx, event_list.Wanted(), start, limit=_SEEN_AT_ONCE)
    fitting = [one for one in looked if _concerns(row, one)][:room]
    upto = fitting[-1]["id"] if len(fitting) == room else looked[-1]["id"] if looked else start
    seen[row.id] = upto
    if not fitting:
        return 0
    with ctx.database.write() as session:
        current = session.get(Webhook, row.id)
        if current is None or current.cursor >= upto:
            return 0
        current.cursor = upto
        for one in fitting:
            told = hide_everywhere(ctx, one)
            session.add(_delivery(ctx, current, one["id"], f"{one['source']}.{one['kind']}", told, at=one["at"]))
    return len(fitting)


def _concerns(row: Webhook, one: dict[str, Any]) -> bool:
    """Nobody is told that they could not be told: that would never end."""
    return _fits(row.events, f"{one['source']}.{one['kind']}") and one["data"].get("webhook") != row.id


def due(ctx: Context) -> list[tuple[str, str]]:
    """Webhook and delivery of what is to be tried now, at most one of each webhook: the one that waits longest."""
    now, row = ctx.clock(), WebhookDelivery
    first: dict[str, str] = {}
    with ctx.database.read() as session:
        query = select(row.webhook_id, row.id).join(Webhook, Webhook.id == row.webhook_id)
        query = query.where(row.state == "waiting", row.next_at <= now, Webhook.stopped.is_(None))
        for webhook_id, delivery_id in session.execute(query.order_by(row.next_at, row.event_id).limit(MOST_WAITING)):
            first.setdefault(webhook_id, delivery_id)
    return list(first.items())


def deliver(ctx: Context, delivery_id: str, *, once: bool = False) -> bool:
    """Tries one delivery and writes down what came of it; returns whether it was taken. `once`: given up if not."""
    with ctx.database.read() as session:
        row = session.get(WebhookDelivery, delivery_id)
        webhook = session.get(Webhook, row.webhook_id) if row is not None else None
    if row is None or webhook is None or row.state != "waiting":
        return False
    status, error = None, None
    try:
        key = _key(_opened(ctx, webhook.secret))
        headers = signed(key, row.id, int(ctx.clock()), row.payload)
        status = post(webhook.url, row.payload.encode(), headers, limits_of(ctx))
    except NotDelivered as problem:
        status, error = problem.status, str(problem)
    except Problem as problem:
        error = str(problem)
    _written(ctx, delivery_id, status, error, once=once)
    return error is None


def _written(ctx: Context, delivery_id: str, status: int | None, error: str | None, *, once: bool) -> None:
    now = ctx.clock()
    with ctx.database.write() as session:
        row = session.get(WebhookDelivery, delivery_id)
        if row is None:
            return  # removed meanwhile, with its webhook
        row.status, row.error, row.tried_at = status, error[:_LONGEST_ERROR] if error else None, now
        row.tries += 1
        if error is None:
            row.state, row.next_at = "delivered", None
        elif once or row.tries > len(RETRIES_S) or status == _GONE:
            _give_up(session, ctx, row)
        else:
            row.next_at = now + RETRIES_S[row.tries - 1]


def _give_up(session: Session, ctx: Context, row: WebhookDelivery) -> None:
    row.state, row.next_at = "dead", None
    webhook = session.get_one(Webhook, row.webhook_id)
    if row.status == _GONE:
        webhook.stopped = "the receiver answered 410 Gone: it wants nothing any more"
    if row.type != TEST:
        record(
            session, ctx, source="server", kind="webhook_dead",
            message=f"webhook {webhook.id}: delivery {row.id} given up after {row.tries} tries: {row.error}",
            data={"webhook": webhook.id},
        )  # fmt: skip


def tidy(ctx: Context) -> int:
    """Drops what was over long ago; returns how many deliveries went."""
    over = (WebhookDelivery.state != "waiting") & (WebhookDelivery.created_at < ctx.clock() - KEPT_S)
    with ctx.database.read() as session:
        old = session.scalar(select(func.count()).select_from(WebhookDelivery).where(over)) or 0
    if old:
        with ctx.database.write() as session:
            session.execute(delete(WebhookDelivery).where(over))
    return old


def signed(key: bytes, message_id: str, at: int, payload: str) -> dict[str, str]:
    """The headers of a message (Standard Webhooks 1.0, "Signature scheme"); `at`: unix seconds."""
    mac = hmac.digest(key, f"{message_id}.{at}.{payload}".encode(), "sha256")
    return {
        "Content-Type": "application/json",
        "User-Agent": "pxeforge-webhook",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def limits_of(ctx: Context) -> Limits:
    """Where webhooks may go here."""
    return Limits(allowed=tuple(ctx.webhook_networks), denied=tuple(ctx.boot_networks()))


# ---------------------------------------------------------------------------------------------- rows


def _delivery(
    ctx: Context, row: Webhook, event_id: int | None, kind: str, told: Any, *, at: float | None = None,
    next_at: float | None = None,
) -> WebhookDelivery:  # fmt: skip
    now = ctx.clock()
    when = datetime.datetime.fromtimestamp(now if at is None else at, datetime.UTC)
    payload = {"type": kind, "timestamp": when.isoformat(), "data": told}
    return WebhookDelivery(
        id=f"msg_{secrets.token_hex(12)}", webhook_id=row.id, event_id=event_id, type=kind,
        payload=json.dumps(payload), state="waiting", tries=0, next_at=now if next_at is None else next_at,
        created_at=now,
    )  # fmt: skip


def _find(session: Session, webhook_id: str) -> Webhook:
    row = session.get(Webhook, webhook_id)
    if row is None:
        raise NotFound(f"there is no webhook {webhook_id!r}: see `pxeforge webhook list`")
    return row


def _find_delivery(session: Session, webhook_id: str, delivery_id: str) -> WebhookDelivery:
    row = session.get(WebhookDelivery, delivery_id)
    if row is None or row.webhook_id != webhook_id:
        raise NotFound(f"there is no delivery {delivery_id!r}: see `pxeforge webhook deliveries {webhook_id}`")
    return row


def _counts(session: Session) -> dict[str, dict[str, int]]:
    """Deliveries by webhook and state."""
    row, found = WebhookDelivery, dict[str, dict[str, int]]()
    for webhook_id, state, number in session.execute(
        select(row.webhook_id, row.state, func.count()).group_by(row.webhook_id, row.state)
    ):
        found.setdefault(webhook_id, {})[state] = number
    return found


def _view(row: Webhook, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "id": row.id, "url": row.url, "events": row.events, "created_at": row.created_at,
        "created_by": row.created_by, "stopped": row.stopped, "waiting": counts.get("waiting", 0),
        "delivered": counts.get("delivered", 0), "dead": counts.get("dead", 0),
    }  # fmt: skip


def _delivery_view(row: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": row.id, "webhook_id": row.webhook_id, "event_id": row.event_id, "type": row.type, "state": row.state,
        "tries": row.tries, "next_at": row.next_at, "created_at": row.created_at, "tried_at": row.tried_at,
        "status": row.status, "error": row.error,
    }  # fmt: skip


def _checked(patterns: list[str]) -> list[str]:
    bad = [one for one in patterns if not _PATTERN.fullmatch(one)]
    if bad or len(patterns) > _MOST_PATTERNS:
        raise Problem(
            f"{bad[0]!r} names no events: write SOURCE.KIND like operator.arm, engine.* or *"
            if bad else f"name {_MOST_PATTERNS} patterns of events at most"
        )  # fmt: skip
    return list(dict.fromkeys(patterns))


def _fits(patterns: list[str], name: str) -> bool:
    """A pattern without a dot is one of sources."""
    full = [one if "." in one or one == "*" else f"{one}.*" for one in patterns]
    return not full or any(fnmatch.fnmatchcase(name, one) for one in full)


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _key(clear: str) -> bytes:
    try:
        return base64.b64decode(clear.removeprefix("whsec_"), validate=True)
    except ValueError:
        return b""


def _fernet(ctx: Context) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(ctx.key_for("webhooks")))


def _opened(ctx: Context, sealed: str) -> str:
    try:
        return _fernet(ctx).decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise Problem("the webhook's secret was sealed with another secret.key: restore it, or add it anew") from None
