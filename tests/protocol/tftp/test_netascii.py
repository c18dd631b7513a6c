import pytest

from pxeforge.protocol.tftp.netascii import to_netascii


@pytest.mark.parametrize(
    ("text", "wire"), [(b"a\nb\n", b"a\r\nb\r\n"), (b"a\rb", b"a\r\0b"), (b"a\r\n", b"a\r\0\r\n"), (b"", b"")]
)
def test_line_ends_become_those_of_telnet(text: bytes, wire: bytes) -> None:
    assert to_netascii(text) == wire
