"""Checks the single values of answer files, so that none of them can leave its place; says what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOSTNAME: Final = re.compile(_LABEL)
DOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
HOST_PORT: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
HOST_PATH: Final = re.compile(rf"{HOST_PORT.pattern}(/[A-Za-z0-9._~-]+)*")
WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ABSOLUTE: Final = re.compile(r"(/[A-Za-z0-9._+~-]+)+/?")
URL: Final = re.compile(r"http://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*")
WEB_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~+%=@-]*)*")
# RPM has capitals and underscores; @name is a group of packages, @^name an environment.
RPM_PACKAGE: Final = re.compile(r"(@\^?)?[A-Za-z0-9][A-Za-z0-9+._-]*")
PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
LOCALE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.@-]*")
TIMEZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
DEVICE_WORD: Final = re.compile(r"[A-Za-z0-9_.:/+ @=-]{1,200}")
_SIZE: Final = re.compile(r"([0-9]{1,12})([MGT]?)B?", re.ASCII)
_UNITS: Final = {"": 1, "M": 10**6, "G": 10**9, "T": 10**12}


class AnswersProblem(ValueError):
    """A value cannot go into an answer file; the message names the field and says what is expected."""


def check(pattern: re.Pattern[str], field: str, value: str | None, expected: str) -> None:
    """Raises AnswersProblem for a value that is there and does not match as a whole."""
    if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
        raise AnswersProblem(f"{field}: {value!r} is not {expected}")


def check_unique(what: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise AnswersProblem(f"a {what} is there twice: {', '.join(names)}")


def size_bytes(text: str) -> int | None:
    """`20G` as bytes (powers of 1000, as disks are sold); empty is None."""
    if not text:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise AnswersProblem(f"{text!r} is not a disk size: write it like 20G")
    return int(match[1]) * _UNITS[match[2]]


def known_keys(what: str, entry: object, keys: Iterable[str], required: Iterable[str] = ()) -> dict[str, object]:
    """The entry of a list of parameters, if it is a mapping with these keys and no others."""
    known = sorted(keys)
    if not isinstance(entry, dict):
        raise AnswersProblem(f"{what}: {entry!r} is not a mapping with {', '.join(known)}")
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise AnswersProblem(f"{what}: unknown key {unknown[0]!r}, known are {', '.join(known)}")
    missing = [key for key in required if entry.get(key) in (None, "")]
    if missing:
        raise AnswersProblem(f"{what}: {missing[0]} is missing")
    return dict(entry)


def text_list(field: str, value: object) -> tuple[str, ...]:
    """A list of texts as a tuple; None is empty."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise AnswersProblem(f"{field} must be a list of texts, not {value!r}")
    return tuple(value)


def optional_text(field: str, values: Mapping[str, object], key: str) -> str | None:
    """The text under a key; None where it is missing."""
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise AnswersProblem(f"{field}: {key} must be a text, not {value!r}: put it in quotes")
    return value
