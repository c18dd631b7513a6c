"""`pxeforge db …` on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.main import main
from pxeforge.services.context import load_master_key
from pxeforge.store.location import Location
from tests.postgresql import Cluster

pytestmark = pytest.mark.both_databases
Run = Callable[..., Result]


@pytest.fixture
def _as_real_servers_are(location: Location, request: pytest.FixtureRequest) -> Iterator[None]:
    """`db check` says that a server without fsync is wrong."""
    if not location.url:
        yield
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    with cluster.syncing():
        yield


@pytest.fixture
def run(tmp_path: Path, location: Location, monkeypatch: pytest.MonkeyPatch, _as_real_servers_are: None) -> Run:
    """With the database named by its URL, on a data directory of its own."""
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    url = location.url or f"sqlite://{location.path}"
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    load_master_key(data_dir)
    return lambda *words: CliRunner().invoke(main, ["--data-dir", str(data_dir), "--database", url, *words])


def test_a_database_is_upgraded_checked_backed_up_and_restored(run: Run, tmp_path: Path) -> None:
    assert "already" in run("db", "upgrade").output
    done = run("db", "backup", str(tmp_path / "file"))
    assert (done.exit_code, "written" in done.output) == (0, True)
    done = run("db", "restore", str(tmp_path / "file"))
    assert (done.exit_code, "restored the backup of" in done.output) == (0, True), done.output
    checked = run("db", "check")
    for check in ("restore", "revision", "rows", "key"):
        assert any(check in line and "ok" in line for line in checked.output.splitlines()), checked.output


def test_rows_are_copied_to_another_database_once(run: Run, tmp_path: Path) -> None:
    other = f"sqlite://{tmp_path / 'other.db'}"
    assert "rows copied to" in run("db", "copy", "--to", other).output
    assert run("db", "copy", "--to", "mysql://ops:s3cret@db/x").exit_code == 1
    assert "s3cret" not in run("db", "copy", "--to", "mysql://ops:s3cret@db/x").output
