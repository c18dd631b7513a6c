"""An image tells its files, who needs it, and whether it is still whole."""

from __future__ import annotations

import hashlib

import pytest

from pxeforge.services import arming, events, hosts, image_details
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from tests.conftest import MAC, write_image


def test_versions_come_newest_first_with_the_digest_of_each_file(ctx: Context, profile: str) -> None:
    write_image(ctx.data_dir, "20260101")
    newest, older = image_details.details(ctx, "debian-13")
    assert (newest["version"], older["version"]) == ("20260101", "20250803")
    files = {file["name"]: file for file in newest["files"]}
    assert files["linux"] == {"name": "linux", "size_bytes": 6, "sha256": hashlib.sha256(b"kernel").hexdigest()}
    assert newest["verified"] == "signature"


def test_only_the_version_a_host_is_armed_with_names_it(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    arming.arm(ctx, "n1", profile=profile, who="test")
    write_image(ctx.data_dir, "20260101")
    newest, older = image_details.details(ctx, "debian-13")
    assert newest["used_by"] == {"profiles": ["debian-13"], "hosts": []}
    assert [host["name"] for host in older["used_by"]["hosts"]] == ["n1"]


def test_a_whole_image_has_no_fault_and_a_changed_one_is_named_without_its_place(ctx: Context, profile: str) -> None:
    assert image_details.verify(ctx, "debian-13", who="test") == []
    (ctx.data_dir / "images/debian-13/20250803/linux").write_bytes(b"Kernel")
    (ctx.data_dir / "images/debian-13/20250803/more").write_bytes(b"x")
    faults = image_details.verify(ctx, "debian-13", who="test")
    assert len(faults) == 2
    assert all(fault.startswith("20250803: ") for fault in faults)
    assert "linux was changed" in faults[0]
    assert str(ctx.data_dir) not in "".join(faults)
    assert events.recent(ctx)[0]["message"] == "image debian-13 verified: 2 faults"


@pytest.mark.parametrize("name", ["ghost", "../etc", ""])
def test_an_image_that_is_not_there_is_not_found(ctx: Context, name: str) -> None:
    for ask in (image_details.details, lambda ctx, name: image_details.verify(ctx, name, who="test")):
        with pytest.raises(NotFound):
            ask(ctx, name)
