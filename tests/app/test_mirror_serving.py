"""/mirror as clients on the wire meet it: the boot plane behind its own server, upstream a real one on loopback."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pxeforge.servers.http import HttpServer, HttpSettings
from pxeforge.servers.tcp_listener import listen_tcp
from pxeforge.services import cache_fetch, cache_upstream, package_cache
from pxeforge.services.cache_upstream import Upstream
from pxeforge.services.context import Context
from pxeforge.services.package_cache import PackageCache
from pxeforge.webapp.boot_plane import create_boot_plane, file_at_once, is_slow
from tests.services.fake_repository import Repository, serve_repository, until

BIG = random.Random(4).randbytes(6_000_000)
DEB = "pool/main/x/x_1.0_amd64.deb"
LIMIT_S = 30


@dataclass
class Site:
    """Two servers, as of two processes, on one port and one cache folder."""

    port: int
    repository: Repository
    caches: list[PackageCache]
    servers: list[HttpServer]

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        with closing(self.client()) as client:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            client.request(method, path if path.startswith("/") else f"/mirror/debian/{path}", headers=named)
            reply = client.getresponse()
            return reply, reply.read()

    def settled(self) -> None:
        until(lambda: not any(cache._fetches for cache in self.caches))


@contextmanager
def serving(ctx: Context, folder: Path, *, settings: HttpSettings | None = None, **words: object) -> Iterator[Site]:
    with ExitStack() as stack:
        url, repository = stack.enter_context(serve_repository())
        repository.put(f"/debian/{DEB}", BIG)
        repository.put("/debian/dists/x/InRelease", b"release 1", etag='"1"')
        listener = stack.enter_context(closing(listen_tcp("127.0.0.1", 0)))
        caches, servers = [], []
        for _ in range(2):
            cache = PackageCache({"debian": Upstream(f"{url}/debian")}, folder, reserve_bytes=0, **words)  # type: ignore[arg-type]
            server = HttpServer(
                listener, settings or HttpSettings(tick_s=0.05),
                is_slow=lambda path, cache=cache: is_slow(path, cache),
                instant=lambda path, headers, cache=cache: file_at_once(ctx, cache, path, headers),
            )  # fmt: skip
            thread = threading.Thread(target=server.run, args=(create_boot_plane(ctx, cache, server.counts),))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.stop)
            caches.append(cache)
            servers.append(server)
        yield Site(listener.getsockname()[1], repository, caches, servers)
        for event in (repository.gate, repository.stall):
            if event is not None:
                event.set()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_fetch, "_PAUSE_S", 0.01)
    monkeypatch.setattr(cache_upstream, "_DOWN_S", 0.0)
    monkeypatch.setattr(package_cache, "_ALIVE_S", 0.05)


@pytest.fixture
def site(ctx: Context, tmp_path: Path) -> Iterator[Site]:
    with serving(ctx, tmp_path / "packages") as site:
        yield site


def test_cold_and_warm_answers_are_the_same(site: Site) -> None:
    cold = site.get(DEB)
    site.settled()
    warm = site.get(DEB)
    assert cold[1] == warm[1] == BIG
    names = ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges", "Cache-Control")
    assert [cold[0].headers[name] for name in names] == [warm[0].headers[name] for name in names]
    assert cold[0].headers["Last-Modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert len(site.repository.asked) == 1


def test_many_clients_of_two_processes_stream_one_download(site: Site) -> None:
    site.repository.gate = threading.Event()
    with ThreadPoolExecutor(12) as pool:
        bodies = [pool.submit(site.get, DEB) for _ in range(12)]
        until(lambda: site.caches[0].counters.total("joined") == 11)
        site.repository.gate.set()
        assert all(body.result(LIMIT_S)[1] == BIG for body in bodies)
    assert len(site.repository.asked) == 1


def test_a_range_is_served_from_cold_growing_and_whole_files(site: Site) -> None:
    for _ in range(2):
        reply, body = site.get(DEB, Range=f"bytes={len(BIG) - 100}-")
        assert (reply.status, body) == (206, BIG[-100:])
        assert reply.headers["Content-Range"] == f"bytes {len(BIG) - 100}-{len(BIG) - 1}/{len(BIG)}"
        site.settled()
    reply, _ = site.get(DEB, Range=f"bytes={len(BIG)}-")
    assert (reply.status, reply.headers["Content-Range"]) == (416, f"bytes */{len(BIG)}")


def test_what_a_client_has_already_is_not_sent_again(site: Site) -> None:
    reply, _ = site.get(DEB)
    site.settled()
    assert site.get(DEB, If_None_Match=reply.headers["ETag"])[0].status == 304
    assert site.get(DEB, If_Modified_Since=reply.headers["Last-Modified"])[0].status == 304
    again, _ = site.get("dists/x/InRelease")
    assert site.get("dists/x/InRelease", If_Modified_Since=again.headers["Last-Modified"])[0].status == 304
    site.repository.put("/debian/dists/x/InRelease", b"release two", modified=1_700_000_100, etag='"2"')
    reply, body = site.get("dists/x/InRelease", If_Modified_Since=again.headers["Last-Modified"])
    assert (reply.status, body) == (200, b"release two")


def test_head_costs_no_download(site: Site) -> None:
    reply, body = site.get(DEB, method="HEAD")
    assert (reply.status, reply.headers["Content-Length"], body) == (200, str(len(BIG)), b"")
    assert not site.caches[0].is_warm("debian", DEB)
    site.get(DEB)
    site.settled()
    reply, body = site.get(DEB, method="HEAD")
    assert (reply.status, reply.headers["Content-Length"], body) == (200, str(len(BIG)), b"")


def test_requests_in_a_row_are_answered_in_order(site: Site) -> None:
    """As apt asks: several at once on one connection, warm and cold ones mixed."""
    for number in range(8):
        site.repository.put(f"/debian/pool/p{number}.deb", str(number).encode() * 1000)
    for number in (0, 1, 2, 5):
        site.get(f"pool/p{number}.deb")
    site.settled()
    with closing(socket.create_connection(("127.0.0.1", site.port), LIMIT_S)) as stream:
        asked = [f"GET /mirror/debian/pool/p{number}.deb HTTP/1.1\r\nHost: x\r\n\r\n" for number in range(8)]
        stream.sendall("".join(asked).encode())
        received = b""
        while (
            len(received.replace(b"\r\n", b"")) < 8000
            or received.count(b"HTTP/1.1 200") < 8
            or not received.endswith(b"7")
        ):
            received += stream.recv(65536)
    positions = [received.index(str(number).encode() * 1000) for number in range(8)]
    assert positions == sorted(positions)


def test_a_thousand_requests_at_once_on_one_connection_are_no_trouble(site: Site) -> None:
    site.repository.put("/debian/pool/s.deb", b"s")
    site.get("pool/s.deb")
    site.settled()
    with closing(socket.create_connection(("127.0.0.1", site.port), LIMIT_S)) as stream:
        stream.sendall(b"GET /mirror/debian/pool/s.deb HTTP/1.1\r\n\r\n" * 1000)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 1000:
            piece = stream.recv(65536)
            assert piece, "the connection ended before all were answered"
            received += piece


def broken(site: Site) -> str:
    """How one client saw it: whole, refused, or broken."""
    try:
        reply, body = site.get(DEB)
    except (http.client.IncompleteRead, ConnectionError):
        return "broken"
    if reply.status != 200:
        return "refused"
    assert body == BIG
    return "whole"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_upstream_never_makes_a_short_answer_look_whole(site: Site, ranges: bool) -> None:
    site.repository.cuts[f"/debian/{DEB}"] = [1_000_000] * (cache_fetch.TRIES - 1 if ranges else 2 * cache_fetch.TRIES)
    site.repository.ranges = ranges
    with ThreadPoolExecutor(16) as pool:
        seen = [result.result(LIMIT_S) for result in [pool.submit(broken, site) for _ in range(16)]]
    if ranges:
        assert set(seen) == {"whole"}  # it went on where it broke
    else:
        assert set(seen) <= {"broken", "refused"}
        assert "broken" in seen
    site.settled()
    site.repository.cuts.clear()
    assert site.get(DEB)[1] == BIG


def test_a_stalled_upstream_and_slow_clients_keep_nobody_from_menus_and_warm_packages(
    ctx: Context, tmp_path: Path
) -> None:
    few = HttpSettings(quick_threads=1, slow_threads=2, tick_s=0.05)
    with serving(ctx, tmp_path / "packages", settings=few) as site, ExitStack() as stack:
        site.repository.put("/debian/pool/warm.deb", b"warm")
        site.get("pool/warm.deb")
        site.settled()
        site.repository.gate = threading.Event()
        for _ in range(10):  # they read nothing of a file that grows
            slow = stack.enter_context(closing(socket.create_connection(("127.0.0.1", site.port), LIMIT_S)))
            slow.sendall(f"GET /mirror/debian/{DEB} HTTP/1.1\r\n\r\n".encode())
        until(lambda: site.caches[0].counters.total("joined") == 9)
        site.repository.stall = threading.Event()
        for number in range(20):  # and these wait for upstream's first word
            waits = stack.enter_context(closing(socket.create_connection(("127.0.0.1", site.port), LIMIT_S)))
            waits.sendall(f"GET /mirror/debian/pool/cold{number}.deb HTTP/1.1\r\n\r\n".encode())
        time.sleep(0.2)
        for _ in range(8):  # whichever of the two servers takes it
            reply, body = site.get("/healthz")
            assert (reply.status, b"\nsending 0\nwaiting 0\n" in body) == (200, True)  # kernels find a place
            assert site.get("/boot/52:54:00:aa:bb:cc/menu.ipxe")[0].status == 200
            assert site.get("pool/warm.deb")[1] == b"warm"
            assert site.get("pool/warm.deb", Range="bytes=1-2")[1] == b"ar"
        site.repository.stall.set()
        site.repository.gate.set()


def test_memory_does_not_grow_with_what_slow_clients_have_not_read(site: Site) -> None:
    site.repository.put("/debian/pool/huge.deb", bytes(64 << 20))
    before = resident_bytes()
    with ExitStack() as stack:
        for _ in range(8):
            slow = stack.enter_context(closing(socket.create_connection(("127.0.0.1", site.port), LIMIT_S)))
            slow.sendall(b"GET /mirror/debian/pool/huge.deb HTTP/1.1\r\n\r\n")
        until(lambda: site.caches[0].is_warm("debian", "pool/huge.deb"), LIMIT_S)
        assert resident_bytes() - before < 150 << 20  # upstream is in this process too, the clients are 8 × 64 MB


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize(
    "path",
    [
        "/mirror/debian/../../secret.key",
        "/mirror/debian/pool/%2e%2e/%2e%2e/%2e%2e/secret.key",
        "/mirror/debian/pool/%252e%252e/x",
        "/mirror/debian/pool/x%00.deb",
        "/mirror/debian//etc/passwd",
        "/mirror/debian/pool\\..\\x",
        "/mirror/..%2fsecret.key/x",
        "/mirror/.counters/0",
        "/mirror/.fetching/x",
        "/mirror/debian/" + "a" * 300,
        "/mirror/debian/" + "a/" * 3000 + "a",
        "/mirror/debian/",
        "/mirror/",
    ],
)
def test_no_trick_with_the_path_gets_through(site: Site, path: str) -> None:
    assert site.get(path)[0].status in (400, 404, 431)
    assert all(asked.startswith("/debian/") and ".." not in asked for asked, _ in site.repository.asked)


def test_counters_tell_hits_from_misses(site: Site) -> None:
    site.get(DEB)
    site.settled()
    for _ in range(3):
        site.get(DEB)
    sums = site.caches[1].counters.sums()
    assert (sums["requests"], sums["hits"], sums["misses"]) == (4, 3, 1)
    assert sums["served_bytes"] == 4 * len(BIG)
    assert sums["upstream_bytes"] == len(BIG)
