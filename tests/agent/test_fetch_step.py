from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fake_host import do


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "www"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder
        server.shutdown()
        thread.join()


def params(url: str, content: bytes) -> dict[str, str]:
    return {"url": f"{url}/image", "path": "/srv/image", "sha256": hashlib.sha256(content).hexdigest(), "mode": "0640"}


def test_a_file_is_fetched_once(tmp_path: Path, site: tuple[str, Path]) -> None:
    url, folder = site
    content = b"x" * 3_000_001
    (folder / "image").write_bytes(content)
    assert [do(tmp_path, "fetch", params(url, content), root=tmp_path)["status"] for _ in range(2)] == ["changed", "ok"]
    assert (tmp_path / "srv/image").read_bytes() == content
    assert (tmp_path / "srv/image").stat().st_mode & 0o777 == 0o640
    (tmp_path / "srv/image").chmod(0o600)
    (folder / "image").unlink()  # only its mode differs: it is not fetched again
    assert do(tmp_path, "fetch", params(url, content), root=tmp_path)["status"] == "changed"


def test_another_digest_leaves_what_was_there(tmp_path: Path, site: tuple[str, Path]) -> None:
    url, folder = site
    (folder / "image").write_bytes(b"not what was asked for")
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/image").write_bytes(b"old")
    result = do(tmp_path, "fetch", params(url, b"asked"), root=tmp_path)
    assert (result["status"], "not the one asked for" in result["message"]) == ("failed", True)
    assert [file.read_bytes() for file in (tmp_path / "srv").iterdir()] == [b"old"]


def test_a_server_that_is_away_or_has_no_such_file_is_named(tmp_path: Path, site: tuple[str, Path]) -> None:
    url, _ = site
    assert do(tmp_path, "fetch", params(url, b""), root=tmp_path)["message"] == f"{url}/image answers 404"
    result = do(tmp_path, "fetch", params("http://127.0.0.1:9", b""), root=tmp_path)
    assert "cannot be fetched" in result["message"]
    assert list((tmp_path / "srv").iterdir()) == []
