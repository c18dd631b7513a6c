"""Brings Debian's netboot installers and boot programs here: every byte checked against the archive's signature.

Chain: InRelease (gpgv) -> Packages.xz (SHA256) -> .deb (Size, SHA256) -> the files a host boots.
An image is written beside its place and renamed at the end: it is whole or it is not there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import errno
import fcntl
import hashlib
import json
import lzma
import os
import re
import secrets
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from debian.arfile import ArError
from debian.deb822 import Packages, Release
from debian.debfile import DebError, DebFile
from debian.debian_support import Version

if TYPE_CHECKING:  # who only reads images (every process does) need not carry it
    import requests

DEBIAN_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 60
DOWNLOAD_TRIES: Final = 3  # a broken download goes on where it broke
_CHUNK: Final = 1 << 18
_DOWNLOAD_CHUNK: Final = 1 << 15  # what is lost at most when a download breaks
_MAX_INDEX_BYTES: Final = 64 << 20  # InRelease has 0.2 MB and Packages.xz 10 MB
_STALE_DOWNLOAD_S: Final = 7 * 86400


class ImportProblem(Exception):
    """The import did not happen and nothing is left of it; the message is one sentence that says what to do."""


class _Broken(Exception):
    """A download ended early; what came is on the disk."""


class ImportStage(enum.Enum):
    """Where an import is."""

    INDEX = "index"  # InRelease and Packages.xz
    DOWNLOAD = "download"
    UNPACK = "unpack"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of progress; `done_bytes` of `total_bytes` in this stage, `note` is a short text for people."""

    stage: ImportStage
    done_bytes: int = 0
    total_bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A row of the catalogue: the package of one suite and what of it becomes an image."""

    suite: str
    package: str
    arch: str = "amd64"
    prefix: str  # the folder inside the package
    files: Mapping[str, str]  # name below the prefix -> name in the image
    needed: tuple[str, ...]  # names in the image without which it is of no use

    @property
    def is_installer(self) -> bool:
        """Whether hosts can be installed with it; the others are programs that hosts boot."""
        return "linux" in self.needed


_INSTALLER: Final[Mapping[str, str]] = {"linux": "linux", "initrd.gz": "initrd.gz"}
_LOADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "amd64": {
        "pxelinux.0": "loaders/pxelinux.0",
        "boot-screens/ldlinux.c32": "loaders/ldlinux.c32",
        "boot-screens/libcom32.c32": "loaders/libcom32.c32",
        "boot-screens/libutil.c32": "loaders/libutil.c32",
        "boot-screens/vesamenu.c32": "loaders/vesamenu.c32",
        "bootnetx64.efi": "loaders/bootnetx64.efi",
        "grubx64.efi": "loaders/grubx64.efi",
    },
    "arm64": {"bootnetaa64.efi": "loaders/bootnetaa64.efi", "grubaa64.efi": "loaders/grubaa64.efi"},
}
_NEEDED_LOADERS: Final = {
    "amd64": ("loaders/pxelinux.0", "loaders/ldlinux.c32"),
    "arm64": ("loaders/bootnetaa64.efi", "loaders/grubaa64.efi"),
}


def _debian(suite: str, release: int, arch: str = "amd64") -> CatalogueEntry:
    """Debian's text installer. Its `grub/` becomes loaders/grub/ as a whole."""
    return CatalogueEntry(
        suite=suite,
        package=f"debian-installer-{release}-netboot-{arch}",
        arch=arch,
        prefix=f"usr/lib/debian-installer/images/{release}/{arch}/text/debian-installer/{arch}/",
        files={**_INSTALLER, **_LOADERS[arch]},
        needed=(*_INSTALLER.values(), *_NEEDED_LOADERS[arch]),
    )


_IPXE_FILES: Final = ("undionly.kpxe", "snponly.efi", "ipxe-arm64.efi")

CATALOGUE: Final[Mapping[str, CatalogueEntry]] = {
    "debian-13": _debian("trixie", 13),
    "debian-12": _debian("bookworm", 12),
    "debian-13-arm64": _debian("trixie", 13, "arm64"),
    "debian-12-arm64": _debian("bookworm", 12, "arm64"),
    "memtest": CatalogueEntry(
        suite="trixie",
        package="memtest86+",
        prefix="boot/",
        files={"memtest86+x64.bin": "memtest.bin", "memtest86+x64.efi": "memtest.efi"},
        needed=("memtest.bin", "memtest.efi"),
    ),
    "ipxe": CatalogueEntry(
        suite="trixie",
        package="ipxe",
        prefix="usr/lib/ipxe/",
        files={name: f"loaders/{name}" for name in _IPXE_FILES},
        needed=tuple(f"loaders/{name}" for name in _IPXE_FILES),
    ),
}


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
    files: Mapping[str, ImageFile]  # by name relative to `path`
    sources: Mapping[str, str]  # SHA256 of InRelease, Packages.xz and the .deb, by name
    fresh: bool = True

    @property
    def boot_path(self) -> str:
        """The image below the boot URL and the TFTP root: `images/<name>/<version>`."""
        return f"images/{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True, slots=True)
class MirrorSource:
    """A Debian mirror: `http://host/debian`, `https://…` or `http+unix://%2Fpath%2Frelay.sock/debian`."""

    base_url: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(https?|http\+unix)://[^\s/]+(/[^\s?#]*)?", self.base_url):
            raise ImportProblem(f"{self.base_url!r} is no mirror address: write it like http://mirror.example/debian")

    def url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}/{path}"

    def session(self) -> requests.Session:
        """A session that speaks both address forms."""
        import requests_unixsocket

        session: requests.Session = requests_unixsocket.Session()  # type: ignore[no-untyped-call]
        return session


def apt_mirror() -> MirrorSource:
    """The Debian mirror apt is configured with on this machine; raises ImportProblem when there is none."""
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        raise ImportProblem("apt could not be asked for its mirror: give --mirror http://HOST/debian") from None
    for uri in done.stdout.split():
        if re.fullmatch(r"https?://.*/debian/?", uri):
            return MirrorSource(uri.rstrip("/"))
    raise ImportProblem("apt is configured with no Debian mirror: give --mirror http://HOST/debian")


def import_debian(
    name: str = "debian-13",
    *,
    data_dir: Path,
    mirror: MirrorSource,
    keyring: Path = DEBIAN_KEYRING,
    progress: Callable[[Progress], None] = lambda _: None,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    now: Callable[[], float] = time.time,
) -> ImportedImage:
    """Imports the current netboot installer of `name` (see CATALOGUE) and returns it; raises ImportProblem.

    A second import of the same version changes nothing (`fresh` False). A partial download is kept in
    `images/.downloads` and continued by the next import. Two imports of one name at once: the second is refused.
    """
    release = CATALOGUE.get(name)
    if release is None:
        raise ImportProblem(f"unknown image {name!r}: choose one of {', '.join(sorted(CATALOGUE))}")
    images = data_dir / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
        with _lock(images, name) as held:
            if not held:
                raise ImportProblem(f"another import of {name} is running: wait for it or stop it")
            _remove_staging(images, name)
            staging = images / f".incoming-{name}-{secrets.token_hex(4)}"
            staging.mkdir()
            try:
                with mirror.session() as session:
                    job = _Import(name, release, images, staging, mirror, session, progress, free_bytes, now)
                    return job.run(keyring)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise _disk_problem(error, images) from error


def sweep_incoming(data_dir: Path, now: float | None = None) -> list[Path]:
    """Removes what dead imports left (staging folders, downloads untouched for a week); returns what it removed.

    Safe beside a running import: its name is locked.
    """
    images = data_dir / "images"
    removed: list[Path] = []
    if not images.is_dir():
        return removed
    for name in {_staged_name(path) for path in images.glob(".incoming-*")}:
        with _lock(images, name) as held:
            if held:
                removed += _remove_staging(images, name)
    moment = time.time() if now is None else now
    for path in (images / ".downloads").glob("*.part"):
        if moment - path.stat().st_mtime > _STALE_DOWNLOAD_S:
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


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
            kernel_version=None if raw["kernel_version"] is None else str(raw["kernel_version"]),
            imported_at=float(raw["imported_at"]),
            files=files,
            sources={str(key): str(value) for key, value in raw["sources"].items()},
            fresh=False,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImportProblem(f"{path} holds no readable image ({error}): remove it and import again") from None


def verify_image(path: Path) -> list[str]:
    """Hashes every file of an image again; returns what is wrong, one sentence each (empty: all is well)."""
    try:
        image = load_image(path)
    except ImportProblem as problem:
        return [str(problem)]
    wrong = []
    for name, expected in sorted(image.files.items()):
        file = path / name
        if file.is_symlink() or not file.is_file():
            wrong.append(f"{name} is missing")
        elif file.stat().st_size != expected.size:
            wrong.append(f"{name} has {file.stat().st_size} bytes instead of {expected.size}")
        elif _sha256(file) != expected.sha256:
            wrong.append(f"{name} was changed: its SHA256 is not the imported one")
    known = {*image.files, "image.json"}
    present = {str(found.relative_to(path)) for found in path.rglob("*") if not found.is_dir()}
    return wrong + [f"{name} does not belong to the image" for name in sorted(present - known)]


@dataclass(frozen=True, slots=True)
class _Import:
    """One running import."""

    name: str
    release: CatalogueEntry
    images: Path
    staging: Path
    mirror: MirrorSource
    session: requests.Session
    progress: Callable[[Progress], None]
    free_bytes: Callable[[Path], int]
    now: Callable[[], float]

    def run(self, keyring: Path) -> ImportedImage:
        sources: dict[str, str] = {}
        index = self._verified_release(keyring, sources)
        stanza = self._stanza(index, sources)
        version = str(stanza["Version"])
        if not re.fullmatch(r"[0-9][A-Za-z0-9.+~:-]*", version):
            raise ImportProblem(f"{self.release.package} has the strange version {version!r}: nothing was imported")
        place = self.images / self.name / version.replace(":", "_")
        if (place / "image.json").is_file():
            self.progress(Progress(stage=ImportStage.DONE, note=f"{self.name} {version} is already imported"))
            return load_image(place)
        deb = self._download(stanza)
        sources[Path(str(stanza["Filename"])).name] = str(stanza["SHA256"])
        work = self.staging / "image"
        files = self._unpack(deb, work)
        manifest = ImportedImage(
            path=place,
            name=self.name,
            version=version,
            arch=self.release.arch,
            suite=self.release.suite,
            kernel_version=self._kernel_version(work, stanza),
            imported_at=self.now(),
            files=files,
            sources=sources,
        )
        _write_manifest(work, manifest)
        place.parent.mkdir(exist_ok=True)
        work.rename(place)
        _sync_folder(place.parent)
        deb.unlink(missing_ok=True)
        self.progress(Progress(stage=ImportStage.DONE, note=f"{self.name} {version} imported"))
        return manifest

    def _kernel_version(self, work: Path, stanza: Packages) -> str | None:
        return (_kernel_version(work / "linux") or _built_using_linux(stanza)) if self.release.is_installer else None

    def _verified_release(self, keyring: Path, sources: dict[str, str]) -> Release:
        """InRelease, and only the part of it that the keyring vouches for."""
        path = f"dists/{self.release.suite}/InRelease"
        self.progress(Progress(stage=ImportStage.INDEX, note=path))
        signed, clear = self.staging / "InRelease", self.staging / "Release"
        sources["InRelease"] = self._small(path, signed)
        check_signature(signed, clear, keyring)
        with clear.open("rb") as stream:
            index = Release(stream)
        names = {index.get("Suite"), index.get("Codename")}
        if self.release.suite not in names:
            shown = " / ".join(sorted(str(name) for name in names if name))
            raise ImportProblem(
                f"the mirror's InRelease is of {shown or 'no suite'}, not of {self.release.suite}: "
                "choose another mirror"
            )
        self._check_validity(index)
        return index

    def _check_validity(self, index: Release) -> None:
        limit = index.get("Valid-Until")
        if limit is None:
            return
        try:
            expires = parsedate_to_datetime(limit).timestamp()
        except ValueError:
            raise ImportProblem(f"the mirror's InRelease has an unreadable Valid-Until: {limit!r}") from None
        if self.now() > expires:
            raise ImportProblem(
                f"the mirror's InRelease was valid until {limit}: the mirror is stale, or this machine's clock is wrong"
            )

    def _stanza(self, index: Release, sources: dict[str, str]) -> Packages:
        """The newest stanza of the wanted package in the verified Packages.xz."""
        name = f"main/binary-{self.release.arch}/Packages.xz"
        entry = next((item for item in index.get("SHA256", []) if item["name"] == name), None)
        if entry is None:
            raise ImportProblem(f"the mirror's InRelease has no SHA256 of {name}: choose another mirror")
        path = f"dists/{self.release.suite}/{name}"
        self.progress(Progress(stage=ImportStage.INDEX, note=path))
        target = self.staging / "Packages.xz"
        digest = self._small(path, target)
        if digest != entry["sha256"]:
            raise ImportProblem(
                f"{name} has a SHA256 that InRelease does not vouch for: the mirror is broken or just being updated, "
                "try again in some minutes"
            )
        sources["Packages.xz"] = digest
        try:
            stanzas = [Packages(text) for text in _stanzas(target, self.release.package)]
        except (lzma.LZMAError, EOFError) as error:
            raise ImportProblem(f"{name} cannot be unpacked ({error}): choose another mirror") from None
        if not stanzas:
            raise ImportProblem(f"the mirror has no package {self.release.package}: choose a complete mirror")
        newest = max(stanzas, key=lambda stanza: Version(str(stanza["Version"])))
        missing = [field for field in ("Filename", "Size", "SHA256", "Version") if field not in newest]
        if missing:
            raise ImportProblem(f"the index entry of {self.release.package} lacks {', '.join(missing)}")
        return newest

    def _small(self, path: str, target: Path) -> str:
        """Downloads an index as a whole; returns its SHA256."""
        import requests

        hasher = hashlib.sha256()
        size = 0
        with self._get(path, {}) as response, target.open("wb") as out:
            try:
                for chunk in response.iter_content(_CHUNK):
                    size += len(chunk)
                    if size > _MAX_INDEX_BYTES:
                        raise ImportProblem(f"{self.mirror.url(path)} is too large: is this a Debian mirror?")
                    hasher.update(chunk)
                    out.write(chunk)
            except requests.RequestException as error:
                raise ImportProblem(f"{self.mirror.url(path)} broke off ({_cause(error)}): try again") from None
        return hasher.hexdigest()

    def _get(self, path: str, headers: dict[str, str]) -> requests.Response:
        """An open response with status 200 or 206 (or 416 to a range); everything else is one clear sentence."""
        import requests

        url = self.mirror.url(path)
        headers = {"Accept-Encoding": "identity", **headers}  # we hash what is on the disk of the mirror
        try:
            response = self.session.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
        except requests.Timeout:
            raise ImportProblem(f"the mirror did not answer in time for {url}: try again or choose another") from None
        except requests.ConnectionError as error:
            raise ImportProblem(f"the mirror cannot be reached at {url} ({_cause(error)}): is it up?") from None
        except requests.RequestException as error:
            raise ImportProblem(f"{url} cannot be fetched: {_cause(error)}") from None
        if response.status_code in (200, 206) or (response.status_code == 416 and "Range" in headers):
            return response
        response.close()
        if response.status_code == 404:
            raise ImportProblem(f"{url} does not exist (404): check the mirror's address")
        raise ImportProblem(f"the mirror answered {response.status_code} for {url}: try again or choose another")

    def _download(self, stanza: Packages) -> Path:
        """The .deb with exact size and SHA256, continued from an earlier try where there is one."""
        path, size, digest = str(stanza["Filename"]), int(stanza["Size"]), str(stanza["SHA256"])
        plain = re.fullmatch(r"pool/[A-Za-z0-9._+~/-]+\.deb", path) is not None and ".." not in path
        if not plain or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ImportProblem(f"the mirror names a strange file for {self.release.package}: {path!r}")
        downloads = self.images / ".downloads"
        downloads.mkdir(exist_ok=True)
        part = downloads / f"{digest}.part"
        if part.exists() and part.stat().st_size > size:
            part.unlink()
        self._check_space(stanza, part.stat().st_size if part.exists() else 0)
        try:
            for attempt in range(1, DOWNLOAD_TRIES + 1):
                try:
                    found = self._continue(path, part, size)
                    break
                except _Broken as broken:
                    if attempt == DOWNLOAD_TRIES:
                        raise ImportProblem(
                            f"the download of {path} broke off at {part.stat().st_size} of {size} bytes ({broken}): "
                            "try again, it goes on from there"
                        ) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)
            raise
        if found != digest:
            part.unlink(missing_ok=True)
            raise ImportProblem(
                f"{path} has a SHA256 that the mirror's index does not vouch for: nothing was imported, "
                "try again or choose another mirror"
            )
        return part

    def _check_space(self, stanza: Packages, present: int) -> None:
        """The .deb and what it unpacks to must fit; raises ImportProblem."""
        needed = int(stanza["Size"]) - present + int(stanza.get("Installed-Size", 0)) * 1024
        available = self.free_bytes(self.images)
        if available < needed:
            raise ImportProblem(
                f"{self.name} needs {_megabytes(needed)} in {self.images}, {_megabytes(available)} are free: make room"
            )

    def _continue(self, path: str, part: Path, size: int) -> str:
        """Fetches what is missing of `part`; returns the SHA256 of the whole. Raises _Broken when it ended early."""
        import requests

        hasher = hashlib.sha256()
        done = 0
        if part.exists():
            done = _feed(part, hasher)
        if done == size:
            return hasher.hexdigest()
        with self._get(path, {"Range": f"bytes={done}-"} if done else {}) as response:
            if done and not (
                response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
            ):
                # The mirror cannot continue: from the start (a 416 has no body to read).
                hasher, done = hashlib.sha256(), 0
                if response.status_code != 200:
                    part.unlink()
                    raise _Broken("the mirror cannot continue a download")
            with part.open("r+b" if done else "wb") as out:
                out.seek(done)
                try:
                    for chunk in response.iter_content(_DOWNLOAD_CHUNK):
                        done += len(chunk)
                        if done > size:
                            out.close()
                            part.unlink(missing_ok=True)
                            raise ImportProblem(f"{path} is larger than its index says: choose another mirror")
                        hasher.update(chunk)
                        out.write(chunk)
                        self.progress(
                            Progress(stage=ImportStage.DOWNLOAD, done_bytes=done, total_bytes=size, note=path)
                        )
                except requests.RequestException as error:
                    raise _Broken(_cause(error)) from None
        if done < size:
            raise _Broken("the mirror sent less than the file's size")
        return hasher.hexdigest()

    def _unpack(self, deb: Path, work: Path) -> dict[str, ImageFile]:
        """Writes the wanted files below `work`, synced to the disk."""
        files: dict[str, ImageFile] = {}
        try:
            with DebFile(filename=str(deb)) as package, package.data.tgz() as archive:
                for member in archive:
                    target = self._target(member)
                    if target is None:
                        continue
                    if target in files:
                        raise ImportProblem(f"{self.release.package} holds {member.name} twice: nothing was imported")
                    source = archive.extractfile(member)
                    if source is None:
                        raise ImportProblem(f"{member.name} in {self.release.package} is no plain file")
                    files[target] = _write_file(source, work / target)
                    total = sum(file.size for file in files.values())
                    self.progress(Progress(stage=ImportStage.UNPACK, done_bytes=total, note=target))
        except (DebError, ArError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
            raise ImportProblem(f"{self.release.package} cannot be unpacked ({error}): nothing was imported") from None
        missing = [name for name in self.release.needed if name not in files]
        if missing:
            raise ImportProblem(f"{self.release.package} lacks {', '.join(missing)}: nothing was imported")
        return files

    def _target(self, member: tarfile.TarInfo) -> str | None:
        """The name in the image of a member that is wanted; raises ImportProblem for a path that leads out."""
        name = str(member.name).removeprefix("./")
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
            raise ImportProblem(f"{self.release.package} holds the unsafe path {member.name!r}: nothing was imported")
        if not name.startswith(self.release.prefix) or member.isdir():
            return None
        inner = name.removeprefix(self.release.prefix)
        is_grubs = self.release.is_installer and inner.startswith("grub/")
        target = f"loaders/{inner}" if is_grubs else self.release.files.get(inner)
        if target is not None and not member.isreg():
            raise ImportProblem(f"{member.name} in {self.release.package} is no plain file: nothing was imported")
        return target


def check_signature(signed: Path, clear: Path, keyring: Path) -> None:
    """Writes the signed text of `signed` to `clear` when a key of `keyring` signed it; raises ImportProblem."""
    if not keyring.is_file():
        raise ImportProblem(f"the keyring {keyring} does not exist: install debian-archive-keyring or give --keyring")
    command = ["gpgv", "--status-fd", "1", "--keyring", str(keyring.resolve()), "--output", str(clear), str(signed)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        raise ImportProblem("gpgv is not installed: apt-get install gpgv") from None
    except subprocess.TimeoutExpired:
        raise ImportProblem("gpgv did not end within 60 s: try again") from None
    said = set(re.findall(r"^\[GNUPG:\] ([A-Z_]+)", done.stdout.decode(errors="replace"), re.MULTILINE))
    # Several keys sign a release and an old keyring lacks some of them (ERRSIG): one good signature is enough,
    # a single bad one is too many.
    if "BADSIG" in said:
        raise ImportProblem("the signature of the mirror's InRelease is bad, it was changed: nothing was imported")
    if "VALIDSIG" not in said or "GOODSIG" not in said or not clear.is_file():
        raise ImportProblem(
            f"the mirror's InRelease is not signed by a key of {keyring}: "
            "choose another mirror, or update debian-archive-keyring; nothing was imported"
        )


@contextlib.contextmanager
def _lock(images: Path, name: str) -> Iterator[bool]:
    """Holds the name's lock (the kernel frees it when the process dies); yields whether it was free."""
    with (images / f".lock-{name}").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _staged_name(path: Path) -> str:
    return path.name.removeprefix(".incoming-").rpartition("-")[0]


def _remove_staging(images: Path, name: str) -> list[Path]:
    """Removes the staging folders of `name`; the caller holds its lock, so their makers are dead."""
    dead = [path for path in images.glob(f".incoming-{name}-*") if _staged_name(path) == name]
    for path in dead:
        shutil.rmtree(path, ignore_errors=True)
    return dead


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


def _write_file(source: IO[bytes], target: Path) -> ImageFile:
    target.parent.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    size = 0
    with target.open("xb") as out:
        while chunk := source.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return ImageFile(size=size, sha256=hasher.hexdigest())


def _write_manifest(work: Path, image: ImportedImage) -> None:
    """image.json, then every folder is synced: after the rename nothing can be missing."""
    raw = {
        "name": image.name,
        "version": image.version,
        "arch": image.arch,
        "suite": image.suite,
        "kernel_version": image.kernel_version,
        "imported_at": image.imported_at,
        "sources": dict(image.sources),
        "files": {name: dataclasses.asdict(file) for name, file in sorted(image.files.items())},
    }
    with (work / "image.json").open("x", encoding="utf-8") as out:
        json.dump(raw, out, indent=1, sort_keys=True)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    for folder in (*[path for path in work.rglob("*") if path.is_dir()], work):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _kernel_version(linux: Path) -> str | None:
    """The version in a bzImage: offset 0x20e points to a text (Documentation/arch/x86/boot.rst, kernel_version)."""
    with linux.open("rb") as stream:
        head = stream.read(0x210)
        if len(head) < 0x210 or head[0x202:0x206] != b"HdrS":
            return None
        stream.seek(int.from_bytes(head[0x20E:0x210], "little") + 0x200)
        text = stream.read(128).split(b"\0")[0].decode("ascii", errors="replace")
    return text.split(" ")[0] or None


def _built_using_linux(stanza: Packages) -> str | None:
    """The version of the source package linux, as Built-Using tells it."""
    match = re.search(r"(?:^|,\s*)linux \(= ([^)]+)\)", str(stanza.get("Built-Using", "")))
    return match[1] if match else None


def _feed(path: Path, hasher: Any) -> int:
    size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return size


def _sha256(path: Path) -> str:
    hasher = hashlib.sha256()
    _feed(path, hasher)
    return hasher.hexdigest()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _cause(error: BaseException) -> str:
    """The innermost reason of a network error, short enough for one sentence."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "No such file or directory", "timed out"):
        if known in text:
            return known.lower()
    if "IncompleteRead" in text or "Connection broken" in text:
        return "the connection was cut"
    return type(error).__name__


def _disk_problem(error: OSError, images: Path) -> ImportProblem:
    """A file system error as one sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ImportProblem(f"the disk of {images} is full: make room and import again; nothing was imported")
    return ImportProblem(f"{images} cannot be written ({error.strerror or error}): check its owner and its disk")
