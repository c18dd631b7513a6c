"""A fleet of ten thousand hosts with some events each, made once; and what is asked of its database."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from bench.year import make_year
from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.services.context import Context

HOSTS, EVENTS_EACH = 10_000, 12
_NEWEST = re.compile(r"FROM events\s+ORDER BY events\.id DESC\s+LIMIT")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale") / "data"
    make_year(folder, HOSTS, EVENTS_EACH)
    return folder


@pytest.fixture(scope="module")
def ctx(fleet: Path) -> Iterator[Context]:
    context = open_context(Settings.model_validate({"data_dir": fleet}))
    yield context
    context.database.close()


@dataclass
class Asked:
    """The statements of the ORM since it began, with their values (what the wire asks past it has tests of its own)."""

    statements: list[tuple[str, Any]] = field(default_factory=list)

    def plans(self, ctx: Context) -> list[str]:
        """How SQLite carries out each one that reads: `SCAN hosts USING INDEX …`, a line per step.

        The newest events of all, read from the end of the table until there are enough, are no reading through.
        """
        found = []
        with ctx.database.engine.connect() as connection:
            for statement, values in self.statements:
                reads = statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "WITH"))
                if reads and not _NEWEST.search(statement):
                    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
                    found += [str(row[3]) for row in rows]
        return found


@contextlib.contextmanager
def asked() -> Iterator[Asked]:
    noted = Asked()

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA")):
            noted.statements.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        event.remove(Engine, "before_cursor_execute", note)
