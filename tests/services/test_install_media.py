"""What a medium is, told by its content: the marks of each family, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.image_store import ImportProblem, Installer
from pxeforge.services.install_media import Medium, detect, same_set
from tests.services import small_media


@dataclass
class Disc:
    """A medium in memory."""

    content: Mapping[str, bytes]

    def has(self, name: str) -> bool:
        return name in self.content

    def text(self, name: str) -> str:
        return self.content[name].decode()


def look(files: Mapping[str, bytes], **more: bytes | None) -> Medium:
    changed = {**files, **more}
    return detect(Disc({name: text for name, text in changed.items() if text is not None}), "x.iso")


def test_ubuntu_tells_itself_in_disk_info() -> None:
    for text, release, suite in (
        (b'Ubuntu-Server 22.04.4 LTS "Jammy Jellyfish" - Release amd64 (20240216.1)', "22.04.4", "jammy"),
        (b'Ubuntu 24.04 LTS "Noble Numbat" - Release amd64 (20240424)', "24.04", "noble"),
        (b'Ubuntu-Server 26.04 "Resolute Raccoon" - Beta amd64 (20260326)', "26.04", "resolute"),
    ):
        found = look(small_media.ubuntu_live_24(), **{".disk/info": text})
        assert (found.release, found.suite, found.installer) == (release, suite, Installer.SUBIQUITY)


def test_the_hardware_enablement_kernel_will_do_as_well() -> None:
    files = small_media.ubuntu_live_24()
    files["casper/hwe-vmlinuz"], files["casper/hwe-initrd"] = files.pop("casper/vmlinuz"), files.pop("casper/initrd")
    assert look(files).kernel == "casper/hwe-vmlinuz"


def test_kernel_and_initrd_stand_in_treeinfo_or_in_the_known_places() -> None:
    files = small_media.rocky()
    assert look(files).kernel == "images/pxeboot/vmlinuz"
    bare = b"[general]\nfamily = Fedora\nversion = 42\narch = x86_64\n"
    assert look(files, **{".treeinfo": bare}).initrd == "images/pxeboot/initrd.img"
    moved = bare + b"[images-x86_64]\nkernel = other/vmlinuz\n"
    assert look({**files, "other/vmlinuz": b"x"}, **{".treeinfo": moved}).kernel == "other/vmlinuz"
    old = {name.removeprefix("."): text for name, text in files.items()}
    assert look(old).distribution == "rocky"


@pytest.mark.parametrize(
    ("files", "change", "says"),
    [
        ("rocky", {".treeinfo": small_media.treeinfo("Oracle Linux", "9.4")}, "'Oracle Linux', which is not known"),
        ("rocky", {".treeinfo": small_media.treeinfo("CentOS", "7", "s390x")}, "for the processor 's390x'"),
        ("rocky", {".treeinfo": small_media.treeinfo("Rocky Linux", "9.4; rm -rf")}, "strange release"),
        ("rocky", {".treeinfo": b"no sections\n"}, "cannot be read"),
        ("rocky", {".treeinfo": b""}, "family ''"),
        ("rocky", {"images/pxeboot/vmlinuz": None}, "has no kernel in images/pxeboot/vmlinuz"),
        ("rocky", {"images/pxeboot/initrd.img": None}, "has no initrd"),
        ("ubuntu_live_24", {".disk/info": b"Linux Mint 21"}, "neither of Debian nor of Ubuntu"),
        ("ubuntu_live_24", {"casper/initrd": None}, "has no initrd"),
        ("debian_netinst", {}, "image import debian-13"),
        ("opensuse", {"media.1/products": b"/ SLES 15-1\n"}, "is no openSUSE"),
        ("opensuse", {"boot/x86_64/loader/linux": None}, "has no kernel"),
    ],
)  # fmt: skip
def test_what_cannot_be_installed_from_says_why(files: str, change: dict[str, bytes | None], says: str) -> None:
    with pytest.raises(ImportProblem, match=says):
        look(getattr(small_media, files)(), **change)


def test_arm64_media_have_kernels_of_their_own() -> None:
    text = small_media.opensuse()
    for name in [name for name in text if name.startswith("boot/")]:
        text[name.replace("x86_64/loader", "aarch64").replace("x86_64", "aarch64")] = text.pop(name)
    found = look(text)
    assert (found.arch, found.kernel, found.initrd) == ("arm64", "boot/aarch64/linux", "boot/aarch64/initrd")


def test_discs_of_one_set_tell_the_same() -> None:
    one, two = (Disc(small_media.centos("6.2", number, {})) for number in (1, 2))
    assert same_set(one, two)
    assert not same_set(one, Disc(small_media.centos("6.3", 2, {})))
    assert not same_set(one, Disc({".discinfo": b"1\n"}))
    assert not same_set(Disc({}), Disc({}))


_TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(["[general]", "[release]", "[images-x86_64]", "family = Fedora", "family", "version = 42",
                         "\tx", "arch = x86_64", "arch: riscv", "kernel = a", "kernel = ../b", "=", "[", "%(x)s"]),
        max_size=8,
    ).map("\n".join),
)  # fmt: skip


@given(
    mark=st.sampled_from([".treeinfo", "treeinfo", ".disk/info", "media.1/products"]), text=_TEXT,
    names=st.sets(st.sampled_from(["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", "a", "casper/vmlinuz"])),
)  # fmt: skip
def test_any_text_is_a_medium_or_refused(mark: str, text: str, names: set[str]) -> None:
    disc = Disc({mark: text.encode("utf-8", "replace"), **dict.fromkeys(names, b"x")})
    try:
        found = detect(disc, "x.iso")
    except ImportProblem:
        return
    assert disc.has(found.kernel)
    assert disc.has(found.initrd)


@given(_TEXT, _TEXT)
def test_any_disc_belongs_to_a_set_or_not(one: str, other: str) -> None:
    discs = [Disc({".discinfo": text.encode("utf-8", "replace")}) for text in (one, other)]
    assert same_set(*discs) in (True, False)
