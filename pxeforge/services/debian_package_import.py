"""Imports Debian's netboot installers and boot programs from the packages of a signed mirror.

Chain: InRelease (gpgv) -> Packages.xz (SHA256) -> .deb (Size, SHA256) -> the files a host boots.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from debian.arfile import ArError
from debian.deb822 import Packages
from debian.debfile import DebError, DebFile
from debian.debian_support import Version

from pxeforge.services.archive_signature import DEBIAN_KEYRING
from pxeforge.services.image_catalogue import CATALOGUE, CatalogueEntry
from pxeforge.services.image_staging import check_space, publish, staging_folder, write_file
from pxeforge.services.image_store import ImageFile, ImportedImage, ImportProblem, Installer, load_image
from pxeforge.services.import_progress import ImportStage, Progress, Tell
from pxeforge.services.kernel_version import kernel_version
from pxeforge.services.mirror_source import Download, MirrorClient, MirrorSource
from pxeforge.services.signed_release import SignedRelease

VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.+~:-]*")


def import_debian(
    name: str = "debian-13",
    *,
    data_dir: Path,
    mirror: MirrorSource,
    keyring: Path = DEBIAN_KEYRING,
    progress: Tell = lambda _: None,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    now: Callable[[], float] = time.time,
) -> ImportedImage:
    """Imports the current netboot installer of `name` (see CATALOGUE) and returns it; raises ImportProblem.

    A second import of the same version changes nothing (`fresh` False). A partial download is kept in
    `images/.downloads` and continued by the next import. Two imports of one name at once: the second is refused.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise ImportProblem(f"unknown image {name!r}: choose one of {', '.join(sorted(CATALOGUE))}")
    with staging_folder(data_dir, name) as staging, mirror.session() as session:
        client = MirrorClient(mirror, session, progress)
        return _Import(name, entry, data_dir / "images", staging, client, free_bytes, now).run(keyring)


@dataclass(frozen=True, slots=True)
class _Import:
    """One running import."""

    name: str
    entry: CatalogueEntry
    images: Path
    staging: Path
    client: MirrorClient
    free_bytes: Callable[[Path], int]
    now: Callable[[], float]

    def run(self, keyring: Path) -> ImportedImage:
        release = SignedRelease(self.client, self.entry.suite, self.staging, keyring, self.now)
        sources = {"InRelease": release.digest}
        stanza = self._stanza(release, sources)
        version = str(stanza["Version"])
        if not VERSION.fullmatch(version):
            raise ImportProblem(f"{self.entry.package} has the strange version {version!r}: nothing was imported")
        place = self.images / self.name / version.replace(":", "_")
        if (place / "image.json").is_file():
            self._tell(ImportStage.DONE, f"{self.name} {version} is already imported")
            return load_image(place)
        deb = self._download(stanza)
        sources[Path(str(stanza["Filename"])).name] = str(stanza["SHA256"])
        work = self.staging / "image"
        files = unpack_package(deb, self.entry, work, self.client.tell)
        image = ImportedImage(
            path=place,
            name=self.name,
            version=version,
            arch=self.entry.arch,
            suite=self.entry.suite,
            kernel_version=self._kernel_version(work, stanza),
            imported_at=self.now(),
            files=files,
            sources=sources,
            installer=Installer.DEBIAN if self.entry.is_installer else None,
            distribution="debian" if self.entry.is_installer else None,
            release=self.entry.release,
        )
        publish(work, image)
        deb.unlink(missing_ok=True)
        self._tell(ImportStage.DONE, f"{self.name} {version} imported")
        return image

    def _tell(self, stage: ImportStage, note: str) -> None:
        self.client.tell(Progress(stage=stage, note=note))

    def _kernel_version(self, work: Path, stanza: Packages) -> str | None:
        return (kernel_version(work / "linux") or _built_using_linux(stanza)) if self.entry.is_installer else None

    def _stanza(self, release: SignedRelease, sources: dict[str, str]) -> Packages:
        """The newest stanza of the wanted package in the verified Packages.xz."""
        name, target = f"main/binary-{self.entry.arch}/Packages.xz", self.staging / "Packages.xz"
        sources["Packages.xz"] = release.fetch(name, target)
        try:
            stanzas = [Packages(text) for text in _stanzas(target, self.entry.package)]
        except (lzma.LZMAError, EOFError) as error:
            raise ImportProblem(f"{name} cannot be unpacked ({error}): choose another mirror") from None
        if not stanzas:
            raise ImportProblem(f"the mirror has no package {self.entry.package}: choose a complete mirror")
        newest = max(stanzas, key=lambda stanza: Version(str(stanza["Version"])))
        missing = [field for field in ("Filename", "Size", "SHA256", "Version") if field not in newest]
        if missing:
            raise ImportProblem(f"the index entry of {self.entry.package} lacks {', '.join(missing)}")
        return newest

    def _download(self, stanza: Packages) -> Path:
        wanted = Download(str(stanza["Filename"]), str(stanza["SHA256"]), int(stanza["Size"]))
        plain = re.fullmatch(r"pool/[A-Za-z0-9._+~/-]+\.deb", wanted.path) is not None and ".." not in wanted.path
        if not plain or not re.fullmatch("[0-9a-f]{64}", wanted.sha256):
            raise ImportProblem(f"the mirror names a strange file for {self.entry.package}: {wanted.path!r}")
        downloads = self.images / ".downloads"
        part = downloads / f"{wanted.sha256}.part"
        present = part.stat().st_size if part.exists() else 0
        needed = (wanted.size_bytes or 0) - present + int(stanza.get("Installed-Size", 0)) * 1024
        check_space(self.images, self.name, needed, self.free_bytes(self.images))
        return self.client.download(wanted, downloads)


def unpack_package(deb: Path, entry: CatalogueEntry, work: Path, tell: Tell) -> dict[str, ImageFile]:
    """Writes the wanted files of a package below `work`, synced to the disk; raises ImportProblem."""
    files: dict[str, ImageFile] = {}
    try:
        with DebFile(filename=str(deb)) as package, package.data.tgz() as archive:
            for member in archive:
                target = _target(entry, member)
                if target is None:
                    continue
                if target in files:
                    raise ImportProblem(f"{entry.package} holds {member.name} twice: nothing was imported")
                source = archive.extractfile(member)
                if source is None:
                    raise ImportProblem(f"{member.name} in {entry.package} is no plain file")
                files[target] = write_file(source, work / target)
                total = sum(file.size for file in files.values())
                tell(Progress(stage=ImportStage.UNPACK, done_bytes=total, note=target))
    except (DebError, ArError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ImportProblem(f"{entry.package} cannot be unpacked ({error}): nothing was imported") from None
    missing = [name for name in entry.needed if name not in files]
    if missing:
        raise ImportProblem(f"{entry.package} lacks {', '.join(missing)}: nothing was imported")
    return files


def _target(entry: CatalogueEntry, member: tarfile.TarInfo) -> str | None:
    """The name in the image of a member that is wanted; raises ImportProblem for a path that leads out."""
    name = str(member.name).removeprefix("./")
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise ImportProblem(f"{entry.package} holds the unsafe path {member.name!r}: nothing was imported")
    if not name.startswith(entry.prefix) or member.isdir():
        return None
    inner = name.removeprefix(entry.prefix)
    is_grubs = entry.is_installer and inner.startswith("grub/")
    target = f"loaders/{inner}" if is_grubs else entry.files.get(inner)
    if target is not None and not member.isreg():
        raise ImportProblem(f"{member.name} in {entry.package} is no plain file: nothing was imported")
    return target


def _stanzas(packages_xz: Path, package: str) -> Iterator[str]:
    """The stanzas of one package. Cut out first: deb822 needs a minute for the 60 000 others."""
    wanted = f"Package: {package}\n"
    lines: list[str] = []
    with lzma.open(packages_xz, "rt", encoding="utf-8") as stream:
        for line in stream:
            if line != "\n":
                lines.append(line)
                continue
            if wanted in lines:
                yield "".join(lines)
            lines = []
    if wanted in lines:
        yield "".join(lines)


def _built_using_linux(stanza: Packages) -> str | None:
    """The version of the source package linux, as Built-Using tells it."""
    match = re.search(r"(?:^|,\s*)linux \(= ([^)]+)\)", str(stanza.get("Built-Using", "")))
    return match[1] if match else None
