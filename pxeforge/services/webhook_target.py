"""One POST to an address that an operator's word made us ask: only where we may, never redirected, never for long.

The name is resolved once, each of its addresses is checked, and the connection goes to a checked one: a name that
means something else a moment later (DNS rebinding) leads nowhere else.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pxeforge.domain.inner_address import inner_address
from pxeforge.services.problems import Problem

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_PORTS: Final = {"http": 80, "https": 443}
_STEP_S: Final = 10.0  # for each of connecting, sending and receiving
_WHOLE_S: Final = 20.0
_READ_BYTES: Final = 1024
_LONGEST_URL: Final = 2000
_METADATA_V6: Final = ipaddress.ip_network("fd00:ec2::254/128")  # a cloud's credentials, as 169.254.169.254


class Unwelcome(Problem):
    """An address that we do not send to."""


class NotDelivered(Exception):
    """The message was not taken; the text says why. `status`: of the answer, if there was one."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`allowed` wins over everything that is denied otherwise; `denied`: the networks of hosts."""

    allowed: Sequence[Network] = ()
    denied: Sequence[Network] = ()


def check_url(url: str, limits: Limits) -> None:
    """Whether we would send there now; raises Unwelcome."""
    parts = _split(url)
    with contextlib.suppress(NotDelivered):  # a name that cannot be resolved just now may be later
        _addresses(parts, limits)


def post(url: str, body: bytes, headers: Mapping[str, str], limits: Limits) -> int:
    """Sends the body; returns the status of an answer that takes it (200 to 299). Raises NotDelivered."""
    try:
        parts = _split(url)
        address = _addresses(parts, limits)[0]
    except Unwelcome as problem:
        raise NotDelivered(str(problem)) from None
    connection = _connection(parts, address)
    watchdog = threading.Timer(_WHOLE_S, _cut, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        answer.read(_READ_BYTES)
    except ssl.SSLError as problem:
        raise NotDelivered(f"no TLS with {parts.hostname}: {problem.reason or problem}") from None
    except TimeoutError:
        raise NotDelivered(f"{parts.hostname} did not answer in time") from None
    except (OSError, http.client.HTTPException) as problem:
        raise NotDelivered(f"no answer from {parts.hostname}: {problem or type(problem).__name__}") from None
    finally:
        watchdog.cancel()
        connection.close()
    if 200 <= answer.status < 300:
        return answer.status
    more = ": redirects are not followed" if 300 <= answer.status < 400 else ""
    raise NotDelivered(f"{parts.hostname} answered {answer.status}{more}", answer.status)


def _split(url: str) -> SplitResult:
    bad = len(url) > _LONGEST_URL or not url.isascii() or any(ord(char) <= 0x20 or ord(char) == 0x7F for char in url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        bad = True
    if bad or parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise Unwelcome(f"{url[:100]!r} is no address for a webhook: write it like https://example.org/hook")
    if parts.username is not None or parts.password is not None:
        raise Unwelcome("a webhook's address must not hold a password: the signature says that it is us")
    return parts


def _addresses(parts: SplitResult, limits: Limits) -> list[Address]:
    """All addresses of the host, each of them welcome. Raises Unwelcome, NotDelivered."""
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotDelivered(f"the name {host} cannot be resolved") from None
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    for address in addresses:
        why = _why_not(inner_address(address), limits)
        if why:
            raise Unwelcome(
                f"nothing is sent to {host}: {address} is {why}; "
                "if it must be, name its network in the setting webhook_networks"
            )
    return addresses


def _why_not(address: Address, limits: Limits) -> str | None:
    if any(address in network for network in limits.allowed):
        return None
    if any(address in network for network in limits.denied):
        return "on the boot network"
    if address.is_loopback:
        return "this computer itself"
    if address.is_link_local or address in _METADATA_V6:
        return "link-local"
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return "no address of one computer"
    return "this computer itself" if _is_ours(address) else None


def _is_ours(address: Address) -> bool:
    """Whether the kernel would send to it from the very same address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(address), 9))  # sends nothing
        return ipaddress.ip_address(probe.getsockname()[0]) == address
    return False


def _connection(parts: SplitResult, address: Address) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    if parts.scheme == "http":
        return _Plain(host, port, address)
    return _Tls(host, port, address)


class _Plain(http.client.HTTPConnection):
    """To a checked address, under the name that was asked for."""

    def __init__(self, host: str, port: int, address: Address) -> None:
        super().__init__(host, port, timeout=_STEP_S)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((str(self._address), self.port), _STEP_S)


class _Tls(http.client.HTTPSConnection):
    """The same with TLS: the certificate must be the name's."""

    def __init__(self, host: str, port: int, address: Address) -> None:
        self._context_of_ours = ssl.create_default_context()
        super().__init__(host, port, timeout=_STEP_S, context=self._context_of_ours)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((str(self._address), self.port), _STEP_S)
        try:
            self.sock = self._context_of_ours.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def _cut(connection: http.client.HTTPConnection) -> None:
    """An answer that drips in byte by byte has no step that takes too long."""
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
