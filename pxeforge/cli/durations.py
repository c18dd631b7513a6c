"""Durations as people write them."""

from __future__ import annotations

import re
from typing import Final

import click

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration_s(text: str) -> int:
    """`90m`, `2h`, `1d` or plain seconds."""
    match = re.fullmatch(r"(\d+)([smhd]?)", text.strip())
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"{text!r} is not a duration: write e.g. 90m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2] or "s"]
