import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.mac import MacAddress, NotAMac


@pytest.mark.parametrize("text", ["AA:BB:CC:DD:EE:0F", "aa-bb-cc-dd-ee-0f", "aabb.ccdd.ee0f", " aabbccddee0f "])
def test_every_spelling_is_the_same_address(text: str) -> None:
    assert str(MacAddress.parse(text)) == "aa:bb:cc:dd:ee:0f"


def test_the_dashed_form_is_what_pxelinux_asks_for() -> None:
    assert MacAddress.parse("AA:BB:CC:DD:EE:0F").dashed == "aa-bb-cc-dd-ee-0f"


@given(st.binary(min_size=6, max_size=6))
def test_what_is_printed_can_be_read_again(octets: bytes) -> None:
    assert MacAddress.parse(str(MacAddress(octets))).octets == octets


@given(st.text())
def test_any_text_is_an_address_or_refused_by_name(text: str) -> None:
    try:
        refusal = "" if len(MacAddress.parse(text).octets) == 6 else "wrong length"
    except NotAMac as problem:
        refusal = str(problem)
    assert refusal == "" or "52:54:00:12:34:56" in refusal


def test_eight_bytes_are_no_address() -> None:
    with pytest.raises(NotAMac, match="6 bytes"):
        MacAddress(bytes(8))
