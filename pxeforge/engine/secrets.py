"""Secrets by reference: in a plan a secret is a token that names it; its value is put in when a host gets its task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TOKEN = re.compile(r"@@secret:([a-z][a-z0-9_]{0,62})@@")
_ALMOST = re.compile(r"@@secret:", re.IGNORECASE)
REDACTED = "[secret]"


class SecretProblem(Exception):
    """A token is damaged or has no value; the message names it."""


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The name of a secret; `str()` gives its token, which is all that a template can get."""

    name: str

    def __str__(self) -> str:
        return f"@@secret:{self.name}@@"


def secrets_in(value: Any) -> frozenset[str]:
    """The names of all secrets that a JSON-like value refers to; raises SecretProblem on a damaged token."""
    text = json.dumps(value)  # as one text: a plan holds millions of small ones, and a token is the same there
    found = TOKEN.findall(text)
    if len(found) != len(_ALMOST.findall(text)):
        raise SecretProblem("a secret was changed by a filter: use it as it is, like {{ secrets.name }}")
    return frozenset(found)


def substitute(value: Any, secrets: Mapping[str, str]) -> Any:
    """A copy of the JSON-like value with every token replaced; raises SecretProblem for a name without value."""
    if isinstance(value, str):
        return TOKEN.sub(lambda match: _value(match.group(1), secrets), value)
    if isinstance(value, Mapping):
        return {key: substitute(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(item, secrets) for item in value]
    return value


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without the values of the secrets; the longest goes first as one may hold another."""
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def _value(name: str, secrets: Mapping[str, str]) -> str:
    try:
        return secrets[name]
    except KeyError:
        raise SecretProblem(f"secret {name} has no value: generate or set it first") from None
