"""The pull-through mirror against a real HTTP server on loopback."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.services.mirror import Mirror, MirrorDown, sweep
from pxeforge.services.problems import NotFound

POOL = "pool/main/x/x_1.0_amd64.deb"


class Upstream(http.server.BaseHTTPRequestHandler):
    """Serves a few files, counts requests, and can break off in the middle."""

    files: dict[str, bytes] = {}
    asked: list[str] = []
    break_after: int | None = None

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.break_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    Upstream.files = {f"/debian/{POOL}": b"d" * 700_000, "/debian/dists/trixie/Release": b"release 1"}
    Upstream.asked, Upstream.break_after = [], None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/debian"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_pool_file_is_fetched_once_and_then_kept(upstream: str, tmp_path: Path) -> None:
    mirror = Mirror(upstream, tmp_path)
    assert mirror.cached(POOL) is None
    answer = mirror.fetch(POOL, {})
    assert answer.status == 200
    assert answer.headers["Content-Length"] == "700000"
    assert b"".join(answer.body) == b"d" * 700_000
    kept = mirror.cached(POOL)
    assert kept is not None
    assert kept.read_bytes() == b"d" * 700_000


def test_an_index_is_asked_for_every_time(upstream: str, tmp_path: Path) -> None:
    mirror = Mirror(upstream, tmp_path)
    assert b"".join(mirror.fetch("dists/trixie/Release", {}).body) == b"release 1"
    Upstream.files["/debian/dists/trixie/Release"] = b"release 2"
    assert b"".join(mirror.fetch("dists/trixie/Release", {}).body) == b"release 2"
    assert mirror.cached("dists/trixie/Release") is None


def test_a_download_that_breaks_off_is_not_kept(upstream: str, tmp_path: Path) -> None:
    Upstream.break_after = 300_000
    mirror = Mirror(upstream, tmp_path)
    with pytest.raises(Exception, match=r"(?i)incomplete|broken|bytes"):
        b"".join(mirror.fetch(POOL, {}).body)
    assert mirror.cached(POOL) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_client_that_hangs_up_leaves_nothing(upstream: str, tmp_path: Path) -> None:
    mirror = Mirror(upstream, tmp_path)
    body = mirror.fetch(POOL, {}).body
    next(body)
    body.close()  # type: ignore[attr-defined]
    assert mirror.cached(POOL) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_upstream_lacks_is_not_found_and_not_kept(upstream: str, tmp_path: Path) -> None:
    mirror = Mirror(upstream, tmp_path)
    answer = mirror.fetch("pool/main/y/y.deb", {})
    assert answer.status == 404
    b"".join(answer.body)
    assert mirror.cached("pool/main/y/y.deb") is None


def test_a_mirror_that_is_down_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MirrorDown, match=r"the package mirror http://127\.0\.0\.1:9/debian does not answer"):
        Mirror("http://127.0.0.1:9/debian", tmp_path).fetch(POOL, {})


@pytest.mark.parametrize(
    "path",
    [
        "../secret.key",
        "pool/../../secret.key",
        "pool//x",
        "/etc/passwd",
        "pool/x\n",
        "a b",
        "pool/%2e%2e/%2e%2e/x",
        "pool/" + "a" * 300,
        "pool/" + "a/" * 600 + "a",
    ],
)
def test_no_path_leads_out_of_the_cache(tmp_path: Path, path: str) -> None:
    mirror = Mirror("http://127.0.0.1:9/debian", tmp_path)
    with pytest.raises(NotFound):
        mirror.cached(path)


def test_what_a_killed_download_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / ".x.deb.1234").write_bytes(b"half")
    (tmp_path / "pool" / "y.deb").write_bytes(b"whole")
    assert sweep(tmp_path) == 1
    assert (tmp_path / "pool" / "y.deb").exists()
