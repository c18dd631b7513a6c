"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json` as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for scripts.")(command)
