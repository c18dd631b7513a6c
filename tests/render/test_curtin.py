"""Storage for Ubuntu: whatever the layout, its actions refer to what is above them, and to no disk but the chosen."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.render.curtin import DISK, SECOND_DISK, curtin_actions, fixed_bytes
from pxeforge.render.disks import DiskLayout, Disks
from pxeforge.render.lint_user_data import lint_user_data
from tests.render.test_kickstart import disk_models


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(disk_models(), st.booleans())
def test_every_layout_is_whole_and_names_the_chosen_disks_only(disks: Disks, is_efi: bool) -> None:
    """R-56: storage by rule."""
    actions = curtin_actions(disks, is_efi=is_efi)
    paths = [action["path"] for action in actions if action["type"] == "disk"]
    assert paths == [DISK, SECOND_DISK][: disks.disk_count]
    mounts = [action["path"] for action in actions if action["type"] == "mount" and action["path"]]
    assert len(mounts) == len(set(mounts))
    assert "/" in mounts
    assert ("/boot/efi" in mounts) == is_efi
    for one in disks.partitions:
        assert one.mount in (*mounts, "swap")
    grub = [action["id"] for action in actions if action.get("grub_device")]
    assert all(name.startswith("esp" if is_efi else "disk") for name in grub)
    assert len(grub) == disks.disk_count
    rests = [action for action in actions if action["type"] == "partition" and action["size"] == -1]
    assert len(rests) <= disks.disk_count
    text = "#cloud-config\nautoinstall:\n  version: 1\n  user-data: {users: []}\n  storage:\n    config:\n"
    text += "".join(f"      - {json.dumps(action)}\n" for action in actions)
    assert lint_user_data(text) == []


def test_only_the_volume_that_takes_the_rest_waits_for_the_guard() -> None:
    plain = curtin_actions(Disks(layout=DiskLayout.LVM), is_efi=False)
    assert "@ROOT_BYTES@" not in json.dumps(plain)
    kept = curtin_actions(Disks(layout=DiskLayout.LVM, reserve_percent=40), is_efi=False)
    assert [action["id"] for action in kept if action.get("size") == "@ROOT_BYTES@"] == ["volume-root"]
    assert fixed_bytes(Disks(layout=DiskLayout.LVM)) > 3 * 2**30
