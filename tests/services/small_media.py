"""Small ISOs with the layouts of real installation media, made by xorriso; the rpms in them are real, and tiny."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

KERNEL = (
    b"MZ" + b"\0" * 0x200 + b"HdrS" + b"\0" * 8 + (0x300).to_bytes(2, "little") + b"\0" * 0x2F0
    + b"5.14.0-427.13.1.el9_4.x86_64 (builder) #1\0"
)  # fmt: skip
INITRD = b"\x1f\x8b initrd " * 1000
HAS_XORRISO = shutil.which("xorriso") is not None


def make_iso(path: Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None, *more: str) -> Path:
    """An ISO with Rock Ridge and Joliet that holds these files; `more` are further options of mkisofs."""
    top = path.with_suffix(".d")
    for name, content in files.items():
        target = top / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    for name, leads_to in (links or {}).items():
        link = top / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(leads_to)
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-volid", "TEST", *(more or ("-r", "-J", "-joliet-long"))]
    subprocess.run([*command, "-o", path, top], check=True, capture_output=True)
    shutil.rmtree(top)
    return path


def treeinfo(family: str, version: str, arch: str = "x86_64") -> bytes:
    return f"""[header]
type = productmd.treeinfo
version = 1.2

[release]
name = {family}
short = {family[:5]}
version = {version}

[general]
family = {family}
version = {version}
arch = {arch}
platforms = {arch},xen
repository = AppStream

[images-{arch}]
boot.iso = images/boot.iso
initrd = images/pxeboot/initrd.img
kernel = images/pxeboot/vmlinuz

[stage2]
mainimage = images/install.img
""".encode()


def rocky(version: str = "9.4") -> dict[str, bytes]:
    """As Rocky, AlmaLinux and CentOS Stream lay out their DVDs since 8."""
    return {
        ".treeinfo": treeinfo("Rocky Linux", version),
        ".discinfo": b"1714688000.1\n9.4\nx86_64\n",
        "media.repo": b"[InstallMedia]\nname=Rocky Linux 9.4\n",
        "images/pxeboot/vmlinuz": KERNEL,
        "images/pxeboot/initrd.img": INITRD,
        "images/install.img": b"hsqs" + b"stage two" * 2000,
        "EFI/BOOT/BOOTX64.EFI": b"MZ shim of the vendor",
        "EFI/BOOT/grubx64.efi": b"MZ grub of the vendor",
        "EFI/BOOT/grub.cfg": b"menuentry",
        "BaseOS/repodata/repomd.xml": b"<repomd/>",
        "BaseOS/Packages/b/bash-5.1.8-9.el9.x86_64.rpm": b"rpm",
        "AppStream/repodata/repomd.xml": b"<repomd/>",
        "AppStream/Packages/g/gcc-c++-11.4.1-3.el9~1.x86_64.rpm": b"rpm with + and ~ in its name",
    }


def centos(
    version: str, disc: int, packages: Mapping[str, bytes], timestamp: str = "1323540132.45"
) -> dict[str, bytes]:
    """A DVD of CentOS 6 or 7; only the first one boots."""
    found = {
        ".discinfo": f"{timestamp}\n{version}\nx86_64\n{disc}\n".encode(),
        "RPM-GPG-KEY-CentOS": b"key",
        **{f"Packages/{name}": content for name, content in packages.items()},
    }
    if disc == 1:
        found |= {
            ".treeinfo": f"[general]\nfamily = CentOS\ntimestamp = {timestamp}\ntotaldiscs = 2\nversion = {version}\n"
            "discnum = 1\npackagedir = \narch = x86_64\n\n[images-x86_64]\nkernel = images/pxeboot/vmlinuz\n"
            "initrd = images/pxeboot/initrd.img\nboot.iso = images/boot.iso\n".encode(),
            "images/pxeboot/vmlinuz": KERNEL,
            "images/pxeboot/initrd.img": INITRD,
            "images/install.img": b"stage two",
            "isolinux/isolinux.cfg": b"label linux",
        }  # fmt: skip
    return found


def ubuntu_server_14() -> dict[str, bytes]:
    """The text installer of Ubuntu 14.04: netboot files and a squashfs that live-installer fetches."""
    netboot = "install/netboot/ubuntu-installer/amd64"
    return {
        ".disk/info": b'Ubuntu-Server 14.04.6 LTS "Trusty Tahr" - Release amd64 (20190304.5)',
        f"{netboot}/linux": KERNEL,
        f"{netboot}/initrd.gz": INITRD,
        "install/netboot/pxelinux.0": b"pxelinux of 2011",
        "install/vmlinuz": b"of the drive",
        "install/initrd.gz": b"of the drive",
        "install/filesystem.squashfs": b"hsqs" * 500,
        "dists/trusty/Release": b"Suite: trusty\n",
        "pool/main/b/bash/bash_4.3-6ubuntu1_amd64.deb": b"deb",
    }


def ubuntu_live_24() -> dict[str, bytes]:
    return {
        ".disk/info": b'Ubuntu-Server 24.04.1 LTS "Noble Numbat" - Release amd64 (20240827)',
        ".disk/casper-uuid-generic": b"uuid",
        "casper/vmlinuz": KERNEL,
        "casper/initrd": INITRD,
        "casper/install-sources.yaml": b"- id: ubuntu-server\n",
        "casper/ubuntu-server-minimal.squashfs": b"hsqs",
        "EFI/boot/bootx64.efi": b"MZ shim",
        "EFI/boot/grubx64.efi": b"MZ grub",
        "dists/noble/Release": b"Suite: noble\n",
    }


def debian_netinst() -> dict[str, bytes]:
    return {
        ".disk/info": b'Debian GNU/Linux 13.1.0 "Trixie" - Official amd64 NETINST with firmware 20250906-10:22',
        "install.amd/vmlinuz": KERNEL,
        "install.amd/initrd.gz": INITRD,
        "dists/trixie/Release": b"Suite: stable\nCodename: trixie\n",
        "EFI/boot/bootx64.efi": b"MZ shim",
    }


def opensuse() -> dict[str, bytes]:
    return {
        "media.1/media": b"SUSE - openSUSE-Leap-15.6-DVD\n",
        "media.1/products": b"/ openSUSE-Leap 15.6-1\n",
        "boot/x86_64/loader/linux": KERNEL,
        "boot/x86_64/loader/initrd": INITRD,
        "boot/x86_64/root": b"hsqs",
        "repodata/repomd.xml": b"<repomd/>",
        "EFI/BOOT/bootx64.efi": b"MZ shim",
    }


def small_rpm(name: str, version: str = "1.0") -> bytes:
    """A package without files, as librpm reads it: lead, signature with digests, header, empty archive."""
    archive = gzip.compress(_empty_cpio(), mtime=0)
    header = _header(63, [
        (1000, 6, name), (1001, 6, version), (1002, 6, "1"), (1004, 9, "small"), (1005, 9, "for tests"),
        (1006, 4, 1300000000), (1007, 6, "test"), (1009, 4, 0), (1014, 6, "none"), (1016, 9, "Test"),
        (1021, 6, "linux"), (1022, 6, "x86_64"), (1044, 6, f"{name}-{version}-1.src.rpm"), (1047, 8, [name]),
        (1112, 4, 8), (1113, 8, [f"{version}-1"]), (1124, 6, "cpio"), (1125, 6, "gzip"), (1126, 6, "9"),
    ])  # fmt: skip
    signature = _header(62, [
        (269, 6, hashlib.sha1(header).hexdigest()), (1000, 4, len(header) + len(archive)),
        (1004, 7, hashlib.md5(header + archive).digest()), (1007, 4, len(_empty_cpio())),
    ])  # fmt: skip
    lead = struct.pack(">4sBBHH66sHH16s", b"\xed\xab\xee\xdb", 3, 0, 0, 1, f"{name}-{version}-1".encode(), 1, 5, b"")
    return lead + signature + b"\0" * (-len(signature) % 8) + header + archive


def _header(region: int, tags: list[tuple[int, int, object]]) -> bytes:
    """Magic, index and store (rpm's `lib/header.c`); the region's tag comes first, its trailer last."""
    store, index = io.BytesIO(), b""
    for tag, kind, value in tags:
        if kind == 4:
            store.write(b"\0" * (-store.tell() % 4))
        at, count = store.tell(), 1
        if kind == 4:
            store.write(struct.pack(">I", value))
        elif kind == 7:
            store.write(value)  # type: ignore[arg-type]
            count = len(value)  # type: ignore[arg-type]
        elif kind == 8:
            count = len(value)  # type: ignore[arg-type]
            store.write(b"".join(one.encode() + b"\0" for one in value))  # type: ignore[attr-defined]
        else:
            store.write(str(value).encode() + b"\0")
        index += struct.pack(">IIII", tag, kind, at, count)
    entries = len(tags) + 1
    first = struct.pack(">IIII", region, 7, store.tell(), 16)
    store.write(struct.pack(">IIiI", region, 7, -entries * 16, 16))
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", entries, store.tell()) + first + index + store.getvalue()


def _empty_cpio() -> bytes:
    name = b"TRAILER!!!\0"
    fields = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(name), 0]
    return (b"070701" + b"".join(b"%08x" % one for one in fields) + name).ljust(124, b"\0")
