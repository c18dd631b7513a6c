"""Who may use the admin plane: login sessions, Basic passwords for the API, and refusal of forged requests."""

from __future__ import annotations

import hmac
import secrets
from typing import Final
from urllib.parse import urlsplit

from flask import Request, g, redirect, request, session, url_for
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response

from pxeforge.services import accounts
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden, Problem

# Everything else needs a login; a test walks the URL map to prove it.
PUBLIC_ENDPOINTS: Final = frozenset({"pages.login", "web_file", "healthz"})
SESSION_S: Final = 8 * 3600
CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class TooManyLogins(Problem):
    """The brake on guessing passwords."""

    status = 429


class Guard:
    """Decides for every request of one admin app; `g.who` is the acting user afterwards.

    On the trusted socket everybody is root: the file's mode lets nobody else open it, and no browser can reach it.
    """

    def __init__(self, ctx: Context, *, trusted_socket: bool) -> None:
        self._ctx, self.trusted_socket = ctx, trusted_socket
        self._throttle = accounts.Throttle()

    def check(self) -> Response | None:
        """Runs before every request: None lets it through, a response or an exception refuses it."""
        g.who = "root" if self.trusted_socket else None
        if self.trusted_socket:
            return None
        with_password = is_api(request) and request.authorization is not None
        g.who = self._by_password() if with_password else self._by_session()
        if g.who is None and request.endpoint not in PUBLIC_ENDPOINTS:
            return _refuse()
        if request.method not in _SAFE_METHODS:
            _check_origin()
            if not with_password:
                _check_token()
        return None

    def sign_in(self, name: str, password: str) -> bool:
        """Starts a session for the browser; raises TooManyLogins."""
        epoch = self.epoch_for(name, password)
        if epoch is None:
            return False
        self.start_session(name, epoch)
        return True

    def epoch_for(self, name: str, password: str) -> int | None:
        """The user's session epoch if the password is right; raises TooManyLogins."""
        address = request.remote_addr or "local"
        try:
            return accounts.login(self._ctx, self._throttle, name, password, address)
        except Problem as problem:
            raise TooManyLogins(str(problem)) from None

    def start_session(self, name: str, epoch: int) -> None:
        """A fresh session: nothing of what the browser held before is kept."""
        session.clear()
        session.update(who=name, epoch=epoch, since=self._ctx.clock())

    def _by_session(self) -> str | None:
        name, epoch, since = session.get("who"), session.get("epoch"), session.get("since")
        if not (isinstance(name, str) and isinstance(epoch, int) and isinstance(since, int | float)):
            return None
        # Counted from the login, not from the last request: a page that refreshes itself must not live for ever.
        in_time = 0 <= self._ctx.clock() - since < SESSION_S
        return name if in_time and accounts.session_valid(self._ctx, name, epoch) else None

    def _by_password(self) -> str | None:
        given = request.authorization
        if given is None or given.type != "basic" or given.username is None or given.password is None:
            return None
        return given.username if self.epoch_for(given.username, given.password) is not None else None


def is_api(req: Request) -> bool:
    return req.path.startswith("/api/")


def csrf_token() -> str:
    """The token of this session for forms and the htmx header; made when first asked for."""
    if CSRF_FIELD not in session:
        session[CSRF_FIELD] = secrets.token_urlsafe(24)
    return str(session[CSRF_FIELD])


def safe_next(text: str | None) -> str:
    """Where to go after the login: a path of our own pages, never another site."""
    if not text or not text.startswith("/") or text.startswith("//"):
        return "/"
    # Browsers drop tabs and line feeds and read a backslash as a slash: "/\t/evil" and "/\\evil" leave the site.
    if "\\" in text or any(ord(char) < 0x21 or ord(char) == 0x7F for char in text):
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else text


def _refuse() -> Response:
    if is_api(request):
        raise Unauthorized("log in first: send a user name and password (HTTP Basic)")
    target = url_for("pages.login")
    if request.method == "GET" and not request.headers.get("HX-Request"):
        here = request.full_path.rstrip("?")
        return redirect(url_for("pages.login", next=here if here != "/" else None), 303)
    if request.headers.get("HX-Request"):
        # A redirect would put the login form into the middle of the page that refreshes itself.
        return Response(status=401, headers={"HX-Redirect": target})
    return redirect(target, 303)


def _check_origin() -> None:
    """Browsers say where a request comes from; curl says nothing, and has no cookies to abuse."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    foreign_site = site is not None and site not in ("same-origin", "none")
    foreign_origin = origin is not None and origin.partition("://")[2] != request.host
    if foreign_site or foreign_origin:
        raise Forbidden("this request came from another site: open pxeforge itself and try again")


def _check_token() -> None:
    expected = session.get(CSRF_FIELD)
    given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    if not isinstance(expected, str) or not hmac.compare_digest(expected.encode(), given.encode()):
        raise Forbidden("the form is out of date or did not come from pxeforge: reload the page and try again")
