"""Where the database is: a SQLite file or a PostgreSQL server, and how that is told without the password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

FILE_NAME: Final = "pxeforge.db"  # in the data directory
_POSTGRESQL: Final = ("postgresql", "postgres")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/]*)(:[0-9]+)?")
_NAME: Final = re.compile(r"[^@/?#]+")  # with these it would be the rest of a password that was not escaped
_EXAMPLES: Final = "write it like postgresql://USER:PASSWORD@HOST/NAME or sqlite:///PATH"


class BadLocation(ValueError):
    """A URL that names no database; the message says what to write and holds no password."""


@dataclass(frozen=True, slots=True)
class Location:
    """`path` of a SQLite file, or else `url` for PostgreSQL, with its password. Only `shown` is for people."""

    shown: str
    path: Path | None = None
    url: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.shown


def in_file(path: Path) -> Location:
    return Location(shown=str(path), path=path)


def in_folder(data_dir: Path) -> Location:
    """Where the database is if nobody says otherwise."""
    return in_file(data_dir / FILE_NAME)


def parse(url: str) -> Location:
    """Raises BadLocation."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadLocation(f"the database's URL cannot be read: {_EXAMPLES}") from None
    if parts.scheme == "sqlite":
        if parts.netloc or not parts.path.strip("/") or parts.query or parts.fragment:
            raise BadLocation("a SQLite database is a file: write it like sqlite:///var/lib/pxeforge/pxeforge.db")
        return in_file(Path("/" + unquote(parts.path).lstrip("/")))
    if parts.scheme not in _POSTGRESQL:
        raise BadLocation(f"only PostgreSQL and SQLite can be used: {_EXAMPLES}")
    query = dict(parse_qsl(parts.query))
    login, _, hosts = parts.netloc.rpartition("@")
    name = unquote(parts.path[1:]) or query.get("dbname", "")
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")) or not _NAME.fullmatch(name):
        raise BadLocation(
            f"the database's URL does not say which database: {_EXAMPLES}, with %XX for : / ? # @ in the password"
        )
    user = unquote(login.partition(":")[0]) or query.get("user", "")
    where = hosts or query.get("host", "")
    return Location(shown=f"postgresql://{user}{'@' if user else ''}{where}/{name}", url=url)
