"""The images in the data directory: their manifests, whether their files are still as they were imported.

An image is a folder `images/<name>/<version>` with `image.json`. Its installation tree, which may hold ten thousand
files, is listed beside it in `tree.sha256` (as sha256sum writes it), so that who serves images need not carry it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from debian.debian_support import Version

from pxeforge.domain.installer import Installer as Installer

TREE: Final = "tree"  # the folder of the installation tree in an image
TREE_LIST: Final = "tree.sha256"
QUESTIONS: Final = ".questions"  # made from the initrd by who asks for it first; it can be deleted at any time
_CHUNK: Final = 1 << 20
_DEBIAN_RELEASES: Final = {"bookworm": "12", "trixie": "13"}  # of images that were imported before they were told
_LISTED: Final = re.compile(r"([0-9a-f]{64})  (.+)")


class ImportProblem(Exception):
    """The import did not happen and nothing is left of it; the message is one sentence that says what to do."""


class Verified(enum.StrEnum):
    """Who vouches for an image's bytes."""

    SIGNATURE = "signature"  # a key of the vendor
    CHECKSUM = "checksum"  # the operator, by its SHA-256
    UNVERIFIED = "unverified"  # nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One file of an image: size in bytes and SHA256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedImage:
    """An image in the data directory. `fresh` is False when this version was already there."""

    path: Path  # data_dir/images/<name>/<version>
    name: str
    version: str
    arch: str
    suite: str
    kernel_version: str | None  # like 6.12.107+deb13-amd64: udebs of the mirror must have the same
    imported_at: float  # unix seconds
    files: Mapping[str, ImageFile]  # by name relative to `path`; those of the tree stand in TREE_LIST
    sources: Mapping[str, str]  # SHA256 of InRelease, Packages.xz and the .deb, or of the ISOs, by name
    fresh: bool = True
    installer: Installer | None = None  # None: a program that hosts boot, no installer
    distribution: str | None = None  # debian, ubuntu, centos, rocky, almalinux, fedora, opensuse
    release: str | None = None  # 13, 9.4, 24.04
    tree: str | None = None  # the folder with the whole installation tree, served by HTTP
    live_image: str | None = None  # the squashfs or ISO that the installer fetches
    verified: Verified = Verified.SIGNATURE
    tree_bytes: int = 0

    @property
    def boot_path(self) -> str:
        """The image below the boot URL and the TFTP root: `images/<name>/<version>`."""
        return f"images/{self.path.parent.name}/{self.path.name}"

    @property
    def size_bytes(self) -> int:
        """All of it, with the tree."""
        return self.tree_bytes + sum(file.size for file in self.files.values())

    def file(self, name: str) -> Path | None:
        """A file by its name in the image, also one of the tree; None where it has none of that name.

        Nothing that is not a plain file of the image, no link and nothing beside it, has a name here.
        """
        if name in self.files:
            return self.path / name
        if self.tree is None or not name.startswith(f"{self.tree}/"):
            return None
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            return None
        found = self.path.joinpath(*parts)
        try:
            return found if found.is_file() and found.resolve() == self.path.resolve().joinpath(*parts) else None
        except OSError:
            return None


def list_images(data_dir: Path) -> list[ImportedImage]:
    """All whole images, by name and version (oldest first)."""
    found = []
    for manifest in (data_dir / "images").glob("[!.]*/*/image.json"):
        with contextlib.suppress(ImportProblem):
            found.append(load_image(manifest.parent))
    return sorted(found, key=lambda image: (image.name, Version(image.version)))


def latest_image(data_dir: Path, name: str) -> ImportedImage | None:
    """The newest version of `name`, or None."""
    return next((image for image in reversed(list_images(data_dir)) if image.name == name), None)


def load_image(path: Path) -> ImportedImage:
    """Reads `image.json` of one image folder; raises ImportProblem when it is missing or damaged."""
    try:
        raw: dict[str, Any] = json.loads((path / "image.json").read_text(encoding="utf-8"))
        files = {str(key): ImageFile(size=int(v["size"]), sha256=str(v["sha256"])) for key, v in raw["files"].items()}
        return ImportedImage(
            path=path,
            name=str(raw["name"]),
            version=str(raw["version"]),
            arch=str(raw["arch"]),
            suite=str(raw["suite"]),
            kernel_version=_text(raw["kernel_version"]),
            imported_at=float(raw["imported_at"]),
            files=files,
            sources={str(key): str(value) for key, value in raw["sources"].items()},
            fresh=False,
            **_family(raw, files),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImportProblem(f"{path} holds no readable image ({error}): remove it and import again") from None


def _family(raw: Mapping[str, Any], files: Mapping[str, ImageFile]) -> dict[str, Any]:
    """What images tell since there are others than Debian's; without it they are Debian's, from a signed mirror."""
    if "installer" not in raw:
        if "linux" not in files:
            return {}
        release = _DEBIAN_RELEASES.get(str(raw["suite"]))
        return {"installer": Installer.DEBIAN, "distribution": "debian", "release": release}
    return {
        "installer": None if raw["installer"] is None else Installer(raw["installer"]),
        "distribution": _text(raw["distribution"]),
        "release": _text(raw["release"]),
        "tree": _inside(raw["tree"]),
        "live_image": _inside(raw["live_image"]),
        "verified": Verified(raw["verified"]),
        "tree_bytes": int(raw.get("tree_bytes", 0)),
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _inside(value: Any) -> str | None:
    """A name inside the image; raises ValueError for one that leads out."""
    if value is not None and any(part in ("", ".", "..") for part in str(value).split("/")):
        raise ValueError(f"{value!r} is no name inside an image")
    return _text(value)


def write_manifest(work: Path, image: ImportedImage) -> None:
    """image.json, then every folder is synced: after the rename nothing can be missing."""
    with (work / "image.json").open("x", encoding="utf-8") as out:
        out.write(_manifest(image))
        out.flush()
        os.fsync(out.fileno())
    for folder in (*[path for path in work.rglob("*") if path.is_dir()], work):
        sync_folder(folder)


def rewrite_manifest(image: ImportedImage, aside: Path) -> None:
    """What is told of an image at its place changes, its files do not. `aside`: a folder on the same disk."""
    fresh = aside / "image.json"
    with fresh.open("x", encoding="utf-8") as out:
        out.write(_manifest(image))
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(image.path / "image.json")
    sync_folder(image.path)


def _manifest(image: ImportedImage) -> str:
    raw = {
        field.name: getattr(image, field.name)
        for field in dataclasses.fields(image)
        if field.name not in ("path", "fresh", "files", "sources")
    }
    raw["sources"] = dict(image.sources)
    raw["files"] = {name: dataclasses.asdict(file) for name, file in sorted(image.files.items())}
    return f"{json.dumps(raw, indent=1, sort_keys=True)}\n"


def write_tree_list(work: Path, files: Mapping[str, ImageFile]) -> ImageFile:
    """TREE_LIST in the folder `work` of an image; `files` by their names in the image."""
    text = "".join(f"{file.sha256}  {name}\n" for name, file in sorted(files.items()))
    content = text.encode("utf-8", "surrogateescape")
    with (work / TREE_LIST).open("xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    return ImageFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def read_tree_list(path: Path) -> Iterator[tuple[str, str]]:
    """Name in the image and SHA256 of every file of the tree; raises ImportProblem when the list is damaged."""
    try:
        text = (path / TREE_LIST).read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        raise ImportProblem(f"{path} has lost {TREE_LIST}: remove the image and import it again") from None
    for line in text.split("\n")[:-1]:
        found = _LISTED.fullmatch(line)
        if found is None:
            raise ImportProblem(f"{path / TREE_LIST} is damaged: remove the image and import it again")
        yield found[2], found[1]


def verify_image(path: Path) -> list[str]:
    """Hashes every file of an image again; returns what is wrong, one sentence each (empty: all is well)."""
    try:
        image = load_image(path)
        listed = dict(read_tree_list(path)) if image.tree is not None else {}
    except ImportProblem as problem:
        return [str(problem)]
    wrong = [fault for name, file in sorted(image.files.items()) if (fault := _fault(path / name, name, file))]
    wrong += [fault for name, digest in sorted(listed.items()) if (fault := _changed(path / name, name, digest))]
    known = {*image.files, *listed, "image.json", QUESTIONS}
    present = {str(found.relative_to(path)) for found in path.rglob("*") if found.is_symlink() or not found.is_dir()}
    return wrong + [f"{name} does not belong to the image" for name in sorted(present - known)]


def _fault(file: Path, name: str, expected: ImageFile) -> str | None:
    if file.is_file() and not file.is_symlink() and file.stat().st_size != expected.size:
        return f"{name} has {file.stat().st_size} bytes instead of {expected.size}"
    return _changed(file, name, expected.sha256)


def _changed(file: Path, name: str, sha256: str) -> str | None:
    if file.is_symlink() or not file.is_file():
        return f"{name} is missing"
    return None if sha256_of(file) == sha256 else f"{name} was changed: its SHA256 is not the imported one"


def feed(path: Path, hasher: Any) -> int:
    """Gives a file's bytes to `hasher`; returns how many."""
    size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return size


def sha256_of(path: Path) -> str:
    hasher = hashlib.sha256()
    feed(path, hasher)
    return hasher.hexdigest()


def sync_folder(folder: Path) -> None:
    """What was renamed into the folder survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
