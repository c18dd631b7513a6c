"""The tool by which hosts of glance copy each other's images, with a peer and a keystone on the loopback."""

from __future__ import annotations

import hashlib
import http.server
import importlib.machinery
import importlib.util
import json
import sqlite3
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "roles/glance/templates/glance-copies"
PEER, NOBODY = "127.0.0.2", "127.0.0.3"
CONTENT = bytes(range(256)) * 5000
ACCOUNT = {
    "username": "glance", "password": "secret", "project_name": "service",
    "user_domain_name": "Default", "project_domain_name": "Default",
}  # fmt: skip


class Cloud(http.server.ThreadingHTTPServer):
    """A peer's glance and the keystone before it: gives images to who has a token."""

    images: dict[str, bytes]
    is_well = True


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Cloud

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]
        right = asked["identity"]["password"]["user"]["password"] == "secret"
        self._send(201 if right else 401, b"{}", {"X-Subject-Token": "a-token"} if right else {})

    def do_GET(self) -> None:
        if self.path == "/healthcheck":
            self._send(200 if self.server.is_well else 503, b"")
            return
        image = self.server.images.get(self.path.split("/")[3])
        if self.headers.get("X-Auth-Token") != "a-token":
            self._send(401, b"")
        elif image is None:  # as glance answers when its file is not there
            self.send_response(204)
            self.end_headers()
        else:
            self._send(200, image)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "pymysql", ModuleType("pymysql"))  # on hosts only: the database here is SQLite
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("glance_copies", str(TOOL))
    spec = importlib.util.spec_from_loader("glance_copies", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def cloud(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with Cloud((PEER, 0), _Answer) as server:
        server.images = {}
        monkeypatch.setattr(tool, "API_PORT", server.server_port)
        yield from serving(server)


def serving(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def rows() -> Iterator[sqlite3.Connection]:
    """As much of glance's database as the tool asks for."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE images (id, size, os_hash_algo, os_hash_value, status, deleted)")
    database.execute("CREATE TABLE image_locations (image_id, value, deleted)")
    yield database
    database.close()


@pytest.fixture
def store(tool: ModuleType, cloud: Cloud, rows: sqlite3.Connection, tmp_path: Path) -> Any:
    class Database(tool.Database):  # type: ignore[misc,name-defined]
        def ask(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
            return rows.execute(query.replace("%s", "?"), tuple(values)).fetchall()

    keystone = f"http://{PEER}:{cloud.server_port}/v3"
    peers = tool.Peers([NOBODY, PEER], {**ACCOUNT, "auth_url": keystone})
    return tool.Store(tmp_path, Database("mysql+pymysql://x@y/z"), peers)


def add(rows: sqlite3.Connection, folder: Path, name: str, content: bytes, status: str = "active") -> None:
    digest = hashlib.sha512(content).hexdigest()
    deleted = int(status == "deleted")
    rows.execute("INSERT INTO images VALUES (?, ?, 'sha512', ?, ?, ?)", (name, len(content), digest, status, deleted))
    rows.execute("INSERT INTO image_locations VALUES (?, ?, ?)", (name, f"file://{folder}/{name}", deleted))


def test_an_image_that_came_in_at_a_peer_is_copied_whole(
    store: Any, cloud: Cloud, rows: sqlite3.Connection, tmp_path: Path
) -> None:
    add(rows, tmp_path, "one", CONTENT)
    cloud.images["one"] = CONTENT
    assert store.problem
    store.round()
    assert (tmp_path / "one").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert store.problem == ""


def test_what_is_half_here_is_fetched_again_and_what_is_still_coming_in_is_left_alone(
    store: Any, cloud: Cloud, rows: sqlite3.Connection, tmp_path: Path
) -> None:
    add(rows, tmp_path, "half", CONTENT)
    add(rows, tmp_path, "coming", CONTENT, status="saving")
    cloud.images.update(half=CONTENT, coming=CONTENT)
    (tmp_path / "half").write_bytes(CONTENT[:100])
    store.round()
    assert (tmp_path / "half").read_bytes() == CONTENT
    assert not (tmp_path / "coming").exists()


def test_a_wrong_copy_is_not_taken_and_takes_nobody_out_of_service(
    store: Any, cloud: Cloud, rows: sqlite3.Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("damaged", "nowhere"):
        add(rows, tmp_path, name, CONTENT)
    cloud.images["damaged"] = CONTENT[::-1]
    store.round()
    assert list(tmp_path.iterdir()) == []
    assert store.problem == ""
    assert set(store.lost) == {"damaged", "nowhere"}
    store.round()
    assert capsys.readouterr().out.count("image nowhere is at no peer") == 1  # told once
    cloud.images.update(damaged=CONTENT, nowhere=CONTENT)
    store.round()
    assert store.lost == {}
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_deleted_goes_and_what_glance_does_not_know_stays(
    store: Any, rows: sqlite3.Connection, tmp_path: Path
) -> None:
    """An empty database must not empty the store."""
    add(rows, tmp_path, "gone", CONTENT, status="deleted")
    for name in ("gone", "unknown"):
        (tmp_path / name).write_bytes(CONTENT)
    store.round()
    assert [path.name for path in tmp_path.iterdir()] == ["unknown"]


def test_a_database_that_is_away_changes_nothing(tool: ModuleType, store: Any, cloud: Cloud) -> None:
    store.round()

    def away(*_: object) -> None:
        raise tool.Refused("it is away")

    store.database.ask = away
    with pytest.raises(tool.Refused):
        store.round()
    assert store.problem == ""


def test_a_balancer_is_told_who_can_serve_every_image(
    tool: ModuleType, store: Any, cloud: Cloud, rows: sqlite3.Connection, tmp_path: Path
) -> None:
    add(rows, tmp_path, "one", CONTENT)
    cloud.images["one"] = CONTENT
    answering = tool.answering(store, f"http://{PEER}:{cloud.server_port}")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), answering) as server:
        for _ in serving(server):
            assert asked(server.server_port)[0] == 503
            store.round()
            assert asked(server.server_port) == (200, "all images are here\n")
            cloud.is_well = False
            status, why = asked(server.server_port)
            assert status == 503
            assert "healthcheck answers 503" in why


def asked(port: int) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
