"""Who is there: login sessions, Basic passwords and tokens for the API; and refusal of forged requests."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from flask import Request, g, redirect, request, session, url_for
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, sessions
from pxeforge.services.acting import ON_THE_COMPUTER, PASSWORD, SESSION, Actor, acts
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide_everywhere
from pxeforge.services.problems import Forbidden, Problem
from pxeforge.webapp import access

CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"
_KEY: Final = "key"  # of the session, in the cookie
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class TooManyLogins(Problem):
    """The brake on guessing passwords."""

    status = 429


class Guard:
    """Decides for every request of one admin app; `g.actor` is who acts afterwards and `g.who` the name.

    On the trusted socket everybody is root: the file's mode lets nobody else open it, and no browser can reach it.
    """

    def __init__(self, ctx: Context, *, trusted_socket: bool) -> None:
        self._ctx, self.trusted_socket = ctx, trusted_socket
        self._throttle = accounts.Throttle()

    def check(self) -> Response | None:
        """Runs before every request: None lets it through, a response or an exception refuses it."""
        acts(None)
        g.actor = actor = self._actor()
        g.who = actor.who if actor else None
        acts(actor)
        if actor is None and access.NEEDS.get(request.endpoint or "") is not access.Need.NOTHING:
            return _refuse()
        if actor is not None and actor.must_change and request.endpoint not in access.BEFORE_OWN_PASSWORD:
            return _ask_for_own_password()
        if actor is not None:
            access.check(request.endpoint, actor)
            g.follow_up = lambda: self._follow_up(actor)
        if not self.trusted_socket and request.method not in _SAFE_METHODS:
            _check_origin()
            if actor is None or actor.via == SESSION:
                _check_token()
        return None

    def over(self, _error: BaseException | None) -> None:
        """Runs after every request: the thread works for nobody any more."""
        acts(None)

    def cover(self, value: object) -> object:
        """What an answer may tell: who only reads gets no secrets, whatever they stand in."""
        own = access.NEEDS.get(request.endpoint or "") is access.Need.OWN
        actor: Actor | None = g.get("actor")
        reader = actor is not None and not actor.role.covers(UserRole.OPERATOR)
        return hide_everywhere(self._ctx, value) if reader and not own else value

    def sign_in(self, name: str, password: str) -> bool:
        """Starts a session for the browser; raises TooManyLogins."""
        if self.role_for(name, password) is None:
            return False
        self.start_session(name)
        return True

    def role_for(self, name: str, password: str) -> UserRole | None:
        """The user's role if the password is right; raises TooManyLogins."""
        try:
            return accounts.login(self._ctx, self._throttle, name, password, _address())
        except Problem as problem:
            raise TooManyLogins(str(problem)) from None

    def start_session(self, name: str) -> None:
        """A fresh session: nothing of what the browser held before is kept."""
        session.clear()
        session[_KEY] = sessions.start(
            self._ctx, name, address=_address(), browser=request.headers.get("User-Agent", "")
        )  # fmt: skip

    def end_session(self) -> None:
        key = session.get(_KEY)
        session.clear()
        if isinstance(key, str):
            sessions.end(self._ctx, key)

    def _actor(self) -> Actor | None:
        if self.trusted_socket:
            return ON_THE_COMPUTER
        if not is_api(request) or "Authorization" not in request.headers:
            return self._by_session()
        given = request.authorization
        if given is None:
            return None
        return self._by_token(given.token) if given.type == "bearer" else self._by_password()

    def _follow_up(self, actor: Actor) -> Callable[[], bool]:
        """For an answer that outlives its request: whether who asked still is who it was, with the same role.

        Each question is one row of the database, found by its key.
        """
        look = self._look_again(actor)
        then = look()
        return lambda: then is not None and then.role == actor.role and look() == then

    def _look_again(self, actor: Actor) -> Callable[[], Actor | sessions.SessionUser | accounts.Standing | None]:
        """What the credential of this request is good for, whenever it is asked; None: for nothing."""
        ctx, address = self._ctx, _address()
        if actor.local:
            return lambda: actor
        if actor.via == SESSION:
            key = str(session.get(_KEY))
            return lambda: sessions.user_of(ctx, key, active=False)
        if actor.by_token:
            clear = (request.authorization and request.authorization.token) or ""
            return lambda: api_tokens.actor_of(ctx, clear, address=address)
        return lambda: accounts.standing(ctx, actor.who)

    def _by_session(self) -> Actor | None:
        key = session.get(_KEY)
        if not isinstance(key, str):
            return None
        # A page that refreshes itself is nobody at the keyboard.
        active = request.method not in _SAFE_METHODS or not request.headers.get("HX-Request")
        found = sessions.user_of(self._ctx, key, active=active)
        if found is None:
            return None
        return Actor(
            who=found.name, role=found.role, via=SESSION, address=_address(), must_change=found.must_change
        )  # fmt: skip

    def _by_token(self, clear: str | None) -> Actor | None:
        return api_tokens.actor_of(self._ctx, clear or "", address=_address())

    def _by_password(self) -> Actor | None:
        given = request.authorization
        if given is None or given.type != "basic" or given.username is None or given.password is None:
            return None
        role = self.role_for(given.username, given.password)
        if role is None:
            return None
        first = accounts.must_change(self._ctx, given.username)
        return Actor(who=given.username, role=role, via=PASSWORD, address=_address(), must_change=first)


def _address() -> str:
    return request.remote_addr or "local"


def is_api(req: Request) -> bool:
    return req.path.startswith("/api/") or req.path == "/metrics"


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
        raise Unauthorized("log in first: send an API token (Bearer) or a user name and password (HTTP Basic)")
    target = url_for("pages.login")
    if request.method == "GET" and not request.headers.get("HX-Request"):
        here = request.full_path.rstrip("?")
        return redirect(url_for("pages.login", next=here if here != "/" else None), 303)
    if request.headers.get("HX-Request"):
        # A redirect would put the login form into the middle of the page that refreshes itself.
        return Response(status=401, headers={"HX-Redirect": target})
    return redirect(target, 303)


def _ask_for_own_password() -> Response:
    """Whoever logged in with a password that somebody else set gets no further than to a new one."""
    if is_api(request):
        raise Forbidden(
            "this password was set by somebody else and is for once: choose your own first, on the page or by "
            "`pxeforge --server URL --user NAME user passwd`"
        )
    here = request.full_path.rstrip("?") if request.method == "GET" else "/"
    target = url_for("pages.first_password", next=here if here != "/" else None)
    if request.headers.get("HX-Request"):
        return Response(status=403, headers={"HX-Redirect": target})
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
