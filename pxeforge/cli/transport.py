"""The CLI's way to the REST API: the running server's socket, a server's URL, or the data directory itself."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

import requests
import requests_unixsocket

from pxeforge.app.processes import socket_path
from pxeforge.app.settings import Settings

_TIMEOUT_S = 60
_MOST_AT_ONCE = 1000  # rows of one part of a list
_QUIET_S = 20  # a stream says every five seconds that it is there
_PATIENCE_S = 60  # how long a server that is started again is waited for
_AGAIN_S = 1.0
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Refusal(Exception):
    """What the server said no to, or why it could not be asked; one sentence."""


class Api(Protocol):
    """One request to the REST API; returns the JSON answer, raises Refusal. A list comes whole, unless `query` has a
    `limit`: the server sends it in parts. `timeout_s`: how long the server may be silent.
    """

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None,
        *, timeout_s: float = _TIMEOUT_S,
    ) -> Any: ...  # fmt: skip

    def follow(self, path: str, query: Mapping[str, Any] | None = None, last_id: int | None = None, /) -> Iterator[Any]:
        """What a stream sends, from the event after `last_id` (None: from now) on, for ever. Raises Refusal."""
        ...


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


def open_server(server: str, login: Login | None, verify: str | bool) -> Api:
    """A server elsewhere, by its URL."""
    if not server.startswith(("https://", "http://")):
        raise Refusal(f"{server!r} is not the URL of a server: write it like https://10.0.0.1:8443")
    if isinstance(login, Bearer) and not server.startswith("https://"):
        raise Refusal("an API token is not sent in clear: write the server's URL with https://")
    session = requests.Session()
    session.auth = login
    return HttpApi(session, server.rstrip("/"), verify)


def open_here(settings: Settings) -> Api:
    """The socket of a running server, else the data directory without a server."""
    return open_socket(settings.data_dir) or LocalApi(settings)


def open_socket(data_dir: Path) -> HttpApi | None:
    """The running server of a data directory; None where none runs."""
    path = socket_path(data_dir)
    if not _answers(path):
        return None
    local = requests_unixsocket.Session()  # type: ignore[no-untyped-call]
    local.trust_env = False  # ALL_PROXY is not for sockets
    return HttpApi(local, f"http+unix://{quote(str(path), safe='')}")


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
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None,
        *, timeout_s: float = _TIMEOUT_S,
    ) -> Any:  # fmt: skip
        return _whole(query, lambda more: self._part(method, path, body, more, timeout_s))

    def follow(self, path: str, query: Mapping[str, Any] | None = None, last_id: int | None = None) -> Iterator[Any]:
        """Streams end now and then: it comes again and goes on where it was, for a while also without a server."""
        lost_at: float | None = None
        while True:
            try:
                for event_id, told in self._events(path, query, last_id):
                    last_id, lost_at = event_id, None
                    if told is not None:
                        yield told
            except requests.RequestException as problem:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > _PATIENCE_S or isinstance(problem, requests.exceptions.SSLError):
                    raise Refusal(
                        f"the server is gone ({type(problem).__name__}): is `pxeforge serve` running?"
                    ) from None
                time.sleep(_AGAIN_S)

    def _events(
        self, path: str, query: Mapping[str, Any] | None, last_id: int | None
    ) -> Iterator[tuple[int, Any]]:  # fmt: skip
        """The events of one stream with their ids; the first one only says where it begins."""
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        with self._session.get(
            f"{self._base}/api/v1{path}", params=query, headers=headers, stream=True, verify=self._verify,
            timeout=(_TIMEOUT_S, _QUIET_S),
        ) as reply:  # fmt: skip
            if reply.status_code != 200:
                _unwrap(reply.status_code, reply.json())
            block: dict[str, str] = {}
            for line in reply.iter_lines(decode_unicode=True):
                if line:
                    name, _, value = line.partition(": ")
                    block[name] = value
                    continue
                if "id" in block:
                    yield int(block["id"]), json.loads(block["data"]) if "data" in block else None
                block = {}

    def _part(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any] | None, timeout_s: float
    ) -> tuple[Any, str]:  # fmt: skip
        try:
            reply = self._session.request(
                method, f"{self._base}/api/v1{path}", json=body, params=query, timeout=timeout_s, verify=self._verify
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
        return _unwrap(reply.status_code, answer), reply.headers.get("Link", "")


class LocalApi:
    """No server runs: the same routes, called in this process on the data directory."""

    def __init__(self, settings: Settings) -> None:
        from pxeforge.app.assembly import open_context
        from pxeforge.webapp.admin import create_admin

        self._client = create_admin(open_context(settings, upgrade=True), trusted_socket=True).test_client()

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None,
        *, timeout_s: float = _TIMEOUT_S,
    ) -> Any:  # fmt: skip
        del timeout_s  # nobody to wait for
        return _whole(query, lambda more: self._part(method, path, body, more))

    def follow(  # the same for whatever is asked
        self, _path: str, _query: Mapping[str, Any] | None = None, _last_id: int | None = None
    ) -> Iterator[Any]:
        raise Refusal("no server runs, so nothing happens: start one with `pxeforge serve`")

    def _part(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any] | None
    ) -> tuple[Any, str]:  # fmt: skip
        reply = self._client.open(f"/api/v1{path}", method=method, json=body, query_string=query)
        return _unwrap(reply.status_code, reply.get_json(silent=True)), reply.headers.get("Link", "")


def _whole(
    query: Mapping[str, Any] | None, part: Callable[[Mapping[str, Any] | None], tuple[Any, str]]
) -> Any:  # fmt: skip
    """A list of many parts as one: whoever names no limit wants all of it."""
    asked = {key: value for key, value in (query or {}).items() if value is not None}
    answer, link = part(asked or None)
    if not isinstance(answer, list) or "limit" in asked:
        return answer
    while cursor := _next_cursor(link):
        more, link = part({**asked, "limit": _MOST_AT_ONCE, "cursor": cursor})
        answer += more
    return answer


def _next_cursor(link: str) -> str | None:
    """That of the next part, from the header Link (RFC 8288); None at the end."""
    found = re.fullmatch(r'<([^>]*)>; rel="next"', link)
    return parse_qs(urlsplit(found[1]).query).get("cursor", [None])[0] if found else None


def _unwrap(status: int, answer: Any) -> Any:
    if status < 400:
        return answer
    if isinstance(answer, dict):
        raise Refusal(str(answer.get("detail") or answer.get("title") or f"the server answered {status}"))
    raise Refusal(f"the server answered {status}")
