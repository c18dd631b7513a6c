"""What is news: repeated words are not, until a quiet time has passed."""

import pytest

from pxeforge.services import news
from pxeforge.services.news import QUIET_S, News


def test_the_same_words_are_news_once_until_the_quiet_time_is_over() -> None:
    told = News()
    assert told.is_new("host", "DISCOVER", 100.0)
    assert not told.is_new("host", "DISCOVER", 100.0 + QUIET_S - 1)
    assert told.is_new("host", "REQUEST", 101.0)
    assert told.is_new("other", "DISCOVER", 101.0)
    assert told.is_new("host", "DISCOVER", 100.0 + QUIET_S)


def test_words_are_remembered_across_the_change_of_generations() -> None:
    told = News()
    told.is_new("a", "x", 0.0)
    told.is_new("b", "x", QUIET_S - 1)
    assert not told.is_new("b", "x", QUIET_S + 1)  # b is in the old generation now
    assert told.is_new("a", "x", QUIET_S + 1)


def test_a_flood_is_forgotten_sooner_and_never_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "_MOST", 100)
    told = News()
    for number in range(1000):
        told.is_new(str(number), "x", 1.0)
    assert len(told._young) + len(told._old) <= 200
    assert not told.is_new("999", "x", 1.0)
