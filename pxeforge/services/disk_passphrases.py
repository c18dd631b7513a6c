"""The passphrase of a host's encrypted disk: random, made when the host is armed, kept among the secrets."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem

HIDDEN: Final = "hidden-passphrase"  # stands for it in previews


def name_of(host_id: str) -> str:
    """Under which name it is among the secrets: `pxeforge secret show luks-<host id>`."""
    return f"luks-{host_id}"


def ensure(session: Session, ctx: Context, host_id: str) -> None:
    """Makes it, once: an install of the same host again takes the same one."""
    from pxeforge.services import secrets  # its library is 6 MB that hosts without encrypted disks do not need

    secrets.ensure(session, ctx, [name_of(host_id)])


def reveal(ctx: Context, host_id: str) -> str:
    """For the installer of this host only; raises Problem."""
    from pxeforge.services import secrets

    try:
        with ctx.database.read() as session:
            return secrets.reveal(session, ctx, name_of(host_id))
    except NotFound:
        raise Problem("the encrypted disk has no passphrase yet: disarm the host and arm it again") from None
