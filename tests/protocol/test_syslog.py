import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.protocol.syslog import SyslogLine, parse_line


def parse(datagram: bytes) -> SyslogLine:
    return parse_line(datagram, peer_ip="10.77.0.50", received_at=5.0)


@pytest.mark.parametrize(
    ("datagram", "priority", "tag", "message"),
    [
        (
            b"<30>Nov 21 02:09:06 main-menu[278]: INFO: Menu item 'base-installer' selected\n",
            30,
            "main-menu",
            "INFO: Menu item 'base-installer' selected",
        ),
        (b"<6>Nov  1 02:09:06 kernel: [    0.0] Linux version 6.12", 6, "kernel", "[    0.0] Linux version 6.12"),
        (b"<13>Nov 21 02:09:06 host7 debconf: --> GET x", 13, "debconf", "--> GET x"),
        (b"<13>Nov 21 02:09:06 10.77.0.50 anna[9]: ok", 13, "anna", "ok"),
        (b"<46>syslogd started: BusyBox v1.35.0", 46, "", "syslogd started: BusyBox v1.35.0"),
        (b"no form at all", 13, "", "no form at all"),
        (b"<999>x: y", 13, "", "<999>x: y"),
        (b"<30>tag: a\x1b[31mb\0c", 30, "tag", "a [31mb c"),
    ],
)
def test_lines_are_read_as_far_as_they_have_a_form(datagram: bytes, priority: int, tag: str, message: str) -> None:
    line = parse(datagram)
    assert (line.priority, line.tag, line.message) == (priority, tag, message)
    assert (line.peer_ip, line.received_at) == ("10.77.0.50", 5.0)


def test_the_severity_is_part_of_the_priority() -> None:
    assert parse(b"<27>x: y").severity == 3


@given(st.binary(max_size=300))
def test_any_datagram_is_a_line_without_control_characters(datagram: bytes) -> None:
    line = parse(datagram)
    assert 0 <= line.priority <= 191
    assert all(character == "\t" or ord(character) >= 32 for character in line.message + line.tag)


def test_an_endless_line_is_cut() -> None:
    assert len(parse(b"<30>x: " + b"y" * 60000).message) < 8192
