"""Whatever a body holds, what comes out can be stored and sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, request
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.webapp.json_body import json_object

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def read(body: bytes, kind: str = "application/json") -> dict[str, Any] | None:
    with Flask("test").test_request_context("/", method="POST", data=body, content_type=kind):
        return json_object(request)


def test_an_object_is_read() -> None:
    assert read(b'{"a": [1, null, "\xc3\xa4"]}') == {"a": [1, None, "ä"]}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b"\xff", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b"[" * 50_000,
     b'{"a":' * 20_000, b'{"a": ' + b"1" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_no_sound_object_is_none(body: bytes) -> None:
    assert read(body) is None


def test_a_form_is_no_json() -> None:
    assert read(b"{}", "text/plain") is None


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert read(b'{"a\\ud800": "\\udfff.", "b": "\\ud83d\\ude00"}') == {"a?": "?.", "b": "\U0001f600"}


@given(st.dictionaries(st.text(), ANYTHING, max_size=4))
def test_what_comes_out_can_be_sent_again(value: dict[str, Any]) -> None:
    found = read(json.dumps(value).encode())
    assert found is None or json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
