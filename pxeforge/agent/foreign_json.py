"""JSON that programs of the host print: any text gives a value or a ValueError."""

from __future__ import annotations

import json
from typing import Any


def read_json(text: str) -> Any:
    """The value of the whole text; raises ValueError, for one that is nested too deep as well."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_json_at_start(text: str) -> Any:
    """The value that the text begins with; raises ValueError."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except RecursionError:
        raise ValueError("nested too deep") from None
