"""The report of the discovery system: sent until it is taken, and what comes then."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.discovery import NotReported, hardware, report


class Server(http.server.ThreadingHTTPServer):
    replies: list[tuple[int, str]]
    got: list[tuple[str, Any]]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(body)))
        status, text = self.server.replies.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.replies, server.got = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_report_is_sent_until_the_server_takes_it(server: Server) -> None:
    server.replies = [(503, "busy"), (200, "reboot\n")]
    pauses: list[float] = []
    url = f"http://127.0.0.1:{server.server_port}/discovery/abc"
    assert report(url, {"disks": []}, pauses.append) == "reboot"
    assert server.got == [("/discovery/abc/report", {"disks": []})] * 2
    assert len(pauses) == 1


def test_a_refused_token_is_told_without_it_and_not_tried_again(server: Server) -> None:
    server.replies = [(403, "this token was used")]
    with pytest.raises(NotReported, match="403: this token was used") as refused:
        report(f"http://127.0.0.1:{server.server_port}/discovery/secret", {}, lambda _: None)
    assert "secret" not in str(refused.value)
    assert len(server.got) == 1


def test_a_server_that_is_not_there_is_asked_eight_times() -> None:
    pauses: list[float] = []
    with pytest.raises(NotReported):
        report("http://127.0.0.1:1/discovery/x", {}, pauses.append)
    assert len(pauses) == 7


def test_an_end_that_nobody_knows_is_to_wait(server: Server) -> None:
    server.replies = [(200, "explode")]
    assert report(f"http://127.0.0.1:{server.server_port}/discovery/x", {}) == "wait"


def test_hardware_holds_nothing_of_the_system_that_looks(tmp_path: Path) -> None:
    folder = tmp_path / "block/sda"
    (folder / "device").mkdir(parents=True)
    (folder / "size").write_text("2048\n")
    (folder / "device/vpd_pg80").write_bytes(b"\x00\x80\x00\x08  WD-1234")
    facts = hardware(tmp_path, tmp_path, listen_s=0)
    assert facts["told_by"] == "discovery"
    assert not {"hostname", "os", "ssh_host_keys", "machine_id", "mounts"} & set(facts)
    assert [disk["serial"] for disk in facts["disks"]] == ["WD-123"]
