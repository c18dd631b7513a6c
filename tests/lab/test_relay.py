from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.lab.mirror import roots_of
from pxeforge.lab.relay import Relay, byte_range, serving

from .fake_mirror import FakeMirror, fake_mirror

DEB = "pool/main/a/a+b/a+b_1.0~rc1-1_amd64.deb"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("relay", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self.path))


class Client:
    def __init__(self, relay: Relay, socket_path: Path) -> None:
        self.relay, self.socket_path = relay, socket_path

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = UnixConnection(self.socket_path)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        try:
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()


@pytest.fixture
def mirror() -> Iterator[FakeMirror]:
    with fake_mirror() as mirror:
        mirror.files = {"dists/trixie/Release": b"Suite: stable\n", DEB: bytes(range(256)) * 2000}
        yield mirror


@pytest.fixture
def client(mirror: FakeMirror, tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "overlay/dists/trixie-lab").mkdir(parents=True)
    (tmp_path / "overlay/dists/trixie-lab/Release").write_bytes(b"0123456789")
    relay = Relay(
        tmp_path / "s",
        {"debian": mirror.url},
        overlay=tmp_path / "overlay",
        cache=tmp_path / "cache",
        log=tmp_path / "log",
    )
    with serving(relay):
        yield Client(relay, tmp_path / "s")


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").iterdir())


def test_a_file_of_the_mirror_is_passed_on_with_its_length_and_date(client: Client) -> None:
    status, headers, body = client.ask("/debian/dists/trixie/Release")
    assert (status, body) == (200, b"Suite: stable\n")
    assert headers["Content-Length"] == "14"
    assert headers["Last-Modified"] == "Mon, 02 Jan 2023 03:04:05 GMT"


def test_what_the_mirror_does_not_have_stays_not_found(client: Client, tmp_path: Path) -> None:
    assert client.ask("/debian/pool/main/x/x_1_all.deb")[0] == 404
    assert kept(tmp_path) == []


def test_a_pool_file_is_asked_for_once_and_then_comes_from_the_cache(client: Client, mirror: FakeMirror) -> None:
    first = client.ask(f"/debian/{DEB}")[2]
    second = client.ask(f"/debian/{DEB}")[2]
    assert first == second == mirror.files[DEB]
    assert len(mirror.asked) == 1


def test_an_index_is_never_cached(client: Client, mirror: FakeMirror) -> None:
    client.ask("/debian/dists/trixie/Release")
    mirror.files["dists/trixie/Release"] = b"new"
    assert client.ask("/debian/dists/trixie/Release")[2] == b"new"


def test_a_file_that_came_half_is_seen_as_half_and_not_kept(client: Client, mirror: FakeMirror, tmp_path: Path) -> None:
    mirror.cut_short.add(DEB)
    with pytest.raises(http.client.IncompleteRead):
        client.ask(f"/debian/{DEB}")
    assert kept(tmp_path) == []
    mirror.cut_short.clear()
    assert client.ask(f"/debian/{DEB}")[2] == mirror.files[DEB]


def test_the_overlay_wins_over_the_mirror(client: Client, mirror: FakeMirror) -> None:
    mirror.files["dists/trixie-lab/Release"] = b"the mirror's"
    assert client.ask("/debian/dists/trixie-lab/Release")[2] == b"0123456789"
    assert mirror.asked == []


def test_a_range_is_served_from_overlay_mirror_and_cache_alike(
    client: Client, mirror: FakeMirror, tmp_path: Path
) -> None:
    status, headers, body = client.ask("/debian/dists/trixie-lab/Release", Range="bytes=2-4")
    assert (status, body, headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    from_mirror = client.ask(f"/debian/{DEB}", Range="bytes=250-260")
    assert kept(tmp_path) == []
    client.ask(f"/debian/{DEB}")
    from_cache = client.ask(f"/debian/{DEB}", Range="bytes=250-260")
    assert from_mirror[0] == from_cache[0] == 206
    assert from_mirror[2] == from_cache[2] == mirror.files[DEB][250:261]
    assert from_mirror[1]["Content-Range"] == from_cache[1]["Content-Range"]


def test_a_range_behind_the_end_is_refused(client: Client) -> None:
    assert client.ask("/debian/dists/trixie-lab/Release", Range="bytes=10-")[0] == 416


def test_head_tells_the_length_and_sends_no_body(client: Client) -> None:
    for path in ("/debian/dists/trixie/Release", "/debian/dists/trixie-lab/Release"):
        status, headers, body = client.ask(path, "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 0


def test_nothing_outside_the_roots_is_served(client: Client, mirror: FakeMirror) -> None:
    for path in ("/", "/etc/passwd", "/debian/../secret", "/debian/%2e%2e/%2e%2e/etc/passwd", "/other/x"):
        assert client.ask(path)[0] == 404
    assert mirror.asked == []


def test_an_unreachable_mirror_is_a_bad_gateway(client: Client) -> None:
    client.relay.mirrors["debian"] = "http://127.0.0.1:1/debian"
    status, _, body = client.ask("/debian/dists/trixie/Release")
    assert status == 502
    assert b"cannot be reached" in body


def test_many_clients_at_once_get_the_same_whole_file(client: Client, mirror: FakeMirror, tmp_path: Path) -> None:
    bodies: list[bytes] = []
    threads = [threading.Thread(target=lambda: bodies.append(client.ask(f"/debian/{DEB}")[2])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [mirror.files[DEB]] * 12
    assert len(kept(tmp_path)) == 1


def test_every_request_is_recorded_with_its_origin(client: Client, tmp_path: Path) -> None:
    client.ask(f"/debian/{DEB}")
    client.ask(f"/debian/{DEB}")
    client.ask("/debian/dists/trixie-lab/Release")
    deadline = time.monotonic() + 10  # a line is written when the answer is out
    while len(lines := (tmp_path / "log").read_text().splitlines()) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    origins = [line.split()[4] for line in lines]
    assert sorted(origins) == ["cache", "mirror", "overlay"]


def test_only_the_owner_may_use_the_socket(client: Client) -> None:
    assert client.socket_path.stat().st_mode & 0o777 == 0o600


@given(size=st.integers(0, 1000), first=st.integers(0, 1100), length=st.integers(1, 1100))
def test_a_range_never_leaves_the_file(size: int, first: int, length: int) -> None:
    wanted = byte_range(f"bytes={first}-{first + length - 1}", size)
    if first >= size:
        assert wanted is None
    else:
        assert wanted == (first, min(first + length, size))


@given(header=st.text(max_size=30), size=st.integers(0, 1000))
def test_a_strange_range_header_means_the_whole_file(header: str, size: int) -> None:
    wanted = byte_range(header, size)
    assert wanted is None or 0 <= wanted[0] <= wanted[1] <= size


def test_the_last_bytes_can_be_asked_for() -> None:
    assert byte_range("bytes=-4", 10) == (6, 10)
    assert byte_range("bytes=-40", 10) == (0, 10)
    assert byte_range("bytes=-0", 10) is None


def test_roots_are_named_by_the_last_part_of_the_address() -> None:
    uris = ["http://m.example/debian-security/", "http://m.example/debian/", "http://other.example/debian/"]
    assert roots_of(uris) == {
        "debian-security": "http://m.example/debian-security",
        "debian": "http://m.example/debian",
    }


@pytest.mark.skipif(not Path("/usr/bin/apt-get").exists(), reason="needs Debian's apt")
def test_the_program_says_when_it_serves_and_leaves_no_socket_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pxeforge.lab.relay", "--socket", str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout
        assert relay.stdout.readline().startswith("relay: serving debian")
        assert (tmp_path / "s").exists()
        os.kill(relay.pid, signal.SIGTERM)
        assert relay.wait(10) == 0
    assert not (tmp_path / "s").exists()
