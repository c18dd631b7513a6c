"""The HTTP server on loopback, met by raw sockets: exact bytes, order, bounds, and clients that misbehave."""

from __future__ import annotations

import hashlib
import http.client
import queue
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.servers import http as http_module
from pxeforge.servers import pouring
from pxeforge.servers.http import HttpServer, HttpSettings
from pxeforge.servers.http_reply import DEFER, MOST_TRIES
from pxeforge.servers.tcp_listener import listen_shared, listen_tcp

CONTENT = random.Random(3).randbytes(3_000_000)
LIMIT_S = 30


@pytest.fixture(autouse=True, params=["compiled", "in Python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds with and without what is compiled."""
    if request.param == "in Python":
        monkeypatch.setattr(http_module, "Pour", pouring.Pour)
    elif http_module.Pour is pouring.Pour:
        pytest.skip("no C compiler when pxeforge was installed")


@dataclass
class App:
    """A WSGI application: files, a stream, an echo; some paths wait until the test lets them go on."""

    folder: Path
    go_on: threading.Event = field(default_factory=threading.Event)
    seen: list[dict[str, Any]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        self.seen.append(environ)
        path, plain = environ["PATH_INFO"], [("content-type", "text/plain")]
        if path == "/file":
            start("200 OK", [("Content-Length", str(len(CONTENT)))])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else self._file(environ, 0)
        if path == "/part":
            start("206 Partial Content", [("Content-Length", "1000")])
            return self._file(environ, 5)
        if path == "/short":
            start("200 OK", [("Content-Length", str(len(CONTENT) + 1))])
            return self._file(environ, 0)
        if path == "/echo":
            body = environ["wsgi.input"].read()
            start("200 OK", [*plain, ("Content-Length", str(len(body)))])
            return [body]
        if path == "/wait":
            assert self.go_on.wait(LIMIT_S)
            start("200 OK", [*plain, ("Content-Length", "6")])
            return [b"waited"]
        if path.startswith("/stream"):
            start("200 OK", [] if path == "/stream-endless" else [("Content-Length", str(len(CONTENT)))])
            return self._stream(path, environ)
        if path == "/broken":
            raise RuntimeError("broken on purpose")
        start("200 OK", [*plain, ("Content-Length", "3")])
        return [b"ok\n"]

    def _file(self, environ: dict[str, Any], offset: int) -> Any:
        stream = (self.folder / "file").open("rb")
        stream.seek(offset)
        return environ["wsgi.file_wrapper"](stream)

    def _stream(self, path: str, environ: dict[str, Any]) -> Iterator[bytes]:
        try:
            for start in range(0, len(CONTENT), 70_000):
                if environ["QUERY_STRING"] == "broken" and start > 1_000_000:
                    raise OSError("upstream is gone")
                yield CONTENT[start : start + 70_000]
        finally:
            self.closed.append(path)


@dataclass
class Site:
    """A running server and the ways to it."""

    server: HttpServer
    app: App
    port: int

    def connect(self, receive_bytes: int = 0) -> socket.socket:
        stream = socket.socket()
        if receive_bytes:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        stream.settimeout(LIMIT_S)
        stream.connect(("127.0.0.1", self.port))
        return stream

    def raw(self, request: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        with closing(self.connect()) as stream:
            stream.sendall(request)
            return read_all(stream)

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, self.server.counts()
            time.sleep(0.005)


def read_all(stream: socket.socket) -> bytes:
    pieces = []
    while piece := stream.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def serving(folder: Path, **bounds: Any) -> Iterator[Site]:
    listener = listen_tcp("127.0.0.1", 0)
    app = App(folder)
    bounds = {"tick_s": 0.02, "quick_threads": 2, "slow_threads": 2} | bounds
    server = HttpServer(listener, HttpSettings(**bounds), is_slow=lambda path: path.startswith(("/stream", "/wait")))
    thread = threading.Thread(target=server.run, args=(app,))
    thread.start()
    try:
        yield Site(server, app, listener.getsockname()[1])
    finally:
        app.go_on.set()
        server.stop()
        thread.join(LIMIT_S)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("http")
    (place / "file").write_bytes(CONTENT)
    return place


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with serving(folder) as found:
        yield found


def test_a_file_comes_whole_and_the_connection_stays(site: Site) -> None:
    with closing(site.client()) as client:
        for _ in range(3):
            client.request("GET", "/file")
            reply = client.getresponse()
            assert (reply.status, reply.getheader("Transfer-Encoding")) == (200, None)
            assert hashlib.sha256(reply.read()).digest() == hashlib.sha256(CONTENT).digest()
    assert len({environ["REMOTE_ADDR"] for environ in site.app.seen}) == 1


def test_header_names_are_in_title_case_as_grub_needs_them(site: Site) -> None:
    head = site.raw(b"GET /x HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 200 OK"
    names = {line.partition(b":")[0] for line in head[1:]}
    assert names == {b"Content-Type", b"Content-Length", b"Date", b"Connection"}


def test_a_part_of_a_file_starts_and_ends_where_it_should(site: Site) -> None:
    reply = site.raw(b"GET /part HTTP/1.0\r\n\r\n")
    assert reply.partition(b"\r\n\r\n")[2] == CONTENT[5:1005]


@pytest.mark.parametrize("pieces", range(1, 10))
def test_a_file_may_end_with_any_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    monkeypatch.setattr(http_module, "_SEND_AT_ONCE", -(-1000 // pieces))
    (tmp_path / "file").write_bytes(CONTENT)
    with serving(tmp_path) as site, closing(site.client()) as client:
        client.connect()
        before = client.sock
        for _ in range(2):
            client.request("GET", "/part")
            assert client.getresponse().read() == CONTENT[5:1005]
        assert client.sock is before


def test_head_has_the_length_and_no_body(site: Site) -> None:
    replies = site.raw(b"HEAD /file HTTP/1.1\r\n\r\nGET /x HTTP/1.0\r\n\r\n")
    assert f"Content-Length: {len(CONTENT)}".encode() in replies
    assert replies.endswith(b"\r\n\r\nok\n")
    assert len(replies) < 1000


def test_requests_in_a_row_are_answered_in_order(site: Site) -> None:
    site.app.go_on.set()
    row = b"".join(
        b"POST /echo HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(text), text) for text in (b"one", b"", b"3")
    )
    replies = site.raw(row + b"GET /wait HTTP/1.1\r\n\r\nGET /x HTTP/1.0\r\n\r\n")
    bodies = [part.partition(b"\r\n\r\n")[2] for part in replies.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"one", b"", b"3", b"waited", b"ok\n"]


def test_http_1_0_stays_when_it_asks_to(site: Site) -> None:
    replies = site.raw(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /x HTTP/1.0\r\n\r\n")
    assert replies.count(b"ok\n") == 2
    assert b"Connection: keep-alive" in replies
    assert replies.index(b"Connection: close") > replies.index(b"ok\n")


def test_a_request_may_come_byte_by_byte(site: Site) -> None:
    with closing(site.connect()) as stream:
        for byte in b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nab":
            stream.sendall(bytes((byte,)))
        assert read_all(stream).endswith(b"\r\n\r\nab")


def test_who_asks_before_it_sends_a_body_is_told_to(site: Site) -> None:
    with closing(site.connect()) as stream:
        stream.sendall(b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        assert stream.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.sendall(b"ab")
        assert read_all(stream).endswith(b"ab")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(b"nonsense\r\n\r\n", b"400"), (b"GET /../x HTTP/1.1\r\n\r\n", b"400"), (b"GET /%00 HTTP/1.1\r\n\r\n", b"400"),
     (b"GET /" + b"a" * 9000, b"431"), (b"POST /echo HTTP/1.1\r\nContent-Length: 262145\r\n\r\n", b"413"),
     (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", b"411"),
     (b"GET /broken HTTP/1.0\r\n\r\n", b"500"), (b"GET /short HTTP/1.0\r\n\r\n", b"500")],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_once_and_others_go_on(
    site: Site, request_bytes: bytes, status: bytes
) -> None:
    reply = site.raw(request_bytes)
    assert reply.startswith(b"HTTP/1.1 " + status)
    assert reply.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in reply
    assert site.raw(b"GET /x HTTP/1.0\r\n\r\n").endswith(b"ok\n")


def test_an_answer_arrives_although_the_client_still_sends(site: Site) -> None:
    reply = site.raw(b"POST /echo HTTP/1.1\r\nContent-Length: 999999\r\n\r\n" + b"x" * 999_999)
    assert reply.startswith(b"HTTP/1.1 413")


def test_the_bodies_of_all_clients_together_are_bounded(folder: Path) -> None:
    with serving(folder, bodies_bytes=150_000) as site, closing(site.connect()) as first:
        head = b"POST /echo HTTP/1.1\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"
        first.sendall(head + b"x" * 99_999)
        site.until(lambda: site.server._bodies == 99_999)
        assert site.raw(head).startswith(b"HTTP/1.1 503")
        first.sendall(b"x")
        assert read_all(first).endswith(b"xx")
        assert site.raw(head + b"y" * 100_000).endswith(b"yy")


@pytest.mark.parametrize("begun", [b"", b"GET /x HT", b"POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"])
def test_who_does_not_finish_a_request_is_cut_off(folder: Path, begun: bytes) -> None:
    with serving(folder, head_s=0.1, body_s=0.1, idle_s=0.1) as site:
        assert site.raw(begun) == b""
        site.until(lambda: site.server.counts()["connections"] == 0)
        assert site.server._bodies == 0


def test_a_stream_comes_whole_and_without_a_length_ends_with_the_connection(site: Site) -> None:
    for path in (b"/stream", b"/stream-endless"):
        reply = site.raw(b"GET " + path + b" HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert reply.partition(b"\r\n\r\n")[2] == CONTENT
    assert b"chunked" not in reply
    assert site.app.closed == ["/stream", "/stream-endless"]


@pytest.mark.parametrize("path", ["/stream", "/stream-endless"])
def test_a_stream_that_breaks_off_is_not_taken_for_a_whole_one(site: Site, path: str) -> None:
    with closing(site.client()) as client:
        client.request("GET", f"{path}?broken")
        reply = client.getresponse()
        with pytest.raises(ConnectionResetError):
            reply.read()


def test_a_stream_whose_receiver_leaves_is_closed(site: Site) -> None:
    with closing(site.connect(4096)) as stream:
        stream.sendall(b"GET /stream HTTP/1.1\r\n\r\n")
        stream.recv(100)
        reset(stream)
    site.until(lambda: site.app.closed == ["/stream"])
    site.until(lambda: site.server.counts()["connections"] == 0)


def reset(stream: socket.socket) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_slow_paths_and_slow_readers_keep_nobody_waiting(folder: Path) -> None:
    with serving(folder, places=4) as site, ExitStack() as opened:
        for request in [b"GET /wait HTTP/1.1\r\n\r\n"] * 6 + [b"GET /file HTTP/1.1\r\n\r\n"] * 40:
            stream = opened.enter_context(closing(site.connect(4096)))
            stream.sendall(request)
        site.until(lambda: len(site.app.seen) >= 42)
        assert site.raw(b"GET /x HTTP/1.0\r\n\r\n").endswith(b"ok\n")


def large(**bounds: Any) -> dict[str, Any]:
    return {"places": 1, "large_bytes": 1_000_000, "retry_s": (3, 9)} | bounds


def ask_slowly(site: Site) -> socket.socket:
    """A client that reads nothing: more than the kernel buffers must be asked for to keep a place."""
    stream = site.connect(4096)
    stream.sendall(b"GET /file HTTP/1.1\r\n\r\n")
    return stream


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes megabytes for a slow client, then it looks quick."""
    accept = socket.socket.accept

    def accept_small(self: socket.socket) -> Any:
        stream, peer = accept(self)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        return stream, peer

    monkeypatch.setattr(socket.socket, "accept", accept_small)


def test_a_large_file_waits_for_its_place_and_small_answers_do_not(folder: Path, small_buffers: None) -> None:
    with serving(folder, **large()) as site, closing(ask_slowly(site)) as first, closing(site.connect()) as second:
        site.until(lambda: site.server.counts()["sending"] == 1)
        second.sendall(b"GET /file HTTP/1.1\r\nConnection: close\r\n\r\n")
        site.until(lambda: site.server.counts()["waiting"] == 1)
        assert site.raw(b"GET /part HTTP/1.0\r\n\r\n").endswith(CONTENT[5:1005])
        assert site.raw(b"HEAD /file HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
        reset(first)
        first.close()
        assert read_all(second).partition(b"\r\n\r\n")[2] == CONTENT
        site.until(lambda: site.server.counts() == {"connections": 0, "sending": 0, "waiting": 0})


def test_who_waited_in_vain_is_asked_to_come_back_and_may_ask_on(folder: Path, small_buffers: None) -> None:
    with serving(folder, **large(queue_s=0.1)) as site, closing(ask_slowly(site)):
        site.until(lambda: site.server.counts()["sending"] == 1)
        with closing(site.client()) as client:
            client.request("GET", "/file")
            reply = client.getresponse()
            assert (reply.status, reply.read()[:8]) == (503, b"too many")
            assert 3 <= int(reply.getheader("Retry-After") or 0) <= 9
            client.request("GET", "/x")
            assert client.getresponse().read() == b"ok\n"
        assert site.server.counts()["waiting"] == 0


def test_uefi_is_answered_before_it_gives_up(folder: Path, small_buffers: None) -> None:
    with serving(folder, **large(firmware_queue_s=0.1, queue_s=999)) as site, closing(ask_slowly(site)):
        site.until(lambda: site.server.counts()["sending"] == 1)
        with closing(site.client()) as client:
            client.request("GET", "/file", headers={"User-Agent": "UefiHttpBoot/1.0"})
            assert client.getresponse().status == 503


def test_a_client_that_leaves_the_queue_is_forgotten(folder: Path, small_buffers: None) -> None:
    with serving(folder, **large()) as site, closing(ask_slowly(site)):
        site.until(lambda: site.server.counts()["sending"] == 1)
        with closing(ask_slowly(site)) as second:
            site.until(lambda: site.server.counts()["waiting"] == 1)
            reset(second)
        site.until(lambda: site.server.counts() == {"connections": 1, "sending": 1, "waiting": 0})


def test_a_slow_client_gives_its_place_to_one_who_waits_and_is_served_on(folder: Path, small_buffers: None) -> None:
    with serving(folder, **large(slow_after_s=0.1)) as site, closing(ask_slowly(site)) as slow:
        site.until(lambda: site.server.counts()["sending"] == 1)
        reply = site.raw(b"GET /file HTTP/1.0\r\n\r\n")
        assert reply.partition(b"\r\n\r\n")[2] == CONTENT
        whole = b""
        while len(whole.partition(b"\r\n\r\n")[2]) < len(CONTENT):
            whole += slow.recv(1 << 16)
        assert whole.partition(b"\r\n\r\n")[2] == CONTENT


def test_a_client_that_reads_nothing_is_cut_off(folder: Path, small_buffers: None) -> None:
    with serving(folder, dead_after_s=0.2) as site, closing(ask_slowly(site)):
        site.until(lambda: len(site.app.seen) == 1)
        site.until(lambda: site.server.counts()["connections"] == 0)


def test_many_who_wait_and_leave_at_once_are_no_trouble(folder: Path, small_buffers: None) -> None:
    with serving(folder, **large()) as site, ExitStack() as opened:
        first = ask_slowly(site)
        site.until(lambda: site.server.counts()["sending"] == 1)
        waiting = [opened.enter_context(closing(ask_slowly(site))) for _ in range(200)]
        site.until(lambda: site.server.counts()["waiting"] == 200)
        for stream in (*waiting, first):
            reset(stream)
            stream.close()
        site.until(lambda: site.server.counts() == {"connections": 0, "sending": 0, "waiting": 0})


def test_when_all_connections_are_taken_the_idlest_goes(folder: Path) -> None:
    with serving(folder, connections=3) as site, ExitStack() as opened:
        idle = [opened.enter_context(closing(site.connect())) for _ in range(3)]
        site.until(lambda: site.server.counts()["connections"] == 3)
        assert site.raw(b"GET /x HTTP/1.0\r\n\r\n").endswith(b"ok\n")
        assert idle[0].recv(1) == b""


def test_when_all_connections_are_busy_the_next_one_waits(folder: Path) -> None:
    with serving(folder, connections=2) as site, ExitStack() as opened:
        busy = [opened.enter_context(closing(site.connect())) for _ in range(2)]
        for stream in busy:
            stream.sendall(b"GET /wait HTTP/1.0\r\n\r\n")
        site.until(lambda: len(site.app.seen) == 2)
        late = opened.enter_context(closing(site.connect()))
        late.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        site.app.go_on.set()
        assert all(read_all(stream).endswith(b"waited") for stream in busy)
        assert read_all(late).endswith(b"ok\n")


@pytest.fixture
def pair(folder: Path) -> Iterator[tuple[Site, list[HttpServer], list[App], list[threading.Thread]]]:
    """Two servers on one port, as two processes would be."""
    sockets = listen_shared("127.0.0.1", 0, 2)
    servers = [HttpServer(own, HttpSettings(tick_s=0.02), siblings=[other]) for own, other in (sockets, sockets[::-1])]
    apps = [App(folder), App(folder)]
    threads = [threading.Thread(target=server.run, args=(app,)) for server, app in zip(servers, apps, strict=True)]
    for thread in threads:
        thread.start()
    yield Site(servers[0], apps[0], sockets[0].getsockname()[1]), servers, apps, threads
    for server, thread in zip(servers, threads, strict=True):
        server.stop()
        thread.join(LIMIT_S)
    for each in sockets:
        each.close()


Pair = tuple[Site, list[HttpServer], list[App], list[threading.Thread]]


def test_two_servers_share_the_clients_of_one_port(pair: Pair) -> None:
    site, _, apps, _ = pair
    for _ in range(60):
        assert site.raw(b"GET /x HTTP/1.0\r\n\r\n").endswith(b"ok\n")
    assert len(apps[0].seen) + len(apps[1].seen) == 60
    assert apps[0].seen
    assert apps[1].seen  # by chance it would be one of them alone once in 2^59 runs


def test_what_waits_for_a_server_that_ended_is_taken_over(pair: Pair) -> None:
    site, servers, apps, threads = pair
    servers[0].stop()
    threads[0].join(LIMIT_S)
    before = len(apps[0].seen)
    for _ in range(10):
        assert site.raw(b"GET /x HTTP/1.0\r\n\r\n").endswith(b"ok\n")
    assert len(apps[0].seen) == before
    assert len(apps[1].seen) >= 10


def test_nobody_joins_a_port_that_is_shared_already() -> None:
    sockets = listen_shared("127.0.0.1", 0, 2)
    try:
        with pytest.raises(OSError, match="in use"):
            listen_shared("127.0.0.1", sockets[0].getsockname()[1], 2)
    finally:
        for each in sockets:
            each.close()


class Deferring:
    """An application that lets its answers wait; `verdicts` are what it is told, one for each time it is asked."""

    def __init__(self) -> None:
        self.futures: queue.SimpleQueue[Future[bool]] = queue.SimpleQueue()
        self.asked = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.asked += 1
        if environ["PATH_INFO"] == "/defer":
            future: Future[bool] = Future()
            environ[DEFER](future)
            self.futures.put(future)
        body = f"answer {self.asked}\n".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def deferring() -> Iterator[tuple[int, Deferring]]:
    app = Deferring()
    with closing(listen_tcp("127.0.0.1", 0)) as listener:
        server = HttpServer(listener, HttpSettings(quick_threads=1))
        thread = threading.Thread(target=server.run, args=(app,))
        thread.start()
        yield listener.getsockname()[1], app
        server.stop()
        thread.join(LIMIT_S)


def ask_for(port: int, path: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), LIMIT_S)
    stream.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return stream


def test_an_answer_that_is_put_off_leaves_when_it_may_and_holds_up_nobody(deferring: tuple[int, Deferring]) -> None:
    port, app = deferring
    with closing(ask_for(port, "/defer")) as first:
        future = app.futures.get(timeout=LIMIT_S)
        with closing(ask_for(port, "/now")) as second:  # there is one thread, and it is free
            assert read_all(second).endswith(b"answer 2\n")
        future.set_result(True)
        assert read_all(first).endswith(b"answer 1\n")


def test_an_answer_that_came_out_of_date_is_made_anew(deferring: tuple[int, Deferring]) -> None:
    port, app = deferring
    with closing(ask_for(port, "/defer")) as stream:
        app.futures.get(timeout=LIMIT_S).set_result(False)
        app.futures.get(timeout=LIMIT_S).set_result(True)
        assert read_all(stream).endswith(b"answer 2\n")


def test_who_gets_no_answer_that_holds_is_told_to_ask_again(deferring: tuple[int, Deferring]) -> None:
    port, app = deferring
    with closing(ask_for(port, "/defer")) as stream:
        for _ in range(MOST_TRIES):
            app.futures.get(timeout=LIMIT_S).set_result(False)
        answer = read_all(stream)
    assert b" 503 " in answer
    assert b"\r\nRetry-After: " in answer
    assert app.asked == MOST_TRIES


def test_an_answer_that_the_database_cannot_keep_is_asked_for_again(deferring: tuple[int, Deferring]) -> None:
    port, app = deferring
    with closing(ask_for(port, "/defer")) as stream:
        app.futures.get(timeout=LIMIT_S).set_exception(OSError("the disk is full"))
        assert b" 503 " in read_all(stream)


def test_a_client_that_left_while_its_answer_was_put_off_is_forgotten(deferring: tuple[int, Deferring]) -> None:
    port, app = deferring
    ask_for(port, "/defer").close()
    app.futures.get(timeout=LIMIT_S).set_result(True)
    with closing(ask_for(port, "/now")) as stream:
        assert read_all(stream).endswith(b"answer 2\n")


def test_a_port_in_use_is_an_error() -> None:
    with closing(listen_tcp("127.0.0.1", 0)) as first, pytest.raises(OSError, match="in use"):
        listen_tcp("127.0.0.1", first.getsockname()[1])


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Site]:
    with serving(folder, head_s=0.5, idle_s=0.5, drain_s=0.2) as found:
        yield found


@given(st.lists(st.binary(max_size=200) | st.sampled_from([b"GET /x HTTP/1.1\r\n", b"\r\n\r\n", b"\r\n"]), max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_bytes_leave_the_server_serving(shared: Site, pieces: list[bytes]) -> None:
    with closing(shared.connect()) as stream:
        for piece in pieces:
            try:
                stream.sendall(piece)
            except OSError:
                break
    assert shared.raw(b"GET /x HTTP/1.0\r\n\r\n").endswith(b"ok\n")
