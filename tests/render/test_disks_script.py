"""The disk guard, executed against disks made of files: it must never write to a disk that carries data."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from pxeforge.render.answers import render_answers, render_disks
from pxeforge.render.disks import DiskLayout, DiskRule, DiskRuleKind, Disks, Partition, ReservedDisk

pytestmark = pytest.mark.skipif(shutil.which("blkid") is None, reason="needs blkid")
MIB = 1 << 20


class FakeDisks:
    """A fake /sys and /dev; disks are sparse files."""

    def __init__(self, root: Path) -> None:
        self.sys, self.dev, self.names = root / "sys", root / "dev", list[str]()
        (self.dev / "disk" / "by-path").mkdir(parents=True)

    def add(
        self, name: str, *, mib: int = 32, serial: str = "", removable: bool = False, read_only: bool = False
    ) -> Path:
        block = self.sys / "block" / name
        block.mkdir(parents=True)
        (block / "removable").write_text("1\n" if removable else "0\n")
        (block / "ro").write_text("1\n" if read_only else "0\n")
        if serial:
            (block / "serial").write_text(serial)  # virtio-blk writes no line end
        self._node(name, mib)
        self.names.append(name)
        return self.dev / name

    def partition(self, disk: str, name: str, *, mib: int = 8) -> Path:
        folder = self.sys / "block" / disk / name
        folder.mkdir()
        (folder / "partition").write_text("1\n")
        return self._node(name, mib)

    def _node(self, name: str, mib: int) -> Path:
        (self.sys / "class" / "block" / name).mkdir(parents=True)
        (self.sys / "class" / "block" / name / "size").write_text(f"{mib * MIB // 512}\n")
        with (self.dev / name).open("wb") as out:
            out.truncate(mib * MIB)
        return self.dev / name

    def hold(self, disk: str, holder: str) -> None:
        (self.sys / "block" / disk / "holders" / holder).mkdir(parents=True)

    def state(self) -> dict[str, bytes]:
        return {name: (self.dev / name).read_bytes() for name in self.names}


def put_ext4(file: Path, label: str = "") -> None:
    program = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert program, "e2fsprogs is part of every Debian"
    subprocess.run([program, "-q", "-F", *(["-L", label] if label else []), file], check=True, capture_output=True)


def put_lvm(file: Path) -> None:
    """An LVM label in sector 1 with its checksum (LVM2 lib/label/label.h, lib/misc/crc.c)."""
    body = ((32).to_bytes(4, "little") + b"LVM2 001" + b"a" * 32).ljust(492, b"\0")
    checksum = zlib.crc32(body, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    header = b"LABELONE" + (1).to_bytes(8, "little") + checksum.to_bytes(4, "little") + body
    with file.open("r+b") as out:
        out.seek(512)
        out.write(header)


def put_ceph(file: Path) -> None:
    with file.open("r+b") as out:
        out.write(b"bluestore block device\n12345678-1234-1234-1234-123456789abc\n")


def put_md(file: Path) -> None:
    """A Linux RAID superblock 1.2 (4 KiB from the start); blkid wants magic, version and its own offset."""
    block = bytearray(256)
    block[0:8] = (0xA92B4EFC).to_bytes(4, "little") + (1).to_bytes(4, "little")
    block[16:32] = bytes(range(16))
    block[128:136] = (2048).to_bytes(8, "little")
    block[144:152] = (8).to_bytes(8, "little")
    total = sum(int.from_bytes(block[i : i + 4], "little") for i in range(0, 256, 4))
    block[216:220] = ((total & 0xFFFFFFFF) + (total >> 32)).to_bytes(4, "little")
    with file.open("r+b") as out:
        out.seek(4096)
        out.write(block)


def put_table(file: Path) -> None:
    """An empty DOS partition table with boot code in front, as a former system disk has."""
    with file.open("r+b") as out:
        out.write(b"\xeb\x63" + b"\x90" * 438 + b"\x01\x02\x03\x04" + b"\0" * 66 + b"\x55\xaa")


@pytest.fixture
def disks(tmp_path: Path) -> FakeDisks:
    return FakeDisks(tmp_path / "machine")


@pytest.fixture
def guard(disks: FakeDisks, run_script, make_context, preseed_dirs):
    """Renders and runs the guard: `guard(wipe=…, rule=…)`."""

    def run(replies: dict[str, str] | None = None, **fields: object):
        text = render_disks(make_context(disks=Disks(**fields)), preseed_dirs)
        listing = "; ".join(f"echo /dev/{name}" for name in disks.names) or ":"
        env = {"SYS": str(disks.sys), "DEV": str(disks.dev)}
        return run_script(text, env=env, replies={"list-devices": listing, **(replies or {})})

    return run


def chosen(ran) -> str | None:
    """The disk that partman and GRUB were told, or None."""
    calls = ran.called("debconf-set")
    if not calls:
        return None
    disk = calls[0].split()[-1]
    assert calls == [f"debconf-set partman-auto/disk {disk}", f"debconf-set grub-installer/bootdev {disk}"]
    assert ran.code == 0, ran.output
    assert not ran.called("poweroff")
    return disk.rsplit("/", 1)[1]


def refusal(ran) -> str:
    """What was reported when the guard refused."""
    assert ran.code == 1, ran.output
    assert not ran.called("debconf-set")
    assert ran.called("poweroff")
    (report,) = [call for call in ran.called("wget") if "failed?stage=disks" in call]
    return report


def test_every_rendered_guard_parses(parses, make_context, preseed_dirs) -> None:
    for rule in ("first", "serial=A B", "by-path=pci-0000:00:04.0", "name=/dev/vda", "size=1G..2G"):
        for wipe in (True, False, ("S1", "S 2")):
            assert parses(render_disks(make_context(disks=Disks(rule=DiskRule.parse(rule), wipe=wipe)), preseed_dirs))


def test_a_blank_disk_is_chosen_and_not_written(guard, disks: FakeDisks) -> None:
    disks.add("vda")
    before = disks.state()
    assert chosen(guard()) == "vda"
    assert disks.state() == before


def test_an_empty_partition_table_is_as_good_as_blank(guard, disks: FakeDisks) -> None:
    put_table(disks.add("vda"))
    assert chosen(guard()) == "vda"


@pytest.mark.parametrize(
    ("put", "word"),
    [(put_ext4, "ext4"), (put_lvm, "LVM2_member"), (put_ceph, "ceph_bluestore"), (put_md, "linux_raid_member")],
)
def test_a_disk_with_data_is_refused_and_not_written(guard, disks: FakeDisks, put, word: str) -> None:
    put(disks.add("vda", serial="S1"))
    before = disks.state()
    ran = guard()
    assert word in refusal(ran)
    assert "S1" in refusal(ran)
    assert "not marked wipe" in refusal(ran)
    assert disks.state() == before


def test_a_partition_with_a_labelled_file_system_is_refused(guard, disks: FakeDisks) -> None:
    put_table(disks.add("vda"))
    put_ext4(disks.partition("vda", "vda1"), label="swift")
    assert "vda1: ext4 labelled swift" in refusal(guard())


def test_unknown_data_is_refused_on_disks_and_partitions(guard, disks: FakeDisks) -> None:
    disk = disks.add("vda")
    disk.write_bytes(b"raw database" + disk.read_bytes()[12:])
    assert "data of unknown kind" in refusal(guard())
    put_table(disk)
    part = disks.partition("vda", "vda1")
    part.write_bytes(b"raw database" + part.read_bytes()[12:])
    assert "vda1: data of unknown kind" in refusal(guard())


def test_a_disk_in_use_is_refused(guard, disks: FakeDisks) -> None:
    disks.add("vda")
    disks.hold("vda", "dm-0")
    assert "in use by dm-0" in refusal(guard())


def test_the_first_rule_takes_no_removable_and_no_read_only_disk(guard, disks: FakeDisks) -> None:
    disks.add("sda", removable=True)
    disks.add("sdb", read_only=True)
    disks.add("sdc")
    assert chosen(guard()) == "sdc"


def test_the_first_disk_is_refused_rather_than_skipped_when_it_carries_data(guard, disks: FakeDisks) -> None:
    put_ext4(disks.add("sda"))
    disks.add("sdb")
    assert "sda" in refusal(guard())


def test_a_whole_disk_lvm_volume_hidden_by_list_devices_is_seen_and_refused(guard, disks: FakeDisks) -> None:
    put_lvm(disks.add("sda"))
    replies = {"list-devices": ":", "pvs": "echo '  /dev/sda'"}
    assert "LVM2_member" in refusal(guard(replies))


def test_a_serial_names_its_disk_and_no_other(guard, disks: FakeDisks) -> None:
    disks.add("sda", serial="S1")
    disks.add("sdb", serial="S2 ")
    disks.add("sdc", serial="S22")
    assert chosen(guard(rule=DiskRule.parse("serial=S2"))) == "sdb"


def test_a_serial_known_to_udev_only_is_found(guard, disks: FakeDisks) -> None:
    disks.add("sda")
    replies = {"udevadm": "printf 'ID_SERIAL=ACME_Disk_X9\\nID_SERIAL_SHORT=X9\\n'"}
    assert chosen(guard(replies, rule=DiskRule.parse("serial=X9"))) == "sda"


def test_two_disks_with_one_serial_are_refused(guard, disks: FakeDisks) -> None:
    disks.add("sda", serial="S1")
    disks.add("sdb", serial="S1")
    assert "2 disks match" in refusal(guard(rule=DiskRule.parse("serial=S1")))


def test_a_path_names_its_disk(guard, disks: FakeDisks) -> None:
    disks.add("vda")
    disks.add("vdb")
    (disks.dev / "disk/by-path/pci-0000:00:05.0").symlink_to(disks.dev / "vdb")
    assert chosen(guard(rule=DiskRule.parse("by-path=pci-0000:00:05.0"))) == "vdb"


def test_a_name_names_its_disk(guard, disks: FakeDisks) -> None:
    disks.add("vda")
    disks.add("vdb")
    assert chosen(guard(rule=DiskRule.parse("name=/dev/vdb"))) == "vdb"


def test_a_size_rule_takes_the_first_disk_in_its_limits(guard, disks: FakeDisks) -> None:
    disks.add("sda", mib=16)
    disks.add("sdb", mib=64)
    disks.add("sdc", mib=32)
    rule = DiskRule(kind=DiskRuleKind.SIZE, min_bytes=20 * MIB, max_bytes=40 * MIB)
    assert chosen(guard(rule=rule)) == "sdc"


def test_a_rule_that_matches_nothing_is_refused_and_lists_what_is_there(guard, disks: FakeDisks) -> None:
    disks.add("sda", serial="S1")
    report = refusal(guard(rule=DiskRule.parse("serial=S9")))
    assert "no disk matches the rule serial=S9" in report
    assert "33554432 bytes" in report
    assert "S1" in report


def test_a_host_without_disks_is_refused(guard, disks: FakeDisks) -> None:
    assert "Disks seen: none" in refusal(guard())


@pytest.mark.parametrize("put", [put_ext4, put_lvm, put_ceph, put_md])
def test_wipe_by_serial_clears_that_disk_and_leaves_the_others(guard, disks: FakeDisks, put) -> None:
    disk, other = disks.add("sda", serial="S1"), disks.add("sdb", serial="S2")
    put(disk)
    put_ext4(other)
    kept = other.read_bytes()
    ran = guard(wipe=("S0", "S1"))
    assert chosen(ran) == "sda"
    assert subprocess.run(["blkid", "-p", disk], check=False, capture_output=True).returncode == 2
    assert disk.stat().st_size == 32 * MIB
    assert other.read_bytes() == kept
    assert ran.called("blockdev --rereadpt")


def test_wipe_clears_the_partitions_too(guard, disks: FakeDisks) -> None:
    put_table(disks.add("sda", serial="S1"))
    part = disks.partition("sda", "sda1", mib=2)
    put_ext4(part)
    assert chosen(guard(wipe=True)) == "sda"
    assert part.read_bytes() == bytes(2 * MIB)


def test_wipe_of_another_serial_or_a_part_of_it_does_not_count(guard, disks: FakeDisks) -> None:
    put_ext4(disks.add("sda", serial="S12"))
    before = disks.state()
    for wipe in (("S1",), ("S123",), ("S1.",), ()):
        assert "not marked wipe" in refusal(guard(wipe=wipe))
    assert disks.state() == before


def test_a_disk_without_serial_can_be_marked_wipe_by_name(guard, disks: FakeDisks) -> None:
    put_ext4(disks.add("vda"))
    assert chosen(guard(wipe=("/dev/vda",))) == "vda"


def test_a_disk_that_stays_in_use_is_not_wiped(guard, disks: FakeDisks) -> None:
    put_ext4(disks.add("sda"))
    disks.hold("sda", "md127")
    before = disks.state()
    ran = guard(wipe=True)
    assert "still in use by md127" in refusal(ran)
    assert ran.called("mdadm --stop")
    assert disks.state() == before


def test_a_refusal_stands_even_when_it_cannot_be_reported(guard, disks: FakeDisks) -> None:
    put_ext4(disks.add("sda"))
    before = disks.state()
    assert "ext4" in refusal(guard({"wget": "return 1"}))
    assert disks.state() == before


def test_nothing_goes_on_when_debconf_refuses_the_choice(guard, disks: FakeDisks) -> None:
    disks.add("vda")
    ran = guard({"debconf-set": "return 1"})
    assert ran.code == 1
    assert ran.called("poweroff")


def told(ran) -> dict[str, str]:
    """What the installer was told, by question."""
    assert ran.code == 0, ran.output
    calls = [call.split(" ", 2) for call in ran.called("debconf-set")]
    return {call[1]: call[2] for call in calls}


RESERVED = (
    ReservedDisk(name="ceph", rule=DiskRule.parse("size=40M..")),
    ReservedDisk(name="db", rule=DiskRule.parse("serial=DB")),
)


def test_a_disk_that_is_kept_for_a_role_is_neither_chosen_nor_touched(guard, disks: FakeDisks) -> None:
    put_ext4(disks.add("sda", mib=64))
    disks.add("sdb", serial="DB")
    disks.add("sdc")
    before = disks.state()
    ran = guard(reserved=RESERVED, wipe=True)
    assert chosen(ran) == "sdc"
    assert disks.state() == before


def test_a_rule_that_names_a_disk_that_is_kept_for_a_role_is_refused(guard, disks: FakeDisks) -> None:
    disks.add("sda", serial="DB")
    report = refusal(guard(reserved=RESERVED, rule=DiskRule.parse("name=/dev/sda")))
    assert "is kept for db" in report


def test_where_all_disks_are_kept_none_is_taken(guard, disks: FakeDisks) -> None:
    disks.add("sda", mib=64)
    assert "no disk matches the rule first" in refusal(guard(reserved=RESERVED))


@pytest.mark.parametrize("label", ["Ceph", "swift-1", "KEEP"])
def test_a_disk_labelled_for_its_data_is_not_wiped_by_a_wipe_of_all(guard, disks: FakeDisks, label: str) -> None:
    """R-37: disks of Ceph, Swift, Cinder and others."""
    put_table(disks.add("sda", serial="S1"))
    put_ext4(disks.partition("sda", "sda1"), label=label)
    before = disks.state()
    report = refusal(guard(wipe=True))
    assert "is protected by its label" in report
    assert label in report
    assert disks.state() == before
    assert chosen(guard(wipe=("S1",))) == "sda"


def test_a_bluestore_disk_is_not_wiped_by_a_wipe_of_all(guard, disks: FakeDisks) -> None:
    put_ceph(disks.add("sda"))
    assert "ceph_bluestore" in refusal(guard(wipe=True))


def test_a_volume_group_for_volumes_is_not_wiped_by_a_wipe_of_all(guard, disks: FakeDisks) -> None:
    disk = disks.add("sda", serial="S1")
    put_lvm(disk)
    with disk.open("r+b") as out:
        out.seek(4096 + 512)
        out.write(b'cinder-volumes {\nid = "x"\nseqno = 1\n')
    assert "cinder-volumes" in refusal(guard(wipe=True))
    assert chosen(guard(wipe=True, keep_labels=())) == "sda"


def test_a_mirror_takes_two_disks_and_names_their_partitions(guard, disks: FakeDisks) -> None:
    for name in ("nvme0n1", "sda", "sdb"):
        disks.add(name, mib=6000)
    answers = told(guard(layout=DiskLayout.RAID1))
    first, second = disks.dev / "nvme0n1", disks.dev / "sda"
    assert answers["partman-auto/disk"] == answers["grub-installer/bootdev"] == f"{first} {second}"
    assert answers["partman-auto-raid/recipe"] == (
        f"1 2 0 swap - {first}p2#{second}2 . 1 2 0 ext4 / {first}p3#{second}3 ."
    )
    assert answers["partman-auto/expert_recipe"].startswith("pxeforge : 1 1 1 free $iflabel{ gpt }")


def test_both_disks_of_a_mirror_are_guarded(guard, disks: FakeDisks) -> None:
    disks.add("sda", mib=6000)
    put_ext4(disks.add("sdb", mib=6000, serial="S2"))
    assert "sdb" in refusal(guard(layout=DiskLayout.RAID1))
    answers = told(guard(layout=DiskLayout.RAID1, wipe=("S2",)))
    assert answers["partman-auto/disk"].endswith("sdb")


def test_a_mirror_needs_a_second_disk(guard, disks: FakeDisks) -> None:
    disks.add("sda")
    assert "no disk matches the rule first" in refusal(guard(layout=DiskLayout.RAID1))


def test_the_second_disk_of_a_mirror_has_a_rule_of_its_own(guard, disks: FakeDisks) -> None:
    disks.add("sda", mib=6000)
    disks.add("sdb", mib=6000)
    disks.add("sdc", mib=6000, serial="S3")
    answers = told(guard(layout=DiskLayout.RAID1, mirror_rule=DiskRule.parse("serial=S3")))
    assert answers["partman-auto/disk"].split()[1].endswith("sdc")


def test_firmware_that_boots_from_a_file_system_gets_one(guard, disks: FakeDisks) -> None:
    disks.add("sda", mib=6000)
    (disks.sys / "firmware" / "efi").mkdir(parents=True)
    answers = told(guard(partitions=(Partition(mount="/", size_bytes=None),)))
    recipe = answers["partman-auto/expert_recipe"]
    assert recipe.startswith(
        "pxeforge : 538 538 1024 free $iflabel{ gpt } $reusemethod{ } method{ efi } format{ } . 3000 "
    )


def test_space_left_in_the_volume_group_is_taken_off_the_disks_size(guard, disks: FakeDisks) -> None:
    disks.add("sda", mib=20_000)
    group_mb = 20_000 * MIB // 10**6 - 1100 - 1000
    answers = told(guard(layout=DiskLayout.LVM, reserve_bytes=10 * 10**9))
    assert answers["partman-auto-lvm/guided_size"] == f"{group_mb - 10_000}MB"
    answers = told(guard(layout=DiskLayout.LVM, reserve_percent=40))
    assert answers["partman-auto-lvm/guided_size"] == f"{group_mb * 60 // 100}MB"
    report = refusal(guard(layout=DiskLayout.LVM, reserve_percent=90))
    assert "is too small for the reserve" in report
    assert "which needs 4000 MB" in report


def test_a_disk_that_is_too_small_for_its_partitions_is_refused_and_not_wiped(guard, disks: FakeDisks) -> None:
    put_ext4(disks.add("sda", mib=10_000))
    before = (disks.dev / "sda").open("rb").read(MIB)
    big = (Partition(mount="/", size_bytes=10 * 10**9), Partition(mount="swap", size_bytes=10**9))
    for layout, needed in ((DiskLayout.PLAIN, 11_000), (DiskLayout.LVM, 12_000)):
        report = refusal(guard(layout=layout, partitions=big, wipe=True))
        assert f"is too small: it holds 9385 MB, the partitions need {needed} MB" in report
    assert (disks.dev / "sda").open("rb").read(MIB) == before


def test_the_passphrase_of_an_encrypted_disk_is_told_without_being_logged(
    disks: FakeDisks, run_script, make_context, preseed_dirs, tmp_path: Path
) -> None:
    disks.add("sda")
    confmodule = tmp_path / "confmodule"
    confmodule.write_text(
        f'db_set() {{ echo "set $*" >>{tmp_path}/debconf; }}\ndb_fset() {{ echo "fset $*" >>{tmp_path}/debconf; }}\n'
    )
    passphrase = "correct-horse-battery"
    context = make_context(disks=Disks(layout=DiskLayout.LUKS), luks_passphrase=passphrase)
    env = {"SYS": str(disks.sys), "DEV": str(disks.dev), "CONFMODULE": str(confmodule)}
    ran = run_script(render_disks(context, preseed_dirs), env=env, replies={"list-devices": "echo /dev/sda"})
    assert ran.code == 0, ran.output
    assert (tmp_path / "debconf").read_text().splitlines() == [
        f"set partman-crypto/passphrase {passphrase}",
        "fset partman-crypto/passphrase seen true",
        f"set partman-crypto/passphrase-again {passphrase}",
        "fset partman-crypto/passphrase-again seen true",
    ]
    assert passphrase not in ran.output + "".join(ran.calls)
    assert passphrase not in render_answers("debian.cfg.j2", context, preseed_dirs)
