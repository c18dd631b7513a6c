"""The settings in force as a table for the pages, written at the start: the processes of `serve` keep no pydantic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pxeforge.app.settings import Settings
from pxeforge.services.context import Context, write_whole
from pxeforge.services.hidden import hide_everywhere
from pxeforge.services.settings_shown import FILE


def write_table(ctx: Context, settings: Settings) -> None:
    """Beside the database; without passwords."""
    content = json.dumps({"version": 1, "settings": table(ctx, settings)}, indent=1)
    write_whole(ctx.data_dir / FILE, content.encode(), mode=0o600)


def table(ctx: Context, settings: Settings) -> list[dict[str, Any]]:
    """name, value and default as JSON, origin (`default`, `environment`, `command line`, a file), and what it means."""
    plain = settings.model_dump(mode="json")
    if settings.database is not None:
        plain["database"] = str(settings.location)
    return [
        {
            "name": name, "value": hide_everywhere(ctx, plain[name]), "default": _default(name),
            "origin": settings.origin(name), "description": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]  # fmt: skip


def _default(name: str) -> Any:
    value = Settings.model_fields[name].get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return str(value) if isinstance(value, Path) else value
