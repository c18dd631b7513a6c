"""Which kernels a mirror has installer modules for: real HTTP, remembered for some minutes, never waited for twice."""

from __future__ import annotations

import gzip
import http.server
import lzma
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from pxeforge.services import mirror_udebs
from pxeforge.services.mirror_udebs import MirrorUdebs, UdebAnswer, UdebQuery, fetch_answer

INDEX = (
    b"Package: anna\nVersion: 1\n\nPackage: kernel-image-6.12.1-amd64-di\nVersion: 1\n\n"
    b"Package: ext4-modules-6.12.1-amd64-di\n\nPackage: kernel-image-6.12.9+deb13-amd64-di\n"
)
FOLDER = "dists/trixie/main/debian-installer/binary-amd64"


@dataclass
class Mirror:
    """What it serves, by path below /debian/; what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    status: int | None = None
    short: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def query(self) -> UdebQuery:
        return UdebQuery(self.url, "trixie", "amd64")


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    state = Mirror()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/debian/")
            state.asked.append(name.rpartition("/")[2])
            data = state.files.get(name)
            self.send_response(state.status or (404 if data is None else 200))
            self.send_header("Content-Length", str(len(data or b"") + state.short))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/debian"
    yield state
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("name", "pack"), [("Packages.xz", lzma.compress), ("Packages.gz", gzip.compress)])
def test_kernels_are_those_of_the_index(mirror: Mirror, name: str, pack: object) -> None:
    mirror.files[f"{FOLDER}/{name}"] = pack(INDEX)  # type: ignore[operator]
    assert fetch_answer(mirror.query) == UdebAnswer(frozenset({"6.12.1-amd64", "6.12.9+deb13-amd64"}))


def test_whatever_goes_wrong_is_a_sentence(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def problem() -> str:
        return fetch_answer(mirror.query).problem or ""

    assert "has no installer packages for trixie on amd64" in problem()
    mirror.files[f"{FOLDER}/Packages.xz"] = b"nonsense"
    assert "is damaged" in problem()
    mirror.files[f"{FOLDER}/Packages.xz"] = lzma.compress(INDEX)
    mirror.short = 10
    assert "cannot be asked (ChunkedEncodingError)" in problem()
    mirror.short, mirror.status = 0, 503
    assert "answered 503" in problem()
    mirror.status = None
    monkeypatch.setattr(mirror_udebs, "_MAX_BYTES", 10)
    assert "sent more" in problem()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = UdebQuery(f"http://127.0.0.1:{closed.getsockname()[1]}/debian", "trixie", "amd64")
        assert "cannot be asked (ConnectionError)" in (fetch_answer(nobody).problem or "")
        closed.listen()
        monkeypatch.setattr(mirror_udebs, "_READ_TIMEOUT_S", 0.1)
        assert "did not answer in time" in (fetch_answer(nobody).problem or "")


def test_a_proxy_is_asked_in_the_mirrors_place(mirror: Mirror) -> None:
    mirror.files["http://far.example/debian/" + f"{FOLDER}/Packages.xz"] = lzma.compress(INDEX)
    query = UdebQuery("http://far.example/debian", "trixie", "amd64", mirror.url.removesuffix("/debian"))
    assert fetch_answer(query).kernels


def test_an_answer_is_remembered_for_some_minutes_and_a_failure_for_less() -> None:
    answers = [UdebAnswer(problem="down"), UdebAnswer(frozenset({"6.1"}))]
    now, asked = [0.0], []

    def fetch(query: UdebQuery) -> UdebAnswer:
        asked.append(query)
        return answers[min(len(asked), 2) - 1]

    udebs = MirrorUdebs(fetch, lambda: now[0])
    one, other = (UdebQuery("http://m/debian", suite, "amd64") for suite in ("a", "b"))
    assert udebs.known(one) is None
    assert udebs.ask(one).problem == udebs.ask(one).problem == "down"
    assert len(asked) == 1
    now[0] = mirror_udebs.FAILURE_FOR_S
    assert udebs.ask(one).kernels == {"6.1"}
    now[0] += mirror_udebs.ANSWER_FOR_S - 1
    assert udebs.known(one) == answers[1]
    now[0] += 1
    assert udebs.known(one) is None
    udebs.ask(other)
    assert asked == [one, one, other]
