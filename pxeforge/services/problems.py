"""What a use case can refuse; every message is one sentence that says what to do."""

from __future__ import annotations

from pxeforge.store.backend import StoreUnavailable

__all__ = ["Conflict", "Forbidden", "NotFound", "Problem", "Stale", "StoreUnavailable", "TooMany"]


class Problem(Exception):
    """Something the caller can mend; `status` is the HTTP status it maps to."""

    status = 400


class NotFound(Problem):
    status = 404


class Conflict(Problem):
    status = 409


class Stale(Problem):
    """What is to be changed is not what the caller saw; the message says who changed it."""

    status = 412


class TooMany(Problem):
    status = 429


class Forbidden(Problem):
    status = 403
