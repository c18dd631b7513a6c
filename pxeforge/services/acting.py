"""Who acts in this thread just now, and from where: what the audit log writes beside each change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from pxeforge.domain.user_role import UserRole

LOCAL: Final = "local"  # root on the computer: the unix socket, or the data directory itself
SESSION: Final = "session"
PASSWORD: Final = "password"  # noqa: S105 - a name and password with the request (HTTP Basic)
TOKEN: Final = "token"  # noqa: S105 - followed by the token's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """`via`: one of LOCAL, SESSION, PASSWORD, or TOKEN with the token's name behind it."""

    who: str
    role: UserRole
    via: str
    address: str | None = None
    must_change: bool = False  # the password was set by somebody else: nothing but changing it is allowed

    @property
    def local(self) -> bool:
        return self.via == LOCAL

    @property
    def by_token(self) -> bool:
        return self.via.startswith(f"{TOKEN} ")


ON_THE_COMPUTER: Final = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
_acting: ContextVar[Actor | None] = ContextVar("acting", default=None)


def acts(actor: Actor | None) -> None:
    """From now on this thread works for `actor`; None: for nobody."""
    _acting.set(actor)


@contextmanager
def acting_as(actor: Actor) -> Iterator[Actor]:
    """What is done in this block, `actor` does."""
    token = _acting.set(actor)
    try:
        yield actor
    finally:
        _acting.reset(token)


def acting() -> Actor | None:
    return _acting.get()
