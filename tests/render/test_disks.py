"""The model of disks: rules, layouts, partitions; what cannot be is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.disks import DiskLayout, DiskRule, DiskRuleKind, Disks, Partition, ReservedDisk, parse_reserve
from pxeforge.render.values import AnswersProblem


def test_disk_rules_are_read_from_text() -> None:
    assert DiskRule.parse("first") == DiskRule()
    assert DiskRule.parse("serial=WD-1 2") == DiskRule(kind=DiskRuleKind.SERIAL, value="WD-1 2")
    assert DiskRule.parse("by-path=pci-0000:00:1f.2-ata-1").value == "pci-0000:00:1f.2-ata-1"
    assert DiskRule.parse("size=20G..500G") == DiskRule(
        kind=DiskRuleKind.SIZE, min_bytes=20 * 10**9, max_bytes=5 * 10**11
    )
    assert DiskRule.parse("size=1T..") == DiskRule(kind=DiskRuleKind.SIZE, min_bytes=10**12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "last",
        "serial",
        "serial=",
        "name=vda",
        "first=x",
        "size=20G",
        "size=..",
        "size=5G..1G",
        "size=1X..",
        "serial=a;b",
    ],
)
def test_these_are_no_disk_rules(text: str) -> None:
    with pytest.raises(AnswersProblem):
        DiskRule.parse(text)


@given(st.text())
def test_any_text_is_a_disk_rule_or_refused(text: str) -> None:
    try:
        rule = DiskRule.parse(text)
    except AnswersProblem:
        return
    assert "\n" not in rule.value


def test_a_rule_fits_the_disks_that_facts_tell_of() -> None:
    disk = {
        "name": "sda", "size_bytes": 10**12, "serial": "S1", "wwn": "0x5", "removable": False,
        "by_path": "/dev/disk/by-path/pci-1",
    }  # fmt: skip
    for rule in ("first", "serial=S1", "serial=0x5", "name=/dev/sda", "size=500G..2T", "by-path=pci-1"):
        assert DiskRule.parse(rule).fits(disk), rule
    for rule in ("serial=S2", "name=/dev/sdb", "size=2T..", "size=..1G", "by-path=pci-2"):
        assert not DiskRule.parse(rule).fits(disk), rule
    assert not DiskRule.parse("first").fits({**disk, "removable": True})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"filesystem": "ext4\n"}, "not one of ext4"),
        ({"wipe": ("a'b",)}, "serial numbers"),
        ({"volume_group": "a b"}, "volume_group"),
        ({"keep_labels": ("a|b",)}, "keep_labels"),
        ({"mirror_rule": DiskRule()}, "only the layout raid1"),
        ({"layout": DiskLayout.RAID1, "rule": "name=/dev/vda", "mirror_rule": "name=/dev/vda"}, "same disk"),
        ({"reserve_percent": 50}, "only the layouts lvm and luks"),
        ({"layout": DiskLayout.LVM, "reserve_percent": 99}, "1% to 95%"),
        ({"partitions": (Partition(mount="/var", size_bytes=None),)}, "one of them must be /"),
        (
            {"partitions": (Partition(mount="/", size_bytes=None), Partition(mount="/var", size_bytes=None))},
            "only one can take the rest",
        ),
        (
            {
                "partitions": (Partition(mount="/", size_bytes=2 * 10**9),), "layout": DiskLayout.LVM,
                "reserve_percent": 5,
            },
            "leave what they leave",
        ),
        (
            {"partitions": (Partition(mount="/", size_bytes=None), Partition(mount="swap", size_bytes=None))},
            "only one can take the rest",
        ),
    ],
)  # fmt: skip
def test_disks_that_could_not_be_are_refused(fields: dict[str, object], said: str) -> None:
    values = {key: DiskRule.parse(value) if isinstance(value, str) and "=" in value else value
              for key, value in fields.items()}  # fmt: skip
    with pytest.raises(AnswersProblem, match=said):
        Disks(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "entry",
    [
        {"mount": "var", "size": "1G"},
        {"mount": "/", "size": "1M"},
        {"mount": "/"},
        {"mount": "/boot/efi", "size": "1G"},
        {"mount": "/a/../b", "size": "1G"},
        {"mount": "/var", "size": "1G", "filesystem": "ntfs"},
        {"mount": "swap", "size": "1G", "filesystem": "ext4"},
        {"mount": "/var", "size": "1G", "colour": "red"},
        "root",
    ],
)
def test_these_are_no_partitions(entry: object) -> None:
    with pytest.raises(AnswersProblem):
        Partition.parse(entry)


def test_partitions_are_read_and_name_their_volumes() -> None:
    assert Partition.parse({"mount": "/", "size": "rest"}) == Partition(mount="/", size_bytes=None)
    assert Partition.parse({"mount": "/var/log", "size": "5G", "filesystem": "xfs"}).volume_name == "var_log"


def test_a_disk_for_a_role_must_be_named_so_that_only_it_is_meant() -> None:
    assert ReservedDisk.parse({"name": "ceph", "disk": "serial=S1"}).rule.value == "S1"
    with pytest.raises(AnswersProblem, match="not `first`"):
        ReservedDisk.parse({"name": "ceph", "disk": "first"})


def test_a_reserve_is_a_size_or_a_share() -> None:
    assert parse_reserve("200G") == (200 * 10**9, None)
    assert parse_reserve("40%") == (None, 40)
    assert parse_reserve(None) == (None, None)
    with pytest.raises(AnswersProblem):
        parse_reserve("many")
