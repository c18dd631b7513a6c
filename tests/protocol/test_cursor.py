import pytest

from pxeforge.protocol.cursor import Cursor, Malformed


def test_reads_move_forward() -> None:
    cursor = Cursor(b"\x01\x02abc\0rest")
    assert (cursor.number(2, "n"), cursor.text_until_nul("t"), cursor.left) == (0x0102, b"abc", 4)


def test_a_read_past_the_end_is_malformed_and_names_the_field() -> None:
    with pytest.raises(Malformed, match="xid needs 4 bytes, 2 are left"):
        Cursor(b"ab").take(4, "xid")


def test_text_without_its_end_is_malformed() -> None:
    with pytest.raises(Malformed, match="mode is not terminated"):
        Cursor(b"octet").text_until_nul("mode")
