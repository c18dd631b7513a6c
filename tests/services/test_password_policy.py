import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.password_policy import MIN_LENGTH, check
from pxeforge.services.problems import Problem


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("short", "too short"),
        ("x" * 1025, "too long"),
        ("password123", "tried first"),
        ("P4ssw0rd-2024!!", "tried first"),
        ("changeme!!!!", "tried first"),
        ("1234567890", "tried first"),
        ("0987654321", "tried first"),
        ("qwertyuiop", "tried first"),
        ("aaaaaaaaaaaaaaa", "tried first"),
        ("abababababab", "tried first"),
        ("pxeforge-2026", "tried first"),
        ("correct-horse-battery-staple", "tried first"),
        ("katherina1", "user's name"),
        ("Katherina-99", "user's name"),
        ("katherinakatherina", "user's name"),
    ],
)
def test_what_is_tried_first_is_refused(password: str, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        check("katherina", password)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "a planned journey"), ("ann", "correct horse battery"), ("", "vier Wörter im Wind"),
        ("ann", "ann likes green umbrellas"), ("ops", "1001 nights and a day"), ("ann", "密码密码很长很长的密码"),
    ],
)  # fmt: skip
def test_what_nobody_tries_is_good(name: str, password: str) -> None:
    check(name, password)


@given(st.text(max_size=40), st.text(max_size=40))
def test_every_text_is_judged(name: str, password: str) -> None:
    with contextlib.suppress(Problem):
        check(name, password)
        assert len(password) >= MIN_LENGTH
