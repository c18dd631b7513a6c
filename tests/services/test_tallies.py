"""What processes count is added up, survives them, and never goes backwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pxeforge.services.tallies import Tally, Told, began, is_alive, read_all

KILLED = """
import os, sys
from pathlib import Path
from pxeforge.services.tallies import Tally
tally = Tally(Path(sys.argv[1]), "boot")
tally.tell({"boot.bytes": 100}, {"boot.waiting": 7})
print("told", flush=True)
sys.stdin.read()
"""


def total(folder: Path, name: str) -> float:
    return sum(one.counts.get(name, 0) for one in read_all(folder))


def only(folder: Path) -> Told:
    [one] = read_all(folder)
    return one


def test_the_next_process_goes_on_from_the_numbers_of_the_one_before(tmp_path: Path) -> None:
    first = Tally(tmp_path, "wire")
    first.tell({"dhcp.received": 5}, {})
    first.close()
    second = Tally(tmp_path, "wire")
    assert total(tmp_path, "dhcp.received") == 5
    second.tell({"dhcp.received": 2, "dhcp.answered": 1}, {})
    assert only(tmp_path).counts == {"dhcp.received": 7, "dhcp.answered": 1}
    assert only(tmp_path).starts == 2


def test_a_killed_process_leaves_its_counts_but_not_its_levels_and_its_place_is_free(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"told\n"
    told = only(tmp_path)
    assert (told.process, told.alive, told.levels) == ("boot-0", True, {"boot.waiting": 7})
    assert [is_alive(tmp_path, name) for name in ("boot-0", "agent")] == [True, False]
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    told = only(tmp_path)
    assert (told.alive, told.counts, told.levels) == (False, {"boot.bytes": 100}, {})
    assert not is_alive(tmp_path, "boot-0")
    assert Tally(tmp_path, "boot").process == "boot-0"


def test_processes_of_one_name_have_a_file_each_and_are_added_up(tmp_path: Path) -> None:
    tallies = [Tally(tmp_path, "boot") for _ in range(3)]
    for amount, tally in enumerate(tallies, start=1):
        tally.tell({"boot.bytes": amount}, {"boot.waiting": amount})
    assert [tally.process for tally in tallies] == ["boot-0", "boot-1", "boot-2"]
    assert total(tmp_path, "boot.bytes") == 6


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"pid": "x"}', b'{"counts": 3, "pid": 1}'])
def test_a_file_that_cannot_be_read_counts_nothing_and_is_written_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wire.json").write_bytes(content)
    assert total(tmp_path, "dhcp.received") == 0
    Tally(tmp_path, "wire").tell({"dhcp.received": 1}, {})
    assert total(tmp_path, "dhcp.received") == 1


def test_a_file_that_cannot_be_written_leaves_what_was_told_before(tmp_path: Path) -> None:
    tally = Tally(tmp_path, "wire")
    tally.tell({"dhcp.received": 1}, {})
    (tmp_path / "wire.new").mkdir()  # stands in the way, also of root
    with pytest.raises(OSError, match=r"wire\.new"):
        tally.tell({"dhcp.received": 2}, {})
    assert total(tmp_path, "dhcp.received") == 1
    (tmp_path / "wire.new").rmdir()
    tally.tell({"dhcp.received": 3}, {})
    assert total(tmp_path, "dhcp.received") == 3


def test_a_number_that_another_process_got_meanwhile_is_not_taken_for_the_one_that_told(tmp_path: Path) -> None:
    Tally(tmp_path, "wire").tell({"dhcp.received": 1}, {})
    path = tmp_path / "wire.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "began": 1}))
    assert not only(tmp_path).alive


def test_a_process_began_once() -> None:
    assert began(os.getpid()) == began(os.getpid()) is not None
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert began(child.pid) is None
