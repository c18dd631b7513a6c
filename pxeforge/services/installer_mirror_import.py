"""Imports the network installer that a Debian or Ubuntu mirror holds as loose files.

Chain: Release (gpgv) or SHA256SUMS.gpg (gpgv) -> SHA256SUMS of the installer -> each file. Debian's Release vouches
for SHA256SUMS, Ubuntu signs SHA256SUMS itself.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pxeforge.services.archive_signature import check_detached
from pxeforge.services.image_catalogue import CATALOGUE, KERNEL, LOADERS, MIRRORED, MirroredInstaller
from pxeforge.services.image_staging import check_space, publish, staging_folder, write_file
from pxeforge.services.image_store import ImageFile, ImportedImage, ImportProblem, Installer, load_image
from pxeforge.services.import_progress import ImportStage, Progress, Tell
from pxeforge.services.kernel_version import kernel_version
from pxeforge.services.mirror_source import Download, MirrorClient, MirrorSource
from pxeforge.services.signed_release import SignedRelease

_SUM: Final = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?([A-Za-z0-9._+~/-]+)")
_ROOM_BYTES: Final = 200 << 20  # the index tells no sizes; kernel, initrd and loaders have 50 to 150 MB


def import_installer(
    name: str,
    *,
    data_dir: Path,
    mirror: MirrorSource,
    keyring: Path | None = None,
    progress: Tell = lambda _: None,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    now: Callable[[], float] = time.time,
) -> ImportedImage:
    """Imports the current installer `name` (see MIRRORED) and returns it; raises ImportProblem.

    `keyring`: None for the distribution's own. The same version again changes nothing (`fresh` False); partial
    downloads are kept and continued by the next import.
    """
    entry = MIRRORED.get(name)
    if entry is None:
        raise ImportProblem(f"unknown installer {name!r}: mirrors have {', '.join(sorted(MIRRORED))}")
    with staging_folder(data_dir, name) as staging, mirror.session() as session:
        client = MirrorClient(mirror, session, progress)
        check_space(data_dir / "images", name, _ROOM_BYTES, free_bytes(data_dir / "images"))
        keys = keyring or Path(entry.keyring)
        return _Import(name, entry, data_dir / "images", staging, client, keys, now).run()


@dataclass(frozen=True, slots=True)
class _Import:
    """One running import."""

    name: str
    entry: MirroredInstaller
    images: Path
    staging: Path
    client: MirrorClient
    keyring: Path
    now: Callable[[], float]

    def run(self) -> ImportedImage:
        release = SignedRelease(self.client, self.entry.suite, self.staging, self.keyring, self.now)
        sources = {"InRelease": release.digest}
        folder, version = self._sums(release, sources)
        place = self.images / self.name / version
        if (place / "image.json").is_file():
            self._tell(ImportStage.DONE, f"{self.name} {version} is already imported")
            return load_image(place)
        work = self.staging / "image"
        files, parts = self._files(folder, work)
        image = ImportedImage(
            path=place,
            name=self.name,
            version=version,
            arch=self.entry.arch,
            suite=self.entry.suite,
            kernel_version=kernel_version(work / "linux"),
            imported_at=self.now(),
            files=files,
            sources=sources,
            installer=Installer.DEBIAN,
            distribution=self.entry.distribution,
            release=self.entry.release,
        )
        publish(work, image)
        for part in parts:
            part.unlink(missing_ok=True)
        self._tell(ImportStage.DONE, f"{self.name} {version} imported")
        return image

    def _tell(self, stage: ImportStage, note: str) -> None:
        self.client.tell(Progress(stage=stage, note=note))

    def _sums(self, release: SignedRelease, sources: dict[str, str]) -> tuple[str, str]:
        """The folder below dists/<suite> whose SHA256SUMS somebody vouches for, and the installer's version."""
        base, target = f"main/installer-{self.entry.arch}", self.staging / "SHA256SUMS"
        for layout in self.entry.folders:
            folder = f"{base}/current/{layout}"
            if release.names(f"{folder}/SHA256SUMS"):
                sources["SHA256SUMS"] = release.fetch(f"{folder}/SHA256SUMS", target)
                return folder, self._version(release.same_as(f"{folder}/SHA256SUMS"), sources)
            path = f"dists/{self.entry.suite}/{folder}/SHA256SUMS"
            if self.client.exists(f"{path}.gpg"):
                self._tell(ImportStage.INDEX, path)
                signature = self.staging / "SHA256SUMS.gpg"
                self.client.small(f"{path}.gpg", signature)
                sources["SHA256SUMS"] = self.client.small(path, target)
                check_detached(signature, target, self.keyring, "the mirror's SHA256SUMS")
                return folder, self._version([], sources)
        raise ImportProblem(
            f"nobody vouches for the installer of {self.entry.suite} on this mirror (no SHA256SUMS of {base} in "
            f"InRelease, no SHA256SUMS.gpg): choose a complete mirror"
        )

    def _version(self, same: list[str], sources: dict[str, str]) -> str:
        """The folder that `current` stands for, where the Release tells; else release and checksum."""
        for name in same:
            found = re.fullmatch(r"main/installer-[a-z0-9]+/([0-9][A-Za-z0-9.+~_-]*)/[a-z-]+/SHA256SUMS", name)
            if found:
                return found[1]
        return f"{self.entry.release}-{sources['SHA256SUMS'][:8]}"

    def _files(self, folder: str, work: Path) -> tuple[dict[str, ImageFile], list[Path]]:
        """Downloads what belongs to an image into `work`; with the downloads, to be removed at the end."""
        if not self.client.exists(f"dists/{self.entry.suite}/{folder}/{self.entry.netboot}linux"):
            by_package = f"`pxeforge image import {self.name}` takes its package"
            raise ImportProblem(
                f"the mirror lists the installer's files for {self.name} and does not have them: "
                f"{by_package if self.name in CATALOGUE else 'choose another mirror'}"
            )
        known = {**KERNEL, **LOADERS[self.entry.arch]}
        files: dict[str, ImageFile] = {}
        parts: list[Path] = []
        for name, sha256 in self._listed().items():
            inner = name.removeprefix(self.entry.netboot)
            target = f"loaders/{inner}" if inner.startswith("grub/") else known.get(inner)
            if inner == name or target is None:
                continue
            path = f"dists/{self.entry.suite}/{folder}/{name}"
            part = self.client.download(Download(path, sha256, None), self.images / ".downloads")
            parts.append(part)
            with part.open("rb") as stream:
                files[target] = write_file(stream, work / target)
        missing = [name for name in KERNEL.values() if name not in files]
        if missing:
            raise ImportProblem(f"the mirror's SHA256SUMS names no {' and no '.join(missing)}: nothing was imported")
        return files, parts

    def _listed(self) -> dict[str, str]:
        """SHA256 by name; names that lead out are not there."""
        text = (self.staging / "SHA256SUMS").read_text(encoding="utf-8", errors="replace")
        found = [match for line in text.splitlines() if (match := _SUM.fullmatch(line.strip()))]
        return {match[2]: match[1] for match in found if not {"", ".", ".."} & set(match[2].split("/"))}
