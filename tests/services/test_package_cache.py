"""The package cache against a real HTTP server on loopback: what is kept, what is asked again, what is never served."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest

from pxeforge.services import cache_fetch, cache_upstream, package_cache
from pxeforge.services.cache_store import Part
from pxeforge.services.cache_upstream import MirrorDown, Upstream
from pxeforge.services.package_cache import Busy, CutOff, Growing, PackageCache, Passed, Unavailable, cache_status
from pxeforge.services.problems import NotFound
from tests.services.fake_repository import Repository, serve_repository, until

POOL = "pool/main/x/x_1.0_amd64.deb"
RELEASE = "dists/trixie/InRelease"
DEB = hashlib.sha256(b"seed").digest() * 20_000  # 640 kB


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_fetch, "_PAUSE_S", 0.01)
    monkeypatch.setattr(cache_upstream, "_DOWN_S", 0.0)
    monkeypatch.setattr(package_cache, "_ALIVE_S", 0.05)


@pytest.fixture
def served() -> Iterator[tuple[str, Repository]]:
    with serve_repository() as (url, repository):
        repository.put(f"/debian/{POOL}", DEB)
        repository.put(f"/debian/{RELEASE}", b"release 1", etag='"1"')
        yield url, repository


@pytest.fixture
def url(served: tuple[str, Repository]) -> str:
    return served[0]


@pytest.fixture
def repository(served: tuple[str, Repository]) -> Repository:
    return served[1]


def open_cache(url: str, folder: Path, **words: object) -> PackageCache:
    return PackageCache({"debian": Upstream(f"{url}/debian")}, folder, reserve_bytes=0, **words)  # type: ignore[arg-type]


@pytest.fixture
def cache(url: str, tmp_path: Path) -> PackageCache:
    return open_cache(url, tmp_path)


def fetch(cache: PackageCache, path: str, mirror: str = "debian") -> bytes:
    """The whole body; raises what a client would take for a broken connection."""
    found = cache.get(mirror, path)
    if isinstance(found, Passed):
        return b"".join(found.body)
    stream = found if isinstance(found, Growing) else found.stream
    body = b""
    while piece := stream.read(65536):
        body += piece
    stream.close()
    assert len(body) == found.size
    return body


def read_to_the_end(growing: Growing, only: bytes) -> None:
    while growing.tell() < growing.size:
        assert set(growing.read(1000)) == set(only)


def at_rest(cache: PackageCache) -> None:
    """No download is under way any more."""
    until(lambda: not cache._fetches)


# ---------------------------------------------------------------------- files that never change


def test_a_package_is_fetched_once_and_then_kept(cache: PackageCache, repository: Repository, tmp_path: Path) -> None:
    assert fetch(cache, POOL) == DEB
    at_rest(cache)
    assert fetch(cache, POOL) == DEB
    assert len(repository.asked) == 1
    kept = tmp_path / "debian" / POOL
    assert kept.read_bytes() == DEB
    assert kept.stat().st_mtime == 1_700_000_000
    assert cache.counters.sums()["hits"] == 1
    assert cache.counters.sums()["used_bytes"] == len(DEB)


def test_many_clients_at_once_cost_upstream_one_request(cache: PackageCache, repository: Repository) -> None:
    repository.gate = threading.Event()
    with ThreadPoolExecutor(16) as pool:
        bodies = [pool.submit(fetch, cache, POOL) for _ in range(16)]
        until(lambda: cache.counters.sums()["joined"] == 15)
        repository.gate.set()
        assert all(body.result(20) == DEB for body in bodies)
    assert len(repository.asked) == 1


def test_two_processes_share_one_download(url: str, repository: Repository, tmp_path: Path) -> None:
    one, other = open_cache(url, tmp_path), open_cache(url, tmp_path)  # nothing but the folder in common
    repository.gate = threading.Event()
    first = one.get("debian", POOL)
    second = other.get("debian", POOL)
    assert isinstance(first, Growing)
    assert isinstance(second, Growing)
    until(lambda: second.arrived() == len(DEB) // 2)
    assert second.read(10) == DEB[:10]  # as it comes
    repository.gate.set()
    until(lambda: second.arrived() == len(DEB))
    assert second.read() == DEB[10:]
    assert len(repository.asked) == 1


def test_a_part_of_a_file_that_is_being_fetched_is_served(cache: PackageCache, repository: Repository) -> None:
    repository.gate = threading.Event()
    found = cache.get("debian", POOL)
    assert isinstance(found, Growing)
    found.seek(len(DEB) - 5)
    repository.gate.set()
    assert found.read() == DEB[-5:]


@pytest.mark.parametrize("path", ["dists/x/main/by-hash/SHA256/ab12", "x/repodata/" + "a" * 64 + "-primary.xml.gz"])
def test_what_is_named_by_its_checksum_is_kept(cache: PackageCache, repository: Repository, path: str) -> None:
    repository.put(f"/debian/{path}", b"index")
    assert [fetch(cache, path), at_rest(cache), fetch(cache, path)] == [b"index", None, b"index"]
    assert len(repository.asked) == 1


def test_that_a_file_is_not_there_is_not_remembered(cache: PackageCache, repository: Repository) -> None:
    with pytest.raises(NotFound):
        fetch(cache, "pool/y.deb")
    repository.put("/debian/pool/y.deb", b"y")
    assert fetch(cache, "pool/y.deb") == b"y"


def test_an_empty_file_is_a_file(cache: PackageCache, repository: Repository) -> None:
    repository.put("/debian/pool/empty", b"")
    assert [fetch(cache, "pool/empty"), at_rest(cache), fetch(cache, "pool/empty")] == [b"", None, b""]
    assert len(repository.asked) == 1


def test_a_folder_of_upstream_is_no_file(cache: PackageCache, repository: Repository, url: str) -> None:
    repository.redirects["/debian/pool"] = f"{url}/debian/pool/"
    with pytest.raises(NotFound, match="folder"):
        fetch(cache, "pool")
    assert fetch(cache, POOL) == DEB


def test_a_list_of_a_folder_that_was_kept_gives_way(cache: PackageCache, repository: Repository) -> None:
    repository.put("/debian/pool/main", b"<html>")
    assert fetch(cache, "pool/main") == b"<html>"
    at_rest(cache)
    assert fetch(cache, POOL) == DEB
    at_rest(cache)
    assert cache.warm("debian", POOL) is not None
    assert fetch(cache, "pool/main") == b"<html>"  # and is handed through from now on


# ---------------------------------------------------------------------- indexes


def test_an_index_is_asked_for_each_time_and_sent_once(cache: PackageCache, repository: Repository) -> None:
    assert [fetch(cache, RELEASE), at_rest(cache), fetch(cache, RELEASE)] == [b"release 1", None, b"release 1"]
    assert repository.asked[1][1]["if-none-match"] == '"1"'
    repository.put(f"/debian/{RELEASE}", b"release 2", etag='"2"')
    assert fetch(cache, RELEASE) == b"release 2"
    assert cache.counters.sums()["revalidated"] == 1


def test_an_index_without_etag_is_known_by_its_date(cache: PackageCache, repository: Repository) -> None:
    repository.put("/debian/dists/x/Release", b"old", modified=1_700_000_000)
    assert [fetch(cache, "dists/x/Release"), at_rest(cache), fetch(cache, "dists/x/Release")] == [b"old", None, b"old"]
    assert repository.asked[1][1]["if-modified-since"] == formatdate(1_700_000_000, usegmt=True)


def test_an_index_that_cannot_be_known_again_is_fetched_each_time(cache: PackageCache, repository: Repository) -> None:
    repository.put("/debian/dists/x/Release", b"old", modified=None)
    fetch(cache, "dists/x/Release")
    at_rest(cache)
    repository.put("/debian/dists/x/Release", b"new", modified=None)
    assert fetch(cache, "dists/x/Release") == b"new"


def test_who_asks_later_never_gets_what_upstream_sent_before(url: str, repository: Repository, tmp_path: Path) -> None:
    """Client A's slow download of yesterday's Packages must not be given to B, who has seen today's Release."""
    packages = "dists/trixie/main/binary-amd64/Packages"
    repository.put(f"/debian/{packages}", b"yesterday", etag='"y"')
    cache = open_cache(url, tmp_path)
    repository.gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(fetch, cache, packages)
        until(lambda: repository.requests_for(f"/debian/{packages}"))
        repository.put(f"/debian/{packages}", b"today", etag='"t"')
        later = pool.submit(fetch, cache, packages)
        time.sleep(0.1)
        repository.gate.set()
        assert slow.result(10) == b"yesterday"
        assert later.result(10) == b"today"


def test_forty_who_ask_for_an_index_at_once_cost_a_few_requests(cache: PackageCache, repository: Repository) -> None:
    repository.stall = threading.Event()
    with ThreadPoolExecutor(40) as pool:
        bodies = [pool.submit(fetch, cache, RELEASE) for _ in range(40)]
        until(lambda: cache.counters.sums()["requests"] == 40)
        repository.stall.set()
        assert {body.result(10) for body in bodies} == {b"release 1"}
    assert len(repository.asked) <= 8  # not 40: some arrive just after a question was sent


def test_a_copy_whose_origin_is_unknown_is_not_vouched_for(cache: PackageCache, tmp_path: Path) -> None:
    place = tmp_path / "debian" / RELEASE
    place.parent.mkdir(parents=True)
    place.write_bytes(b"put here by hand")
    assert fetch(cache, RELEASE) == b"release 1"


# ---------------------------------------------------------------------- upstream at its worst


def test_what_breaks_off_goes_on_where_it_broke(cache: PackageCache, repository: Repository) -> None:
    repository.cuts[f"/debian/{POOL}"] = [200_000, 100_000]
    assert fetch(cache, POOL) == DEB
    asked = repository.requests_for(f"/debian/{POOL}")
    assert [headers.get("range") for headers in asked] == [None, "bytes=200000-", "bytes=300000-"]
    assert all(headers["if-range"] == formatdate(1_700_000_000, usegmt=True) for headers in asked[1:])
    assert cache.counters.sums()["resumed"] == 2


def test_without_ranges_the_same_file_is_read_again_from_its_start(cache: PackageCache, repository: Repository) -> None:
    repository.ranges = False
    repository.cuts[f"/debian/{POOL}"] = [200_000]
    assert fetch(cache, POOL) == DEB


def test_clients_of_a_download_that_is_cut_get_all_or_an_error(cache: PackageCache, repository: Repository) -> None:
    """Never a short answer that looks whole: each has the promised length, or is cut off."""
    repository.cuts[f"/debian/{POOL}"] = [100_000] * cache_fetch.TRIES
    repository.ranges = False  # so that it never gets further than that
    with ThreadPoolExecutor(12) as pool:
        results = [pool.submit(fetch, cache, POOL) for _ in range(12)]
        for result in results:
            with pytest.raises((CutOff, MirrorDown)):
                result.result(20)
    assert cache.warm("debian", POOL) is None
    assert fetch(cache, POOL) == DEB  # upstream has recovered


def test_a_file_that_changes_under_a_download_is_never_mixed(cache: PackageCache, repository: Repository) -> None:
    repository.put(f"/debian/{POOL}", b"a" * 500_000, etag='"a"')
    repository.cuts[f"/debian/{POOL}"] = [250_000]
    repository.gate = threading.Event()
    old = cache.get("debian", POOL)
    until(lambda: isinstance(old, Growing) and old.arrived() >= 125_000)
    repository.put(f"/debian/{POOL}", b"b" * 500_000, etag='"b"')
    repository.gate.set()
    assert isinstance(old, Growing)
    with pytest.raises(CutOff):
        read_to_the_end(old, only=b"a")
    until(lambda: cache.warm("debian", POOL) is not None)
    assert fetch(cache, POOL) == b"b" * 500_000


@pytest.mark.parametrize("chunked", [True, False])
def test_without_a_length_only_a_marked_end_counts(cache: PackageCache, repository: Repository, chunked: bool) -> None:
    repository.chunked, repository.lengthless = chunked, not chunked
    if chunked:
        assert fetch(cache, POOL) == DEB
        return
    with pytest.raises(MirrorDown, match="does not say how long"):
        fetch(cache, POOL)


def test_chunks_without_an_end_are_not_a_file(cache: PackageCache, repository: Repository) -> None:
    repository.chunked = True
    repository.cuts[f"/debian/{POOL}"] = [100_000] * cache_fetch.TRIES
    with pytest.raises(MirrorDown):
        fetch(cache, POOL)
    assert cache.warm("debian", POOL) is None


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_what_upstream_refuses_is_one_sentence(cache: PackageCache, repository: Repository, status: int) -> None:
    repository.status[f"/debian/{POOL}"] = status
    with pytest.raises(MirrorDown, match=rf"answered {status} for {POOL}"):
        fetch(cache, POOL)
    del repository.status[f"/debian/{POOL}"]
    assert fetch(cache, POOL) == DEB


def test_a_redirect_is_followed(cache: PackageCache, repository: Repository, url: str) -> None:
    repository.redirects["/debian/pool/r.deb"] = "/elsewhere/r.deb"
    repository.put("/elsewhere/r.deb", b"moved")
    assert fetch(cache, "pool/r.deb") == b"moved"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/debian/pool/r.deb", "gopher://x"])
def test_a_redirect_leads_neither_out_of_http_nor_round_and_round(
    cache: PackageCache, repository: Repository, target: str
) -> None:
    repository.redirects["/debian/pool/r.deb"] = target
    with pytest.raises(MirrorDown, match="redirects"):
        fetch(cache, "pool/r.deb")
    assert len(repository.asked) <= 6


def test_a_text_that_upstream_compresses_unasked_is_refused(cache: PackageCache, repository: Repository) -> None:
    repository.extra_headers["Content-Encoding"] = "gzip"
    with pytest.raises(MirrorDown, match="compressed"):
        fetch(cache, RELEASE)
    repository.put("/debian/dists/x/Packages.gz", b"gz")  # some call every .gz so, and mean the file as it is
    assert fetch(cache, "dists/x/Packages.gz") == b"gz"


def test_a_stalled_upstream_costs_patience_and_no_more(url: str, repository: Repository, tmp_path: Path) -> None:
    cache = open_cache(url, tmp_path, patience_s=0.2)
    repository.stall = threading.Event()
    with pytest.raises(Busy, match="takes too long"):
        fetch(cache, POOL)
    repository.stall.set()
    assert fetch(cache, POOL) == DEB


def test_a_stalled_upstream_does_not_take_the_threads_of_others(
    url: str, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_upstream, "_MOST_WAITING", 3)
    monkeypatch.setattr(cache_upstream, "_STALLED_S", 0.05)
    cache = open_cache(url, tmp_path)
    repository.stall = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(fetch, cache, POOL) for _ in range(3)]
        until(lambda: cache._upstreams["debian"].is_stalled)
        with pytest.raises(Busy, match="keeps many others waiting"):
            fetch(cache, "pool/another.deb")
        repository.stall.set()
        assert all(each.result(10) == DEB for each in waiting)
    assert not cache._upstreams["debian"].is_stalled


def test_a_mirror_that_is_down_is_told_in_one_sentence(tmp_path: Path) -> None:
    cache = open_cache("http://user:secret@127.0.0.1:9", tmp_path)
    with pytest.raises(MirrorDown, match=r"the package mirror http://127\.0\.0\.1:9/debian does not answer"):
        fetch(cache, POOL)


def test_upstream_is_reached_through_a_proxy(url: str, repository: Repository, tmp_path: Path) -> None:
    cache = PackageCache({"debian": Upstream("http://mirror.invalid/debian", proxy=url)}, tmp_path, reserve_bytes=0)
    assert fetch(cache, POOL) == DEB
    assert repository.proxied == 1


def test_each_mirror_has_its_own_files(url: str, repository: Repository, tmp_path: Path) -> None:
    upstreams = {name: Upstream(f"{url}/{name}") for name in ("debian", "ubuntu")}
    cache = PackageCache(upstreams, tmp_path, reserve_bytes=0)
    repository.put(f"/ubuntu/{POOL}", b"ubuntu's")
    assert fetch(cache, POOL) == DEB
    assert fetch(cache, POOL, "ubuntu") == b"ubuntu's"
    with pytest.raises(NotFound, match=r"known: debian, ubuntu.*mirrors\.NAME"):
        fetch(cache, POOL, "fedora")


# ---------------------------------------------------------------------- killed


def test_the_download_of_a_killed_process_goes_on_in_another(url: str, repository: Repository, tmp_path: Path) -> None:
    cache = open_cache(url, tmp_path)
    part = cache.store.claim(f"debian/{POOL}")
    assert part is not None
    head = cache_fetch.Head(
        total=len(DEB), modified=1_700_000_000, dated=True, etag=None, asked=cache_fetch.Moment.now()
    )  # fmt: skip
    part.begin(head)
    part.append(DEB[:300_000])
    follower = open_cache(url, tmp_path).get("debian", POOL)
    assert isinstance(follower, Growing)
    part.release()  # as the kernel does when a process dies
    assert b"".join(iter(lambda: follower.read(65536), b"")) == DEB
    assert repository.asked[0][1]["range"] == "bytes=300000-"


FETCHER = """
import sys, time
from pathlib import Path
from pxeforge.services.cache_upstream import Upstream
from pxeforge.services.package_cache import PackageCache
url, folder, path = sys.argv[1:]
PackageCache({"debian": Upstream(f"{url}/debian")}, Path(folder), reserve_bytes=0).get("debian", path)
time.sleep(60)
"""


def test_clients_of_other_processes_get_all_when_the_one_that_fetches_is_killed(
    url: str, repository: Repository, tmp_path: Path
) -> None:
    repository.gate = threading.Event()
    with subprocess.Popen([sys.executable, "-c", FETCHER, url, str(tmp_path), POOL]) as fetcher:
        try:
            survivor = open_cache(url, tmp_path)
            until(lambda: survivor.store.part_path(f"debian/{POOL}").exists())
            follower = survivor.get("debian", POOL)
            assert isinstance(follower, Growing)
            until(lambda: follower.arrived() == len(DEB) // 2)
        finally:
            fetcher.kill()
    repository.gate.set()
    assert b"".join(iter(lambda: follower.read(65536), b"")) == DEB
    assert [headers.get("range") for _, headers in repository.asked] == [None, f"bytes={len(DEB) // 2}-"]


def test_a_part_whose_computer_went_down_is_not_trusted(url: str, repository: Repository, tmp_path: Path) -> None:
    cache = open_cache(url, tmp_path)
    part = cache.store.claim(f"debian/{POOL}")
    assert part is not None
    before = cache_fetch.Moment("another boot", 1e9)
    part.begin(cache_fetch.Head(total=len(DEB), modified=1_700_000_000, dated=True, etag=None, asked=before))
    part.append(bytes(300_000))
    part.release()
    assert fetch(cache, POOL) == DEB
    assert "range" not in repository.asked[0][1]


def test_a_part_that_becomes_whole_while_it_is_claimed_is_not_written_to(
    cache: PackageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cache.store.claim(f"debian/{POOL}")
    assert first is not None
    first.append(DEB)
    lock, ended = fcntl.flock, []

    def slow_lock(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX | fcntl.LOCK_NB and not ended:
            ended.append(first.finish(1_700_000_000))
            first.release()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", slow_lock)
    second = cache.store.claim(f"debian/{POOL}")
    assert second is not None
    assert second.size == 0
    second.append(b"other")
    second.discard()
    second.release()
    assert fetch(cache, POOL) == DEB


@pytest.mark.parametrize("offline", [False, True])
def test_what_had_come_whole_when_its_process_died_is_kept(
    url: str, repository: Repository, tmp_path: Path, offline: bool
) -> None:
    cache = open_cache(url, tmp_path, offline=offline)
    part = cache.store.claim(f"debian/{POOL}")
    assert part is not None
    now = cache_fetch.Moment.now()
    part.begin(cache_fetch.Head(total=len(DEB), modified=1_700_000_000, dated=True, etag=None, asked=now))
    part.append(DEB)
    part.release()
    assert fetch(cache, POOL) == DEB
    assert repository.asked == []


def test_offline_a_part_that_is_not_whole_is_missing(url: str, tmp_path: Path) -> None:
    cache = open_cache(url, tmp_path, offline=True)
    part = cache.store.claim(f"debian/{POOL}")
    assert part is not None
    now = cache_fetch.Moment.now()
    part.begin(cache_fetch.Head(total=len(DEB), modified=1_700_000_000, dated=True, etag=None, asked=now))
    part.append(DEB[:-1])
    part.release()
    with pytest.raises(Unavailable):
        cache.get("debian", POOL)
    assert cache.store.part_path(f"debian/{POOL}").stat().st_size == len(DEB) - 1


def test_a_disk_that_keeps_slowly_holds_nobody_up(
    cache: PackageCache, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_cache, "_MOST_FETCHES", 2)
    at_last, finish = threading.Event(), Part.finish
    monkeypatch.setattr(Part, "finish", lambda part, modified: at_last.wait(30) and finish(part, modified))
    paths = [f"pool/main/s/slow/slow_{number}_amd64.deb" for number in range(6)]
    for path in paths:
        repository.put(f"/debian/{path}", DEB)
    try:
        assert [fetch(cache, path) for path in paths] == [DEB] * 6
        assert not any(cache.store.has(f"debian/{path}") for path in paths)
        assert fetch(cache, paths[0]) == DEB  # again, while it is still on its way to the disk
    finally:
        at_last.set()
    at_rest(cache)
    assert all(cache.store.has(f"debian/{path}") for path in paths)
    assert len(repository.asked) == 6


# ---------------------------------------------------------------------- without upstream


def release_of(*indexes: tuple[str, bytes], date: str = "Sat, 14 Nov 2026 08:00:00 UTC") -> bytes:
    lines = [f" {hashlib.sha256(content).hexdigest()} {len(content)} {path}" for path, content in indexes]
    return "\n".join(["Origin: Debian", f"Date: {date}", "SHA256:", *lines, ""]).encode()


def put_suite(repository: Repository, packages: bytes, **words: str) -> None:
    tag = hashlib.sha256(packages).hexdigest()[:8]
    release = release_of(("main/binary-amd64/Packages", packages), **words)
    for path, content in (("InRelease", release), ("Release", release), ("main/binary-amd64/Packages", packages)):
        repository.put(f"/debian/dists/trixie/{path}", content, etag=f'"{tag}-{path}"')
    repository.put("/debian/dists/trixie/Release.gpg", f"signature {tag}".encode(), etag=f'"{tag}-gpg"')


SUITE = [f"dists/trixie/{name}" for name in ("InRelease", "Release", "Release.gpg", "main/binary-amd64/Packages")]


def fetch_all(cache: PackageCache, paths: list[str]) -> list[bytes]:
    found = []
    for path in paths:
        found.append(fetch(cache, path))
        at_rest(cache)
    return found


def test_offline_what_is_there_is_served_and_what_is_missing_is_named(
    url: str, repository: Repository, tmp_path: Path
) -> None:
    put_suite(repository, b"packages")
    online = fetch_all(open_cache(url, tmp_path), [*SUITE, POOL])
    offline = open_cache(url, tmp_path, offline=True)
    asked = len(repository.asked)
    assert [fetch(offline, path) for path in [*SUITE, POOL]] == online
    with pytest.raises(Unavailable, match=r"debian/pool/z\.deb is not in the cache.*mirror prefetch"):
        fetch(offline, "pool/z.deb")
    assert len(repository.asked) == asked
    assert cache_status(tmp_path)["missing"] == ["debian/pool/z.deb"]
    assert offline.counters.sums()["stale"] == len(SUITE)


def test_yesterdays_packages_are_not_served_with_todays_release(
    url: str, repository: Repository, tmp_path: Path
) -> None:
    put_suite(repository, b"yesterday")
    cache = open_cache(url, tmp_path)
    fetch_all(cache, SUITE)
    put_suite(repository, b"today", date="Sun, 15 Nov 2026 08:00:00 UTC")
    fetch_all(cache, SUITE[:1])  # only InRelease was fetched before upstream went away
    offline = open_cache(url, tmp_path, offline=True)
    assert b"15 Nov" in fetch(offline, SUITE[0])
    for path in SUITE[1:]:
        if path.endswith(".gpg"):
            continue  # it fits the Release that is here, which is not served
        with pytest.raises(Unavailable, match="does not belong to the Release"):
            fetch(offline, path)
    fetch_all(cache, SUITE)
    assert fetch(offline, SUITE[3]) == b"today"


def test_a_signature_is_served_only_beside_the_file_it_was_fetched_beside(
    url: str, repository: Repository, tmp_path: Path
) -> None:
    put_suite(repository, b"yesterday")
    cache, offline = open_cache(url, tmp_path), open_cache(url, tmp_path, offline=True)
    fetch_all(cache, SUITE[1:3])
    assert fetch(offline, SUITE[2]).startswith(b"signature")
    put_suite(repository, b"today")
    fetch_all(cache, SUITE[1:2])
    with pytest.raises(Unavailable):
        fetch(offline, SUITE[2])


def test_repodata_must_fit_repomd(url: str, repository: Repository, tmp_path: Path) -> None:
    def repomd(primary: bytes) -> bytes:
        digest = hashlib.sha256(primary).hexdigest()
        return (
            '<repomd><data type="primary"><checksum type="sha256">' + digest + "</checksum>"
            '<location href="repodata/primary.xml.gz"/></data></repomd>'
        ).encode()

    cache, offline = open_cache(url, tmp_path), open_cache(url, tmp_path, offline=True)
    for name, content in (("repomd.xml", repomd(b"one")), ("primary.xml.gz", b"one")):
        repository.put(f"/debian/7/os/repodata/{name}", content, etag=f'"1{name}"')
    paths = ["7/os/repodata/repomd.xml", "7/os/repodata/primary.xml.gz"]
    assert fetch_all(cache, paths) == [fetch(offline, path) for path in paths]
    repository.put("/debian/7/os/repodata/repomd.xml", repomd(b"two"), etag='"2"')
    fetch_all(cache, paths[:1])
    with pytest.raises(Unavailable, match=r"does not belong to the Release or repomd\.xml"):
        fetch(offline, paths[1])


def test_when_upstream_goes_down_the_cache_goes_on(url: str, repository: Repository, tmp_path: Path) -> None:
    put_suite(repository, b"packages")
    online = fetch_all(open_cache(url, tmp_path), [*SUITE, POOL])
    lost = open_cache("http://127.0.0.1:9", tmp_path)
    assert [fetch(lost, path) for path in [*SUITE, POOL]] == online
    with pytest.raises(MirrorDown, match=r"does not answer.*; debian/pool/z\.deb is not in the cache"):
        fetch(lost, "pool/z.deb")


# ---------------------------------------------------------------------- room


def put_packages(repository: Repository, count: int, size: int) -> list[str]:
    paths = [f"pool/p{number}.deb" for number in range(count)]
    for number, path in enumerate(paths):
        repository.put(f"/debian/{path}", bytes([number]) * size)
    return paths


def test_what_was_asked_for_longest_ago_goes_first(url: str, repository: Repository, tmp_path: Path) -> None:
    import os

    cache = open_cache(url, tmp_path, max_bytes=1_000_000)
    paths = put_packages(repository, 8, 200_000)
    for number, path in enumerate(paths[:4]):
        fetch_all(cache, [path])
        os.utime(tmp_path / "debian" / path, (1_600_000_000 + number, 1_700_000_000))
    assert cache.get("debian", paths[0]) is not None  # asked for again: now the last to go
    fetch_all(cache, paths[4:6])
    here = [path for path in paths if cache.is_warm("debian", path)]
    assert paths[0] in here
    assert paths[1] not in here
    assert paths[5] in here
    sums = cache.counters.sums()
    assert sums["used_bytes"] == sum((tmp_path / "debian" / path).stat().st_size for path in here) <= 1_000_000
    assert sums["evicted_bytes"] == 200_000 * sums["evicted_files"] > 0


def test_what_is_being_read_is_not_evicted(url: str, repository: Repository, tmp_path: Path) -> None:
    cache = open_cache(url, tmp_path, max_bytes=1_000_000)
    paths = put_packages(repository, 8, 200_000)
    fetch_all(cache, paths[:1])
    reading = open_cache(url, tmp_path).get("debian", paths[0])
    fetch_all(cache, paths[1:])
    assert cache.is_warm("debian", paths[0])
    assert not cache.is_warm("debian", paths[1])
    assert not isinstance(reading, Passed)
    del reading


def test_what_has_no_room_is_handed_through(url: str, repository: Repository, tmp_path: Path) -> None:
    cache = open_cache(url, tmp_path, max_bytes=len(DEB) - 1)
    assert fetch(cache, POOL) == DEB
    assert not cache.is_warm("debian", POOL)
    assert cache.counters.sums()["passed"] == 1
    full = open_cache(url, tmp_path / "full", free_bytes=lambda _: len(DEB) // 2)
    assert fetch(full, POOL) == DEB
    assert list((tmp_path / "full" / ".fetching").iterdir()) == []


def test_a_download_that_was_given_up_takes_no_room_from_the_next_try(
    url: str, repository: Repository, tmp_path: Path
) -> None:
    cache = open_cache(url, tmp_path, max_bytes=len(DEB) + 1000)
    repository.cuts[f"/debian/{POOL}"] = [100_000] * cache_fetch.TRIES
    repository.ranges = False
    with pytest.raises((CutOff, MirrorDown)):
        fetch(cache, POOL)
    at_rest(cache)
    repository.put(f"/debian/{POOL}", DEB[::-1], modified=1_800_000_000)
    assert fetch(cache, POOL) == DEB[::-1]
    at_rest(cache)
    assert cache.is_warm("debian", POOL)


def test_the_cache_of_the_release_before_is_taken_over(url: str, tmp_path: Path) -> None:
    (tmp_path / "pool" / "main").mkdir(parents=True)
    (tmp_path / "pool" / "main" / "o.deb").write_bytes(b"old")
    assert fetch(open_cache(url, tmp_path), "pool/main/o.deb") == b"old"


# ---------------------------------------------------------------------- hostile names


@pytest.mark.parametrize(
    "path",
    [
        "../secret.key",
        "pool/../../secret.key",
        "pool/./x",
        "pool//x",
        "/etc/passwd",
        "pool/x\n",
        "pool/x\0.deb",
        "a b",
        "pool/%2e%2e/%2e%2e/x",
        "pool\\x",
        "pool/" + "a" * 300,
        "pool/" + "a/" * 600 + "a",
        "",
        "pool/",
    ],
)
def test_no_path_leads_out_of_the_cache(tmp_path: Path, path: str) -> None:
    cache = open_cache("http://127.0.0.1:9", tmp_path)
    with pytest.raises(NotFound):
        cache.get("debian", path)
    with pytest.raises(NotFound):
        cache.head("debian", path)
    assert cache.warm("debian", path) is None
    assert not (tmp_path / "debian").exists()


@pytest.mark.parametrize("mirror", ["..", ".fetching", ".about", "", "debian/..", "ubuntu"])
def test_only_mirrors_of_the_settings_have_files(tmp_path: Path, mirror: str) -> None:
    cache = open_cache("http://127.0.0.1:9", tmp_path)
    assert cache.warm(mirror, POOL) is None
    with pytest.raises(NotFound):
        cache.get(mirror, POOL)
