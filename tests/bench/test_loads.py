"""The load generators must see a wrong byte: against our own server, and against one that lies."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.compiled import CannotBench, compiled
from pxeforge.servers.tftp import TftpServer, TftpSettings
from tests.servers.conftest import Desk, running

pytestmark = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")
CONTENT = random.Random(7).randbytes(300_001)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name in ("tftp_load", "http_load"):
        compiled(name, folder)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "right").write_bytes(CONTENT)
    (tmp_path / "wrong").write_bytes(CONTENT[:200_000] + b"!" + CONTENT[200_001:])
    return tmp_path


@pytest.fixture
def tftp(files: Path) -> Iterator[int]:
    server = TftpServer(TftpSettings(port=0, max_per_client=99), Desk(files={"x": files / "right"}), time.monotonic)
    with running(server):
        yield server.port


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def http(files: Path) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=files)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def load(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("window", [1, 16, 64])
@pytest.mark.parametrize("loss", [0, 0.02])
def test_tftp_clients_fetch_right_bytes(programs: Path, files: Path, tftp: int, window: int, loss: float) -> None:
    words = ("-p", tftp, "-n", "x", "-c", 4, "-w", window, "-l", loss, "-t", 0.6)
    done = load(programs / "tftp_load", *words, "-f", files / "right")
    found = json.loads(done.stdout)
    assert (done.returncode, found["wrong"], found["errors"]) == (0, 0, 0)
    assert found["window"] == window
    assert found["bytes"] > 0


def test_tftp_clients_see_a_wrong_byte(programs: Path, files: Path, tftp: int) -> None:
    done = load(programs / "tftp_load", "-p", tftp, "-n", "x", "-c", 2, "-w", 8, "-t", 0.5, "-f", files / "wrong")
    assert done.returncode == 1
    assert json.loads(done.stdout)["wrong"] > 0


def test_a_missing_file_fails_the_measurement(programs: Path, files: Path, tftp: int) -> None:
    done = load(programs / "tftp_load", "-p", tftp, "-n", "y", "-c", 1, "-t", 0.2, "-f", files / "right")
    assert done.returncode == 1
    assert "file not found" in done.stderr


def test_http_clients_fetch_right_bytes_and_see_a_wrong_one(programs: Path, files: Path, http: int) -> None:
    words = ("-p", http, "-u", "/right", "-c", 3, "-t", 0.5)
    done = load(programs / "http_load", *words, "-f", files / "right")
    found = json.loads(done.stdout)
    assert (done.returncode, found["wrong"]) == (0, 0)
    assert found["files"] > 0
    assert load(programs / "http_load", *words, "-f", files / "wrong").returncode == 1


def test_each_path_of_a_list_is_asked_once_or_until_the_time_is_over(programs: Path, files: Path, http: int) -> None:
    paths = files / "list.txt"
    paths.write_text("/right\n/wrong\n" * 10)
    once = load(programs / "http_load", "-p", http, "-U", paths, "-c", 3, "-1")
    assert (once.returncode, json.loads(once.stdout)["requests"]) == (0, 20)
    assert json.loads(once.stdout)["bytes"] == 20 * len(CONTENT)
    again = load(programs / "http_load", "-p", http, "-U", paths, "-c", 3, "-t", 0.5)
    assert json.loads(again.stdout)["requests"] > 0


def test_a_path_that_is_not_there_fails_the_measurement(programs: Path, files: Path, http: int) -> None:
    (files / "list.txt").write_text("/right\n/neither\n")
    done = load(programs / "http_load", "-p", http, "-U", files / "list.txt", "-c", 1, "-1")
    assert done.returncode == 1
    assert "not 200" in done.stderr


def test_without_a_compiler_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotBench, match="install the package gcc"):
        compiled("tftp_load", tmp_path)
