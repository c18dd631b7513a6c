"""JSON over TLS with one BMC: the certificate checked, no redirects, no proxies, bounded in size and time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from pxeforge.services.power_driver import Deadline, PowerFault, quoted

_MOST_BYTES: Final = 1 << 20
_CONNECT_S: Final = 5.0
_READ_S: Final = 20.0  # BMCs are slow
_READS: Final = 3  # tries of what changes nothing
_PATH: Final = re.compile(r"/redfish(/[\x21-\x7e]{0,500})?")
_BUSY: Final = (502, 503, 504)


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is {} where there was none."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`name`: as it was set, and as its certificate says; `address`: what it stands for, checked."""

    name: str
    address: str
    port: int = 443
    fingerprint: str | None = None  # SHA-256 of the certificate, hex: then nothing else about it counts
    ca: Path | None = None

    @property
    def url(self) -> str:
        return f"https://{_bracketed(self.address)}:{self.port}"


class _Watchdog:
    """Ends every connection of a conversation at its deadline, however slowly its bytes come."""

    def __init__(self, deadline: Deadline) -> None:
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(deadline.left_s(), self._end)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> socket.socket:
        self._watched.append(connection.dup())  # the original gives its descriptor to TLS
        return connection

    def close(self) -> None:
        self._timer.cancel()
        for connection in self._watched:
            connection.close()

    def _end(self) -> None:
        for connection in self._watched:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Connects to the address, and checks the certificate against the name or the fingerprint."""

    def __init__(self, place: Place, watchdog: _Watchdog) -> None:
        self._place, self._watchdog = place, watchdog
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        place, watchdog = self._place, self._watchdog
        if place.fingerprint:
            kwargs |= {"assert_fingerprint": place.fingerprint, "assert_hostname": False}
        elif place.name != place.address:
            kwargs |= {"assert_hostname": place.name, "server_hostname": place.name}
        super().init_poolmanager(*args, **kwargs)

        class Connection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return watchdog.watch(super()._new_conn())

        class Pool(HTTPSConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"https": Pool}


class BmcHttp:
    """A connection; `headers` are sent with every request. Raises PowerFault."""

    def __init__(self, place: Place, deadline: Deadline) -> None:
        self._place, self._deadline = place, deadline
        self._watchdog = _Watchdog(deadline)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc
        self._session.mount("https://", _Adapter(place, self._watchdog))
        self._session.headers.clear()
        name = _bracketed(place.name) if place.port == 443 else f"{_bracketed(place.name)}:{place.port}"
        self.headers: dict[str, str] = {
            "Host": name, "Accept": "application/json", "OData-Version": "4.0", "Accept-Encoding": "identity",
            "User-Agent": "pxeforge",
        }  # fmt: skip
        self._verify: bool | str = str(place.ca) if place.ca else not place.fingerprint

    def get(self, path: str) -> Reply:
        """Tried again where the BMC is busy or drops the connection: nothing changes by it."""
        for _again in range(_READS - 1):
            with contextlib.suppress(_Dropped):
                reply = self._once("GET", path)
                if reply.status not in _BUSY:
                    return reply
            time.sleep(self._deadline.left_s(1.0))
        return self.send("GET", path)

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request, sent once."""
        try:
            return self._once(method, path, body, headers)
        except _Dropped as dropped:
            self._deadline.left_s()  # what ended it may have been the time
            raise PowerFault(str(dropped)) from None

    def close(self) -> None:
        self._session.close()
        self._watchdog.close()

    def _once(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        check_path(path)
        timeout = (self._deadline.left_s(_CONNECT_S), self._deadline.left_s(_READ_S))
        where = f"the BMC {self._place.name}"
        try:
            with self._session.request(
                method, self._place.url + path, json=body, headers={**self.headers, **(headers or {})}, stream=True,
                timeout=timeout, allow_redirects=False, verify=self._verify,
            ) as reply:  # fmt: skip
                if 300 <= reply.status_code < 400:
                    raise PowerFault(f"{where} sends us elsewhere, which we do not follow: set the address it leads to")
                return Reply(reply.status_code, reply.headers, self._json(reply))
        except requests.exceptions.SSLError as problem:
            raise PowerFault(self._untrusted(problem)) from None
        except requests.Timeout:
            raise PowerFault(f"{where} does not answer on port {self._place.port}: look at address and cable") from None
        except requests.ConnectionError as problem:
            raise _Dropped(f"{where} cannot be reached on port {self._place.port} ({_reason(problem)})") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as problem:
            raise PowerFault(f"{where} answers with what is no HTTP ({quoted(str(problem))})") from None

    def _json(self, reply: requests.Response) -> dict[str, Any]:
        content = bytearray()
        for chunk in reply.iter_content(16384):
            content += chunk
            self._deadline.left_s()
            if len(content) > _MOST_BYTES:
                raise PowerFault(f"the BMC {self._place.name} answers without end: is this a BMC?")
        self._deadline.left_s()  # what the watchdog cut looks like an end
        if not content.strip():
            return {}
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        if reply.status_code >= 400:
            return {}  # its web page about the error
        raise PowerFault(f"the BMC {self._place.name} answers with what is no JSON object: does it speak Redfish?")

    def _untrusted(self, problem: Exception) -> str:
        seen, where = seen_fingerprint(self._place, self._deadline, self._watchdog.watch), f"the BMC {self._place.name}"
        if seen is None:
            return f"no TLS connection to {where} ({_reason(problem)}): use the driver ipmi if the BMC is too old"
        if self._place.fingerprint:
            return f"{where} shows another certificate than was set: if it was renewed, set --fingerprint {seen}"
        return (
            f"the certificate of {where} is not trusted ({_reason(problem)}): if it is the BMC's own, set "
            f"--fingerprint {seen}, else --ca"
        )


class _Dropped(Exception):
    """No connection, or one that broke: another try may help."""


def check_path(path: str) -> str:
    """A link that a BMC gave: only a path below /redfish, so that nothing leads elsewhere. Raises PowerFault."""
    if not _PATH.fullmatch(path) or ".." in path or "#" in path:
        raise PowerFault(f"the BMC names {quoted(path)!r} as an address of its own, which it is not: is this a BMC?")
    return path


def seen_fingerprint(
    place: Place, deadline: Deadline, watch: Callable[[socket.socket], socket.socket] = lambda connection: connection
) -> str | None:
    """SHA-256 of the certificate that is shown there, whoever made it; None without TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            watch(socket.create_connection((place.address, place.port), deadline.left_s(_CONNECT_S))) as plain,
            context.wrap_socket(plain, server_hostname=place.name) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True)
    except (OSError, ValueError, PowerFault):
        return None
    return hashlib.sha256(certificate).hexdigest() if certificate else None


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _reason(problem: BaseException) -> str:
    """What is at the bottom of the libraries' reports: the last word of the kernel or of TLS."""
    seen: BaseException | None = problem
    said = str(problem)
    for _depth in range(20):
        if isinstance(seen, ssl.SSLError):
            said = getattr(seen, "verify_message", "") or seen.reason or str(seen)
        elif isinstance(seen, OSError) and seen.strerror:
            said = seen.strerror
        inner = getattr(seen, "reason", None) or (seen.args[0] if seen is not None and seen.args else None)
        follows = [one for one in (inner, seen and seen.__cause__, seen and seen.__context__) if one is not seen]
        seen = next((one for one in follows if isinstance(one, BaseException)), None)
    return quoted(said)
