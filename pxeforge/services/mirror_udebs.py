"""Asks mirrors for which kernels they have installer modules (udebs), and remembers what they said for some minutes."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # only the process that arms hosts needs it
    import requests

ANSWER_FOR_S: Final = 300.0
FAILURE_FOR_S: Final = 30.0  # somebody may be mending it
_CONNECT_TIMEOUT_S: Final = 3
_READ_TIMEOUT_S: Final = 10
_LIMIT_S: Final = 20.0  # all of it: somebody waits before a command line
_MAX_BYTES: Final = 32 << 20
_KERNEL: Final = re.compile(r"^Package: kernel-image-(\S+)-di$", re.MULTILINE)
_NAMES: Final = ("Packages.xz", "Packages.gz")
_MOST_ANSWERS: Final = 256


@dataclass(frozen=True, slots=True)
class UdebQuery:
    """Which index: `mirror` like http://host/debian."""

    mirror: str
    suite: str
    arch: str
    proxy: str | None = None

    @property
    def folder(self) -> str:
        return f"{self.mirror.rstrip('/')}/dists/{self.suite}/main/debian-installer/binary-{self.arch}"


@dataclass(frozen=True, slots=True)
class UdebAnswer:
    """The kernels that there are modules for; `problem` tells why nobody knows."""

    kernels: frozenset[str] = frozenset()
    problem: str | None = None


class MirrorUdebs:
    """Any thread may ask. `known` never waits; `ask` may, for some seconds."""

    def __init__(
        self, fetch: Callable[[UdebQuery], UdebAnswer] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch or fetch_answer
        self._clock = clock
        self._kept: dict[UdebQuery, tuple[float, UdebAnswer]] = {}

    def ask(self, query: UdebQuery) -> UdebAnswer:
        known = self.known(query)
        if known is not None:
            return known
        answer = self._fetch(query)
        if len(self._kept) >= _MOST_ANSWERS:
            self._kept.clear()
        self._kept[query] = (self._clock() + (FAILURE_FOR_S if answer.problem else ANSWER_FOR_S), answer)
        return answer

    def known(self, query: UdebQuery) -> UdebAnswer | None:
        """What the mirror said a short while ago; None where it was not asked."""
        until, answer = self._kept.get(query, (0.0, None))
        return answer if answer is not None and self._clock() < until else None


def fetch_answer(query: UdebQuery) -> UdebAnswer:
    """Fetches the index of installer packages; whatever fails is told as a problem."""
    import requests

    try:
        with requests.Session() as session:
            session.trust_env = query.proxy is None
            for name in _NAMES:
                packed = _get(session, query, name)
                if packed is not None:
                    return kernels_in(packed, name)
    except requests.Timeout:
        return UdebAnswer(problem=f"the mirror {query.mirror} did not answer in time")
    except requests.RequestException as error:
        return UdebAnswer(problem=f"the mirror {query.mirror} cannot be asked ({type(error).__name__})")
    except _Odd as odd:
        return UdebAnswer(problem=f"the mirror {query.mirror} {odd}")
    return UdebAnswer(problem=f"the mirror {query.mirror} has no installer packages for {query.suite} on {query.arch}")


class _Odd(Exception):
    """The mirror answered with what nobody can use."""


def _get(session: requests.Session, query: UdebQuery, name: str) -> bytes | None:
    """The file, or None where the mirror does not have it."""
    proxies = {"http": query.proxy, "https": query.proxy} if query.proxy else None
    until = time.monotonic() + _LIMIT_S
    with session.get(
        f"{query.folder}/{name}", stream=True, timeout=(_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S), proxies=proxies,
        headers={"Accept-Encoding": "identity"},
    ) as response:  # fmt: skip
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise _Odd(f"answered {response.status_code}")
        found = bytearray()
        for chunk in response.iter_content(1 << 16):
            found += chunk
            if len(found) > _MAX_BYTES:
                raise _Odd("sent more than an index of installer packages has")
            if time.monotonic() > until:
                raise _Odd("is too slow")
        return bytes(found)


def kernels_in(packed: bytes, name: str) -> UdebAnswer:
    """The kernels in a packed index."""
    try:
        if name.endswith(".xz"):
            content = lzma.LZMADecompressor().decompress(packed, _MAX_BYTES)
        else:
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
                content = stream.read(_MAX_BYTES)
    except (lzma.LZMAError, OSError, EOFError, ValueError):
        return UdebAnswer(problem="the mirror's index of installer packages is damaged")
    return UdebAnswer(kernels=frozenset(_KERNEL.findall(content.decode("utf-8", "replace"))))
