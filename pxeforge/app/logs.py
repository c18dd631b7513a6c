"""The log of the processes of `serve`: one line for each event, for people or as JSON, without secrets.

At a terminal lines are for people. Under systemd each begins with its priority (`<4>`, sd-daemon(3)) and without the
time, which the journal knows itself. Fields have the same names everywhere: FIELDS.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings

# Every field that a line may have beside time, level, process and event. A test holds all calls to it.
FIELDS: Final[Mapping[str, str]] = {
    "mac": "MAC address of the host",
    "host": "id of a host",
    "order": "id of an order for the power of many hosts",
    "peer": "IP address of who spoke to us",
    "address": "an IP address that the line is about",
    "interface": "network interface of ours",
    "to": "where a reply was to go",
    "webhook": "name of a webhook",
    "lost": "how many lines that nobody waited for",
    "image": "name of an image",
    "file": "file that was asked for or fetched",
    "path": "path of an HTTP request",
    "reason": "why, in words",
    "problem": "why a transfer ended early; none where it did not",
    "answer": "what DHCP answered",
    "answers": "how many answers",
    "sent": "bytes that arrived",
    "duration_s": "how long it took",
    "at": "how many bytes had come",
    "under_way": "transfers under way",
    "count": "how many changes",
    "dropped": "how many were dropped since the start",
    "left_out_before": "lines left out before this one: too many in a second",
    "server": "which of our servers",
    "listener": "which of our processes",
    "listeners": "which of our processes",
    "code": "exit code of a process",
    "was": "what it was before",
    "now": "what it is now",
    "logger": "part of a library that says it",
    "exception": "what went wrong inside, with the place in the code",
}
HIDDEN: Final = "[hidden]"
_SECRET_FIELD: Final = re.compile(r"(^|_)(pass(word|phrase|wd)?|secret|token|credential|authorization|cookie|key)(_|$)")
_SECRETS: Final = re.compile(
    r"(?P<route>/(?:answers|installer)/)[^/\s?\"']+"  # tokens of an attempt
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)[A-Za-z0-9+/=_.~-]{6,}"
    r"|(?P<login>\w://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|(?P<word>\b(?:pass(?:word|phrase|wd)?|secret|token|credential)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"
    r"|(?P<crypt>\$(?:1|5|6|y|gy|7|2[aby])\$)[A-Za-z0-9./$=,+-]{8,256}",
    re.IGNORECASE,
)
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_FIRST: Final = ("timestamp", "level", "process", "event")
_PLAIN: Final = re.compile(r"[^\s\"'=\\]+")
_told = dict.fromkeys(_PRIORITIES, 0)
_counting = threading.Lock()


def lines_told() -> Mapping[str, int]:
    """How many lines this process has said, by level."""
    return _told


def set_up(settings: Settings, process: str) -> None:
    """From now on all that this process says, libraries included, goes to stdout in this form."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    at_terminal, in_journal = sys.stdout.isatty(), _is_journal(sys.stdout.fileno())
    render = _json_line if settings.log_format == "json" else _terminal_line if at_terminal else _console_line
    lines = _Lines(sys.stdout.fileno())
    steps: list[Any] = [
        structlog.processors.add_log_level,
        _named(process),
        *([] if in_journal else [structlog.processors.TimeStamper(fmt="iso", utc=True)]),
        structlog.processors.format_exc_info,
        _count,
        hide_secrets,
        render,
        *([_with_priority] if in_journal else []),
    ]
    structlog.configure(
        processors=steps,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _unhandled
    threading.excepthook = lambda failed: _unhandled(failed.exc_type, failed.exc_value, failed.exc_traceback)
    root = logging.getLogger()
    root.handlers[:] = [_FromLibraries()]
    root.setLevel(max(level, logging.WARNING))  # what a library finds worth knowing is its own affair


def hide_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Values of fields named as secrets, and what looks like one inside texts, are replaced."""
    for name, value in event.items():
        if _SECRET_FIELD.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = _SECRETS.sub(_hidden, value)
        elif not isinstance(value, int | float | None):
            event[name] = _SECRETS.sub(_hidden, str(value))
    return event


def _hidden(found: re.Match[str]) -> str:
    return f"{found[found.lastgroup or 0]}{HIDDEN}"


class _Lines:
    """Whole lines, each in one write: the processes share where they go."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lock = descriptor, threading.Lock()

    def msg(self, text: str) -> None:
        left = memoryview(f"{text}\n".encode(errors="backslashreplace"))
        with self._lock, contextlib.suppress(OSError):  # nobody reads it any more, or the disk is full
            while left:
                left = left[os.write(self._descriptor, left) :]

    debug = info = warning = error = critical = msg


class _FromLibraries(logging.Handler):
    """What uvicorn, Flask and others say becomes lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            say = structlog.get_logger()
            method = getattr(say, record.levelname.lower(), say.error)
            method(record.getMessage(), logger=record.name, exc_info=record.exc_info or None)


def _unhandled(kind: type[BaseException], problem: BaseException | None, where: TracebackType | None) -> None:
    """What nobody caught is a line like others."""
    if issubclass(kind, SystemExit | KeyboardInterrupt):
        return
    structlog.get_logger().critical("ended by a mistake in pxeforge", exc_info=(kind, problem, where))


def _is_journal(descriptor: int) -> bool:
    """systemd tells the device and inode of the stream that it reads."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _named(process: str) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    def name(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    return name


def _count(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    level = event.get("level")
    if level in _told:
        with _counting:
            _told[level] += 1
    return event


def _json_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return json.dumps({**{name: event[name] for name in _FIRST if name in event}, **event}, default=str)


def _terminal_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """Tracebacks as they are read best."""
    exception = event.pop("exception", None)
    text = _console_line(_, __, event)
    return f"{text}\n{exception}" if exception else text


def _console_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """`2026-01-31T12:00:00Z warning wire: link is down interface=eth0`; nobody's word can begin a line of its own."""
    when, level, process, what = (str(event.pop(name, "")) for name in _FIRST)
    fields = "".join(f" {name}={_value(value)}" for name, value in event.items())
    what = what if what.isprintable() else _value(what)
    return f"{when + ' ' if when else ''}{level:<7} {process}: {what}{fields}"


def _value(value: Any) -> str:
    text = str(value)
    return (
        text if _PLAIN.fullmatch(text) and text.isprintable() else json.dumps(text, ensure_ascii=not text.isprintable())
    )


def _with_priority(_: Any, method: str, text: Any) -> str:
    priority = _PRIORITIES.get({"warn": "warning", "exception": "error"}.get(method, method), 6)
    return f"<{priority}>{text}"
