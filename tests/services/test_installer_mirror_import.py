"""Installers that a mirror holds as loose files: Debian's Release vouches for them, or Ubuntu's SHA256SUMS.gpg."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from pxeforge.services import mirror_source
from pxeforge.services.image_catalogue import MIRRORED
from pxeforge.services.image_store import ImportProblem, Installer, Verified, list_images, verify_image
from pxeforge.services.installer_mirror_import import import_installer
from pxeforge.services.mirror_source import MirrorSource
from tests.services.small_media import INITRD, KERNEL
from tests.services.test_debian_package_import import FakeMirror, Key, keys, mirror, nothing_is_left

__all__ = ["keys", "mirror"]
pytestmark = pytest.mark.skipif(
    shutil.which("gpg") is None or shutil.which("gpgv") is None, reason="needs gpg and gpgv"
)
VERSION = "20250803+deb13u1"
LOOSE = {
    "linux": KERNEL, "initrd.gz": INITRD, "pxelinux.0": b"pxelinux", "boot-screens/ldlinux.c32": b"ld",
    "grubx64.efi": b"MZ grub", "bootnetx64.efi": b"MZ shim", "grub/x86_64-efi/net.mod": b"module",
    "boot-screens/splash.png": b"not wanted",
}  # fmt: skip


def detached(key: Key, content: bytes) -> bytes:
    command = ["gpg", "--homedir", key.home, "--batch", "--output", "-", "--detach-sign"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def sums_of(files: dict[str, bytes], netboot: str) -> bytes:
    lines = [f"{hashlib.sha256(data).hexdigest()}  ./{netboot}{name}\n" for name, data in files.items()]
    lines += ["5" * 64 + "  ./cdrom/vmlinuz\n", "6" * 64 + "  ./netboot/../../../evil/linux\n", "nonsense\n"]
    return "".join(lines).encode()


def publish(fake: FakeMirror, name: str, *, layout: str = "images", by_release: bool = True, until: str = "") -> str:
    """Fills the mirror; returns the folder of the installer's files."""
    entry = MIRRORED[name]
    base = f"main/installer-{entry.arch}"
    sums = sums_of(LOOSE, entry.netboot)
    digest = hashlib.sha256(sums).hexdigest()
    listed = "".join(
        f" {digest} {len(sums)} {base}/{folder}/{layout}/SHA256SUMS\n" for folder in ("current", VERSION)
    )  # fmt: skip
    release = f"Suite: stable\nCodename: {entry.suite}\n{until}SHA256:\n {'7' * 64} 1 main/Contents\n"
    folder = f"dists/{entry.suite}/{base}/current/{layout}"
    fake.files = {
        f"dists/{entry.suite}/InRelease": fake.key.clearsign(release + (listed if by_release else "")),
        f"{folder}/SHA256SUMS": sums,
        **{f"{folder}/{entry.netboot}{name}": data for name, data in LOOSE.items()},
    }
    if not by_release:
        fake.files[f"{folder}/SHA256SUMS.gpg"] = detached(fake.key, sums)
    return folder


def bring(data: Path, name: str, fake: FakeMirror, source: MirrorSource) -> object:
    return import_installer(name, data_dir=data, mirror=source, keyring=fake.key.ring)


def test_debians_release_vouches_for_every_file(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    publish(fake, "debian-13")
    image = bring(tmp_path, "debian-13", fake, source)
    assert (image.version, image.suite, image.release) == (VERSION, "trixie", "13")
    assert (image.installer, image.distribution, image.verified) == (Installer.DEBIAN, "debian", Verified.SIGNATURE)
    assert image.kernel_version == "5.14.0-427.13.1.el9_4.x86_64"
    assert set(image.files) == {
        "linux", "initrd.gz", "loaders/pxelinux.0", "loaders/ldlinux.c32", "loaders/grubx64.efi",
        "loaders/bootnetx64.efi", "loaders/grub/x86_64-efi/net.mod",
    }  # fmt: skip
    assert set(image.sources) == {"InRelease", "SHA256SUMS"}
    assert verify_image(image.path) == []
    assert list((tmp_path / "images" / ".downloads").iterdir()) == []
    assert bring(tmp_path, "debian-13", fake, source).fresh is False


@pytest.mark.parametrize(("name", "layout"), [("ubuntu-14.04", "images"), ("ubuntu-20.04", "legacy-images")])
def test_ubuntu_signs_the_checksums_themselves_in_the_old_place_or_the_new_one(
    mirror, tmp_path: Path, name: str, layout: str
) -> None:
    fake, source = mirror
    publish(fake, name, layout=layout, by_release=False)
    image = bring(tmp_path, name, fake, source)
    assert (image.distribution, image.release) == ("ubuntu", name.removeprefix("ubuntu-"))
    assert image.version.startswith(f"{image.release}-")
    assert verify_image(image.path) == []


def test_checksums_that_nobody_vouches_for_are_refused(mirror, keys: tuple[Key, Key], tmp_path: Path) -> None:
    fake, source = mirror
    folder = publish(fake, "ubuntu-14.04", by_release=False)
    fake.files[f"{folder}/SHA256SUMS.gpg"] = detached(keys[1], fake.files[f"{folder}/SHA256SUMS"])
    with pytest.raises(ImportProblem, match="SHA256SUMS is not signed by a key of"):
        bring(tmp_path, "ubuntu-14.04", fake, source)
    fake.files[f"{folder}/SHA256SUMS.gpg"] = detached(fake.key, b"other")
    with pytest.raises(ImportProblem, match="signature of the mirror's SHA256SUMS is bad"):
        bring(tmp_path, "ubuntu-14.04", fake, source)
    del fake.files[f"{folder}/SHA256SUMS.gpg"]
    with pytest.raises(ImportProblem, match="nobody vouches for the installer of trusty"):
        bring(tmp_path, "ubuntu-14.04", fake, source)
    assert nothing_is_left(tmp_path)


def test_a_file_that_is_not_the_listed_one_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    folder = publish(fake, "debian-12")
    name = f"{folder}/{MIRRORED['debian-12'].netboot}linux"
    fake.files[name] = b"other" + KERNEL
    with pytest.raises(ImportProblem, match="does not vouch for"):
        bring(tmp_path, "debian-12", fake, source)
    fake.files[f"{folder}/SHA256SUMS"] += b"\n"
    with pytest.raises(ImportProblem, match="InRelease does not vouch for"):
        bring(tmp_path, "debian-12", fake, source)
    assert nothing_is_left(tmp_path)


def test_an_expired_release_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    publish(fake, "debian-13", until=f"Valid-Until: {formatdate(time.time() - 60, usegmt=True)}\n")
    with pytest.raises(ImportProblem, match="was valid until"):
        bring(tmp_path, "debian-13", fake, source)
    publish(fake, "debian-13", until="Valid-Until: soon\n")
    with pytest.raises(ImportProblem, match="unreadable Valid-Until"):
        bring(tmp_path, "debian-13", fake, source)


@pytest.mark.parametrize("status", [404, 500])
def test_a_mirror_that_answers_badly_is_told(mirror, tmp_path: Path, status: int) -> None:
    fake, source = mirror
    publish(fake, "debian-13")
    fake.status = status
    with pytest.raises(ImportProblem, match=str(status)):
        bring(tmp_path, "debian-13", fake, source)
    assert nothing_is_left(tmp_path)


def test_a_listed_file_that_the_mirror_lacks_is_told(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    folder = publish(fake, "debian-13")
    del fake.files[f"{folder}/{MIRRORED['debian-13'].netboot}linux"]
    with pytest.raises(ImportProblem, match="does not have them: `pxeforge image import debian-13` takes its package"):
        bring(tmp_path, "debian-13", fake, source)
    publish(fake, "debian-13")
    del fake.files[f"{folder}/{MIRRORED['debian-13'].netboot}initrd.gz"]
    with pytest.raises(ImportProblem, match=r"initrd.gz does not exist \(404\)"):
        bring(tmp_path, "debian-13", fake, source)
    assert nothing_is_left(tmp_path)
    publish(fake, "debian-13")
    assert bring(tmp_path, "debian-13", fake, source).fresh


def test_a_mirror_that_falls_silent_is_told(mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, source = mirror
    publish(fake, "debian-13")
    monkeypatch.setattr(mirror_source, "READ_TIMEOUT_S", 0.2)
    fake.silent_s = 1.0
    with pytest.raises(ImportProblem, match="did not answer in time"):
        bring(tmp_path, "debian-13", fake, source)


def test_checksums_without_a_kernel_are_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    publish(fake, "debian-13-arm64")
    others = {name: data for name, data in fake.files.items() if not name.endswith("SHA256SUMS")}
    entry = MIRRORED["debian-13-arm64"]
    sums = sums_of({"grubaa64.efi": b"grub"}, entry.netboot)  # the kernel is there, and nobody vouches for it
    listed = f"{hashlib.sha256(sums).hexdigest()} {len(sums)} main/installer-arm64/current/images/SHA256SUMS"
    fake.files = {
        **others,
        "dists/trixie/InRelease": fake.key.clearsign(f"Codename: trixie\nSHA256:\n {listed}\n"),
        "dists/trixie/main/installer-arm64/current/images/SHA256SUMS": sums,
        f"dists/trixie/main/installer-arm64/current/images/{entry.netboot}grubaa64.efi": b"grub",
    }
    with pytest.raises(ImportProblem, match=r"names no linux and no initrd\.gz"):
        bring(tmp_path, "debian-13-arm64", fake, source)


def test_unknown_names_and_little_room_are_told(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    with pytest.raises(ImportProblem, match="unknown installer 'rocky-9'"):
        bring(tmp_path, "rocky-9", fake, source)
    with pytest.raises(ImportProblem, match="make room"):
        import_installer(
            "debian-13", data_dir=tmp_path, mirror=source, keyring=fake.key.ring, free_bytes=lambda _: 1
        )  # fmt: skip
    assert list_images(tmp_path) == []
