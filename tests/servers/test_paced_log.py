"""A storm of packets is no storm of lines."""

from pxeforge.servers.paced_log import LINES_PER_S, PacedLog


class Lines:
    def __init__(self) -> None:
        self.said: list[dict[str, object]] = []

    def info(self, event: str, **facts: object) -> None:
        self.said.append({"event": event, **facts})


def test_a_quiet_wire_is_told_line_by_line() -> None:
    lines = Lines()
    log = PacedLog(lines)
    for second in range(5):
        log.tell("info", "seen", second + 1000.0, number=second)
    assert lines.said == [{"event": "seen", "number": second} for second in range(5)]


def test_in_a_storm_the_next_line_says_how_many_were_left_out() -> None:
    lines = Lines()
    log = PacedLog(lines)
    for number in range(1000):
        log.tell("info", "seen", 1000 + number / 1000)
    assert len(lines.said) == LINES_PER_S
    assert not log.has_room(1000.999)
    assert log.has_room(1001)
    log.tell("info", "seen", 1001)
    assert lines.said[-1] == {"event": "seen", "left_out_before": 1000 - LINES_PER_S + 1}
