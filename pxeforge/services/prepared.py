"""A text that may leave when the database agrees."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from pxeforge.services.problems import Conflict

_MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text that may leave once `agreed` is True (None: at once). False: the host has changed, prepare it anew."""

    text: str
    agreed: Future[bool] | None = None


def settled(prepare: Callable[[], Prepared]) -> str:
    """The text when it may leave; waits for that."""
    for _ in range(_MOST_TRIES):
        prepared = prepare()
        if prepared.agreed is None or prepared.agreed.result():
            return prepared.text
    raise Conflict("the host changes faster than it can be answered: ask again")
