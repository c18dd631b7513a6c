"""Importing installation media: small ISOs with the real layouts, made by xorriso, read by the real importer."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pxeforge.services import images
from pxeforge.services.context import Context
from pxeforge.services.image_staging import sweep_incoming
from pxeforge.services.image_store import (
    ImportedImage,
    ImportProblem,
    Installer,
    Verified,
    list_images,
    load_image,
    verify_image,
)
from pxeforge.services.import_progress import ImportStage, Progress
from pxeforge.services.iso_import import import_isos
from pxeforge.services.media_checks import Trust
from tests.services import small_media
from tests.services.fake_repository import until as wait_for
from tests.services.small_media import INITRD, KERNEL, make_iso, small_rpm

pytestmark = pytest.mark.skipif(not small_media.HAS_XORRISO, reason="needs xorriso")
UNVERIFIED = Trust(unverified=True)


@pytest.fixture(scope="module")
def rocky_iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_iso(tmp_path_factory.mktemp("rocky") / "any-name.img", small_media.rocky())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def bring(data: Path, name: str, *isos: Path, **more: object) -> ImportedImage:
    return import_isos(name, isos, data_dir=data, **{"trust": UNVERIFIED, **more})  # type: ignore[arg-type]


def nothing_is_left(data: Path) -> bool:
    return list_images(data) == [] and not list((data / "images").glob(".incoming-*"))


def test_a_dvd_of_rocky_becomes_a_tree_with_kernel_and_loaders(rocky_iso: Path, data: Path) -> None:
    """R-20: detected by content, kernel and initrd set out, the tree kept whole, immutable and versioned."""
    seen: list[Progress] = []
    image = bring(data, "rocky-9", rocky_iso, progress=seen.append)
    assert (image.distribution, image.release, image.arch) == ("rocky", "9.4", "amd64")
    assert (image.installer, image.tree, image.live_image) == (Installer.ANACONDA, "tree", None)
    assert image.kernel_version == "5.14.0-427.13.1.el9_4.x86_64"
    assert re.fullmatch(r"9\.4-\d{8}\.[0-9a-f]{8}", image.version)
    assert set(image.files) == {
        "linux", "initrd.gz", "tree.sha256", "loaders/efi/bootx64.efi", "loaders/efi/grubx64.efi",
    }  # fmt: skip
    assert (image.path / "linux").read_bytes() == KERNEL
    assert (image.path / "initrd.gz").read_bytes() == INITRD
    for name, content in small_media.rocky().items():
        assert (image.path / "tree" / name).read_bytes() == content
    assert verify_image(image.path) == []
    assert load_image(image.path).tree_bytes == sum(map(len, small_media.rocky().values()))
    assert {one.stage for one in seen} == {ImportStage.CHECK, ImportStage.UNPACK, ImportStage.DONE}


def test_ubuntu_14_has_the_network_installer_and_its_squashfs(tmp_path: Path, data: Path) -> None:
    """R-23: the squashfs that live-installer/net-image names is in the tree, and only such an image has one."""
    iso = make_iso(tmp_path / "u.iso", small_media.ubuntu_server_14(), {"ubuntu": ".", "dists/stable": "trusty"})
    image = bring(data, "ubuntu-14.04", iso)
    assert (image.installer, image.suite, image.release) == (Installer.DEBIAN, "trusty", "14.04.6")
    assert image.live_image == "tree/install/filesystem.squashfs"
    assert (image.path / "linux").read_bytes() == KERNEL
    assert (image.path / "tree" / "install" / "vmlinuz").read_bytes() == b"of the drive"
    assert not (image.path / "tree" / "ubuntu").exists()  # a link to a folder
    assert not any(name.startswith("loaders/") for name in image.files)


def test_ubuntu_24_keeps_the_iso_for_its_installer_to_fetch(tmp_path: Path, data: Path) -> None:
    iso = make_iso(tmp_path / "u.iso", small_media.ubuntu_live_24())
    image = bring(data, "ubuntu-24.04", iso)
    assert (image.installer, image.suite, image.release) == (Installer.SUBIQUITY, "noble", "24.04.1")
    assert (image.tree, image.live_image) == (None, "live.iso")
    assert image.files["live.iso"].sha256 == hashlib.sha256(iso.read_bytes()).hexdigest()
    assert set(image.files) == {
        "linux", "initrd.gz", "live.iso", "loaders/efi/bootx64.efi", "loaders/efi/grubx64.efi",
    }  # fmt: skip
    assert verify_image(image.path) == []


def test_opensuse_has_its_kernel_in_a_place_of_its_own(tmp_path: Path, data: Path) -> None:
    image = bring(data, "opensuse-15.6", make_iso(tmp_path / "s.iso", small_media.opensuse()))
    assert (image.installer, image.distribution, image.release) == (Installer.AUTOYAST, "opensuse", "15.6")
    assert (image.path / "initrd.gz").read_bytes() == INITRD


@pytest.mark.parametrize(
    ("family", "version", "arch", "distribution"),
    [
        ("CentOS", "7", "x86_64", "centos"), ("Red Hat Enterprise Linux", "9.4", "x86_64", "rhel"),
        ("AlmaLinux", "10.0", "x86_64", "almalinux"),
        ("Fedora", "42", "aarch64", "fedora"), ("CentOS Stream", "9", "x86_64", "centos"),
    ],
)  # fmt: skip
def test_every_family_of_anaconda_is_told_by_its_treeinfo(
    tmp_path: Path, data: Path, family: str, version: str, arch: str, distribution: str
) -> None:
    files = {**small_media.rocky(), ".treeinfo": small_media.treeinfo(family, version, arch)}
    image = bring(data, "mine", make_iso(tmp_path / "x.iso", files))
    assert (image.distribution, image.release) == (distribution, version)
    assert image.arch == {"x86_64": "amd64", "aarch64": "arm64"}[arch]


def test_a_netinst_of_debian_says_that_it_cannot_be_booted_over_the_network(tmp_path: Path, data: Path) -> None:
    iso = make_iso(tmp_path / "debian-13.1.0-amd64-netinst.iso", small_media.debian_netinst())
    with pytest.raises(ImportProblem, match=r"from a drive only .* run `pxeforge image import debian-13`"):
        bring(data, "debian-13", iso)
    assert nothing_is_left(data)


GROUPS = b"<?xml version='1.0'?><comps><group><id>desktop</id><name>Desktop</name></group></comps>"


def indexed(tmp_path: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    """With the repodata that the vendor's own createrepo would have made, with groups."""
    top = tmp_path / "vendor"
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    groups = tmp_path / "c6-x86_64-comps.xml"
    groups.write_bytes(GROUPS)
    subprocess.run(["createrepo_c", "-q", "-g", groups, top], check=True)
    found = {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
    shutil.rmtree(top)
    return found


def repository(tree: Path) -> tuple[set[str], bytes]:
    """The package names and the groups that repomd.xml leads to."""
    repomd = (tree / "repodata" / "repomd.xml").read_text()
    hrefs = dict(re.findall(r'<data type="(\w+)">.*?<location href="([^"]+)"', repomd, re.DOTALL))
    primary = gzip.decompress((tree / hrefs["primary"]).read_bytes()).decode()
    return set(re.findall(r"<name>([^<]+)</name>", primary)), (tree / hrefs["group"]).read_bytes()


@pytest.fixture
def centos_dvds(tmp_path: Path) -> list[Path]:
    one = small_media.centos("6.2", 1, {"bash-4.1-1.x86_64.rpm": small_rpm("bash", "4.1")})
    two = small_media.centos("6.2", 2, {"kde-4.3-1.x86_64.rpm": small_rpm("kde", "4.3")})
    two_indexed = indexed(tmp_path, two)
    return [make_iso(tmp_path / "dvd1.iso", indexed(tmp_path, one)), make_iso(tmp_path / "dvd2.iso", two_indexed)]


@pytest.mark.skipif(shutil.which("createrepo_c") is None, reason="needs createrepo_c")
def test_two_dvds_of_centos_become_one_repository(centos_dvds: list[Path], data: Path) -> None:
    """R-20: packages of DVD 2 are merged in, the repository is indexed anew, its groups stay."""
    image = bring(data, "centos-6", *centos_dvds)
    assert (image.distribution, image.release, image.installer) == ("centos", "6.2", Installer.ANACONDA)
    packages, groups = repository(image.path / "tree")
    assert packages == {"bash", "kde"}
    assert groups == GROUPS
    assert set(image.sources) == {"dvd1.iso", "dvd2.iso"}
    assert verify_image(image.path) == []
    assert bring(data, "centos-6", *centos_dvds).fresh is False


def test_without_createrepo_the_package_to_install_is_named(
    centos_dvds: list[Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pxeforge.services.repodata.PROGRAM", "no-such-createrepo")
    with pytest.raises(ImportProblem, match=r"is not installed: apt-get install createrepo-c"):
        bring(data, "centos-6", *centos_dvds)
    assert nothing_is_left(data)


def test_discs_of_different_sets_are_not_merged(centos_dvds: list[Path], tmp_path: Path, data: Path) -> None:
    other = make_iso(tmp_path / "o.iso", small_media.centos("6.5", 2, {"x.rpm": small_rpm("x")}, "1385000000.1"))
    with pytest.raises(ImportProblem, match=r"no further disc of dvd1\.iso"):
        bring(data, "centos-6", centos_dvds[0], other)
    with pytest.raises(ImportProblem, match="no installation medium"):
        bring(data, "centos-6", centos_dvds[1])
    assert nothing_is_left(data)


def test_a_broken_package_on_a_disc_is_told_by_createrepo(tmp_path: Path, data: Path) -> None:
    one = indexed(tmp_path, small_media.centos("7", 1, {"a-1-1.x86_64.rpm": small_rpm("a", "1")}))
    discs = [make_iso(tmp_path / "1.iso", one)]
    discs.append(make_iso(tmp_path / "2.iso", small_media.centos("7", 2, {"b-1-1.x86_64.rpm": b"no rpm at all"})))
    with pytest.raises(ImportProblem, match="createrepo_c cannot index the packages"):
        bring(data, "centos-7", *discs)
    assert nothing_is_left(data)


def test_an_iso_under_a_wrong_name_is_refused(rocky_iso: Path, data: Path) -> None:
    for name in ("rocky-8", "almalinux-9", "rocky-9-arm64", "rocky-9.5"):
        with pytest.raises(ImportProblem, match=rf"is rocky 9\.4 for amd64, not {name}"):
            bring(data, name, rocky_iso)
    with pytest.raises(ImportProblem, match="is no name of an image"):
        bring(data, "../rocky", rocky_iso)
    assert nothing_is_left(data)
    assert bring(data, "rocky-9.4", rocky_iso).fresh


def test_an_iso_that_nobody_vouches_for_is_refused_or_marked(rocky_iso: Path, data: Path, ctx: Context) -> None:
    """R-20: what is unverified is marked in the image and in the listing."""
    digest = hashlib.sha256(rocky_iso.read_bytes()).hexdigest()
    with pytest.raises(ImportProblem, match=r"nobody vouches for any-name.img: no signature .* --unverified"):
        bring(data, "rocky-9", rocky_iso, trust=Trust())
    with pytest.raises(ImportProblem, match="not the given one: download it again"):
        bring(data, "rocky-9", rocky_iso, trust=Trust(sha256=["0" * 64], unverified=True))
    assert nothing_is_left(data)
    assert bring(data, "a", rocky_iso, trust=Trust(sha256=[digest.upper()])).verified is Verified.CHECKSUM
    assert bring(ctx.data_dir, "b", rocky_iso).verified is Verified.UNVERIFIED
    [row] = images.list_images(ctx)
    assert (row["verified"], row["installer"], row["tree"]) == ("unverified", "anaconda", "tree")


def test_the_same_iso_again_changes_nothing(rocky_iso: Path, data: Path) -> None:
    first = bring(data, "rocky-9", rocky_iso)
    stamp = (first.path / "image.json").stat().st_mtime_ns
    again = bring(data, "rocky-9", rocky_iso)
    assert (again.fresh, again.version) == (False, first.version)
    assert (first.path / "image.json").stat().st_mtime_ns == stamp


def test_who_vouches_later_is_written_down(rocky_iso: Path, data: Path) -> None:
    first = bring(data, "rocky-9", rocky_iso)
    trust = Trust(sha256=[hashlib.sha256(rocky_iso.read_bytes()).hexdigest()])
    again = bring(data, "rocky-9", rocky_iso, trust=trust)
    assert (again.fresh, again.verified) == (False, Verified.CHECKSUM)
    assert load_image(first.path) == again
    assert bring(data, "rocky-9", rocky_iso).verified is Verified.CHECKSUM  # nobody takes it back
    assert verify_image(first.path) == []


def test_a_newer_medium_stands_beside_the_older_one(rocky_iso: Path, tmp_path: Path, data: Path) -> None:
    bring(data, "rocky-9", make_iso(tmp_path / "9.10.iso", small_media.rocky("9.10")))
    bring(data, "rocky-9", rocky_iso)
    assert [image.release for image in list_images(data)] == ["9.4", "9.10"]


def test_a_truncated_iso_is_refused(rocky_iso: Path, tmp_path: Path, data: Path) -> None:
    short = tmp_path / "short.iso"
    content = rocky_iso.read_bytes()
    for length in (0, 1000, 40_000, len(content) // 2, len(content) - 2048):
        short.write_bytes(content[:length])
        with pytest.raises(ImportProblem, match=r"short.iso .*download it again"):
            bring(data, "rocky-9", short)
    assert nothing_is_left(data)


def test_what_is_no_iso_is_refused(tmp_path: Path, data: Path) -> None:
    odd = tmp_path / "odd.iso"
    odd.write_bytes(os.urandom(100_000))
    with pytest.raises(ImportProblem, match="cannot be read as an ISO file"):
        bring(data, "x", odd)
    with pytest.raises(ImportProblem, match="name an ISO file"):
        bring(data, "x", tmp_path)
    with pytest.raises(ImportProblem, match="name an ISO file"):
        bring(data, "x", tmp_path / "nothing.iso")
    with pytest.raises(ImportProblem, match="which ISO"):
        bring(data, "x")
    with pytest.raises(ImportProblem, match="is no installation medium"):
        bring(data, "x", make_iso(tmp_path / "music.iso", {"track1.ogg": b"la"}))
    assert nothing_is_left(data)


def test_too_little_space_is_told_before_anything_is_written(rocky_iso: Path, data: Path) -> None:
    """R-20: free space is checked first."""
    with pytest.raises(ImportProblem, match=r"rocky-9 needs 0\.\d MB in .*, 0\.0 MB are free: make room"):
        bring(data, "rocky-9", rocky_iso, free_bytes=lambda _: 1000)
    assert nothing_is_left(data)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs: needs root")
def test_a_disk_that_fills_up_under_the_import_is_told_and_left_clean(rocky_iso: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], check=True)
    try:
        with pytest.raises(ImportProblem, match="is full: make room"):
            bring(disk, "rocky-9", rocky_iso, free_bytes=lambda _: 10**12)
        assert nothing_is_left(disk)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_iso_that_is_exchanged_meanwhile_is_refused(rocky_iso: Path, tmp_path: Path, data: Path) -> None:
    iso = tmp_path / "one.iso"
    shutil.copy(rocky_iso, iso)

    def exchange(step: Progress) -> None:
        if step.stage is ImportStage.UNPACK and not iso.with_suffix(".old").exists():
            iso.rename(iso.with_suffix(".old"))
            shutil.copy(rocky_iso, iso)

    with pytest.raises(ImportProblem, match="changed while it was read"):
        bring(data, "rocky-9", iso, progress=exchange)
    assert nothing_is_left(data)


KILLED = """
import sys, time
from pathlib import Path
from pxeforge.services.iso_import import import_isos
from pxeforge.services.media_checks import Trust
def tell(progress):
    print(progress.stage.value, flush=True)
    time.sleep(60 if progress.stage.value == sys.argv[3] else 0)
import_isos("rocky-9", [Path(sys.argv[2])], data_dir=Path(sys.argv[1]), trust=Trust(unverified=True), progress=tell)
"""


@pytest.mark.parametrize("until", ["check", "unpack"])
def test_after_kill_9_nothing_is_half_and_the_next_import_works(rocky_iso: Path, data: Path, until: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(data), str(rocky_iso), until],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert child.stdout is not None
    assert any(line.startswith(until) for line in child.stdout)
    with pytest.raises(ImportProblem, match="another import of rocky-9 is running"):
        bring(data, "rocky-9", rocky_iso)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert list_images(data) == []
    swept: list[Path] = []
    wait_for(lambda: bool(swept.extend(sweep_incoming(data)) or swept))
    assert len(swept) == 1
    assert verify_image(bring(data, "rocky-9", rocky_iso).path) == []


def test_verify_finds_what_was_changed_in_the_tree(rocky_iso: Path, data: Path) -> None:
    path = bring(data, "rocky-9", rocky_iso).path
    (path / "tree/images/install.img").write_bytes(b"other")
    (path / "tree/media.repo").unlink()
    (path / "tree/new").symlink_to("/etc/passwd")
    assert verify_image(path) == [
        "tree/images/install.img was changed: its SHA256 is not the imported one",
        "tree/media.repo is missing",
        "tree/new does not belong to the image",
    ]
    with (path / "tree.sha256").open("a") as listed:
        listed.write("nonsense\n")
    assert "tree.sha256 is damaged" in verify_image(path)[0]
