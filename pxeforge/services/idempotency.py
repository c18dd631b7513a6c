"""Actions that are done once, however often they are asked for: what was done is known by a key of the client's.

The key is written in the transaction of the action's first change, so that nobody who is killed in between leaves a
change without its key. The answer follows right after, encrypted: it may hold a token.
"""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import delete, event
from sqlalchemy.orm import Session

from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from pxeforge.store.tables import IdempotencyKey

KEPT_S: Final = 24 * 3600
LONGEST: Final = 255  # characters of a key


class KeyReused(Problem):
    """The key belongs to another request."""

    status = 422


@dataclass(frozen=True, slots=True)
class Answer:
    """What the action was answered with."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(slots=True)
class _Wish:
    """A key that is to be written with the next change of this thread."""

    who: str
    key: str
    request: str
    at: float
    written: bool = False


_wish: ContextVar[_Wish | None] = ContextVar("idempotency", default=None)
_running: set[tuple[str, str]] = set()  # who and key: one process serves the API
_lock: Final = threading.Lock()


def check_key(key: str) -> None:
    """Raises Problem for what can be no key."""
    if not 1 <= len(key) <= LONGEST or not all(0x20 < ord(char) < 0x7F for char in key):
        raise Problem(f"Idempotency-Key must be 1 to {LONGEST} visible characters of ASCII: a UUID will do")


def answered(ctx: Context, who: str, key: str, request: bytes) -> Answer | None:
    """What the same request was answered before; None: it is new. Raises KeyReused, Conflict (its answer was lost)."""
    with ctx.database.read() as session:
        row = session.get(IdempotencyKey, (who, key))
        if row is None or row.created_at <= ctx.clock() - KEPT_S:
            return None
        if not hmac.compare_digest(row.request, _digest(ctx, request)):
            raise KeyReused(f"the key {key!r} was used for another request: make a new key for each action")
        if row.answer is None:
            raise Conflict("this was done already, but its answer was lost when the server stopped: look at the result")
        return _opened(ctx, row.answer)


@contextmanager
def doing(ctx: Context, who: str, key: str, request: bytes) -> Iterator[None]:
    """Whatever changes inside is known by the key from then on, unless it fails. Raises Conflict while the same is
    being done.
    """
    with _lock:
        if (who, key) in _running:
            raise Conflict("the same request is being worked on: wait for its answer, or ask again in a moment")
        _running.add((who, key))
    wish = _Wish(who, key, _digest(ctx, request), ctx.clock())
    token = _wish.set(wish)
    try:
        yield
    except BaseException:
        if wish.written:
            _forget(ctx, who, key)
        raise
    finally:
        _wish.reset(token)
        with _lock:
            _running.discard((who, key))


def keep(ctx: Context, who: str, key: str, request: bytes, answer: Answer) -> None:
    """The answer for whoever asks again within KEPT_S; inside `doing`, after the action."""
    told = {"status": answer.status, "headers": answer.headers, "body": answer.body}
    sealed = _fernet(ctx).encrypt(json.dumps(told).encode()).decode()
    wish = _wish.get()
    if wish is not None:
        wish.written = True  # by us, here
    with ctx.database.write() as session:
        _forget_old(session, ctx.clock())
        row = session.get(IdempotencyKey, (who, key))
        if row is None:
            row = IdempotencyKey(who=who, key=key, request=_digest(ctx, request), created_at=ctx.clock())
            session.add(row)
        row.answer = sealed


@event.listens_for(Session, "before_commit")
def _write_key(session: Session) -> None:
    wish = _wish.get()
    if wish is None or wish.written:
        return
    wish.written = True
    _forget_old(session, wish.at)
    session.add(IdempotencyKey(who=wish.who, key=wish.key, request=wish.request, created_at=wish.at, answer=None))
    session.flush()


def _forget(ctx: Context, who: str, key: str) -> None:
    with ctx.database.write() as session:
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.who == who, IdempotencyKey.key == key))


def _forget_old(session: Session, now: float) -> None:
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at <= now - KEPT_S))


def _digest(ctx: Context, request: bytes) -> str:
    """Keyed: bodies hold passwords, which nobody shall guess from a digest."""
    return hmac.digest(ctx.key_for("idempotency"), request, "sha256").hex()


def _fernet(ctx: Context) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(ctx.key_for("idempotency answers")))


def _opened(ctx: Context, sealed: str) -> Answer:
    try:
        told: dict[str, Any] = json.loads(_fernet(ctx).decrypt(sealed.encode()))
    except InvalidToken:
        raise Conflict("this was done already, but its answer was sealed with another secret.key") from None
    return Answer(told["status"], told["headers"], told["body"])
