"""The discovery image: built from a signed mirror's packages, with drivers that find each other, and whole or not."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.discovery_image import build_discovery
from pxeforge.services.discovery_init import DHCP_SCRIPT, INIT
from pxeforge.services.image_store import ImportProblem, verify_image
from pxeforge.services.initrd_archive import Entry, write_initrd
from pxeforge.services.kernel_modules import lists_of, module_name, needed_by, read_module
from pxeforge.services.mirror_source import MirrorSource
from tests.services.fake_repository import Repository, serve_repository
from tests.services.test_debian_package_import import Key, make_deb, make_key

needs_programs = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "gpgv", "cpio"))), reason="needs gpg, gpgv and cpio"
)  # fmt: skip

KERNEL = "linux-image-6.12.9+deb13-amd64"
MODULES = "usr/lib/modules/6.12.9+deb13-amd64"


def ko(name: str, *, depends: str = "", aliases: tuple[str, ...] = ()) -> bytes:
    info = [f"alias={alias}" for alias in aliases] + [f"depends={depends}", f"name={name}"]
    return b"\x7fELF\0" + b"".join(f"{line}\0".encode() for line in info) + b"\0rest"


PACKAGES: dict[str, dict[str, bytes]] = {
    KERNEL: {
        "boot/vmlinuz-6.12.9+deb13-amd64": b"MZ kernel",
        f"{MODULES}/kernel/drivers/net/ethernet/intel/e1000.ko.xz": lzma.compress(
            ko("e1000", depends="mii-x", aliases=("pci:v00008086d0000100E*",))
        ),
        f"{MODULES}/kernel/lib/mii-x.ko.xz": lzma.compress(ko("mii_x")),
        f"{MODULES}/kernel/fs/ext4/ext4.ko.xz": lzma.compress(ko("ext4")),
        f"{MODULES}/kernel/sound/snd.ko.xz": lzma.compress(ko("snd")),
    },
    "linux-image-amd64": {"usr/share/doc/x": b""},
    "busybox-static": {"usr/bin/busybox": b"\x7fELF busybox"},
    "python3.13-minimal": {"usr/bin/python3.13": b"\x7fELF python"},
    "libpython3.13-minimal": {"usr/lib/python3.13/os.py": b"#", "usr/lib/python3.13/test/x.py": b"#"},
    "libpython3.13-stdlib": {"usr/lib/python3.13/json/__init__.py": b"#", "usr/lib/python3.13/idlelib/a.py": b"#"},
    "libc6": {
        "usr/lib/x86_64-linux-gnu/libc.so.6": b"c", "usr/lib/x86_64-linux-gnu/libm.so.6": b"m",
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": b"ld", "usr/lib/x86_64-linux-gnu/libnss_dns.so.2": b"no",
    },
    "zlib1g": {"usr/lib/x86_64-linux-gnu/libz.so.1.3.1": b"z"},
    "libexpat1": {"usr/lib/x86_64-linux-gnu/libexpat.so.1.10.1": b"x"},
}  # fmt: skip


@dataclass
class Mirror:
    """A small signed mirror on the loopback."""

    source: MirrorSource
    keyring: Path
    served: Repository


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    made = make_key(tmp_path_factory.mktemp("gpg") / "a")
    yield made
    subprocess.run(["gpgconf", "--homedir", made.home, "--kill", "gpg-agent"], check=False, capture_output=True)


@pytest.fixture
def mirror(key: Key) -> Iterator[Mirror]:
    with serve_repository() as (url, served):
        stanzas = []
        for name, files in PACKAGES.items():
            deb = make_deb({f"./{inside}": content for inside, content in files.items()})
            version = "6.12.9-1" if "linux" in name else "1.0-1"
            served.put(f"/debian/pool/main/x/{name}.deb", deb)
            stanzas.append(
                f"Package: {name}\nVersion: {version}\nDepends: {KERNEL} (= 6.12.9-1)\n"
                f"Filename: pool/main/x/{name}.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
            )
        packed = lzma.compress("\n".join(stanzas).encode())
        named = f"{hashlib.sha256(packed).hexdigest()} {len(packed)} main/binary-amd64/Packages.xz"
        release = f"Origin: Test\nSuite: stable\nCodename: trixie\nSHA256:\n {named}\n"
        served.put("/debian/dists/trixie/main/binary-amd64/Packages.xz", packed)
        served.put("/debian/dists/trixie/InRelease", key.clearsign(release))
        yield Mirror(MirrorSource(f"{url}/debian"), key.ring, served)


def listed(initrd: Path) -> dict[str, str]:
    """Names in the archive, as cpio itself reads them, with type and rights."""
    shown = subprocess.run(
        ["cpio", "-itv", "--quiet"], input=gzip.decompress(initrd.read_bytes()), capture_output=True, check=True
    )
    lines = shown.stdout.decode().splitlines()
    return {line.split(maxsplit=8)[8].partition(" -> ")[0]: line.split()[0] for line in lines}


@needs_programs
def test_the_image_holds_kernel_drivers_with_their_needs_and_no_file_system(tmp_path: Path, mirror: Mirror) -> None:
    image = build_discovery(data_dir=tmp_path, mirror=mirror.source, keyring=mirror.keyring, now=lambda: 1.8e9)
    assert (image.name, image.version, image.arch, image.installer) == ("discovery", "6.12.9-1+d1", "amd64", None)
    assert (image.path / "kernel").read_bytes() == b"MZ kernel"
    names = listed(image.path / "initrd.img")
    assert names["init"] == "-rwxr-xr-x"
    assert "usr/bin/busybox" in names
    assert names["bin"].startswith("l")
    modules = {name.removeprefix(f"{MODULES}/") for name in names if name.startswith(MODULES) and name.endswith(".ko")}
    assert modules == {"kernel/drivers/net/ethernet/intel/e1000.ko", "kernel/lib/mii-x.ko"}
    assert "usr/lib/python3.13/json/__init__.py" in names
    assert not [name for name in names if "idlelib" in name or "/test/" in name or "nss_dns" in name]
    assert verify_image(image.path) == []
    assert not build_discovery(data_dir=tmp_path, mirror=mirror.source, keyring=mirror.keyring, now=lambda: 1.8e9).fresh


@needs_programs
def test_a_package_that_is_not_what_the_index_says_leaves_nothing(tmp_path: Path, mirror: Mirror) -> None:
    mirror.served.put("/debian/pool/main/x/busybox-static.deb", make_deb({"./usr/bin/busybox": b"another"}))
    with pytest.raises(ImportProblem):
        build_discovery(data_dir=tmp_path, mirror=mirror.source, keyring=mirror.keyring, now=lambda: 1.8e9)
    assert not list((tmp_path / "images").glob("[!.]*"))


def test_lists_of_modules_are_as_modprobe_reads_them() -> None:
    read = [
        read_module("kernel/a-b.ko", ko("a_b", depends="c,d", aliases=("pci:v1*",))),
        read_module("kernel/c.ko", ko("c", depends="d")),
        read_module("kernel/d.ko", ko("d")),
    ]
    lists = lists_of({module_name(one.path): one for one in read})
    assert lists["modules.dep"].decode().splitlines() == [
        "kernel/a-b.ko: kernel/c.ko kernel/d.ko", "kernel/c.ko: kernel/d.ko", "kernel/d.ko:",
    ]  # fmt: skip
    assert lists["modules.alias"] == b"alias pci:v1* a_b\n"


def test_modules_that_need_each_other_end_nothing() -> None:
    assert set(needed_by(["a"], {"a": ("b",), "b": ("a",)})) <= {"a", "b"}


@given(st.binary(max_size=400))
def test_any_bytes_are_read_as_a_module(content: bytes) -> None:
    assert read_module("kernel/x.ko", b"\0alias=" + content).path == "kernel/x.ko"


@needs_programs
def test_an_archive_has_the_same_bytes_each_time_and_cpio_reads_it(tmp_path: Path) -> None:
    entries = [
        Entry(name="a/b", content=b"x" * 5, executable=True), Entry(name="l", target="a/b"), Entry(name="empty")
    ]  # fmt: skip
    for number in (1, 2):
        write_initrd(entries, tmp_path / f"{number}.img")
    assert (tmp_path / "1.img").read_bytes() == (tmp_path / "2.img").read_bytes()
    assert set(listed(tmp_path / "1.img")) == {"a", "a/b", "l", "empty"}


@pytest.mark.parametrize("script", [INIT, DHCP_SCRIPT], ids=["init", "dhcp"])
def test_the_scripts_are_shell_and_write_to_no_disk(script: str) -> None:
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)
    assert not any(word in script for word in ("/dev/sd", "/dev/nvme", "/dev/vd", "mkfs", "mdadm", "vgchange", " dd "))
