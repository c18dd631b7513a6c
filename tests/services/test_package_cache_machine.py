"""The package cache against a model: whatever happens to upstream, processes and room, nobody gets a wrong byte."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pxeforge.services import cache_fetch, cache_upstream, package_cache
from pxeforge.services.cache_store import Head, Moment
from pxeforge.services.cache_upstream import MirrorDown, Upstream
from pxeforge.services.package_cache import Busy, CutOff, PackageCache, Unavailable
from pxeforge.services.problems import NotFound
from tests.services.fake_repository import Repository, serve_repository
from tests.services.test_package_cache import at_rest, fetch

MAX_BYTES = 120_000
FIXED = [f"pool/p{number}.deb" for number in range(5)]
INDEXES = ["dists/x/InRelease", "x/repodata/repomd.xml"]
ABSENT = "pool/absent.deb"
PATHS = st.sampled_from([*FIXED, *INDEXES])


def content_of(path: str, version: int) -> bytes:
    block = hashlib.sha256(f"{path} {version}".encode()).digest()
    return (block * 1500)[: 20_000 + 5_000 * (len(path) % 3) + version]


class CacheMachine(RuleBasedStateMachine):
    """Two processes on one folder. `versions`: of each index what upstream has now; packages have one version."""

    url: str
    repository: Repository

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.versions = dict.fromkeys(INDEXES, 0)
        self.repository.files.clear()
        self.repository.cuts.clear()
        self.repository.ranges = True
        self.up, self.repository.status = True, {}
        for path in (*FIXED, *INDEXES):
            self.repository.put(f"/debian/{path}", content_of(path, 0), etag=f'"{path} 0"')
        self.caches = [self.opened(), self.opened()]

    def opened(self, *, offline: bool = False) -> PackageCache:
        return PackageCache(
            {"debian": Upstream(f"{self.url}/debian")}, self.folder, max_bytes=MAX_BYTES, reserve_bytes=0,
            offline=offline,
        )  # fmt: skip

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for cache in self.caches:
                at_rest(cache)
                cache.counters.close()
            shutil.rmtree(self.folder)

    def answered(self, cache: PackageCache, path: str) -> bytes | None:
        """What one client got; None where it was told that it got nothing, or was cut off."""
        try:
            return fetch(cache, path)
        except (CutOff, MirrorDown, Unavailable, NotFound, Busy):
            return None

    def allowed(self, path: str) -> list[bytes]:
        if path in FIXED:
            return [content_of(path, 0)]
        now = self.versions[path]
        return [content_of(path, version) for version in ([now] if self.up else range(now + 1))]

    @rule(
        path=PATHS,
        who=st.integers(0, 1),
        cuts=st.lists(st.integers(0, 30_000), max_size=5),
    )
    def one_asks(self, path: str, who: int, cuts: list[int]) -> None:
        self.repository.cuts[f"/debian/{path}"] = list(cuts)
        body = self.answered(self.caches[who], path)
        assert body is None or body in self.allowed(path)
        if self.up and not cuts:
            assert body is not None

    @rule(
        path=PATHS,
        cuts=st.lists(st.integers(1, 30_000), max_size=3),
        ranges=st.booleans(),
    )
    def many_ask_at_once(self, path: str, cuts: list[int], ranges: bool) -> None:
        self.repository.cuts[f"/debian/{path}"], self.repository.ranges = list(cuts), ranges
        with ThreadPoolExecutor(6) as pool:
            bodies = list(pool.map(lambda number: self.answered(self.caches[number % 2], path), range(6)))
        assert all(body is None or body in self.allowed(path) for body in bodies)
        if self.up and not cuts:
            assert None not in bodies
        self.repository.cuts.clear()
        self.repository.ranges = True

    @rule(path=st.sampled_from(INDEXES))
    def upstream_changes(self, path: str) -> None:
        self.versions[path] += 1
        version = self.versions[path]
        self.repository.put(f"/debian/{path}", content_of(path, version), etag=f'"{path} {version}"')

    @rule(up=st.booleans())
    def upstream_goes_or_comes(self, up: bool) -> None:
        self.up = up
        self.repository.status = {} if up else {f"/debian/{path}": 503 for path in (*FIXED, *INDEXES)}

    @rule(path=PATHS, share=st.floats(0, 1), whole=st.booleans())
    def a_process_dies_while_it_fetches(self, path: str, share: float, whole: bool) -> None:
        for cache in self.caches:
            at_rest(cache)
        part = self.caches[0].store.claim(f"debian/{path}")
        assert part is not None
        version = self.versions.get(path, 0)
        content = content_of(path, version)
        part.start_over()
        part.begin(Head(
            total=len(content), modified=1_700_000_000, dated=True, etag=f'"{path} {version}"', asked=Moment.now()
        ))  # fmt: skip
        part.append(content if whole else content[: int(share * len(content))])
        part.release()

    @rule(who=st.integers(0, 1))
    def a_process_starts_anew(self, who: int) -> None:
        at_rest(self.caches[who])
        self.caches[who].counters.close()
        self.caches[who] = self.opened()

    @rule(path=PATHS)
    def somebody_asks_a_server_that_is_offline(self, path: str) -> None:
        offline = self.opened(offline=True)
        body = self.answered(offline, path)
        offline.counters.close()
        versions = range(self.versions.get(path, 0) + 1)
        assert body is None or body in [content_of(path, version) for version in versions]

    @rule(path=PATHS)
    def an_operator_removes_a_file(self, path: str) -> None:
        self.caches[0].store.forget(f"debian/{path}")
        assert not self.caches[1].is_warm("debian", path)

    @rule(who=st.integers(0, 1))
    def somebody_asks_for_what_is_not_there(self, who: int) -> None:
        assert self.answered(self.caches[who], ABSENT) is None

    @invariant()
    def every_file_on_the_disk_is_whole_and_counted(self) -> None:
        if not hasattr(self, "caches"):
            return
        for cache in self.caches:
            at_rest(cache)
        used = 0
        for place in (self.folder / "debian").rglob("*"):
            if place.is_file():
                path = str(place.relative_to(self.folder / "debian"))
                versions = range(self.versions.get(path, 0) + 1)
                assert place.read_bytes() in [content_of(path, version) for version in versions]
                used += place.stat().st_size
        assert used == self.caches[0].counters.sums()["used_bytes"] <= MAX_BYTES


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cache_fetch, "_PAUSE_S", 0.001)
    monkeypatch.setattr(cache_upstream, "_DOWN_S", 0.0)
    monkeypatch.setattr(package_cache, "_ALIVE_S", 0.01)
    with serve_repository() as (CacheMachine.url, CacheMachine.repository):
        yield


@pytest.mark.usefixtures("repository")
def test_no_order_of_events_makes_the_cache_serve_a_wrong_byte() -> None:
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(
            max_examples=20, stateful_step_count=15, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )  # fmt: skip
