"""What a running server was started with, so that it is examined as it is and not as it would be by default."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from pxeforge.app.doctor.processes import serving_pid
from pxeforge.app.settings import Settings
from pxeforge.services.settings_shown import rows_in

_OF_THE_NETWORK: Final = frozenset(
    {"interfaces", "dhcp", "range", "force", "boot_port", "agent_port", "tftp_port", "syslog_port", "admin_listen",
     "metrics_listen", "mirror", "mirror_proxy", "mirror_offline"}
)  # fmt: skip


def as_served(settings: Settings) -> Settings:
    """Its settings of ports and wires, where a server runs on the data directory; what was said to `doctor` wins."""
    if serving_pid(settings.data_dir / "serve.lock") is None:
        return settings
    running = {
        row["name"]: row["value"]
        for row in rows_in(settings.data_dir)
        if row["name"] in _OF_THE_NETWORK and settings.origin(row["name"]) != "command line"
    }
    try:
        checked = Settings(**{**settings.model_dump(), **running})
    except ValidationError:  # written by another release: better the defaults than nothing
        return settings
    return settings.model_copy(update={name: getattr(checked, name) for name in running})
