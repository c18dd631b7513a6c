"""JSON over HTTP: plain to the boot plane for registration, TLS with a pinned certificate to the agent plane."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import threading
import urllib.parse
from dataclasses import dataclass
from typing import Any

from pxeforge.agent import AGENT_VERSION

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN
_LARGEST_REPLY = 64 * 1024 * 1024


class Unreachable(Exception):
    """No usable answer; the message says why in one sentence. Trying again later may help."""


class WrongCertificate(Unreachable):
    """The server shows another certificate than the one that was pinned at registration."""


@dataclass(frozen=True)
class Reply:
    """An HTTP status and the JSON object of its body ({} when there is none)."""

    status: int
    body: dict[str, Any]


def pinned_context(certificate_pem: str) -> ssl.SSLContext:
    """Trusts exactly this certificate, whatever names and dates it has; raises ValueError for text that is none.

    Dates are not checked: a new host's clock may be years off, and the agent is what will set it right.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | _NO_CHECK_TIME | _PARTIAL_CHAIN)
    try:
        context.load_verify_locations(cadata=certificate_pem)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"the server's certificate cannot be read ({error}): register the host again") from None
    return context


def fingerprint(certificate_der: bytes) -> str:
    return hashlib.sha256(certificate_der).hexdigest()


def certificate_fingerprint(certificate_pem: str) -> str:
    """SHA-256 (hex) of the first certificate in a PEM text; raises ValueError for text that is none."""
    return fingerprint(ssl.PEM_cert_to_DER_cert(_first_pem(certificate_pem)))


class AgentPlane:
    """The server's agent plane, spoken to with this host's credential, from any thread.

    Connections are kept for the next request: to shake hands costs more than to ask.
    """

    def __init__(self, url: str, token: str, certificate_pem: str, timeout_s: float = 30.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"the agent plane's address is {url!r}, not https://…: register the host again")
        self._host, self._port, self._prefix = parts.hostname, parts.port or 443, parts.path.rstrip("/")
        self._token = token
        self._context = pinned_context(certificate_pem)
        self._pinned = certificate_fingerprint(certificate_pem)
        self._timeout_s = timeout_s
        self._idle: list[http.client.HTTPSConnection] = []
        self._lock = threading.Lock()

    def post(self, path: str, body: dict[str, Any], extra_timeout_s: float = 0.0) -> Reply:
        """Raises Unreachable and WrongCertificate; any HTTP status is a Reply."""
        timeout_s = self._timeout_s + extra_timeout_s
        try:
            kept = self._kept(timeout_s)
            if kept is not None:
                try:
                    return self._ask(kept, path, body)
                except TimeoutError:
                    raise
                except (OSError, http.client.HTTPException):
                    self.close()  # the server has closed it meanwhile, and all others with it if it was restarted
            return self._ask(self._connected(timeout_s), path, body)
        except ssl.SSLCertVerificationError:
            raise self._refusal() from None
        except (OSError, http.client.HTTPException) as error:
            where = f"{self._host}:{self._port}"
            raise Unreachable(f"the server at {where} gives no answer ({error or type(error).__name__})") from None

    def close(self) -> None:
        """Ends the connections that are kept; the next request makes one."""
        with self._lock:
            ended, self._idle = self._idle, []
        for connection in ended:
            connection.close()

    def _kept(self, timeout_s: float) -> http.client.HTTPSConnection | None:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        return connection

    def _connected(self, timeout_s: float) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context)
        try:
            connection.connect()
            self._compare(connection.sock)
        except BaseException:
            connection.close()
            raise
        return connection

    def _ask(self, connection: http.client.HTTPSConnection, path: str, body: dict[str, Any]) -> Reply:
        headers = {"Authorization": f"Bearer {self._token}"}
        is_open = False
        try:
            reply, is_open = _exchange(connection, self._prefix + path, body, headers)
        finally:
            if not is_open:
                connection.close()
        if is_open:
            with self._lock:
                self._idle.append(connection)
        return reply

    def _compare(self, sock: Any) -> None:
        shown = sock.getpeercert(binary_form=True)
        if shown is None or fingerprint(shown) != self._pinned:
            raise self._refusal()

    def _refusal(self) -> WrongCertificate:
        return WrongCertificate(
            f"the server at {self._host}:{self._port} shows another certificate than the pinned one"
            f" (sha256 {self._pinned[:16]}…): nothing was sent; if it was replaced on purpose, register this host again"
        )


def post_plain(url: str, body: dict[str, Any], timeout_s: float = 30.0) -> Reply:
    """One POST over plain HTTP (the boot network, before anything is pinned); raises Unreachable, ValueError."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("the address to register at must start with http://")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        return _exchange(connection, target or "/", body, {"Connection": "close"})[0]
    except (OSError, http.client.HTTPException) as error:
        where = f"{parts.hostname}:{parts.port or 80}"
        raise Unreachable(f"the server at {where} gives no answer ({error or type(error).__name__})") from None
    finally:
        connection.close()


def _exchange(
    connection: http.client.HTTPConnection, target: str, body: dict[str, Any], headers: dict[str, str]
) -> tuple[Reply, bool]:
    """The answer, and whether the connection can be used again."""
    content = json.dumps(body).encode()
    fixed = {"Content-Type": "application/json", "User-Agent": f"pxeforge-agent/{AGENT_VERSION}"}
    connection.request("POST", target, content, {**fixed, **headers})
    response = connection.getresponse()
    raw = response.read(_LARGEST_REPLY)
    try:
        parsed = json.loads(raw) if raw.strip() else {}
    except ValueError:
        parsed = {}
    if response.status == 200 and not isinstance(parsed, dict):
        raise Unreachable("the server's answer is no JSON object")
    is_open = response.isclosed() and not response.will_close
    return Reply(response.status, parsed if isinstance(parsed, dict) else {}), is_open


def _first_pem(text: str) -> str:
    end = "-----END CERTIFICATE-----"
    start = text.find("-----BEGIN CERTIFICATE-----")
    stop = text.find(end)
    if start < 0 or stop < 0:
        raise ValueError("the server's certificate is no PEM text: register the host again")
    return text[start : stop + len(end)] + "\n"
