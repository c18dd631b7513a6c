"""The package mirror of the boot plane: pulled through from upstream, pool files kept on disk.

Only files below `pool/` are kept: they never change under their name. Indexes are always asked for upstream, so that
a host never sees yesterday's Packages with today's Release. A file enters the cache whole (its length checked) or
not at all; its integrity is the client's business (apt and debian-installer verify signatures and hashes).
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pxeforge.services.image_import import MirrorSource
from pxeforge.services.problems import NotFound, Problem

if TYPE_CHECKING:  # loaded with the first file that upstream is asked for
    import requests

_PATH = re.compile(r"[A-Za-z0-9._+~=:@-]{1,255}(/[A-Za-z0-9._+~=:@-]{1,255})*")  # no %: upstream would decode ..
_LONGEST_PATH = 1024
_CHUNK = 256 * 1024
_RESERVE_BYTES = 2 << 30  # the cache takes no more when less is free: anybody on the boot network can ask for files
_TIMEOUT_S = (10, 60)
_ASKED = ("If-Modified-Since", "If-None-Match", "Range")
_TOLD = ("Content-Length", "Content-Type", "Last-Modified", "ETag", "Content-Range")


class MirrorDown(Problem):
    """Upstream did not answer; the client may try again."""

    status = 502


@dataclass(frozen=True, slots=True)
class Answer:
    """What upstream said: `body` yields bytes and must be read to its end or closed."""

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]


class Mirror:
    """One upstream (`http://…/debian` or `http+unix://…/debian`) and its cache folder."""

    def __init__(self, upstream: str, cache_dir: Path) -> None:
        self.upstream = upstream.rstrip("/")
        self._cache = cache_dir

    @functools.cached_property
    def _session(self) -> requests.Session:
        session = MirrorSource(self.upstream).session()
        session.trust_env = False
        return session

    def cached(self, path: str) -> Path | None:
        """The whole file on disk, if the cache has it."""
        place = self._place(path)
        return place if place is not None and place.is_file() else None

    def fetch(self, path: str, asked: Mapping[str, str], *, head: bool = False) -> Answer:
        """Asks upstream; a whole pool file is kept while it streams by. Raises NotFound, MirrorDown."""
        from requests import RequestException

        place = self._place(path)
        try:
            reply = self._session.request(
                "HEAD" if head else "GET",
                f"{self.upstream}/{path}",
                headers={key: asked[key] for key in _ASKED if key in asked} | {"Accept-Encoding": "identity"},
                stream=True,
                timeout=_TIMEOUT_S,
            )
        except RequestException as problem:
            raise MirrorDown(
                f"the package mirror {self.upstream} does not answer ({type(problem).__name__}): check `mirror`"
            ) from problem
        headers = {key: reply.headers[key] for key in _TOLD if key in reply.headers}
        keep = place if reply.status_code == 200 and not head and self._has_room() else None
        return Answer(reply.status_code, headers, _body(reply, keep))

    def _has_room(self) -> bool:
        self._cache.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._cache).free > _RESERVE_BYTES

    def _place(self, path: str) -> Path | None:
        if len(path) > _LONGEST_PATH or not _PATH.fullmatch(path) or ".." in path.split("/"):
            raise NotFound(f"no such file in the mirror: {path[:200]}")
        return self._cache / path if "pool" in path.split("/") else None


def _body(reply: requests.Response, keep: Path | None) -> Iterator[bytes]:
    """Streams the reply; writes it aside and renames it at the end when it came whole."""
    with contextlib.closing(reply):
        if keep is None or "Content-Length" not in reply.headers:
            yield from reply.raw.stream(_CHUNK, decode_content=False)
            return
        keep.parent.mkdir(parents=True, exist_ok=True)
        aside = keep.with_name(f".{keep.name}.{secrets.token_hex(4)}")
        try:
            with aside.open("wb") as stream:
                for chunk in reply.raw.stream(_CHUNK, decode_content=False):
                    _try_write(stream.fileno(), chunk)
                    yield chunk
            if aside.stat().st_size == int(reply.headers["Content-Length"]):
                aside.replace(keep)
        finally:
            aside.unlink(missing_ok=True)


def _try_write(descriptor: int, chunk: bytes) -> None:
    # A full disk must cost the cache, not the install: the length check then keeps the short file out.
    with contextlib.suppress(OSError):
        os.write(descriptor, chunk)


def sweep(cache_dir: Path) -> int:
    """Removes what killed downloads left; returns how many."""
    leftovers = [path for path in cache_dir.rglob(".*") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)
