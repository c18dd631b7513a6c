"""Where the database is: read from a URL, and never told with its password."""

from pathlib import Path

import pytest

from pxeforge.store.location import BadLocation, in_folder, parse


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/lib/pxeforge/pxeforge.db", "/var/lib/pxeforge/pxeforge.db"),
        ("sqlite:////srv/a%20b.db", "/srv/a b.db"),
    ],
)
def test_a_sqlite_database_is_a_file_from_the_root(url: str, path: str) -> None:
    assert parse(url).path == Path(path)
    assert str(parse(url)) == path


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ops:s3cret@db.example:5433/pxeforge", "postgresql://ops@db.example:5433/pxeforge"),
        ("postgres://ops:s3%2Fcret@[2001:db8::1]/pxeforge?sslmode=require", "postgresql://ops@[2001:db8::1]/pxeforge"),
        ("postgresql:///pxeforge?host=/run/postgresql&password=s3cret", "postgresql:///run/postgresql/pxeforge"),
        ("postgresql://a@one:1,two:2/pxeforge", "postgresql://a@one:1,two:2/pxeforge"),
    ],
)
def test_a_postgresql_database_is_shown_without_its_password(url: str, shown: str) -> None:
    location = parse(url)
    assert location.path is None
    assert location.url == url
    assert str(location) == shown
    assert "cret" not in repr(location)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://ops:s3cret@db/pxeforge", "only PostgreSQL and SQLite"),
        ("pxeforge.db", "only PostgreSQL and SQLite"),
        ("", "only PostgreSQL and SQLite"),
        ("postgresql://ops:s3cret@db", "which database"),
        ("postgresql://ops:s3cret@db:x/pxeforge", "which database"),
        ("postgresql://ops:12/s3cret@db/pxeforge", "which database"),
        ("postgresql://ops:12?s3cret@db/pxeforge", "which database"),
        ("postgresql://ops:12#s3cret@db/pxeforge", "which database"),
        ("postgresql://ops:s3cret@[db/pxeforge", "cannot be read"),
        ("sqlite://", "is a file"),
        ("sqlite://host/path", "is a file"),
        ("sqlite:///a.db?mode=ro", "is a file"),
    ],
)
def test_a_url_of_no_database_is_refused_without_telling_its_password(url: str, says: str) -> None:
    with pytest.raises(BadLocation, match=says) as told:
        parse(url)
    assert "s3cret" not in str(told.value)


def test_without_a_url_the_database_is_in_the_data_directory() -> None:
    assert in_folder(Path("/data")).path == Path("/data/pxeforge.db")
