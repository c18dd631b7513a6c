"""The settings that the last start found, for people to read: values, where each was set, and what it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pxeforge.services.context import Context

FILE: Final = "settings.json"  # in the data directory; app/settings_table.py writes it


def settings_in_force(ctx: Context) -> list[dict[str, Any]]:
    """Rows as app/settings_table.py makes them; none where no server has started on this data directory."""
    return rows_in(ctx.data_dir)


def rows_in(data_dir: Path) -> list[dict[str, Any]]:
    """The same of a data directory that need not be opened."""
    try:
        rows = json.loads((data_dir / FILE).read_text())["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    rows = rows if isinstance(rows, list) else []
    return [row for row in rows if isinstance(row, dict) and {"name", "value", "origin"} <= row.keys()]
