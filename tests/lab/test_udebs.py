from __future__ import annotations

import gzip
import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.lab.udebs import (
    ENVIRONMENT,
    FillMode,
    UdebsError,
    fill,
    names_in_initrd,
    parse_index,
    udebs_dir_from_environment,
)

from .fake_mirror import FakeMirror, fake_mirror

INDEX = "dists/trixie/main/debian-installer/binary-amd64/Packages"
UDEBS = {  # name: (priority, depends, provides)
    "base": ("standard", "disk-modules, libc-udeb | libc", ""),
    "scsi-modules-6.1-di": ("standard", "kernel-image-6.1-di", "disk-modules"),
    "kernel-image-6.1-di": ("extra", "", ""),
    "libc-udeb": ("optional", "", ""),
    "grub": ("optional", "prober (>= 1.0)", ""),
    "prober": ("optional", "", ""),
    "unrelated": ("extra", "", ""),
}


def content(name: str) -> bytes:
    return f"the udeb {name}".encode()


def filename(name: str) -> str:
    return f"pool/main/{name[0]}/{name}/{name}_1_amd64.udeb"


def index_text() -> str:
    return "\n\n".join(
        f"Package: {name}\nVersion: 1\nPriority: {priority}\nDepends: {depends}\nProvides: {provides}\n"
        f"Filename: {filename(name)}\nSize: {len(content(name))}\nSHA256: {hashlib.sha256(content(name)).hexdigest()}\n"
        f"Description: a udeb\n with: a second line"
        for name, (priority, depends, provides) in UDEBS.items()
    )


@pytest.fixture
def mirror() -> Iterator[FakeMirror]:
    with fake_mirror() as mirror:
        mirror.files = {filename(name): content(name) for name in UDEBS}
        mirror.files[f"{INDEX}.xz"] = lzma.compress(index_text().encode())
        yield mirror


@pytest.fixture
def fills(tmp_path: Path) -> Path:
    (tmp_path / "udebs").mkdir()
    return tmp_path / "udebs"


def initrd(path: Path, names: list[str]) -> Path:
    members = {
        "etc/hostname": b"x",
        "./var/lib/dpkg/status": "\n\n".join(f"Package: {n}\nStatus: x\nProvides: virtual-{n}" for n in names).encode(),
    }
    archive = b""
    for name, data in members.items():
        header = "070701" + "".join(
            f"{value:08x}" for value in (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        )
        for part in (header.encode() + name.encode() + b"\0", data):
            archive += part + b"\0" * (-len(archive + part) % 4)
    path.write_bytes(gzip.compress(archive))
    return path


def test_a_mirror_that_serves_all_udebs_needs_nothing(mirror: FakeMirror, tmp_path: Path) -> None:
    result = fill(mirror.url, None, tmp_path / "out", "trixie", None)
    assert (result.mode, result.missing, result.kernel_args) == (FillMode.COMPLETE, (), ())
    assert not (tmp_path / "out").exists()
    result.require()


def test_bit_identical_udebs_keep_the_signed_index_of_the_mirror(
    mirror: FakeMirror, fills: Path, tmp_path: Path
) -> None:
    del mirror.files[filename("libc-udeb")]
    (fills / "libc-udeb_1_amd64.udeb").write_bytes(content("libc-udeb"))
    result = fill(mirror.url, fills, tmp_path / "out", "trixie", None)
    assert (result.mode, result.kernel_args) == (FillMode.EXACT, ())
    assert (tmp_path / "out" / filename("libc-udeb")).read_bytes() == content("libc-udeb")
    assert not (tmp_path / "out/dists").exists()


def test_a_rebuilt_udeb_makes_an_own_index_that_names_only_what_is_served(
    mirror: FakeMirror, fills: Path, tmp_path: Path
) -> None:
    del mirror.files[filename("libc-udeb")], mirror.files[filename("unrelated")]
    (fills / "libc-udeb_1_amd64.udeb").write_bytes(b"other bits")
    result = fill(mirror.url, fills, tmp_path / "out", "trixie", None)
    assert result.mode is FillMode.INDEX
    assert result.kernel_args == ("mirror/udeb/suite=trixie-lab", "debian-installer/allow_unauthenticated=true")
    base = tmp_path / "out/dists/trixie-lab"
    packed = (base / "main/debian-installer/binary-amd64/Packages.xz").read_bytes()
    listed = {udeb.name: udeb for udeb in parse_index(lzma.decompress(packed).decode())}
    assert set(listed) == set(UDEBS) - {"unrelated"}
    assert listed["libc-udeb"].sha256 == hashlib.sha256(b"other bits").hexdigest()
    assert listed["base"].sha256 == hashlib.sha256(content("base")).hexdigest()
    assert f" {hashlib.sha256(packed).hexdigest()} {len(packed)} " in (base / "Release").read_text()


def test_an_own_index_also_names_what_is_in_the_initrd_and_cannot_be_fetched(
    mirror: FakeMirror, fills: Path, tmp_path: Path
) -> None:
    """Others depend on what the kernel provides, and it is never fetched."""
    for name in ("kernel-image-6.1-di", "prober", "unrelated"):
        del mirror.files[filename(name)]
    (fills / Path(filename("prober")).name).write_bytes(b"rebuilt")
    inside = initrd(tmp_path / "initrd.gz", ["kernel-image-6.1-di"])
    result = fill(mirror.url, fills, tmp_path / "out", "trixie", inside)
    assert result.mode is FillMode.INDEX
    listed = (tmp_path / "out" / INDEX.replace("trixie", "trixie-lab")).read_text()
    assert {udeb.name for udeb in parse_index(listed)} == set(UDEBS) - {"unrelated"}


def test_a_needed_udeb_that_nobody_serves_is_named(mirror: FakeMirror, tmp_path: Path) -> None:
    del mirror.files[filename("kernel-image-6.1-di")]  # reached by base -> disk-modules -> scsi-modules -> it
    result = fill(mirror.url, None, tmp_path / "out", "trixie", None)
    assert (result.mode, result.missing) == (FillMode.LACKING, ("kernel-image-6.1-di",))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UdebsError, match=r"kernel-image-6\.1-di"):
        result.require()


def test_what_the_initrd_holds_already_is_not_lacking(mirror: FakeMirror, tmp_path: Path) -> None:
    del mirror.files[filename("kernel-image-6.1-di")]
    inside = initrd(tmp_path / "initrd.gz", ["kernel-image-6.1-di", "busybox-udeb"])
    assert fill(mirror.url, None, tmp_path / "out", "trixie", inside).mode is FillMode.EXACT


def test_a_udeb_that_nobody_needs_may_be_lacking(mirror: FakeMirror, tmp_path: Path) -> None:
    del mirror.files[filename("unrelated")], mirror.files[filename("prober")]
    assert fill(mirror.url, None, tmp_path / "out", "trixie", None).mode is FillMode.EXACT


def test_an_optional_udeb_counts_when_a_chosen_one_depends_on_it(mirror: FakeMirror, tmp_path: Path) -> None:
    del mirror.files[filename("prober")]
    result = fill(mirror.url, None, tmp_path / "out", "trixie", None, chosen=["grub"])
    assert result.missing == ("prober",)


def test_a_standard_udeb_may_be_lacking_when_only_others_are_chosen(mirror: FakeMirror, tmp_path: Path) -> None:
    del mirror.files[filename("base")]
    assert fill(mirror.url, None, tmp_path / "out", "trixie", None, chosen=["grub"]).mode is FillMode.EXACT


def test_modules_of_another_kernel_than_that_of_the_initrd_do_not_count(mirror: FakeMirror, tmp_path: Path) -> None:
    old = index_text() + "".join(
        f"\n\nPackage: scsi-modules-{kernel}-di\nProvides: scsi-modules\nKernel-Version: {kernel}\nPriority: standard\n"
        f"Filename: pool/{kernel}.udeb\nSHA256: 0"
        for kernel in ("6.0", "6.1")
    )
    mirror.files[f"{INDEX}.xz"] = lzma.compress(old.encode())
    mirror.files["pool/6.0.udeb"] = b"modules of 6.0"
    inside = initrd(tmp_path / "initrd.gz", ["kernel-image-6.1-di"])
    lacking = fill(mirror.url, None, tmp_path / "out", "trixie", inside, chosen=["scsi-modules"])
    assert lacking.missing == ("scsi-modules",)
    mirror.files["pool/6.1.udeb"] = mirror.files.pop("pool/6.0.udeb")
    assert fill(mirror.url, None, tmp_path / "out", "trixie", inside, chosen=["scsi-modules"]).missing == ()


def test_a_mirror_without_the_suite_is_an_error_that_names_the_address(mirror: FakeMirror, tmp_path: Path) -> None:
    with pytest.raises(UdebsError, match="dists/forky"):
        fill(mirror.url, None, tmp_path / "out", "forky", None)


def test_the_names_inside_an_initrd_are_read_with_what_they_provide(tmp_path: Path) -> None:
    assert names_in_initrd(initrd(tmp_path / "i", ["anna", "busybox-udeb"])) == {
        "anna",
        "virtual-anna",
        "busybox-udeb",
        "virtual-busybox-udeb",
    }


def test_a_file_that_is_no_initrd_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(b"not gzip")
    with pytest.raises(UdebsError, match="cannot be read"):
        names_in_initrd(tmp_path / "i")
    (tmp_path / "i").write_bytes(gzip.compress(b"not cpio"))
    with pytest.raises(UdebsError, match="no initrd"):
        names_in_initrd(tmp_path / "i")


def test_the_folder_of_udebs_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert udebs_dir_from_environment("trixie") is None
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert udebs_dir_from_environment("trixie") == tmp_path
    (tmp_path / "trixie").mkdir()
    assert udebs_dir_from_environment("trixie") == tmp_path / "trixie"


@given(st.text())
def test_any_text_can_be_parsed_as_an_index(text: str) -> None:
    assert all(udeb.stanza.strip() for udeb in parse_index(text))
