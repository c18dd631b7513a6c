"""Builds the discovery image: Debian's kernel, and an initrd of its modules, busybox and Python that touches no disk.

Everything comes from packages of a signed mirror, verified as for any other image. What runs in it is the agent's code,
which it fetches from the server that it is to report to.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from debian.arfile import ArError
from debian.deb822 import Packages
from debian.debfile import DebError, DebFile
from debian.debian_support import Version

from pxeforge.services.archive_signature import DEBIAN_KEYRING
from pxeforge.services.discovery_entry import DISCOVERY_IMAGE, INITRD, KERNEL
from pxeforge.services.discovery_init import BUILD, DHCP_SCRIPT, INIT
from pxeforge.services.image_staging import check_space, publish, staging_folder, write_file
from pxeforge.services.image_store import ImageFile, ImportedImage, ImportProblem, load_image, sha256_of
from pxeforge.services.import_progress import ImportStage, Progress, Tell
from pxeforge.services.initrd_archive import Entry, write_initrd
from pxeforge.services.kernel_modules import Module, lists_of, module_name, needed_by, read_module
from pxeforge.services.mirror_source import Download, MirrorClient, MirrorSource
from pxeforge.services.signed_release import SignedRelease

NAME: Final = DISCOVERY_IMAGE
SUITE: Final = "trixie"
ARCH: Final = "amd64"
_PYTHON: Final = "3.13"
_META: Final = f"linux-image-{ARCH}"
_LIBRARIES: Final = "usr/lib/x86_64-linux-gnu/"
# The rest of a package by the names of its files; the kernel's modules are chosen by what they drive.
_FROM: Final[Mapping[str, re.Pattern[str]]] = {
    "busybox-static": re.compile(r"usr/bin/busybox"),
    f"python{_PYTHON}-minimal": re.compile(rf"usr/bin/python{re.escape(_PYTHON)}"),
    f"libpython{_PYTHON}-minimal": re.compile(rf"usr/lib/python{re.escape(_PYTHON)}/(?!(?:.*/)?tests?/).*\.py"),
    f"libpython{_PYTHON}-stdlib": re.compile(
        rf"usr/lib/python{re.escape(_PYTHON)}/(?!(?:.*/)?(?:tests?|idlelib|turtledemo|pydoc_data|config-[^/]*)/).*\.py"
    ),
    "libc6": re.compile(rf"usr/lib64/ld-linux-x86-64\.so\.2|{_LIBRARIES}(?:ld-linux-x86-64|libc|libm)\.so\.\d"),
    "zlib1g": re.compile(rf"{_LIBRARIES}libz\.so\.1.*"),
    "libexpat1": re.compile(rf"{_LIBRARIES}libexpat\.so\.1.*"),
}
# Drivers of NICs, of disks and of what both hang on. No file system is among them, so that no disk can be mounted.
_DRIVERS: Final = re.compile(
    r"kernel/(?:drivers/(?:net/(?:ethernet|phy|mdio|hyperv|usb|pcs)/|net/(?:virtio_net|vmxnet3|xen-netfront|mii|mdio)\.ko"
    r"|ata/|scsi/(?!.*(?:iscsi|fc_transport|libfc|qedf|bnx2fc))|nvme/host/|message/fusion/|virtio/"
    r"|block/(?:virtio_blk|xen-blkfront)\.ko|usb/(?:host|storage)/|hv/|mmc/(?:core|host)/|pci/controller/vmd\.ko)"
    r"|net/packet/|fs/efivarfs/)"
)
_LINKS: Final = {"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "usr/sbin": "bin"}
_FOLDERS: Final = ("proc", "sys", "dev", "run", "tmp", "etc", f"usr/lib/python{_PYTHON}/lib-dynload")
_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.+~:-]*")


def build_discovery(
    *,
    data_dir: Path,
    mirror: MirrorSource,
    keyring: Path = DEBIAN_KEYRING,
    progress: Tell = lambda _: None,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    now: Callable[[], float] = time.time,
) -> ImportedImage:
    """Builds the image from the suite's current kernel, or returns it (`fresh` False). Raises ImportProblem."""
    with staging_folder(data_dir, NAME) as staging, mirror.session() as session:
        client = MirrorClient(mirror, session, progress)
        return _Build(data_dir / "images", staging, client, free_bytes, now).run(keyring)


@dataclass(frozen=True, slots=True)
class _Build:
    """One running build."""

    images: Path
    staging: Path
    client: MirrorClient
    free_bytes: Callable[[Path], int]
    now: Callable[[], float]

    def run(self, keyring: Path) -> ImportedImage:
        release = SignedRelease(self.client, SUITE, self.staging, keyring, self.now)
        index = self.staging / "Packages.xz"
        sources = {"InRelease": release.digest, "Packages.xz": release.fetch(f"main/binary-{ARCH}/Packages.xz", index)}
        stanzas = _wanted(index)
        kernel_package = _kernel_of(stanzas)
        version = f"{stanzas[kernel_package]['Version']}+d{BUILD}"
        if not _VERSION.fullmatch(version):
            raise ImportProblem(f"{kernel_package} has the strange version {version!r}: nothing was imported")
        place = self.images / NAME / version.replace(":", "_")
        if (place / "image.json").is_file():
            self._tell(ImportStage.DONE, f"{NAME} {version} is already built")
            return load_image(place)
        self._check_space(stanzas, kernel_package)
        debs = {name: self._download(stanzas[name]) for name in (kernel_package, *_FROM)}
        sources |= {Path(str(stanzas[name]["Filename"])).name: str(stanzas[name]["SHA256"]) for name in debs}
        work = self.staging / "image"
        work.mkdir()
        kernel_version = kernel_package.removeprefix("linux-image-")
        files = self._fill(work, debs, kernel_package, kernel_version)
        image = ImportedImage(
            path=place, name=NAME, version=version, arch=ARCH, suite=SUITE, kernel_version=kernel_version,
            imported_at=self.now(), files=files, sources=sources,
        )  # fmt: skip
        publish(work, image)
        for deb in debs.values():
            deb.unlink(missing_ok=True)
        self._tell(ImportStage.DONE, f"{NAME} {version} built")
        return image

    def _fill(self, work: Path, debs: Mapping[str, Path], kernel: str, kernel_version: str) -> dict[str, ImageFile]:
        """Kernel and initrd in the folder of the image."""
        self._tell(ImportStage.UNPACK, "kernel and drivers")
        entries, packed = _kernel_parts(debs[kernel], kernel_version, work)
        for name, wanted in _FROM.items():
            self._tell(ImportStage.UNPACK, name)
            found = list(_files(debs[name], wanted))
            if not found:
                raise ImportProblem(f"{name} holds nothing of what is needed: nothing was imported")
            entries += found
        entries += [Entry(name=name, target=target) for name, target in _LINKS.items()]
        entries += [Entry(name=name) for name in _FOLDERS]
        entries.append(Entry(name="init", content=INIT.encode(), executable=True))
        entries.append(Entry(name="etc/udhcpc.sh", content=DHCP_SCRIPT.encode(), executable=True))
        aside = self.staging / INITRD
        write_initrd(entries, aside)
        with aside.open("rb") as stream:
            return {KERNEL: packed, INITRD: write_file(stream, work / INITRD)}

    def _tell(self, stage: ImportStage, note: str) -> None:
        self.client.tell(Progress(stage=stage, note=note))

    def _check_space(self, stanzas: Mapping[str, Packages], kernel: str) -> None:
        needed = 2 * sum(int(stanzas[name]["Size"]) for name in (kernel, *_FROM)) + (64 << 20)
        check_space(self.images, NAME, needed, self.free_bytes(self.images))

    def _download(self, stanza: Packages) -> Path:
        wanted = Download(str(stanza["Filename"]), str(stanza["SHA256"]), int(stanza["Size"]))
        plain = re.fullmatch(r"pool/[A-Za-z0-9._+~/-]+\.deb", wanted.path) is not None and ".." not in wanted.path
        if not plain or not re.fullmatch("[0-9a-f]{64}", wanted.sha256):
            raise ImportProblem(f"the mirror names a strange file: {wanted.path!r}")
        part = self.client.download(wanted, self.images / ".downloads")
        if sha256_of(part) != wanted.sha256:
            raise ImportProblem(f"{wanted.path} is not what the index says: try again")
        return part


def _wanted(packages_xz: Path) -> dict[str, Packages]:
    """The newest stanza of each package that may be needed. Raises ImportProblem."""
    found: dict[str, Packages] = {}
    try:
        for text in _stanzas(packages_xz):
            stanza = Packages(text)
            name = str(stanza["Package"])
            if name not in found or Version(str(stanza["Version"])) > Version(str(found[name]["Version"])):
                found[name] = stanza
    except (lzma.LZMAError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise ImportProblem(f"{packages_xz.name} cannot be read ({error}): choose another mirror") from None
    missing = [name for name in (_META, *_FROM) if name not in found]
    if missing:
        raise ImportProblem(f"the mirror has no package {missing[0]}: choose a complete mirror")
    for name, stanza in found.items():
        lacking = [field for field in ("Filename", "Size", "SHA256", "Version") if field not in stanza]
        if lacking:
            raise ImportProblem(f"the index entry of {name} lacks {', '.join(lacking)}")
    return found


def _stanzas(packages_xz: Path) -> Iterator[str]:
    """Cut out first: deb822 needs a minute for the 60 000 others."""
    firsts = {f"Package: {name}\n" for name in (_META, *_FROM)}
    kernel = re.compile(rf"Package: linux-image-\d[0-9.]*\+deb\d+-{ARCH}\n")
    lines: list[str] = []
    with lzma.open(packages_xz, "rt", encoding="utf-8") as stream:
        for line in stream:
            if line != "\n":
                lines.append(line)
                continue
            if lines and (lines[0] in firsts or kernel.fullmatch(lines[0])):
                yield "".join(lines)
            lines = []
    if lines and (lines[0] in firsts or kernel.fullmatch(lines[0])):
        yield "".join(lines)


def _kernel_of(stanzas: Mapping[str, Packages]) -> str:
    """The package with the kernel that the suite's metapackage names. Raises ImportProblem."""
    named = re.search(rf"linux-image-\d[0-9.]*\+deb\d+-{ARCH}", str(stanzas[_META].get("Depends", "")))
    if named is None or named[0] not in stanzas:
        raise ImportProblem(f"{_META} names no kernel that the mirror has: choose another mirror, or try again later")
    return named[0]


def _members(deb: Path) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Each file and link of a package with its name. Raises ImportProblem."""
    try:
        with DebFile(filename=str(deb)) as package, package.data.tgz() as archive:
            for member in archive:
                name = str(member.name).removeprefix("./")
                if name.startswith("/") or ".." in name.split("/") or "\0" in name:
                    raise ImportProblem(f"a package holds the unsafe path {name!r}: nothing was imported")
                if member.isreg() or member.issym():
                    yield name, member, archive
    except (DebError, ArError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ImportProblem(f"a package cannot be unpacked ({error}): nothing was imported") from None


def _files(deb: Path, wanted: re.Pattern[str]) -> Iterator[Entry]:
    for name, member, archive in _members(deb):
        if wanted.fullmatch(name):
            if member.issym():
                yield Entry(name=name, target=str(member.linkname))
            else:
                yield Entry(name=name, content=_content(archive, member), executable=bool(member.mode & 0o111))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    if stream is None:
        raise ImportProblem(f"{member.name} is no plain file: nothing was imported")
    return stream.read()


def _kernel_parts(deb: Path, version: str, work: Path) -> tuple[list[Entry], ImageFile]:
    """The drivers for the initrd, unpacked, and the kernel in the folder of the image. Raises ImportProblem."""
    prefix, packed = f"usr/lib/modules/{version}/", dict[str, bytes]()
    kernel: ImageFile | None = None
    for name, member, archive in _members(deb):
        if name == f"boot/vmlinuz-{version}":
            stream = archive.extractfile(member)
            if stream is not None:
                kernel = write_file(stream, work / KERNEL)
        elif name.startswith(f"{prefix}kernel/") and ".ko" in name and member.isreg():
            packed[name.removeprefix(prefix)] = _content(archive, member)
    if kernel is None or not packed:
        raise ImportProblem("the kernel's package holds no kernel or no modules: nothing was imported")
    contents = _chosen(packed)
    modules = {module_name(path): read_module(path, content) for path, content in contents.items()}
    entries = [Entry(name=f"{prefix}{path}", content=content) for path, content in contents.items()]
    entries += [Entry(name=f"{prefix}{name}", content=content) for name, content in lists_of(modules).items()]
    return entries, kernel


def _chosen(packed: Mapping[str, bytes]) -> dict[str, bytes]:
    """The drivers and what they need, unpacked, by the path of the unpacked file."""
    by_name = {module_name(path): path for path in packed}
    read: dict[str, tuple[Module, bytes]] = {}
    waiting = [name for name, path in by_name.items() if _DRIVERS.match(path)]
    while waiting:
        name = waiting.pop()
        if name in read or name not in by_name:
            continue
        path = by_name[name]
        content = lzma.decompress(packed[path]) if path.endswith(".xz") else packed[path]
        module = read_module(path.removesuffix(".xz"), content)
        read[name] = (module, content)
        waiting += needed_by([name], {name: module.depends})
    return {module.path: content for module, content in read.values()}
