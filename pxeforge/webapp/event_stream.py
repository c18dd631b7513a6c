"""Events as server-sent events (WHATWG HTML, 9.2): bounded in number and time, resumed by the id of the last one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from pxeforge.services import event_list
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem

MOST_STREAMS = 24  # of each application: each is a thread
LONGEST_S = 60.0  # then the client comes again and has to show anew who it is
_EVERY_S = 0.5
_HEARTBEAT_S = 5.0
_RECHECK_S = 2.0  # so long at most hears on who was disabled, logged out or given another role
_AT_ONCE: Final = 200
_RETRY_MS: Final = 1000

_stopping: Final = threading.Event()


class Crowded(Problem):
    """Too many are listening."""

    status = 503


def stop_streams() -> None:
    """The process ends: nobody waits for streams to end by themselves."""
    _stopping.set()


def gone_of(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Whether the client has closed its connection, as the ASGI server knows it (a WSGI application is not told)."""
    source = environ.get("wsgi.input")
    receive, loop = getattr(source, "receive", None), getattr(source, "loop", None)
    if receive is None or loop is None:
        return lambda: False
    return asyncio.run_coroutine_threadsafe(_disconnected(receive), loop).done


async def _disconnected(receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Streams:
    """The streams of one application."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._places = threading.BoundedSemaphore(MOST_STREAMS)

    def open(
        self, wanted: event_list.Wanted, last_id: int | None, told_of: Callable[[Any], Any],
        gone: Callable[[], bool] = lambda: False, may_still: Callable[[], bool] = lambda: True,
    ) -> Iterator[bytes]:  # fmt: skip
        """Events with an id above `last_id` (None: from now on), each as `told_of` lets it be seen; `gone`: whether the
        client is; `may_still`: whether it may be told what it might be told at the beginning.

        Raises Crowded, and NotFound for a host that nobody knows.
        """
        start = event_list.last_id(self._ctx) if last_id is None else last_id
        event_list.after(self._ctx, wanted, start, limit=0)  # says now what is wrong with `wanted`
        if not self._places.acquire(blocking=False):
            raise Crowded("too many are following the events already: close a page or a program that does")
        return _Stream(self._lines(wanted, start, told_of, gone, may_still), self._places.release)

    def _lines(
        self, wanted: event_list.Wanted, last_id: int, told_of: Callable[[Any], Any], gone: Callable[[], bool],
        may_still: Callable[[], bool],
    ) -> Iterator[bytes]:  # fmt: skip
        end = time.monotonic() + LONGEST_S
        said = checked = time.monotonic()
        yield f"retry: {_RETRY_MS}\nid: {last_id}\n\n".encode()
        while not (_stopping.is_set() or gone()) and time.monotonic() < end:
            if time.monotonic() - checked >= _RECHECK_S:
                if not may_still():
                    return
                checked = time.monotonic()
            rows = event_list.after(self._ctx, wanted, last_id, limit=_AT_ONCE)
            for row in rows:
                yield _event(row, told_of(row))
                last_id = row["id"]
            if rows:
                said = time.monotonic()
            elif time.monotonic() - said >= _HEARTBEAT_S:
                yield b": still here\n\n"
                said = time.monotonic()
            if len(rows) < _AT_ONCE:
                _stopping.wait(_EVERY_S)


class _Stream:
    """Gives its place back once, however it ends: also when it was never begun."""

    def __init__(self, lines: Iterator[bytes], over: Callable[[], None]) -> None:
        self._lines, self._over, self._open = lines, over, True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._lines)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._over()


def _event(row: dict[str, Any], told: Any) -> bytes:
    """One event; JSON has no line feeds of its own."""
    return f"id: {row['id']}\nevent: {row['source']}.{row['kind']}\ndata: {json.dumps(told)}\n\n".encode()
