"""The installer's log as pages show it: its end, what came since, and none of what opens the attempt."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.services import hosts, installer_log
from pxeforge.services.context import Context
from pxeforge.services.installer_log import MOST_BYTES, piece
from tests.conftest import MAC


@pytest.fixture
def log(ctx: Context) -> Path:
    """The file of a host named n1, which is not there yet."""
    path = installer_log.log_path(ctx, hosts.add(ctx, macs=[MAC], name="n1", who="test")["id"])
    path.parent.mkdir(parents=True)
    return path


def test_a_host_that_logged_nothing_has_an_empty_log(ctx: Context, log: Path) -> None:
    assert (piece(ctx, "n1").lines, piece(ctx, "n1").end) == ((), 0)


def test_only_what_came_since_is_told(ctx: Context, log: Path) -> None:
    log.write_text("1800000000.500 main-menu: one\n")
    first = piece(ctx, "n1")
    assert [(line.at, line.text) for line in first.lines] == [(1800000000.5, "main-menu: one")]
    with log.open("a") as stream:
        stream.write("1800000001.000 partman: two\n1800000002.000 half")
    second = piece(ctx, "n1", after=first.end)
    assert [line.text for line in second.lines] == ["partman: two"]
    with log.open("a") as stream:
        stream.write(" a line\n")
    assert [line.text for line in piece(ctx, "n1", after=second.end).lines] == ["half a line"]
    assert piece(ctx, "n1", after=piece(ctx, "n1").end).lines == ()


def test_a_long_log_is_told_from_its_end_on_whole_lines(ctx: Context, log: Path) -> None:
    log.write_text("".join(f"{number}.000 x: line-{number}\n" for number in range(1, 9000)))
    told = piece(ctx, "n1")
    assert told.lines[-1].text == "x: line-8999"
    assert told.lines[0].text.startswith("x: line-")
    assert 0 < told.size - told.skipped <= MOST_BYTES
    assert told.end == told.size


def test_a_log_that_was_begun_anew_is_told_from_its_beginning(ctx: Context, log: Path) -> None:
    log.write_text("1.000 a: new\n")
    assert [line.text for line in piece(ctx, "n1", after=99_999).lines] == ["a: new"]


def test_tokens_and_hashes_are_not_in_it(ctx: Context, log: Path) -> None:
    token, crypt = "0123456789abcdef" * 2, "$6$saltsalt$" + "a" * 86
    log.write_text(f"1.000 log: wget http://192.0.2.1:8080/installer/{token}/late; passwd {crypt}\n")
    [line] = piece(ctx, "n1").lines
    assert token not in line.text
    assert crypt not in line.text
    assert "/installer/[hidden]/late" in line.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.none() | st.integers(-5, 400))
def test_whatever_stands_in_the_file_can_be_shown(ctx: Context, log: Path, content: bytes, after: int | None) -> None:
    log.write_bytes(content)
    told = piece(ctx, "n1", after=after)
    assert told.end <= told.size == len(content)
    assert all(line.text.replace("\t", " ").isprintable() for line in told.lines)
