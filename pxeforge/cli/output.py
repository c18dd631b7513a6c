"""How the CLI shows things: tables for people, JSON for scripts, times as a person says them."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_GB = 1e9
_NEVER_CUT = 100_000  # columns, where there is no terminal: a log or a pipe gets whole lines


def show_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")


def console_of_stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else _NEVER_CUT)


def show_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str) -> None:
    """`columns`: heading → key. `empty` is what is said, with the next step, when there are no rows."""
    console = console_of_stdout()
    if not rows:
        console.print(Text(empty))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(columns):
        table.add_column(heading, overflow="fold", no_wrap=number == 0 or not console.is_terminal)
    for row in rows:
        table.add_row(*[Text(_cell(key, row.get(key))) for key in columns.values()])
    console.print(table)


def show_fields(fields: Mapping[str, Any], *, width: int = 14) -> None:
    """What is said of one thing, a line for each field that says something; a list of objects has a line for each."""
    for key, value in fields.items():
        several = isinstance(value, list) and any(isinstance(one, dict) for one in value)
        for one in value if several else [value]:
            if one not in (None, "", [], {}):
                say(f"{key:>{width}}  {words_of(key, one)}")


def words_of(key: str, value: Any) -> str:
    """A value as a person reads it: times, sizes, `yes` and `no`; lists with commas, objects as `key value, …`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and key.endswith(("_at", "_until")):
        return moment(value)
    if isinstance(value, int | float) and key.endswith("_bytes"):
        return f"{value / 1e9:.1f} GB" if value >= _GB else f"{value / 1e6:.1f} MB"
    if isinstance(value, list):
        return ", ".join(words_of(key, one) for one in value)
    if isinstance(value, dict):
        inner = {name: one for name, one in value.items() if one not in (None, "", [], {})}
        return ", ".join(f"{name} {_grouped(name, one)}" for name, one in inner.items())
    return str(value)


def _grouped(key: str, value: Any) -> str:
    """Inside an object: what has commas of its own gets brackets."""
    words = words_of(key, value)
    return f"({words})" if isinstance(value, dict | list) and ", " in words else words


def _cell(key: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return printable(", ".join(map(str, value))) or "-"
    if key.endswith(("_at", "_until")) and isinstance(value, int | float):
        return moment(value)
    if key.endswith("_bytes"):
        return f"{value / 1e6:.0f} MB"
    return printable(str(value))


def printable(text: str) -> str:
    """Without the control characters by which what a host reported could drive the operator's terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def moment(at: float) -> str:
    """Local time; with the date when it is not today."""
    then = datetime.datetime.fromtimestamp(at)
    today = datetime.datetime.now()
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M")


def say(text: str) -> None:
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()
