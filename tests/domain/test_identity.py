"""What tells one host from another."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.identity import both_orders, identity_of, told_id, useful_serial, useful_uuid


@given(st.uuids())
def test_both_byte_orders_of_a_uuid_have_one_identity(found: uuid.UUID) -> None:
    one, other = both_orders(str(found))
    assert both_orders(other)[1] == one
    assert identity_of(one) == identity_of(other)


@given(st.text())
def test_any_text_is_an_identity_or_none(text: str) -> None:
    for told in (useful_uuid(text), useful_serial(text)):
        assert told is None or told.strip() == told != ""


@given(st.binary(max_size=255))
def test_what_a_relay_tells_becomes_printable_text_of_bounded_length(value: bytes) -> None:
    told = told_id(value)
    assert told.isprintable()
    assert len(told) <= 258


@given(st.binary(min_size=1, max_size=128), st.binary(min_size=1, max_size=128))
def test_two_circuits_are_never_told_alike(one: bytes, other: bytes) -> None:
    assert (told_id(one) == told_id(other)) == (one == other)


def test_a_serial_of_one_character_again_and_again_is_none() -> None:
    assert useful_serial("0000000000") is None
    assert useful_serial("XXXXXXX") is None
    assert useful_serial("7CX0042") == "7CX0042"
