"""Imports an installation medium from its ISO files: checked, told by its content, laid out for booting by network.

The whole tree is copied, for the installer fetches its packages over HTTP; where the installer fetches the ISO itself,
that is kept instead. Several discs of one set become one tree with one index.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pxeforge.services import repodata
from pxeforge.services.image_staging import check_space, publish, staging_folder, write_file
from pxeforge.services.image_store import (
    TREE,
    TREE_LIST,
    ImageFile,
    ImportedImage,
    ImportProblem,
    Verified,
    load_image,
    rewrite_manifest,
    sha256_of,
    write_tree_list,
)
from pxeforge.services.import_progress import ImportStage, Progress, Tell
from pxeforge.services.install_media import Medium, detect, same_set
from pxeforge.services.iso_file import IsoFile, open_iso
from pxeforge.services.kernel_version import kernel_version
from pxeforge.services.media_checks import Checked, Trust, check_media

LIVE_ISO: Final = "live.iso"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_CLAIMS: Final = re.compile(
    r"(?P<distribution>debian|ubuntu|centos|rocky|almalinux|rhel|fedora|opensuse)-(?P<release>[0-9.]+)(?P<arm>-arm64)?"
)
_TRUST: Final = (Verified.UNVERIFIED, Verified.CHECKSUM, Verified.SIGNATURE)  # the weakest one first
_ROOM_FOR_AN_INDEX: Final = 200 << 20  # of several discs
_EFI_LOADERS: Final = {  # in EFI/BOOT of a medium, in any case: shim and GRUB that the vendor signed
    "amd64": {"bootx64.efi": "loaders/efi/bootx64.efi", "grubx64.efi": "loaders/efi/grubx64.efi"},
    "arm64": {"bootaa64.efi": "loaders/efi/bootaa64.efi", "grubaa64.efi": "loaders/efi/grubaa64.efi"},
}


def import_isos(
    name: str,
    isos: Sequence[Path],
    *,
    data_dir: Path,
    trust: Trust,
    progress: Tell = lambda _: None,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    now: Callable[[], float] = time.time,
) -> ImportedImage:
    """Imports the medium as `name` and returns the image; raises ImportProblem, and then nothing is left of it.

    `isos`: the discs of one set, the one that boots first. The same discs again change nothing (`fresh` False).
    """
    if not _NAME.fullmatch(name):
        raise ImportProblem(f"{name!r} is no name of an image: use a-z, 0-9 and . _ -, e.g. rocky-9")
    if not isos:
        raise ImportProblem("which ISO? give one file, or all discs of a set with the first one first")
    with staging_folder(data_dir, name) as staging, contextlib.ExitStack() as stack:
        opened = [stack.enter_context(open_iso(iso)) for iso in isos]
        medium = detect(opened[0], isos[0].name)
        _check_name(name, medium, isos[0].name)
        _check_set(opened)
        images = data_dir / "images"
        work = _Work(name, medium, opened, images, staging / "image", progress)
        check_space(images, name, work.needed_bytes(), free_bytes(images))
        checked = check_media(isos, trust, progress)
        place = images / name / _version(medium, opened[0].created, checked)
        if (place / "image.json").is_file():
            progress(Progress(stage=ImportStage.DONE, note=f"{name} {place.name} is already imported"))
            return _vouched(load_image(place), _weakest(checked), staging)
        image = work.build(place, checked, now())
        publish(work.folder, image)
        progress(Progress(stage=ImportStage.DONE, note=f"{name} {image.version} imported"))
        return image


def _check_name(name: str, medium: Medium, iso: str) -> None:
    """Who asks for rocky-9 must not get something else under that name."""
    claim = _CLAIMS.fullmatch(name)
    if claim is None:
        return
    is_release = f"{medium.release}.".startswith(f"{claim['release'].rstrip('.')}.")
    is_arch = (medium.arch == "arm64") == bool(claim["arm"])
    if claim["distribution"] != medium.distribution or not is_release or not is_arch:
        raise ImportProblem(f"{iso} is {medium.title}, not {name}: choose another name or another ISO")


def _check_set(opened: Sequence[IsoFile]) -> None:
    for other in opened[1:]:
        if not same_set(opened[0], other):
            raise ImportProblem(
                f"{other.path.name} is no further disc of {opened[0].path.name} (their .discinfo differ): "
                "give the discs of one set, or import them one by one"
            )


def _version(medium: Medium, created: str, checked: Sequence[Checked]) -> str:
    """Sorts by release and date; the same bytes have the same version."""
    digest = hashlib.sha256("".join(one.sha256 for one in checked).encode()).hexdigest()
    return f"{medium.release}-{created or 0}.{digest[:8]}"


@dataclass(slots=True)
class _Work:
    """One import in its folder."""

    name: str
    medium: Medium
    isos: Sequence[IsoFile]
    images: Path
    folder: Path
    tell: Tell
    files: dict[str, ImageFile] = field(default_factory=dict)  # of the image, without those of the tree
    tree: dict[str, ImageFile] = field(default_factory=dict)
    done_bytes: int = 0

    def needed_bytes(self) -> int:
        if self.medium.whole_iso:
            return self.isos[0].path.stat().st_size + (256 << 20)
        several = _ROOM_FOR_AN_INDEX if len(self.isos) > 1 else 0
        return sum(iso.size_bytes for iso in self.isos) + several

    def build(self, place: Path, checked: Sequence[Checked], now: float) -> ImportedImage:
        """Lays everything into `folder`; what is to be there when it is published at `place`."""
        self.folder.mkdir()
        live = self._keep_iso(checked[0]) if self.medium.whole_iso else self._keep_tree()
        self._take(self.medium.kernel, "linux")
        self._take(self.medium.initrd, "initrd.gz")
        self._take_loaders()
        if self.tree:
            self.files[TREE_LIST] = write_tree_list(self.folder, self.tree)
        for iso in self.isos:
            iso.check_unchanged()
        os.sync()  # once for all: the files of a tree are too many to wait for each of them
        return ImportedImage(
            path=place,
            name=self.name,
            version=place.name,
            arch=self.medium.arch,
            suite=self.medium.suite,
            kernel_version=kernel_version(self.folder / "linux"),
            imported_at=now,
            files=self.files,
            sources={iso.path.name: one.sha256 for iso, one in zip(self.isos, checked, strict=True)},
            installer=self.medium.installer,
            distribution=self.medium.distribution,
            release=self.medium.release,
            tree=TREE if self.tree else None,
            live_image=live,
            verified=_weakest(checked),
            tree_bytes=sum(file.size for file in self.tree.values()),
        )

    def _keep_iso(self, checked: Checked) -> str:
        stream = self.isos[0].stream
        stream.seek(0)
        found = write_file(stream, self.folder / LIVE_ISO)
        if found.sha256 != checked.sha256:
            raise ImportProblem(f"{self.isos[0].path.name} changed while it was read: nothing was imported")
        self.files[LIVE_ISO] = found
        return LIVE_ISO

    def _keep_tree(self) -> str | None:
        total = sum(iso.size_bytes for iso in self.isos)
        added: list[str] = []
        for number, iso in enumerate(self.isos):
            for name in iso.files:
                inside = f"{TREE}/{name}"
                if inside in self.tree or (number and "repodata" in name.split("/")):
                    continue
                self._report(name, total)
                self.tree[inside] = iso.copy(name, self.folder / inside)
                self.done_bytes += self.tree[inside].size
                if number:
                    added.append(name)
            for name, target in iso.links.items():
                self._link(f"{TREE}/{target}", f"{TREE}/{name}")
        self._index(added)
        live = self.medium.live_image
        return f"{TREE}/{live}" if live is not None else None

    def _report(self, name: str, total: int) -> None:
        self.tell(Progress(stage=ImportStage.UNPACK, done_bytes=self.done_bytes, total_bytes=total, note=name))

    def _link(self, target: str, name: str) -> None:
        """A link of the medium becomes a second name of the file: HTTP knows no links."""
        if name in self.tree or target not in self.tree:
            return
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).hardlink_to(self.folder / target)
        self.tree[name] = self.tree[target]

    def _index(self, added: Sequence[str]) -> None:
        """Repositories that grew are indexed anew."""
        names = [name.removeprefix(f"{TREE}/") for name in self.tree]
        for repository in repodata.repositories_of(names, added):
            self.tell(Progress(stage=ImportStage.UNPACK, note=f"indexing the packages of {len(self.isos)} discs"))
            root = self.folder / TREE / repository
            prefix = f"{root.relative_to(self.folder)}/repodata/"
            repodata.rebuild(root)
            self.tree = {name: file for name, file in self.tree.items() if not name.startswith(prefix)}
            for path in sorted((root / "repodata").rglob("*")):
                if path.is_file():
                    inside = str(path.relative_to(self.folder))
                    self.tree[inside] = ImageFile(size=path.stat().st_size, sha256=sha256_of(path))

    def _take(self, name: str, inside: str) -> None:
        """A file of the medium under the name that it has in every image."""
        from_tree = self.folder / TREE / name
        target = self.folder / inside
        if f"{TREE}/{name}" in self.tree:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(from_tree)
            self.files[inside] = self.tree[f"{TREE}/{name}"]
        else:
            self.files[inside] = self.isos[0].copy(name, target)

    def _take_loaders(self) -> None:
        wanted = _EFI_LOADERS[self.medium.arch]
        for name in self.isos[0].files:
            folder, _, last = name.lower().rpartition("/")
            inside = wanted.get(last) if folder == "efi/boot" else None
            if inside is not None and inside not in self.files:
                self._take(name, inside)


def _weakest(checked: Sequence[Checked]) -> Verified:
    return min((one.verified for one in checked), key=_TRUST.index)


def _vouched(image: ImportedImage, verified: Verified, aside: Path) -> ImportedImage:
    """The image that is there already; from now on somebody better vouches for it, if this time there is one."""
    if _TRUST.index(verified) <= _TRUST.index(image.verified):
        return image
    better = replace(image, verified=verified)
    rewrite_manifest(better, aside)
    return better
