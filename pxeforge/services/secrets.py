"""Secrets: generated once, encrypted at rest, given out only to what needs them."""

from __future__ import annotations

import secrets as chance
from collections.abc import Iterable
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import NotFound, Problem
from pxeforge.store.tables import Secret


def ensure(session: Session, ctx: Context, names: Iterable[str]) -> None:
    """Generates the secrets that do not exist yet (24 random bytes, URL-safe text)."""
    for name in names:
        if session.get(Secret, name) is None:
            clear = chance.token_urlsafe(24)
            session.add(Secret(name=name, ciphertext=_seal(ctx, clear), created_at=ctx.clock()))
            record(session, ctx, source="server", kind="secret_made", message=f"secret {name} generated")


def put(session: Session, ctx: Context, name: str, clear: str) -> None:
    """Keeps a secret that somebody gave, instead of the one before; the caller's event tells of it."""
    row = session.get(Secret, name)
    if row is None:
        session.add(Secret(name=name, ciphertext=_seal(ctx, clear), created_at=ctx.clock()))
    else:
        row.ciphertext, row.created_at = _seal(ctx, clear), ctx.clock()


def reveal(session: Session, ctx: Context, name: str) -> str:
    row = session.get(Secret, name)
    if row is None:
        raise NotFound(f"there is no secret {name}: see `pxeforge secret list`")
    try:
        return Fernet(ctx.master_key).decrypt(row.ciphertext.encode()).decode()
    except InvalidToken:
        raise Problem(f"secret {name} was encrypted with another secret.key: restore the key from a backup") from None


def list_secrets(ctx: Context) -> list[dict[str, Any]]:
    """Names and ages; never values."""
    with ctx.database.read() as session:
        return [
            {"name": s.name, "created_at": s.created_at} for s in session.scalars(select(Secret).order_by(Secret.name))
        ]


def show(ctx: Context, name: str, *, who: str) -> dict[str, Any]:
    """The clear text, with an event that says who looked."""
    with ctx.database.write() as session:
        clear = reveal(session, ctx, name)
        record(
            session, ctx, source="operator", kind="secret_revealed", who=who, message=f"secret {name} shown to {who}"
        )
        return {"name": name, "value": clear}


def _seal(ctx: Context, clear: str) -> str:
    return Fernet(ctx.master_key).encrypt(clear.encode()).decode()
