"""Asks a package repository for its files: through an HTTP proxy where there is one, redirects within HTTP only."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urljoin, urlsplit

from pxeforge.services.mirror_source import MirrorSource
from pxeforge.services.problems import NotFound, Problem

if TYPE_CHECKING:  # loaded with the first file that upstream is asked for
    import requests

TIMEOUTS_S: Final = (10, 30)  # to connect; between two pieces
_PIECE_BYTES: Final = 64 * 1024
_MOST_REDIRECTS: Final = 5
_DOWN_S: Final = 5.0  # so long after a connection failed nobody tries again
_CONNECTIONS: Final = 32
_MOST_WAITING: Final = 20  # who wait for the first word of one upstream, once it has kept somebody waiting for so long:
_STALLED_S: Final = 5.0
_TOLD: Final = ("Content-Length", "Content-Range", "Last-Modified", "ETag")
_TOTAL: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_COMPRESSED: Final = (".gz", ".tgz", ".svgz", ".xz", ".bz2", ".zst", ".lzma", ".deb", ".rpm", ".Z")


class MirrorDown(Problem):
    """Upstream did not answer, or not with the file; the client may try again."""

    status = 502


class BrokeOff(Exception):
    """The body ended early; what came is good."""


@dataclass(slots=True)
class UpstreamAnswer:
    """What upstream said; `pieces` must be read to its end, or close() called."""

    status: int
    total: int | None  # bytes of the whole file
    start: int  # where in it the body begins
    modified: int | None  # unix seconds
    etag: str | None
    headers: Mapping[str, str]  # those that a client may see
    _reply: requests.Response

    def pieces(self) -> Iterator[bytes]:
        """Raises BrokeOff."""
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        try:
            while piece := self._reply.raw.read1(_PIECE_BYTES, decode_content=False):
                yield piece
        except (HTTPError, RequestException, OSError, ValueError) as problem:
            raise BrokeOff(type(problem).__name__) from problem

    def close(self) -> None:
        self._reply.close()


class Upstream:
    """One repository's root: `http://…`, `https://…` or `http+unix://…`. Threads may share it."""

    def __init__(self, url: str, *, proxy: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._proxy, self._clock = url.rstrip("/"), proxy, clock
        self._down_until = 0.0
        self._waiting: dict[object, float] = {}  # since when each has
        self.shown = _without_password(self._url)

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """Around the wait for its first word."""
        token = object()
        self._waiting[token] = self._clock()
        try:
            yield
        finally:
            del self._waiting[token]

    @property
    def is_stalled(self) -> bool:
        """Whether it keeps so many waiting that one more would take the place of those who want another upstream."""
        since = list(self._waiting.values())
        return len(since) >= _MOST_WAITING and min(since) <= self._clock() - _STALLED_S

    @functools.cached_property
    def _session(self) -> requests.Session:
        from http.cookiejar import DefaultCookiePolicy

        from requests.adapters import HTTPAdapter

        session = MirrorSource(self._url).session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
        if self._proxy is not None:
            session.proxies = {"http": self._proxy, "https": self._proxy}
        return session

    @contextlib.contextmanager
    def ask(self, path: str, headers: Mapping[str, str], *, head: bool = False) -> Iterator[UpstreamAnswer]:
        """200, 206, 304 and 416 come back. Raises NotFound (404, 410, a folder) and MirrorDown for all others."""
        answer = self.open(path, headers, head=head)
        try:
            yield answer
        finally:
            answer.close()

    def open(self, path: str, headers: Mapping[str, str], *, head: bool = False) -> UpstreamAnswer:
        """As ask(); whoever holds the answer closes it."""
        url = f"{self._url}/{quote(path, safe='/+~:=@,')}"
        for _ in range(_MOST_REDIRECTS + 1):
            reply = self._request(url, {**headers, "Accept-Encoding": "identity"}, head)
            if not reply.is_redirect:
                return self._judged(path, reply)
            reply.close()
            url = self._next(path, url, reply.headers["Location"])
        raise MirrorDown(f"{self.shown} redirects {path} more than {_MOST_REDIRECTS} times: check its address")

    def _request(self, url: str, headers: Mapping[str, str], head: bool) -> requests.Response:
        from requests import ConnectionError as Unreachable
        from requests import RequestException

        if self._clock() < self._down_until:
            raise MirrorDown(f"the package mirror {self.shown} did not answer a moment ago: {_ADVICE}")
        method = "HEAD" if head else "GET"
        try:
            return self._session.request(
                method, url, headers=dict(headers), stream=True, timeout=TIMEOUTS_S, allow_redirects=False
            )
        except (RequestException, UnicodeError) as problem:
            if isinstance(problem, Unreachable):
                self._down_until = self._clock() + _DOWN_S
            raise MirrorDown(
                f"the package mirror {self.shown} does not answer ({type(problem).__name__}): {_ADVICE}"
            ) from problem

    def _next(self, path: str, url: str, location: str) -> str:
        target = urljoin(url, location)
        if urlsplit(target).scheme not in {"http", "https", urlsplit(self._url).scheme}:
            raise MirrorDown(f"{self.shown} redirects {path} to {target[:100]!r}, which is not HTTP: check its address")
        if urlsplit(target).path == f"{urlsplit(url).path}/":
            raise NotFound(f"{path} is a folder of the mirror")
        return target

    def _judged(self, path: str, reply: requests.Response) -> UpstreamAnswer:
        code = reply.status_code
        if code in (200, 206, 304, 416):
            try:
                return _answer(path, reply)
            except MirrorDown:
                reply.close()
                raise
        reply.close()
        if code in (404, 410):
            raise NotFound(f"the mirror has no {path}")
        raise MirrorDown(f"the package mirror {self.shown} answered {code} for {path}: try again, or {_ADVICE}")


_ADVICE: Final = "check the settings `mirror`, `mirrors` and `mirror_proxy`, and the network"


def _answer(path: str, reply: requests.Response) -> UpstreamAnswer:
    headers = {key: reply.headers[key] for key in _TOLD if key in reply.headers}
    encoding = reply.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity" and not path.endswith(_COMPRESSED):  # some call a .gz gzip-encoded; it is meant as it is
        raise MirrorDown(f"the mirror sends {path} compressed though it was asked not to: choose another")
    length, start = headers.get("Content-Length", ""), 0
    total = int(length) if length.isdecimal() and len(length) <= 15 else None
    if reply.status_code == 206:
        found = _TOTAL.fullmatch(headers.get("Content-Range", ""))
        if found is None:
            raise MirrorDown(f"the mirror sends a part of {path} and does not say which: choose another")
        start, total = int(found[1]), int(found[3])
    elif total is None and reply.status_code == 200 and "chunked" not in reply.headers.get("Transfer-Encoding", ""):
        raise MirrorDown(f"the mirror does not say how long {path} is: choose another")
    return UpstreamAnswer(
        reply.status_code, total, start, _seconds(headers.get("Last-Modified")), _etag(headers.get("ETag")),
        headers, reply,
    )  # fmt: skip


def _etag(text: str | None) -> str | None:
    return text if text and len(text) <= 256 and text.isprintable() else None


def _seconds(date: str | None) -> int | None:
    try:
        return max(0, int(parsedate_to_datetime(date).timestamp())) if date else None
    except (ValueError, OverflowError, TypeError):
        return None


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
