"""What is not shown on a screen: crypt hashes and passphrases, each replaced by a mark that tells equal from different.

A mark stands for its value in the forms of the pages: sent back unchanged, the value stays what it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pxeforge.services.context import Context
from pxeforge.services.problems import Problem

_CRYPT: Final = re.compile(r"\$(?:1|5|6|y|gy|7|2[aby])\$[A-Za-z0-9./$=,+-]{8,256}")
_SECRET_KEY: Final = re.compile(r"(^|_)(pass(word|phrase|wd)?|secret|token|psk)(_hash)?$")
_MARK: Final = re.compile(r"\(hidden [0-9a-f]{8}\)")
_URL_PASSWORD: Final = re.compile(r"(?<=://)[^/@\s:]{0,200}:[^/@\s]{1,200}(?=@)")  # with the name before it
_SHORTEST: Final = 4  # shorter values would be found in texts that do not hold them


def hide_text(ctx: Context, text: str, parameters: Mapping[str, Any]) -> str:
    """The text without crypt hashes and without the passphrases of these parameters."""
    for secret in sorted(set(_secrets(parameters)), key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _mark(ctx, secret))
    return _CRYPT.sub(lambda found: _mark(ctx, found[0]), text)


def hide(ctx: Context, value: Any, key: str = "") -> Any:
    """The parameters (or one value of them) with marks in the place of secrets."""
    if isinstance(value, dict):
        return {name: hide(ctx, inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [hide(ctx, inner, key) for inner in value]
    if isinstance(value, str) and value and (_SECRET_KEY.search(key) or _CRYPT.fullmatch(value)):
        return _mark(ctx, value)
    return value


def hide_everywhere(ctx: Context, value: Any) -> Any:
    """Like `hide`, and also without the hashes and passwords of URLs within longer texts: not for forms."""
    return _cleaned(ctx, hide(ctx, value))


def _cleaned(ctx: Context, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cleaned(ctx, inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(ctx, inner) for inner in value]
    return (
        _URL_PASSWORD.sub(lambda found: _mark(ctx, found[0]), hide_text(ctx, value, {}))
        if isinstance(value, str)
        else value
    )


def reveal(ctx: Context, value: Any, known: Mapping[str, Any]) -> Any:
    """The value with each mark replaced by the secret of `known` it stands for; raises Problem for an old mark."""
    return _revealed(value, {_mark(ctx, secret): secret for secret in _secrets(known)})


def _revealed(value: Any, secrets: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _revealed(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_revealed(inner, secrets) for inner in value]
    if isinstance(value, str) and _MARK.fullmatch(value):
        if value not in secrets:
            raise Problem(f"nothing is known behind {value}: write the whole value")
        return secrets[value]
    return value


def _secrets(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner, key)
    elif isinstance(value, str) and value and (_SECRET_KEY.search(key) or _CRYPT.fullmatch(value)):
        yield value
    elif isinstance(value, str) and "@" in value:
        yield from _URL_PASSWORD.findall(value)


def _mark(ctx: Context, secret: str) -> str:
    return f"(hidden {ctx.sign('hidden values', secret)[:8]})"
