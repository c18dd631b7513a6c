"""The answer where the database or the disk does not take a change: 503 with the reason, and when to ask again."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

import structlog
from flask import Flask
from flask.typing import ResponseReturnValue

from pxeforge.services.problems import StoreUnavailable

log = structlog.get_logger(__name__)
RETRY_AFTER_S: Final = 5
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_FULL: Final = "the disk of the data directory is full: free some room; nothing was changed"

Answer = Callable[[str], ResponseReturnValue]


def answer_unavailable(app: Flask, answer: Answer) -> None:
    """`answer` makes the response of a reason; this one is told to operators, who can mend it."""

    def unavailable(problem: StoreUnavailable) -> ResponseReturnValue:
        log.error("a request was put off", reason=str(problem))
        return _later(app, answer(str(problem)))

    def no_room(problem: OSError) -> ResponseReturnValue:
        if problem.errno not in _NO_ROOM:
            raise problem
        log.error("a request was put off", reason=_FULL)
        return _later(app, answer(_FULL))

    app.register_error_handler(StoreUnavailable, unavailable)
    app.register_error_handler(OSError, no_room)


def _later(app: Flask, made: ResponseReturnValue) -> ResponseReturnValue:
    response = app.make_response(made)
    response.status_code = 503
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
