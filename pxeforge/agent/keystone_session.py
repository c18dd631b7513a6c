"""A session with keystone: one token, its catalogue, and JSON over HTTP that waits for services that are starting."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import Execution, StepFailed

_LARGEST_ANSWER = 64 * 1024 * 1024
_BYTES = "application/octet-stream"
_PAUSE_S = 1.0
_KEPT_S = 60.0  # a password takes keystone a good part of a second, and the steps of a run follow each other at once
_AWAY = frozenset({500, 502, 503, 504})  # a service that has just started, or whose neighbours have not yet


class NotReady(StepFailed):
    """The service gave no usable answer until the deadline."""


class Refused(StepFailed):
    """The service refused the request; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KeystoneSession:
    """Requests with a token of `auth` ({url, user, password, project, user_domain, project_domain, ca_file}).

    A service that is away or answers 5xx is asked again until deadline_s after its last good answer; then NotReady.
    Other refusals are Refused. A token that has expired on the way is replaced once.
    """

    def __init__(
        self, auth: Mapping[str, Any], execution: Execution, *, deadline_s: float = 120.0, timeout_s: float = 60.0
    ) -> None:
        self._auth, self._execution = auth, execution
        self._deadline_s, self._timeout_s = deadline_s, timeout_s
        self._identity = versioned(str(auth["url"]))
        self._token = ""
        text = json.dumps(dict(auth), sort_keys=True, default=str)
        self._name = f"token {hashlib.sha256(text.encode()).hexdigest()}"
        self._is_kept = False  # the token and its catalogue are those of an earlier step
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self.catalogue: list[dict[str, Any]] = []
        self.project_id = self.user_id = ""

    def __enter__(self) -> KeystoneSession:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def identity(self, method: str, path: str, body: Any = None, *, accept: tuple[int, ...] = ()) -> tuple[int, Any]:
        """A request to the Identity API, like identity("GET", "/users"); returns status and JSON (None without)."""
        return self.request(method, self._identity + path, body, accept=accept)

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        accept: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Any 2xx, or a status in `accept`, returns; else raises Refused or NotReady.

        Bytes as body, and the file at a Path, go as they are.
        """
        for last in (False, True):
            if not self._token:
                self._log_in()
            given = {"X-Auth-Token": self._token, **(headers or {})}
            status, answer, _ = self._patiently(method, url, body, given)
            if status == 401 and not last and status not in accept:
                self.forget()  # expired, or the service has just got new keys
                continue
            break
        if 200 <= status < 300 or status in accept:
            return status, answer
        raise Refused(status, f"{method} {urllib.parse.urlsplit(url).path} is refused ({status}): {_said(answer)}")

    def endpoint(self, service_type: str, region: str, interface: str = "public") -> str:
        """The address of a service in the catalogue, without a slash at its end; raises StepFailed."""
        if not self._token:
            self._log_in()
        for service in self.catalogue:
            if service.get("type") == service_type:
                for endpoint in service.get("endpoints") or []:
                    if endpoint.get("interface") == interface and endpoint.get("region_id") == region:
                        return str(endpoint["url"]).rstrip("/")
        if self._is_kept:  # it may have been registered since
            self.forget()
            return self.endpoint(service_type, region, interface)
        raise StepFailed(f"the catalogue has no {interface} endpoint of {service_type} in {region}: register it first")

    def accepts_password(self, user: str, domain_id: str, password: str) -> bool:
        """Whether a token can be got with it."""
        identity = {"user": {"name": user, "domain": {"id": domain_id}, "password": password}}
        status, answer, _ = self._patiently(
            "POST",
            f"{self._identity}/auth/tokens",
            {"auth": {"identity": {"methods": ["password"], "password": identity}, "scope": "unscoped"}},
            {},
        )
        if status not in (201, 401):
            raise Refused(status, f"keystone does not say whether the password of {user} is right: {_said(answer)}")
        return status == 201

    def forget(self) -> None:
        """The next request gets a new token, with the catalogue as it is then."""
        self._token, self._is_kept = "", False
        self._execution.remembered.pop(self._name, None)

    def _log_in(self) -> None:
        """With the token that a step has got lately, or a new one."""
        until, kept = self._execution.remembered.get(self._name, (0.0, None))
        self._is_kept = kept is not None and time.monotonic() < until
        if not self._is_kept:
            kept = self._new_token()
            self._execution.remembered[self._name] = (time.monotonic() + _KEPT_S, kept)
        self._token, self.catalogue, self.project_id, self.user_id = kept

    def _new_token(self) -> tuple[str, list[dict[str, Any]], str, str]:
        """Token, catalogue, project and user."""
        auth = self._auth
        user = {"name": auth["user"], "domain": {"name": auth.get("user_domain") or "Default"}}
        project = {"name": auth["project"], "domain": {"name": auth.get("project_domain") or "Default"}}
        identity = {"methods": ["password"], "password": {"user": {**user, "password": auth["password"]}}}
        body = {"auth": {"identity": identity, "scope": {"project": project}}}
        status, answer, headers = self._patiently("POST", f"{self._identity}/auth/tokens", body, {})
        token = next((value for key, value in headers.items() if key.lower() == "x-subject-token"), None)
        if status != 201 or not token or not isinstance(answer, dict):
            raise Refused(
                status,
                f"keystone gives {auth['user']} no token for project {auth['project']} ({status}: {_said(answer)}):"
                " check user, password and project",
            )
        told = answer.get("token") or {}
        project, who = told.get("project") or {}, told.get("user") or {}
        return str(token), told.get("catalog") or [], str(project.get("id") or ""), str(who.get("id") or "")

    def _patiently(
        self, method: str, url: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, Any, Mapping[str, str]]:
        end = time.monotonic() + self._deadline_s
        while True:
            self._execution.check_interrupted()
            try:
                status, answer, told = self._once(method, url, body, headers)
                if status not in _AWAY:
                    return status, answer, told
                why = f"answers {status}: {_said(answer)}"
            except (OSError, http.client.HTTPException) as error:
                why = f"gives no answer ({error or type(error).__name__})"
            if time.monotonic() >= end:
                raise NotReady(f"{_where(url)} {why}, for {self._deadline_s:g} s")
            self._execution.pause(_PAUSE_S)

    def _once(self, method: str, url: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:
        """One exchange, over a connection that is kept; one that the service has closed meanwhile is made anew."""
        parts = urllib.parse.urlsplit(url)
        key = (parts.scheme, parts.netloc)
        fresh = key not in self._connections
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = self._connections.setdefault(key, _connection(parts, self._auth.get("ca_file"), self._timeout_s))
        try:
            with _opened(body) as (content, about):
                connection.request(method, target, content, {"Accept": "application/json", **about, **headers})
                response = connection.getresponse()
            raw = response.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._connections.pop(key, None)
            kept_was_closed = isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError))
            if fresh or not kept_was_closed:
                raise
            return self._once(method, url, body, headers)
        if response.will_close:
            connection.close()
            self._connections.pop(key, None)
        return response.status, _decoded(raw), dict(response.headers.items())


def versioned(url: str) -> str:
    """The address of Identity v3 for an address with or without its version."""
    trimmed = url.rstrip("/")
    return trimmed if trimmed.endswith("/v3") else f"{trimmed}/v3"


def _connection(parts: urllib.parse.SplitResult, ca_file: Any, timeout_s: float) -> http.client.HTTPConnection:
    try:
        port = parts.port
    except ValueError:
        raise StepFailed(f"{parts.netloc} has no usable port: correct the address") from None
    host = parts.hostname or ""
    if parts.scheme == "https":
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise StepFailed(f"the certificates in {ca_file} cannot be used: {error}") from None
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


@contextlib.contextmanager
def _opened(body: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """What is sent, and the headers that say what it is; a file goes piece by piece, and anew at each try."""
    if isinstance(body, Path):
        with body.open("rb") as stream:
            yield stream, {"Content-Type": _BYTES, "Content-Length": str(os.fstat(stream.fileno()).st_size)}
    elif isinstance(body, bytes):
        yield body, {"Content-Type": _BYTES}
    elif body is None:
        yield None, {}
    else:
        yield json.dumps(body).encode(), {"Content-Type": "application/json"}


def _decoded(raw: bytes) -> Any:
    """JSON, or the text where it is none (None when empty)."""
    if not raw.strip():
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")


def _said(answer: Any) -> str:
    """The service's own words about a refusal."""
    found = answer
    for _ in range(3):
        if not isinstance(found, dict) or not found:
            break
        found = found.get("message") or next(iter(found.values()))
    text = " ".join(str(found if found is not None else "nothing more").split())
    return text[:300]


def _where(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
