"""What is kept of a host's power: settings in `host.settings["power"]`, and apart from them the password, encrypted.

Only services/power.py: set_power writes new ones: they make the server connect somewhere and send a password there.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from pxeforge.store.tables import Host, Secret

KEY: Final = "power"


def secret_name(host_id: str) -> str:
    """Under which name the password is among the secrets."""
    return f"power-{host_id}"


def stored(host: Host) -> dict[str, Any]:
    """The host's power settings; {} without."""
    settings = host.settings.get(KEY)
    return settings if isinstance(settings, dict) else {}


def forget(session: Session, host_id: str) -> None:
    """Without the host nobody needs its password."""
    session.execute(delete(Secret).where(Secret.name == secret_name(host_id)))


def hand_over(session: Session, gone: Host, keep: Host) -> None:
    """Two records of one host become one: what `keep` does not know of its power it has from `gone`."""
    if stored(gone) and not stored(keep):
        keep.settings = {**keep.settings, KEY: stored(gone)}
        renamed = update(Secret).where(Secret.name == secret_name(gone.id)).values(name=secret_name(keep.id))
        session.execute(renamed)
    forget(session, gone.id)
