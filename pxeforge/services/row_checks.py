"""Looks at each row of the database: can it be read, is its state one we know, is what it names there."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import JSON, Float

from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.user_role import UserRole
from pxeforge.engine.graph import TaskState
from pxeforge.protocol.dhcp.lease import LeaseState
from pxeforge.store.tables import Base

LookUp = Callable[..., list[tuple[Any, ...]]]  # Database.look_up, or one that only reads
_AT_ONCE: Final = 2_000
_RUN_STATES: Final = frozenset(("running", "succeeded", "failed", "cancelled"))
_KNOWN: Final = {
    ("hosts", "state"): frozenset(state.value for state in HostState),
    ("leases", "state"): frozenset(state.value for state in LeaseState),
    ("runs", "state"): _RUN_STATES,
    ("run_tasks", "state"): frozenset(state.value for state in TaskState),
    ("users", "role"): frozenset(role.value for role in UserRole),
    ("api_tokens", "role"): frozenset(role.value for role in UserRole),
}
# What a foreign key does not keep: a host's attempt is written before and after the host itself.
_GONE: Final = """
    SELECT h.id FROM hosts h LEFT JOIN attempts a ON a.id = h.attempt_id
    WHERE h.attempt_id IS NOT NULL AND (a.id IS NULL OR a.host_id <> h.id) ORDER BY h.id LIMIT 10
"""


def wrong_rows(look_up: LookUp) -> list[str]:
    """A sentence for each; of a database whose tables are of this release."""
    found = [f"hosts {host_id} names an attempt that is not its own" for (host_id,) in look_up(_GONE)]
    for table in Base.metadata.sorted_tables:
        key = next(iter(table.primary_key.columns)).name
        documents = [column.name for column in table.columns if isinstance(column.type, JSON)]
        numbers = [column.name for column in table.columns if isinstance(column.type, Float)]
        states = [name for owner, name in _KNOWN if owner == table.name]
        addresses = [column.name for column in table.columns if column.name == "reserved_address"]
        looked_at = [*documents, *numbers, *states, *addresses]
        for row in _rows(look_up, table.name, key, looked_at) if looked_at else ():
            why = _fault(table.name, dict(zip(looked_at, row[1:], strict=True)), documents, numbers, addresses)
            if why:
                found.append(f"{table.name} {row[0]}: {why}")
    return found


def count(look_up: LookUp) -> int:
    """Rows of all tables of this release."""
    return sum(
        int(look_up(f'SELECT count(*) FROM "{table.name}"')[0][0])  # noqa: S608 - our own names
        for table in Base.metadata.sorted_tables
    )


def _rows(look_up: LookUp, table: str, key: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """All rows, a few thousand at a time: (key, columns …). A table with several key columns comes at once."""
    names = ", ".join(f'"{column}"' for column in (key, *columns))
    is_single = len(Base.metadata.tables[table].primary_key.columns) == 1
    statement = f'SELECT {names} FROM "{table}" ORDER BY "{key}"'  # noqa: S608 - our own names
    if not is_single:
        yield from look_up(statement)
        return
    rows = look_up(f"{statement} LIMIT {_AT_ONCE}")
    further = f'SELECT {names} FROM "{table}" WHERE "{key}" > :after ORDER BY "{key}" LIMIT {_AT_ONCE}'  # noqa: S608
    while rows:
        yield from rows
        rows = look_up(further, after=rows[-1][0])


def _fault(
    table: str, row: dict[str, Any], documents: list[str], numbers: list[str], addresses: list[str]
) -> str | None:  # fmt: skip
    for name, value in row.items():
        if name in documents and not _is_json(value):
            return f"{name} is no JSON"
        if name in numbers and not isinstance(value, int | float | None):
            return f"{name} is no number"
        if name in addresses and value is not None and not _is_address(value):
            return f"{name} is no address"
        known = _KNOWN.get((table, name))
        if known is not None and value not in known:
            return f"{name} is {value!r}, which is none of {', '.join(sorted(known))}"
    return None


def _is_json(value: object) -> bool:
    try:
        json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return value is None or isinstance(value, str)


def _is_address(value: object) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True
