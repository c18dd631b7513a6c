"""The HTTP/1.1 server of the boot plane: one thread for all sockets, sendfile for files, a few for the application.

No thread waits for a client: whoever reads slowly costs a socket and nothing else. Large files go out to a bounded
number of clients at once; the others are held in a queue and, after a while, asked to come back.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import queue
import random
import select
import socket
import struct
import termios
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import IO, Final

import structlog

from pxeforge.protocol.http import HEAD_END, BadRequest, Request, parse_request, response_head
from pxeforge.servers.http_admission import Admission, Turn
from pxeforge.servers.http_reply import DEFER, MOST_TRIES, Application, Feed, FilePart, Reply, ask, environment

try:
    from pxeforge.servers.pour import Pour
except ImportError:  # it could not be compiled: slower, and otherwise the same
    from pxeforge.servers.pouring import Pour  # type: ignore[assignment]

log = structlog.get_logger(__name__)
_READ_AT_ONCE: Final = 64 * 1024
_SEND_AT_ONCE: Final = 2 << 20
_SENDS_AT_ONCE: Final = 4
_POUR_S: Final = 0.1  # how long files may flow before a signal is heard
_GROWTH_S: Final = 0.02  # how often is looked whether a file that is being fetched has grown
_UEFI: Final = "UefiHttpBoot"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Bounds of one process. Sizes are bytes, times seconds, rates bytes per second."""

    connections: int = 4096
    head_bytes: int = 8192
    body_bytes: int = 256 * 1024
    bodies_bytes: int = 64 << 20  # all request bodies together
    head_s: float = 10.0  # from the first byte of a request to the last of its head
    body_s: float = 30.0
    idle_s: float = 60.0  # between two requests
    drain_s: float = 3.0  # for the other side to close, after the last answer
    large_bytes: int = 4 << 20  # from here on a file needs a place
    places: int = 64
    queue_s: float = 20.0  # GRUB gives up after 30 s without an answer
    firmware_queue_s: float = 4.0  # UEFI's own HTTP client does so after 5 s
    retry_s: tuple[int, int] = (5, 15)  # what the Retry-After of those who waited in vain is drawn from
    slow_bytes_s: float = 64 * 1024.0  # whoever is slower for slow_after_s gives its place to one who waits
    slow_after_s: float = 10.0
    dead_bytes_s: float = 1024.0  # whoever is slower for dead_after_s is cut off
    dead_after_s: float = 60.0
    quick_threads: int = 4
    slow_threads: int = 32
    tick_s: float = 1.0  # how exact all these times are


Instant = Callable[[str, Mapping[str, str]], tuple[list[tuple[str, str]], IO[bytes], int] | None]


class _State(enum.Enum):
    READING = "reading"  # idle, or a request comes in
    WORKING = "working"  # the application has it
    WAITING = "waiting"  # for a place
    SENDING = "sending"
    DRAINING = "draining"  # all is said; reading on until the other side closes, or it would lose the answer
    CLOSED = "closed"


class _After(enum.Enum):
    """How it goes on after a piece was sent."""

    MORE = "more"
    FULL = "full"  # the client takes nothing more now
    STARVED = "starved"  # upstream has not given the next piece yet
    DONE = "done"


class _Connection:
    """One client. Only the loop's thread touches it."""

    __slots__ = (
        "buffer", "deadline", "events", "mark_at", "mark_bytes", "minute_at", "minute_bytes", "out", "peer",
        "pouring", "reply", "request", "sent", "sock", "state", "stays", "until",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, peer: str, deadline: float) -> None:
        self.sock, self.peer, self.deadline = sock, peer, deadline
        self.state, self.events = _State.READING, select.EPOLLIN
        self.buffer = bytearray()
        self.request: Request | None = None  # its head is whole
        self.reply: Reply | None = None
        self.out: memoryview = memoryview(b"")
        self.pouring: FilePart | None = None  # nothing else is left to send, and all of it is there
        self.stays = True  # keep the connection after this answer
        self.until: float | None = None  # waits for a place until then
        self.sent = 0
        self.mark_at = self.minute_at = 0.0
        self.mark_bytes = self.minute_bytes = 0


@dataclass(slots=True)
class _Job:
    """A request on its way to the application."""

    jobs: queue.SimpleQueue[_Job | None]
    connection: _Connection
    request: Request
    body: bytes
    tries: int = 0


class HttpServer:
    """Serves a WSGI application on a listening socket until stop(), which may come from any thread or signal."""

    def __init__(
        self,
        listener: socket.socket,
        settings: HttpSettings | None = None,
        *,
        siblings: Sequence[socket.socket] = (),
        is_slow: Callable[[str], bool] = lambda _path: False,
        instant: Instant = lambda _path, _headers: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`siblings`: the other sockets of listen_shared(); clients that their processes leave waiting are taken over.
        `is_slow`: paths whose answers wait for others; they get threads of their own. The sockets stay open.

        `instant`: answers a GET for a file (headers, open file, length) without any waiting, in the loop itself.
        """
        self._listener, self._is_slow, self._instant, self._clock = listener, is_slow, instant, clock
        self._siblings = tuple(siblings)
        self._settings = settings or HttpSettings()
        self._admission: Admission[_Connection] = Admission(self._settings.places)
        self._admitted: list[_Connection] = []  # their turn has come in this round of the loop
        self._epoll = select.epoll()
        self._pour = Pour(self._epoll.fileno(), _SEND_AT_ONCE)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connections: dict[int, _Connection] = {}
        self._starved: list[_Connection] = []  # they wait for a file to grow
        self._done: deque[tuple[_Connection, Reply | None]] = deque()
        self._woken = False  # the loop is about to look at _done
        self._quick: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._slow: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._bodies = 0  # bytes of request bodies that are coming in
        self.counters: Counter[str] = Counter()  # answers by the first digit of their status, bytes sent, broken ones
        self._accepting = False
        self._stopping = False
        self._date = (0, "")
        self._host, self._port = listener.getsockname()[:2]

    # ------------------------------------------------------------------ the loop

    def counts(self) -> dict[str, int]:
        """Clients now; how many fetch a large file; how many wait for that. From any thread."""
        return {"connections": len(self._connections), **self._admission.counts()}

    def run(self, app: Application) -> None:
        """Returns after stop()."""
        threads = [
            threading.Thread(target=self._work, args=(app, jobs), name=name, daemon=True)
            for jobs, count, name in (
                (self._quick, self._settings.quick_threads, "http"),
                (self._slow, self._settings.slow_threads, "http-slow"),
            )
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._accept_more(True)
        next_tick = self._clock() + self._settings.tick_s
        is_pouring = False  # a file flowed in the last round
        while not self._stopping:
            ready = self._pour.run(min(_POUR_S, self._pause_s(next_tick))) if is_pouring else []
            is_pouring = bool(ready)
            for descriptor, events in ready or self._epoll.poll(self._pause_s(next_tick), 256):
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                    self._woken = False  # before the look: whoever comes after it wakes us again
                    self._take_replies()
                elif descriptor == self._listener.fileno():
                    self._accept(self._listener)
                elif (connection := self._connections.get(descriptor)) is not None:
                    if connection.pouring is not None:
                        if not ready and events == select.EPOLLOUT:
                            is_pouring = True
                            continue
                        self._end_pouring(connection, connection.pouring)
                    self._guarded(self._ready, connection, events)
            self._take_replies()  # the instant ones among them wake nobody
            self._feed_starved()
            if self._clock() >= next_tick:
                next_tick = self._clock() + self._settings.tick_s
                self._tick()
            while self._admitted:
                connection = self._admitted.pop(0)
                if connection.state is _State.WAITING:  # it may have gone in the same round
                    self._guarded(self._begin, connection)
        self._end(threads)

    def _pause_s(self, next_tick: float) -> float:
        if self._done:
            return 0.0
        left_s = max(0.0, next_tick - self._clock())
        return min(left_s, _GROWTH_S) if self._starved else left_s

    def _feed_starved(self) -> None:
        """Files that are being fetched may have grown, here or by the hand of another process."""
        starved, self._starved = self._starved, []
        for connection in starved:
            if connection.state is _State.SENDING:
                self._guarded(self._send, connection)

    def stop(self) -> None:
        """Ends run(); what the application has begun is finished, transfers are not."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def _end(self, threads: list[threading.Thread]) -> None:
        for connection in list(self._connections.values()):
            self._close(connection)
        for jobs, count in ((self._quick, self._settings.quick_threads), (self._slow, self._settings.slow_threads)):
            for _ in range(count):
                jobs.put(None)
        for thread in threads[: self._settings.quick_threads]:
            thread.join(5)
        self._epoll.close()

    def _guarded(self, action: Callable[..., None], connection: _Connection, *words: object) -> None:
        """One client's trouble is its own."""
        try:
            action(connection, *words)
        except OSError:
            self._close(connection)
        except Exception:
            log.exception("an HTTP connection failed", peer=connection.peer)
            self._close(connection)

    def _tick(self) -> None:
        now = self._clock()
        self._accept_more(True)
        for sibling in self._siblings:  # its process may be about to be restarted
            while self._accept(sibling):
                pass
        for connection in list(self._connections.values()):
            if connection.state is _State.WAITING and now >= (connection.until or now):
                self._guarded(self._turn_away, connection)
            elif connection.state is _State.SENDING:
                self._guarded(self._check_rate, connection, now)
            elif connection.state in (_State.READING, _State.DRAINING) and now >= connection.deadline:
                self._close(connection)

    # ------------------------------------------------------------------ connections

    def _accept_more(self, wanted: bool) -> None:
        if wanted is not self._accepting:
            self._accepting = wanted
            if wanted:
                self._epoll.register(self._listener.fileno(), select.EPOLLIN)
            else:
                self._epoll.unregister(self._listener.fileno())

    def _accept(self, listener: socket.socket) -> bool:
        """Takes one connection; False where there is none, or no room for it."""
        if len(self._connections) >= self._settings.connections and not self._drop_idlest():
            self._accept_more(False)  # the rest waits in the kernel until somebody leaves
            return False
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as problem:  # no descriptors left, mostly: ask again at the next tick
            log.warning("a connection could not be taken", reason=str(problem))
            self._accept_more(False)
            return False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock, str(peer[0]), self._clock() + self._settings.idle_s)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return True

    def _drop_idlest(self) -> bool:
        idle = (c for c in self._connections.values() if c.state in (_State.READING, _State.DRAINING))
        idlest = min(idle, key=lambda connection: connection.deadline, default=None)
        if idlest is not None:
            self._close(idlest)
        return idlest is not None

    def _close(self, connection: _Connection) -> None:
        if connection.state is _State.CLOSED:
            return
        self._forget_body(connection)
        if connection.pouring is not None:
            self._end_pouring(connection, connection.pouring)
        if connection.state is _State.SENDING:
            self.counters["broken"] += 1
            self.counters["bytes"] += connection.sent
        connection.state = _State.CLOSED
        if connection.reply is not None:
            connection.reply.close()
        descriptor = connection.sock.fileno()
        self._connections.pop(descriptor, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(descriptor)
        connection.sock.close()
        self._admitted += self._admission.leave(connection)
        if not self._stopping:
            self._accept_more(True)

    def _listen_for(self, connection: _Connection, events: int) -> None:
        if connection.events != events:
            connection.events = events
            self._epoll.modify(connection.sock.fileno(), events)

    def _ready(self, connection: _Connection, events: int) -> None:
        state = connection.state
        if events & select.EPOLLOUT and state is _State.SENDING:
            self._send(connection)
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            self._close(connection)
        elif state is _State.READING:
            self._read(connection)
        elif state is _State.DRAINING:
            if not connection.sock.recv(_READ_AT_ONCE):
                self._close(connection)
        else:  # more requests while one is served: they stay in the kernel until their turn
            self._listen_for(connection, 0)

    # ------------------------------------------------------------------ requests

    def _read(self, connection: _Connection) -> None:
        data = connection.sock.recv(_READ_AT_ONCE)
        if not data:
            self._close(connection)
            return
        if not connection.buffer and connection.request is None:
            connection.deadline = self._clock() + self._settings.head_s
        connection.buffer += data
        if connection.request is not None:
            self._bodies += len(data)
        self._take_request(connection)

    def _take_request(self, connection: _Connection) -> None:
        """Goes on with what has come in so far."""
        try:
            if connection.request is None:
                connection.request = self._head(connection)
            if connection.request is not None and len(connection.buffer) >= connection.request.length:
                self._hand_over(connection, connection.request)
        except BadRequest as problem:
            connection.request = None
            self._refuse(connection, problem.status, f"{problem}\n")

    def _head(self, connection: _Connection) -> Request | None:
        buffer = connection.buffer
        if buffer.startswith(b"\r\n"):  # some clients end a body with an empty line
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
        end = buffer.find(HEAD_END)
        if end < 0 and len(buffer) <= self._settings.head_bytes:
            return None
        if not 0 <= end <= self._settings.head_bytes:
            raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too long")
        request = parse_request(bytes(buffer[:end]))
        del buffer[: end + len(HEAD_END)]
        if request.length > self._settings.body_bytes:
            most = self._settings.body_bytes
            raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {most} bytes at most")
        if self._bodies + request.length > self._settings.bodies_bytes:
            raise BadRequest(HTTPStatus.SERVICE_UNAVAILABLE, "too many reports at once: send it again later")
        self._bodies += len(buffer)
        connection.deadline = self._clock() + self._settings.body_s
        if request.expects_continue and len(buffer) < request.length:
            connection.sock.send(_CONTINUE)
        return request

    def _forget_body(self, connection: _Connection) -> None:
        if connection.state is _State.READING and connection.request is not None:
            self._bodies -= len(connection.buffer)

    def _hand_over(self, connection: _Connection, request: Request) -> None:
        self._forget_body(connection)
        body = bytes(connection.buffer[: request.length])
        del connection.buffer[: request.length]
        connection.state = _State.WORKING
        found = self._instant(request.path, request.headers) if request.method == "GET" else None
        if found is not None:
            headers, stream, length = found
            self._done.append((connection, Reply("200 OK", headers, length, FilePart(stream, 0, length))))
            return
        jobs = self._slow if self._is_slow(request.path) else self._quick
        jobs.put(_Job(jobs, connection, request, body))

    # ------------------------------------------------------------------ the application's threads

    def _work(self, app: Application, jobs: queue.SimpleQueue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            connection, request = job.connection, job.request
            conditions: list[Future[bool]] = []
            try:
                environ = environment(request, job.body, connection.peer, self._host, self._port)
                environ[DEFER] = conditions.append
                reply = ask(app, environ)
            except Exception:
                log.exception("the boot plane failed", path=request.path)
                reply = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed: see its log\n")
            if conditions:
                conditions[0].add_done_callback(partial(self._decided, job, reply))
                continue
            self._tell(connection, reply)
            if isinstance(reply.body, Feed):
                reply.body.pump(lambda to=connection: self._tell(to, None))  # type: ignore[misc]

    def _decided(self, job: _Job, reply: Reply, condition: Future[bool]) -> None:
        """The answer may go out now, or the application is asked anew: what it was made from has changed."""
        if condition.exception() is None and condition.result():
            self._tell(job.connection, reply)
            return
        reply.close()
        job.tries += 1
        if condition.exception() is None and job.tries < MOST_TRIES:
            job.jobs.put(job)
            return
        log.error("an answer was put off", path=job.request.path, reason=str(condition.exception() or "no agreement"))
        # A full disk, or a host that changes faster than it is answered: whoever asks again will get it.
        later = _text(HTTPStatus.SERVICE_UNAVAILABLE, "the server cannot answer just now: try again\n")
        later.headers.append(("Retry-After", str(random.randint(*self._settings.retry_s))))  # noqa: S311
        self._tell(job.connection, later)

    def _tell(self, connection: _Connection, reply: Reply | None) -> None:
        self._done.append((connection, reply))
        if not self._woken:  # many answers are one call
            self._woken = True
            os.eventfd_write(self._wake, 1)

    def _take_replies(self) -> None:
        while self._done:
            connection, reply = self._done.popleft()
            if connection.state is _State.CLOSED:
                if reply is not None:
                    reply.close()
            elif reply is not None:
                self._guarded(self._answer, connection, reply)
            elif connection.state is _State.SENDING:
                self._guarded(self._send, connection)

    # ------------------------------------------------------------------ answers

    def _answer(self, connection: _Connection, reply: Reply) -> None:
        connection.reply = reply
        # What is still being fetched needs no place: it comes at upstream's pace, and must not keep kernels waiting.
        part = reply.body if isinstance(reply.body, FilePart) and reply.body.arrived is None else None
        if part is not None and part.length >= self._settings.large_bytes:
            turn = self._admission.ask(connection, connection.peer)
            if turn is Turn.BUSY:
                self._turn_away(connection)
                return
            if turn is Turn.WAIT:
                connection.state = _State.WAITING
                connection.until = self._clock() + self._patience_s(connection)
                return
        self._begin(connection)

    def _patience_s(self, connection: _Connection) -> float:
        agent = connection.request.headers.get("user-agent", "") if connection.request is not None else ""
        return self._settings.firmware_queue_s if agent.startswith(_UEFI) else self._settings.queue_s

    def _turn_away(self, connection: _Connection) -> None:
        self._admitted += self._admission.leave(connection)
        if connection.reply is not None:
            connection.reply.close()
        reply = _text(HTTPStatus.SERVICE_UNAVAILABLE, "too many downloads at once: come back in a few seconds\n")
        reply.headers.append(("Retry-After", str(random.randint(*self._settings.retry_s))))  # noqa: S311
        connection.reply = reply
        self._begin(connection)

    def _refuse(self, connection: _Connection, status: HTTPStatus, text: str) -> None:
        """The connection ends with this answer: what else comes in cannot be told apart any more."""
        connection.stays, connection.reply = False, _text(status, text)
        connection.buffer.clear()
        self._begin(connection)

    def _begin(self, connection: _Connection) -> None:
        reply, request, now = connection.reply, connection.request, self._clock()
        assert reply is not None
        connection.stays = connection.stays and request is not None and request.keeps_alive and reply.length is not None
        headers = list(reply.headers)
        if not any(name.lower() == "date" for name, _ in headers):
            headers.append(("Date", self._today()))
        if not connection.stays:
            headers.append(("Connection", "close"))
        elif request is not None and request.minor_version == 0:
            headers.append(("Connection", "keep-alive"))
        head = response_head(reply.status, headers)
        connection.out = memoryview(head + reply.body if isinstance(reply.body, bytes) else head)
        connection.state, connection.sent = _State.SENDING, 0
        connection.mark_at = connection.minute_at = now
        connection.mark_bytes = connection.minute_bytes = 0
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        """As much as the client takes now, but not so much that others wait for it."""
        reply = connection.reply
        assert reply is not None
        for _ in range(_SENDS_AT_ONCE):
            try:
                after = self._send_some(connection, reply)
            except BlockingIOError:
                after = _After.FULL
            if after is _After.DONE:
                self._finish(connection, reply)
                return
            if after is _After.STARVED:  # the thread that makes the stream calls us
                self._listen_for(connection, 0)
                if isinstance(reply.body, FilePart):  # who fetches the file does not
                    self._starved.append(connection)
                return
            if after is _After.FULL:
                break
        body = reply.body
        if isinstance(body, FilePart) and body.length and body.arrived is None and not connection.out:
            self._pour.add(connection.sock.fileno(), body.stream.fileno(), body.offset, body.length)
            connection.pouring = body
        self._listen_for(connection, select.EPOLLOUT)

    def _settle(self, connection: _Connection, body: FilePart) -> None:
        """What flowed since the last look."""
        offset, length = self._pour.left(connection.sock.fileno())
        connection.sent += offset - body.offset
        body.offset, body.length = offset, length

    def _end_pouring(self, connection: _Connection, body: FilePart) -> None:
        self._settle(connection, body)
        self._pour.take(connection.sock.fileno())
        connection.pouring = None

    def _send_some(self, connection: _Connection, reply: Reply) -> _After:
        """One piece of the answer. Raises BlockingIOError and OSError."""
        body = reply.body
        if connection.out:
            more = socket.MSG_MORE if isinstance(body, FilePart) and body.length else 0
            wanted, sent = len(connection.out), connection.sock.send(connection.out, more)
            connection.out = connection.out[sent:]
        elif isinstance(body, FilePart) and body.length:
            wanted = min(body.length, _SEND_AT_ONCE)
            if body.arrived is not None:
                wanted = min(wanted, body.arrived() - body.offset)
                if wanted <= 0:
                    return _After.STARVED
            sent = os.sendfile(connection.sock.fileno(), body.stream.fileno(), body.offset, wanted)
            if not sent:
                raise ConnectionAbortedError("the file has become shorter")
            body.offset, body.length = body.offset + sent, body.length - sent
        elif isinstance(body, Feed):
            return self._next_piece(connection, body)
        else:
            return _After.DONE
        connection.sent += sent
        return _After.MORE if sent == wanted else _After.FULL

    def _next_piece(self, connection: _Connection, feed: Feed) -> _After:
        ended = feed.ended  # asked first: what came before the end is then there
        piece = feed.take()
        if piece is not None:
            connection.out = memoryview(piece)
            return _After.MORE
        if feed.failed:
            # Without a length an orderly end would look like the end of the file.
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise ConnectionAbortedError("the stream broke off")
        return _After.DONE if ended else _After.STARVED

    def _finish(self, connection: _Connection, reply: Reply) -> None:
        """The answer is out: the next request, or the end."""
        self.counters["bytes"] += connection.sent
        self.counters[reply.status[0]] += 1
        reply.close()
        connection.reply = connection.request = None
        self._admitted += self._admission.leave(connection)
        now = self._clock()
        if not connection.stays:
            connection.state, connection.deadline = _State.DRAINING, now + self._settings.drain_s
            connection.sock.shutdown(socket.SHUT_WR)
            self._listen_for(connection, select.EPOLLIN)
            return
        connection.state, connection.deadline = _State.READING, now + self._settings.idle_s
        self._listen_for(connection, select.EPOLLIN)
        if connection.buffer:
            connection.deadline = now + self._settings.head_s
            self._take_request(connection)

    def _check_rate(self, connection: _Connection, now: float) -> None:
        """A slow client loses its place to one who waits; one that hardly reads at all is cut off."""
        settings = self._settings
        passed, minute = now - connection.mark_at, now - connection.minute_at
        if passed < settings.slow_after_s and minute < settings.dead_after_s:
            return
        if connection.pouring is not None:
            self._settle(connection, connection.pouring)
        arrived = connection.sent - _unacknowledged(connection.sock)
        if passed >= settings.slow_after_s:
            slow = arrived - connection.mark_bytes < settings.slow_bytes_s * passed
            connection.mark_at, connection.mark_bytes = now, arrived
            if slow and self._admission.waiting and self._admission.has_place(connection):
                self._admitted += self._admission.leave(connection)
        if minute >= settings.dead_after_s:
            dead = arrived - connection.minute_bytes < settings.dead_bytes_s * minute
            connection.minute_at, connection.minute_bytes = now, arrived
            if dead and connection.events == select.EPOLLOUT:  # it waits for the client, not for upstream
                self._close(connection)

    def _today(self) -> str:
        second = int(time.time())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _text(status: HTTPStatus, text: str) -> Reply:
    body = text.encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    return Reply(f"{status.value} {status.phrase}", headers, len(body), body)


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes that the kernel holds because the other side has not taken them yet (SIOCOUTQ)."""
    packed = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", packed)[0])
