from __future__ import annotations

import pytest

from pxeforge.engine.secrets import SecretProblem, SecretRef, redact, secrets_in, substitute


def test_tokens_are_found_and_replaced_anywhere() -> None:
    steps = [{"params": {"content": f"a {SecretRef('db_root')} b", "n": 1, "list": [str(SecretRef("x"))]}}]
    assert secrets_in(steps) == {"db_root", "x"}
    filled = substitute(steps, {"db_root": "one", "x": "two"})
    assert filled == [{"params": {"content": "a one b", "n": 1, "list": ["two"]}}]
    assert secrets_in(filled) == frozenset()


def test_a_secret_without_value_is_named() -> None:
    with pytest.raises(SecretProblem, match="secret x has no value"):
        substitute(str(SecretRef("x")), {})


def test_a_damaged_token_is_refused() -> None:
    with pytest.raises(SecretProblem, match="use it as it is"):
        secrets_in(["@@SECRET:X@@"])


def test_the_longest_secret_is_redacted_first() -> None:
    assert redact("abc abcd", ["abc", "abcd", ""]) == "[secret] [secret]"
