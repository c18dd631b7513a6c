"""Secrets: generated once, encrypted at rest, given out only to what needs them."""

from __future__ import annotations

import re
import secrets as chance
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.store.tables import Run, Secret

_BYTES: Final = 24
_OF_A_ROLE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


def ensure(session: Session, ctx: Context, names: Iterable[str]) -> None:
    """Generates the secrets that do not exist yet (24 random bytes, URL-safe text)."""
    for name in names:
        if session.get(Secret, name) is None:
            clear = chance.token_urlsafe(_BYTES)
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
    from cryptography.fernet import Fernet, InvalidToken  # 6 MB that only a process with secrets in hand needs

    row = session.get(Secret, name)
    if row is None:
        raise NotFound(f"there is no secret {name}: see `pxeforge secret list`")
    try:
        return Fernet(ctx.master_key).decrypt(row.ciphertext.encode()).decode()
    except InvalidToken:
        raise Problem(f"secret {name} was encrypted with another secret.key: restore the key from a backup") from None


def list_secrets(ctx: Context) -> list[dict[str, Any]]:
    """Names and ages; never values."""
    now = ctx.clock()
    with ctx.database.read() as session:
        return [
            {"name": s.name, "created_at": s.created_at, "age_s": round(max(0.0, now - s.created_at))}
            for s in session.scalars(select(Secret).order_by(Secret.name))
        ]


def rotate(ctx: Context, name: str, *, who: str) -> dict[str, Any]:
    """A new value instead of the one before; `tasks` of the last deploy put it on their hosts when they run again.

    Raises NotFound, and Problem for what is no secret of a role: the passphrase of a disk does not change by a new word
    in our database.
    """
    if not _OF_A_ROLE.fullmatch(name):
        raise Problem(f"{name} is no secret of a role: only those are made anew by us")
    with ctx.database.write() as session:
        row = session.get(Secret, name)
        if row is None:
            raise NotFound(f"there is no secret {name}: see `pxeforge secret list`")
        if session.scalars(select(Run.id).where(Run.state == "running").limit(1)).first() is not None:
            raise Conflict("a run is going on and may be using it: wait for its end, or cancel it")
        before = row.created_at
        put(session, ctx, name, chance.token_urlsafe(_BYTES))
        record(
            session, ctx, source="operator", kind="secret_rotated", who=who,
            message=f"secret {name} made anew by {who}",
            data={"before": {"created_at": before}, "after": {"created_at": ctx.clock()}},
        )  # fmt: skip
        blueprint, tasks = _used_by(session, ctx, name)
        return {"name": name, "created_at": ctx.clock(), "blueprint": blueprint, "tasks": tasks}


def _used_by(session: Session, ctx: Context, name: str) -> tuple[str | None, list[str]]:
    """The tasks of the last real deploy that were given it, and the blueprint of that."""
    last = select(Run).where(Run.kind == "deploy", Run.check.is_(False)).order_by(Run.created_at.desc()).limit(1)
    run = session.scalars(last).first()
    if run is None:
        return None, []
    plan = ctx.runs.plan(session, run.id)
    return run.blueprint, [task.id for task in plan.tasks.values() if name in task.secrets]


def show(ctx: Context, name: str, *, who: str) -> dict[str, Any]:
    """The clear text, with an event that says who looked."""
    with ctx.database.write() as session:
        clear = reveal(session, ctx, name)
        record(
            session, ctx, source="operator", kind="secret_revealed", who=who, message=f"secret {name} shown to {who}"
        )
        return {"name": name, "value": clear}


def _seal(ctx: Context, clear: str) -> str:
    from cryptography.fernet import Fernet

    return Fernet(ctx.master_key).encrypt(clear.encode()).decode()
