"""The JSON object in a request's body: whatever a client sends, only what can be stored and sent again comes out."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn, cast

from flask import Request

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")


def json_object(request: Request) -> dict[str, Any] | None:
    """None for what is no JSON object (RFC 8259: no NaN, no infinity) or nested beyond reason.

    Half a surrogate pair becomes `?`: neither the database nor a page could hold it.
    """
    if not request.is_json:
        return None
    try:
        value = json.loads(request.get_data(), parse_constant=_no_number)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if _HALF_PAIR.search(text):
        value = json.loads(_HALF_PAIR.sub("?", text))
    return cast(dict[str, Any], value)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
