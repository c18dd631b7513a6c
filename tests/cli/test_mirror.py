"""`pxeforge mirror …` on a data directory, with a small mirror on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.main import main
from tests.conftest import write_image
from tests.services.fake_repository import Repository, serve_repository
from tests.services.test_prefetch import put_suite

Run = Callable[..., Result]


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    with serve_repository() as (url, repository):
        put_suite(repository)
        monkeypatch.setenv("PXEFORGE_MIRROR", f"{url}/debian")
        monkeypatch.setenv("PXEFORGE_CACHE_RESERVE_BYTES", "0")
        yield repository


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Repository) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    write_image(tmp_path / "data")

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words])

    return call


def test_a_cache_that_nobody_has_used_says_so(run: Run) -> None:
    assert "nothing asked for yet" in run("mirror", "status").output
    assert json.loads(run("mirror", "status", "--json").output)["counters"]["requests"] == 0


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")
def test_a_dry_run_tells_sizes_then_everything_is_fetched_and_nothing_is_missing(run: Run) -> None:
    created = run("profile", "create", "debian-13", "--image", "debian-13")
    assert created.exit_code == 0, created.output
    dry = run("mirror", "prefetch", "debian-13", "--dry-run", "--package", "tool").output
    assert "1.8 kB  debian/pool/main/x/xauth_1.0_amd64.deb" in dry
    assert "files are missing" in dry.splitlines()[-1]
    done = run("mirror", "prefetch", "debian-13", "--package", "tool")
    assert done.exit_code == 0, done.output
    again = json.loads(run("mirror", "prefetch", "debian-13", "--dry-run", "--json", "--package", "tool").output)
    assert (again["missing"], again["missing_bytes"], again["problems"]) == ([], 0, [])
    assert again["needed_files"] > 20


def test_what_was_missing_without_the_mirror_is_fetched_when_it_is_back(
    run: Run, repository: Repository, tmp_path: Path
) -> None:
    from pxeforge.app.settings import Settings
    from pxeforge.app.upstream import open_cache
    from pxeforge.services.package_cache import Unavailable

    offline = open_cache(Settings(data_dir=tmp_path / "data", mirror="http://127.0.0.1:9/x", mirror_offline=True))
    with pytest.raises(Unavailable):
        offline.get("debian", "pool/main/x/xauth_1.0_amd64.deb")
    assert "missing: debian/pool/main/x/xauth_1.0_amd64.deb" in run("mirror", "status").output
    assert "1 files fetched" in run("mirror", "prefetch", "--missing").output
    assert "missing: " not in run("mirror", "status").output
    assert (tmp_path / "data/cache/debian/pool/main/x/xauth_1.0_amd64.deb").exists()


def test_a_file_is_forgotten_by_its_name_in_the_cache(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "data/cache/debian/pool/x.deb"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    assert run("mirror", "forget", "debian/pool/x.deb").exit_code == 0
    assert not place.exists()
    for name in ("debian/pool/x.deb", "ubuntu/pool/x.deb", "debian/../../pxeforge.db", "debian", ".fetching/x"):
        refused = run("mirror", "forget", name)
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a profile"),
        (("--missing", "--plan"), "name a profile"),
        (("nonsense",), "there is no profile 'nonsense'"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(run: Run, words: tuple[str, ...], says: str) -> None:
    refused = run("mirror", "prefetch", *words)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert says in refused.stderr
