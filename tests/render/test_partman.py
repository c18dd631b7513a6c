"""What partman is told for each layout."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.disks import DiskLayout, Disks, Partition
from pxeforge.render.partman import RaidDevice, partman_plan

ROOT = Partition(mount="/", size_bytes=None)
SWAP = Partition(mount="swap", size_bytes=4 * 10**9)
VAR = Partition(mount="/var", size_bytes=20 * 10**9, filesystem="xfs")
# What sizes, file system and use of an entry look like (partman-auto's recipes, doc/devel/partman-auto-recipe.txt).
FORMAT = "method{ format } format{ } use_filesystem{ } filesystem{ %s } mountpoint{ %s } ."


def test_without_partitions_partmans_own_recipe_is_taken() -> None:
    for layout, method in (("plain", "regular"), ("lvm", "lvm"), ("luks", "crypto")):
        plan = partman_plan(Disks(layout=DiskLayout(layout)))
        assert (plan.method, plan.recipe, plan.raid, plan.guided_size) == (method, "", (), "max")


def test_space_that_stays_free_needs_a_recipe_that_is_content_with_little() -> None:
    plan = partman_plan(Disks(layout=DiskLayout.LVM, reserve_percent=40))
    assert (plan.guided_size, plan.reserve_percent, plan.reserve_mb) == ("max", 40, 0)
    assert (plan.needs_mb, plan.outside_mb) == (1000 + 1000 + 3000, 1000)
    assert "lv_name{ root }" in plan.recipe
    assert partman_plan(Disks(layout=DiskLayout.LUKS, reserve_bytes=200 * 10**9)).reserve_mb == 200_000


def test_fixed_partitions_come_before_the_one_that_takes_the_rest() -> None:
    recipe = partman_plan(Disks(partitions=(ROOT, VAR, SWAP))).recipe
    var, swap, root = (f"{part.strip()} ." for part in recipe.removesuffix(" .").split(" . "))
    assert var == "20000 20000 20000 xfs " + FORMAT % ("xfs", "/var")
    assert swap == "4000 4000 4000 linux-swap method{ swap } format{ } ."
    assert root == "3000 1000000000 -1 ext4 " + FORMAT % ("ext4", "/")


def test_what_fixed_partitions_leave_stays_unused() -> None:
    small = Partition(mount="/", size_bytes=20 * 10**9)
    assert partman_plan(Disks(partitions=(small,))).recipe.endswith("1 1000000000 -1 free method{ keep } .")
    assert "keep" not in partman_plan(Disks(partitions=(ROOT,))).recipe


def test_logical_volumes_have_names_and_boot_stays_outside() -> None:
    plan = partman_plan(Disks(layout=DiskLayout.LVM, partitions=(ROOT, VAR)))
    boot, var, root = (part.strip() for part in plan.recipe.removesuffix(" .").split(" . "))
    assert boot.startswith("1000 1000 1000 ext4 method{ format }")
    assert "$lvmok{ }" not in boot
    assert "$lvmok{ } lv_name{ var } method{ format }" in var
    assert "$lvmok{ } lv_name{ root }" in root
    fixed = (Partition(mount="/", size_bytes=20 * 10**9), VAR, Partition(mount="/boot", size_bytes=10**9))
    assert partman_plan(Disks(layout=DiskLayout.LVM, partitions=fixed)).guided_size == "40000MB"


def test_a_mirror_makes_one_array_of_each_partition() -> None:
    plan = partman_plan(Disks(layout=DiskLayout.RAID1, partitions=(ROOT, SWAP), filesystem="xfs"))
    assert plan.method == "raid"
    assert plan.raid == (RaidDevice(2, "swap", "-"), RaidDevice(3, "xfs", "/"))
    assert plan.recipe.count("method{ raid }") == 2
    assert partman_plan(Disks(layout=DiskLayout.RAID1)).raid == (RaidDevice(2, "swap", "-"), RaidDevice(3, "ext4", "/"))


@st.composite
def layouts(draw: st.DrawFn) -> Disks:
    """Any disks that the model takes."""
    mounts = draw(st.lists(st.sampled_from(["/var", "/srv", "/home", "/boot", "swap"]), unique=True))
    sizes = st.integers(10**9, 10**13)
    rest = draw(st.sampled_from([None, "/", "/srv"]))
    partitions = tuple(
        Partition(mount=mount, size_bytes=None if mount == rest else draw(sizes)) for mount in ["/", *mounts]
    )
    layout = draw(st.sampled_from(list(DiskLayout)))
    given_some = draw(st.booleans())
    return Disks(
        layout=layout, partitions=partitions if given_some else (), filesystem=draw(st.sampled_from(["ext4", "xfs"]))
    )


@given(layouts())
def test_every_recipe_has_an_entry_for_each_partition_and_no_other(disks: Disks) -> None:
    plan = partman_plan(disks)
    entries = [entry.split() for entry in plan.recipe.removesuffix(" .").split(" . ")] if plan.recipe else []
    for entry in entries:
        low, middle, high = map(int, entry[:3])
        assert 0 < low <= middle
        assert high == -1 or low == middle == high
        assert "\n" not in " ".join(entry)
        assert " ".join(entry).count("{") == " ".join(entry).count("}")
    wanted = len(disks.partitions) if disks.partitions else (2 if disks.layout is DiskLayout.RAID1 else 0)
    assert plan.needs_mb <= sum(int(entry[0]) for entry in entries)
    mounts = {one.mount for one in disks.partitions}
    made_boot = disks.has_volume_group and bool(mounts) and "/boot" not in mounts
    filler = any("keep" in entry for entry in entries)
    assert len(entries) == wanted + made_boot + filler
    if plan.raid:
        assert [one.number for one in plan.raid] == list(range(2, 2 + wanted))
