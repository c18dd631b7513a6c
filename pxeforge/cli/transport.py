"""The CLI's way to the REST API: the running server's socket, a server's URL, or the data directory itself."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import requests
import requests_unixsocket

from pxeforge.app.processes import socket_path
from pxeforge.app.settings import Settings

_TIMEOUT_S = 60
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Refusal(Exception):
    """What the server said no to, or why it could not be asked; one sentence."""


class Api(Protocol):
    """One request to the REST API; returns the JSON answer, raises Refusal."""

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any: ...


class Bearer(requests.auth.AuthBase):
    """Sends an API token; as the session's login it also keeps a .netrc from replacing it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


Login = tuple[str, str] | Bearer


def login_of(user: str | None, environment: Mapping[str, str]) -> Login | None:
    """How to log in to `--server`: as the user that was named, else by a token. Raises Refusal."""
    token = environment.get("PXEFORGE_TOKEN", "").strip()
    if user:
        return user, environment.get("PXEFORGE_PASSWORD", "")
    if token and not _TOKEN.fullmatch(token):
        raise Refusal("PXEFORGE_TOKEN holds no API token: make one with `pxeforge token create --name ci`")
    return Bearer(token) if token else None


def open_api(settings: Settings, server: str | None, login: Login | None, verify: str | bool) -> Api:
    """The socket of a running server, `server` when given, else the data directory without a server."""
    if server is not None:
        if not server.startswith(("https://", "http://")):
            raise Refusal(f"{server!r} is not the URL of a server: write it like https://10.0.0.1:8443")
        if isinstance(login, Bearer) and not server.startswith("https://"):
            raise Refusal("an API token is not sent in clear: write the server's URL with https://")
        session = requests.Session()
        session.auth = login
        return HttpApi(session, server.rstrip("/"), verify)
    path = socket_path(settings.data_dir)
    if _answers(path):
        local = requests_unixsocket.Session()  # type: ignore[no-untyped-call]
        local.trust_env = False  # ALL_PROXY is not for sockets
        return HttpApi(local, f"http+unix://{quote(str(path), safe='')}")
    return LocalApi(settings)


def _answers(path: Path) -> bool:
    if not path.exists():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except PermissionError:
            raise Refusal(
                f"no permission to open {path}: run as root, or use --server URL with a token or login"
            ) from None
        except OSError:
            return False
    return True


def at(path: str, *names: str) -> str:
    """The path with each `{}` filled by a name that a person typed, escaped: `/hosts/{}/arm`."""
    if "" in names:
        raise Refusal("a name is empty: say which one is meant")
    return path.format(*(quote(name, safe=":") for name in names))


class HttpApi:
    """A running server."""

    def __init__(self, session: requests.Session, base: str, verify: str | bool = True) -> None:
        # Given with each request: a bundle in the environment would win over the session's.
        self._session, self._base, self._verify = session, base, verify

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            reply = self._session.request(
                method, f"{self._base}/api/v1{path}", json=body, params=query, timeout=_TIMEOUT_S, verify=self._verify
            )
            answer = reply.json()
        except requests.exceptions.SSLError as problem:
            raise Refusal(f"the server's certificate is not trusted ({problem}): give --ca FILE") from None
        except requests.exceptions.InvalidJSONError:
            raise Refusal("the answer is not pxeforge's: check --server, or a proxy in between") from None
        except requests.RequestException as problem:
            raise Refusal(
                f"the server does not answer ({type(problem).__name__}): is `pxeforge serve` running?"
            ) from None
        return _unwrap(reply.status_code, answer)


class LocalApi:
    """No server runs: the same routes, called in this process on the data directory."""

    def __init__(self, settings: Settings) -> None:
        from pxeforge.app.assembly import open_context
        from pxeforge.webapp.admin import create_admin

        self._client = create_admin(open_context(settings, upgrade=True), trusted_socket=True).test_client()

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        reply = self._client.open(f"/api/v1{path}", method=method, json=body, query_string=query)
        return _unwrap(reply.status_code, reply.get_json(silent=True))


def _unwrap(status: int, answer: Any) -> Any:
    if status < 400:
        return answer
    if isinstance(answer, dict):
        raise Refusal(str(answer.get("detail") or answer.get("title") or f"the server answered {status}"))
    raise Refusal(f"the server answered {status}")
