"""What was said lately: peers repeat themselves every few seconds, the timeline does not."""

from __future__ import annotations

from typing import Final

QUIET_S: Final = 60.0
_MOST: Final = 50_000  # remembered per generation; a flood makes us forget sooner, never slower


class News:
    """Remembers words for QUIET_S at least and twice that at most (two generations, so that nothing is ever swept)."""

    def __init__(self) -> None:
        self._young: dict[tuple[str, str], float] = {}
        self._old: dict[tuple[str, str], float] = {}
        self._born = 0.0

    def is_new(self, subject: str, words: str, now: float) -> bool:
        """Whether these words about this subject were not said within the last QUIET_S; from now on they were."""
        if now - self._born >= QUIET_S or len(self._young) >= _MOST:
            self._old, self._young, self._born = self._young, {}, now
        key = (subject, words)
        said = self._young.get(key) or self._old.get(key)
        if said is not None and now - said < QUIET_S:
            return False
        self._young[key] = now
        return True
