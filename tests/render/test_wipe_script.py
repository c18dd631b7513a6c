"""The wipe script, executed against disks made of files: it must never write to a disk that was not named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pxeforge.render.answers import PowerAction
from pxeforge.render.erasure import Erasure, render_wipe
from pxeforge.render.values import AnswersProblem
from tests.render.test_disks_script import MIB, FakeDisks, put_ext4, put_lvm, put_md, put_table

pytestmark = pytest.mark.skipif(shutil.which("blkid") is None, reason="needs blkid")


@pytest.fixture
def disks(tmp_path: Path) -> FakeDisks:
    return FakeDisks(tmp_path / "machine")


@pytest.fixture
def wipe(disks: FakeDisks, run_script, make_context, preseed_dirs):
    """Renders and runs the script: `wipe("S1", …)`."""

    def run(*serials: str, replies: dict[str, str] | None = None, **fields: object):
        text = render_wipe(make_context(), Erasure(serials=serials, **fields), preseed_dirs)
        listing = "; ".join(f"echo /dev/{name}" for name in disks.names) or ":"
        env = {"SYS": str(disks.sys), "DEV": str(disks.dev)}
        return run_script(text, env=env, replies={"list-devices": listing, **(replies or {})})

    return run


def filled(file: Path) -> Path:
    """The disk with something in every part of it."""
    size = file.stat().st_size
    file.write_bytes(b"data" * (size // 4))
    return file


def reports(ran, route: str) -> list[str]:
    return [call for call in ran.called("wget") if f"/{route}" in call]


def refusal(ran) -> str:
    assert ran.called("poweroff"), ran.output
    assert not reports(ran, "wiped")
    (report,) = reports(ran, "failed?stage=wipe")
    return report


def test_every_rendered_script_parses(parses, make_context, preseed_dirs) -> None:
    for serials in (("S1",), tuple(f"DISK {number}" for number in range(12))):
        for overwrite in (True, False):
            for power in PowerAction:
                erasure = Erasure(serials=serials, overwrite=overwrite, power=power)
                assert parses(render_wipe(make_context(), erasure, preseed_dirs))


def test_the_named_disk_is_erased_at_both_ends_and_no_other_is_touched(wipe, disks: FakeDisks) -> None:
    named, other = filled(disks.add("vda", serial="S1")), filled(disks.add("vdb", serial="S2"))
    before = other.read_bytes()
    ran = wipe("S1")
    content = named.read_bytes()
    assert not any(content[: 4 * MIB])
    assert not any(content[-4 * MIB :])
    assert len(content) == 32 * MIB
    assert other.read_bytes() == before
    (report,) = reports(ran, "wiped")
    assert "S1" in report
    assert f"{32 * MIB} bytes" in report
    assert "S2" not in report
    assert ran.called("poweroff")


@pytest.mark.parametrize("put", [put_ext4, put_lvm, put_md, put_table])
def test_what_a_disk_carried_is_not_found_again(wipe, disks: FakeDisks, put) -> None:
    put(disks.add("vda", serial="S1"))
    assert reports(wipe("S1"), "wiped")


def test_partitions_are_erased_at_both_ends_too(wipe, disks: FakeDisks) -> None:
    put_table(disks.add("vda", serial="S1"))
    part = filled(disks.partition("vda", "vda1"))
    wipe("S1")
    assert not any(part.read_bytes()[: 4 * MIB])
    assert not any(part.read_bytes()[-4 * MIB :])


def test_an_overwritten_disk_holds_zeros_only_and_its_progress_is_told(wipe, disks: FakeDisks) -> None:
    named = filled(disks.add("vda", serial="S1"))
    ran = wipe("S1", overwrite=True)
    assert not any(named.read_bytes())
    assert "every byte overwritten" in reports(ran, "wiped")[0]


def test_several_disks_are_erased_and_each_is_reported(wipe, disks: FakeDisks) -> None:
    files = [filled(disks.add(f"vd{letter}", serial=f"S{letter}")) for letter in "abcdefghijk"]
    ran = wipe(*(f"S{letter}" for letter in "abcdefghij"))
    assert all(not any(file.read_bytes()[:MIB]) for file in files[:10])
    assert files[10].read_bytes()[:4] == b"data"
    (report,) = reports(ran, "wiped")
    assert all(f"S{letter} (" in report for letter in "abcdefghij")


def test_a_missing_disk_keeps_all_others_from_being_written(wipe, disks: FakeDisks) -> None:
    filled(disks.add("vda", serial="S1"))
    before = disks.state()
    said = refusal(wipe("S1", "S9"))
    assert "nothing was erased: no disk has the serial S9" in said
    assert "S1" in said  # the disks that were seen
    assert disks.state() == before


def test_two_disks_with_one_serial_keep_everything_from_being_written(wipe, disks: FakeDisks) -> None:
    filled(disks.add("vda", serial="S1"))
    filled(disks.add("vdb", serial="S1"))
    before = disks.state()
    assert "both have the serial S1" in refusal(wipe("S1"))
    assert disks.state() == before


def test_a_part_of_a_serial_is_none(wipe, disks: FakeDisks) -> None:
    filled(disks.add("vda", serial="S12"))
    before = disks.state()
    assert "no disk has the serial S1." in refusal(wipe("S1"))
    assert disks.state() == before


def test_a_disk_in_use_is_not_written(wipe, disks: FakeDisks) -> None:
    filled(disks.add("vda", serial="S1"))
    disks.hold("vda", "dm-0")
    before = disks.state()
    assert "still in use by dm-0" in refusal(wipe("S1"))
    assert disks.state() == before


def test_a_read_only_disk_is_refused(wipe, disks: FakeDisks) -> None:
    filled(disks.add("vda", serial="S1", read_only=True))
    assert "is read-only" in refusal(wipe("S1"))


def test_a_host_may_reboot_at_the_end(wipe, disks: FakeDisks) -> None:
    disks.add("vda", serial="S1")
    ran = wipe("S1", power=PowerAction.REBOOT)
    assert ran.called("reboot")
    assert not ran.called("poweroff")


@pytest.mark.parametrize("can", [True, False])
def test_blocks_are_discarded_where_the_disk_can_do_that(wipe, disks: FakeDisks, can: bool) -> None:
    disks.add("vda", serial="S1")
    ran = wipe("S1", replies={} if can else {"blkdiscard": "return 1"})
    assert ("all blocks discarded" in reports(ran, "wiped")[0]) is can


@pytest.mark.parametrize("serials", [(), ("S1", "S1"), ("/dev/sda",), ("../x",), ("S1\n",), ("",), (" S1",), ("é",)])
def test_only_serials_name_disks(serials: tuple[str, ...]) -> None:
    with pytest.raises(AnswersProblem):
        Erasure(serials=serials)
