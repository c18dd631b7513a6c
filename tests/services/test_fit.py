"""Whether a host can be installed from an image: told before it is armed."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from pxeforge.services import arming, events, fit, hosts, profiles
from pxeforge.services.answers import effective
from pxeforge.services.context import Context
from pxeforge.services.image_store import ImportedImage, load_image
from pxeforge.services.mirror_udebs import MirrorUdebs, UdebAnswer, UdebQuery
from pxeforge.services.problems import Problem
from tests.conftest import ACCOUNT, MAC, write_image

OURS = "http://192.0.2.1:8080"


@dataclasses.dataclass
class Machine:
    """What the checks look at of a host."""

    firmware: str | None = None
    loader: str = "auto"
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    name: str | None = "n1"
    id: str = "abc"


def image_of(data_dir: Path, more: dict[str, bytes] | None = None, **changes: Any) -> ImportedImage:
    folder = write_image(data_dir, more=more)
    path = folder / "image.json"
    raw = {
        **json.loads(path.read_text()), "installer": "debian-installer", "distribution": "debian", "release": "13",
        "tree": None, "live_image": None, "verified": "signature", "kernel_version": "6.12.1-amd64", **changes,
    }  # fmt: skip
    path.write_text(json.dumps(raw))
    return load_image(folder)


def look(ctx: Context, machine: Machine, image: ImportedImage, **parameters: Any) -> list[str]:
    return fit.check(ctx, machine, image, effective(parameters))


def asking(ctx: Context, answer: UdebAnswer) -> tuple[Context, list[UdebQuery]]:
    asked: list[UdebQuery] = []

    def fetch(query: UdebQuery) -> UdebAnswer:
        asked.append(query)
        return answer

    return dataclasses.replace(ctx, udebs=MirrorUdebs(fetch)), asked


HAS = UdebAnswer(frozenset({"6.12.1-amd64", "6.1.0-50-amd64"}))
LACKS = UdebAnswer(frozenset({"6.12.9-amd64"}))


def test_a_mirror_without_modules_for_the_kernel_refuses_the_arming(ctx: Context) -> None:
    """R-21: the installer's kernel must have its modules on the mirror that the host will be told."""
    image = image_of(ctx.data_dir)
    good, _ = asking(ctx, HAS)
    fit.ask_mirror(good, image, effective())
    assert look(good, Machine(), image) == []
    bad, _ = asking(ctx, LACKS)
    assert look(bad, Machine(), image) == []  # not asked yet: nothing waits here
    fit.ask_mirror(bad, image, effective())
    with pytest.raises(
        Problem, match=r"no installer modules for the kernel 6\.12\.1-amd64 .*\(it has 6\.12\.9-amd64\)"
    ):
        look(bad, Machine(), image)


def test_a_mirror_that_is_down_is_a_warning(ctx: Context) -> None:
    down, _ = asking(ctx, UdebAnswer(problem="the mirror did not answer in time"))
    image = image_of(ctx.data_dir)
    fit.ask_mirror(down, image, effective())
    [warning] = look(down, Machine(), image)
    assert warning.endswith("kernel 6.12.1-amd64 is not known: the mirror did not answer in time")


def test_the_mirror_that_is_asked_is_the_one_that_the_installer_will_use(ctx: Context) -> None:
    """R-22: our own cache by default, the profile's mirror and proxy, or an imported tree."""
    asker, asked = asking(ctx, HAS)
    image = image_of(ctx.data_dir)
    for parameters in (
        {}, {"mirror_host": "m.example", "mirror_directory": "/debian", "udeb_suite": "trixie-lab"},
        {"mirror_proxy": "http://proxy:3128"}, {"mirror_directory": "/images/ubuntu-14.04/1/tree"},
    ):  # fmt: skip
        fit.ask_mirror(asker, image, effective(parameters))
    assert asked == [
        UdebQuery(f"{OURS}/mirror/debian", "trixie", "amd64"),
        UdebQuery("http://m.example/debian", "trixie-lab", "amd64"),
        UdebQuery(f"{OURS}/mirror/debian", "trixie", "amd64", "http://proxy:3128"),
        UdebQuery(f"{OURS}/images/ubuntu-14.04/1/tree", "trixie", "amd64"),
    ]
    for changes in ({"installer": "anaconda"}, {"kernel_version": "6.12.1-1"}, {"kernel_version": None}):
        fit.ask_mirror(asker, image_of(ctx.data_dir, **changes), effective())
    assert len(asked) == 4


MIB = 1 << 20


@pytest.mark.parametrize(
    ("changes", "needed_mib"),
    [
        ({}, 512), ({"installer": "anaconda", "distribution": "centos", "release": "6.2"}, 768),
        ({"installer": "anaconda", "distribution": "centos", "release": "7"}, 1280),
        ({"installer": "anaconda", "distribution": "rocky", "release": "9.4"}, 3072),
        ({"installer": "anaconda", "distribution": "fedora", "release": "42"}, 3072),
        ({"installer": "subiquity", "distribution": "ubuntu", "release": "24.04", "live_image": "live.iso"}, 1537),
        ({"installer": "autoyast", "distribution": "opensuse", "release": "15.6"}, 1024),
    ],
)  # fmt: skip
def test_memory_that_is_short_is_a_warning_and_half_of_it_a_refusal(
    ctx: Context, changes: dict[str, Any], needed_mib: int
) -> None:
    image = image_of(ctx.data_dir, {"live.iso": b"x" * MIB}, **changes)
    needed = needed_mib * MIB
    assert fit.ram_needed_bytes(image) == needed
    for facts in ({}, {"ram_bytes": 0}, {"ram_bytes": "much"}, {"ram_bytes": needed * 95 // 100}):
        assert look(ctx, Machine(facts=facts), image) == []
    [warning] = look(ctx, Machine(facts={"ram_bytes": needed * 3 // 4}), image)
    assert f"needs about {needed_mib} MiB: it may stop in the middle" in warning
    with pytest.raises(Problem, match="add memory or choose another image"):
        look(ctx, Machine(facts={"ram_bytes": needed // 2 - 1}), image)


def test_an_image_that_lost_what_the_host_will_fetch_is_refused(ctx: Context) -> None:
    """R-23: the squashfs that the installer is sent to is there."""
    image = image_of(ctx.data_dir, {"tree/install/x.squashfs": b"x"}, tree="tree", live_image="tree/install/x.squashfs")
    assert look(ctx, Machine(), image) == []
    for name in ("tree/install/x.squashfs", "initrd.gz", "linux"):
        (image.path / name).unlink()
        with pytest.raises(Problem, match=f"has lost its {name}"):
            look(ctx, Machine(), image)


def test_a_medium_without_packages_is_refused(ctx: Context) -> None:
    rocky = {"installer": "anaconda", "distribution": "rocky", "release": "9.4", "tree": "tree"}
    with pytest.raises(Problem, match=r"has no packages, only the installer: import the DVD of rocky 9\.4"):
        look(ctx, Machine(), image_of(ctx.data_dir, {"tree/images/install.img": b"x"}, **rocky))
    for place in ("repodata", "BaseOS/repodata"):
        image = image_of(ctx.data_dir, {f"tree/{place}/repomd.xml": b"x"}, **rocky)
        assert look(ctx, Machine(), image) == []
        (image.path / f"tree/{place}/repomd.xml").unlink()


def test_an_image_for_another_processor_is_refused(ctx: Context) -> None:
    with pytest.raises(Problem, match=r"netboots by uefi-arm64 and cannot run the amd64 image"):
        look(ctx, Machine(firmware="uefi-arm64"), image_of(ctx.data_dir))
    with pytest.raises(Problem, match="choose a profile whose image is for amd64"):
        look(ctx, Machine(firmware="bios"), image_of(ctx.data_dir, arch="arm64"))


def test_a_kernel_that_uefi_cannot_start_is_a_warning(ctx: Context) -> None:
    old, new = image_of(ctx.data_dir, {"linux": b"\xea\x05old"}), Machine(firmware="uefi-x64")
    [warning] = look(ctx, new, old)
    assert "too old for UEFI to start it" in warning
    assert look(ctx, Machine(firmware="uefi-x64", loader="grub"), old) == []
    assert look(ctx, Machine(firmware="bios"), old) == []
    assert look(ctx, new, image_of(ctx.data_dir, {"linux": b"MZ\0\0"})) == []


def efi_program(signature_bytes: int) -> bytes:
    """A PE32+ head with a certificate table of this size."""
    head = bytearray(512)
    head[:2], head[0x3C:0x40] = b"MZ", struct.pack("<I", 0x80)
    head[0x80:0x84], head[0x98:0x9A] = b"PE\0\0", struct.pack("<H", 0x20B)
    head[0x98 + 108 : 0x98 + 112] = struct.pack("<I", 16)
    offset = 0x98 + 112 + 8 * 4
    head[offset : offset + 8] = struct.pack("<II", 512 if signature_bytes else 0, signature_bytes)
    return bytes(head)


SHIM, GRUB = "loaders/bootnetx64.efi", "loaders/grubx64.efi"
ENFORCED = Machine(firmware="uefi-x64", loader="grub", facts={"secure_boot": True})


def test_where_secure_boot_is_enforced_shim_and_grub_must_be_signed(ctx: Context) -> None:
    signed, plain = efi_program(1000), efi_program(0)
    for programs in ((signed, plain), (plain, signed), (signed, b"no program"), (b"MZ", signed)):
        bad = image_of(ctx.data_dir, {SHIM: programs[0], GRUB: programs[1]})
        with pytest.raises(Problem, match=r"no image has a signed shim .* image import debian-13`, or turn"):
            look(ctx, ENFORCED, bad)
        for free in ({"secure_boot": False}, {"secure_boot": None}, {}):
            assert look(ctx, dataclasses.replace(ENFORCED, facts=free), bad) == []
        assert look(ctx, dataclasses.replace(ENFORCED, firmware="bios"), bad) == []


def test_debians_shim_starts_debians_kernels(ctx: Context) -> None:
    good = image_of(ctx.data_dir, {SHIM: efi_program(1000), GRUB: efi_program(1000)})
    assert look(ctx, ENFORCED, good) == []
    foreign = dataclasses.replace(good, name="rocky-9", distribution="rocky")
    [warning] = look(ctx, ENFORCED, foreign)
    assert "the shim of debian-13 does not start the kernel of rocky-9 unless its vendor's key is enrolled" in warning


def test_an_arming_tells_its_warnings_and_writes_them_down(ctx: Context) -> None:
    ctx, asked = asking(ctx, UdebAnswer(problem="the mirror is down"))
    image_of(ctx.data_dir)
    profiles.create(ctx, "debian-13", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    armed = arming.arm(ctx, "n1", profile="debian-13", who="test")
    [warning] = armed["warnings"]
    assert "the mirror is down" in warning
    assert warning in [row["message"] for row in events.recent(ctx) if row["kind"] == "fit_warning"]
    assert len(asked) == 1


def test_an_arming_that_cannot_work_changes_nothing(ctx: Context) -> None:
    """R-21, as an operator meets it: refused with a clear text, for an install, a menu and a rescue system."""
    ctx, _ = asking(ctx, LACKS)
    image_of(ctx.data_dir)
    profiles.create(ctx, "debian-13", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    for arm in (
        lambda: arming.arm(ctx, "n1", profile="debian-13", who="test"),
        lambda: arming.arm_menu(ctx, "n1", profiles=["debian-13"], who="test"),
        lambda: arming.arm_program(ctx, "n1", boot="rescue", profile="debian-13", who="test"),
    ):
        with pytest.raises(Problem, match="has no installer modules for the kernel"):
            arm()
    assert hosts.show(ctx, "n1")["state"] == "known"
