"""Checks of the data directory: folder, disk, key, database, images and profiles. Nothing is made or changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pxeforge.app.doctor.finding import Finding, error, note, ok, warning
from pxeforge.services import loaders
from pxeforge.services.image_catalogue import CATALOGUE
from pxeforge.services.image_store import ImportProblem, Verified, load_image
from pxeforge.store.database import Database, StoreUnavailable
from pxeforge.store.location import Location

LEAST_FREE_BYTES: Final = 2 << 30
_NO_WORK_BYTES: Final = 256 << 20
_KEY_LENGTH: Final = 44
# What a firmware asks for, by name in an image, and who fails without it.
_LOADERS: Final[Mapping[str, str]] = {
    "loaders/pxelinux.0": "BIOS hosts",
    "loaders/ldlinux.c32": "BIOS hosts",
    "loaders/bootnetx64.efi": "UEFI hosts",
    "loaders/grubx64.efi": "UEFI hosts",
}
_SYSTEM: Final = ("linux", "initrd.gz")
_IPXE_USERS: Final[Mapping[str, str]] = {
    "snponly.efi": "UEFI HTTP Boot and hosts with --loader ipxe", "undionly.kpxe": "BIOS hosts with --loader ipxe",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """`revision` is None in an empty file; `problem` says why it cannot be read."""

    is_present: bool
    revision: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageState:
    """One image folder. `wrong` names files that are missing or have another size than imported."""

    name: str  # name/version
    files: frozenset[str] = frozenset()
    wrong: tuple[str, ...] = ()
    problem: str = ""
    distribution: str | None = "debian"  # loaders for all hosts are asked of Debian's images only
    is_verified: bool = True


def check_data_dir(path: Path) -> list[Finding]:
    """Exists, is ours to write, and nobody else's to read (keys and answers live there)."""
    if not path.exists():
        parent = _existing(path)
        if not os.access(parent, os.W_OK | os.X_OK):
            return [error(f"{path} does not exist and {parent} cannot be written", "run as root or choose --data-dir")]
        return [note(f"{path} does not exist yet", "nothing: the first start of pxeforge serve makes it")]
    if not path.is_dir():
        return [error(f"{path} is not a folder", "choose another --data-dir")]
    if not os.access(path, os.W_OK | os.X_OK):
        return [error(f"{path} cannot be written", f"chown it to the user that runs pxeforge serve: {path}")]
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return [warning(f"{path} has rights {mode:04o}: others can look into it", f"chmod 0700 {path}")]
    return [ok(f"{path} is writable, with rights {mode:04o}")]


def check_disk(path: Path, free_bytes: int) -> list[Finding]:
    """Room for images, package cache and logs."""
    seen = f"{free_bytes / (1 << 30):.1f} GiB free for {path}"
    advice = "make room, or choose a --data-dir on a larger disk (an image takes 0.1 GiB, the package cache 1 GiB)"
    if free_bytes < _NO_WORK_BYTES:
        return [error(seen, advice, free_bytes=free_bytes)]
    if free_bytes < LEAST_FREE_BYTES:
        return [warning(seen, advice, free_bytes=free_bytes)]
    return [ok(seen, free_bytes=free_bytes)]


def check_key(path: Path, *, has_database: bool) -> list[Finding]:
    """secret.key: there, whole, and for its owner only."""
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        if has_database:
            return [
                error(
                    "secret.key is missing, but there is a database: its secrets cannot be read any more",
                    "restore secret.key from a backup before you start pxeforge serve, which would make a new one",
                )
            ]
        return [note("no secret.key yet", "nothing: the first start of pxeforge serve makes it")]
    except OSError as problem:
        return [error(f"secret.key cannot be read: {problem.strerror}", "run as the user that runs pxeforge serve")]
    if len(key) != _KEY_LENGTH:
        return [error("secret.key is damaged", "restore it from a backup: the secrets are encrypted with it")]
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return [error(f"secret.key has rights {mode:04o}: others can read it", f"chmod 0600 {path}")]
    return [ok("secret.key is whole and private")]


def check_database(state: DatabaseState, releases: tuple[str, ...]) -> list[Finding]:
    """`releases`: the revisions this release knows, newest first."""
    if state.problem:
        return [error(f"the database cannot be read: {state.problem}", "check the disk, or restore a backup")]
    if not state.is_present:
        return [note("no database yet", "nothing: the first start of pxeforge serve makes it")]
    if state.revision == releases[0]:
        return [ok(f"the database is at revision {state.revision}")]
    if state.revision is None or state.revision in releases:
        return [
            note(
                f"the database is at revision {state.revision or 'none'}, this release's is {releases[0]}",
                "back the data directory up: the next start of pxeforge serve upgrades it",
            )
        ]
    return [
        error(
            f"the database is at revision {state.revision}, which this release does not know",
            "run the newer release that wrote it, or restore a backup of the older one",
        )
    ]


def check_images(images: Iterable[ImageState]) -> list[Finding]:
    """At least one image; every one whole, with its kernel and the loaders of each firmware."""
    images = tuple(images)
    if not images:
        return [warning("no image: no host can be installed", "run `pxeforge image import debian-13`")]
    return [finding for image in images for finding in _image(image)]


def check_profiles(profiles: Iterable[Mapping[str, Any]], images: Iterable[str]) -> list[Finding]:
    """`profiles` as `pxeforge profile list --json` gives them; `images`: the names at hand."""
    profiles, images = tuple(profiles), frozenset(images)
    found = []
    for profile in profiles:
        name, parameters = profile["name"], profile["parameters"]
        if profile["image"] not in images:
            found.append(
                warning(
                    f"profile {name} wants the image {profile['image']}, which is not here",
                    f"run `pxeforge image import {profile['image']}`",
                )
            )
        if not parameters.get("accounts") and not parameters.get("root_password_hash"):
            found.append(
                warning(
                    f"profile {name} lets nobody log in: hosts cannot be armed for it",
                    f"pxeforge profile set {name} 'accounts=[{{name: ops, ssh_keys: [ssh-ed25519 …], sudo: true}}]'",
                )
            )
    if not profiles:
        return [note("no profile yet", "an import makes one: `pxeforge image import debian-13`")]
    return found or [ok(f"{len(profiles)} profile(s), each with its image and a way to log in")]


def read_database(location: Location) -> DatabaseState:
    """The revision, read without the right to write."""
    path = location.path
    if path is None:
        return _read_server(location)
    if not path.exists():
        return DatabaseState(is_present=False)
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as problem:
        if "no such table" in str(problem):
            return DatabaseState(is_present=True)
        return DatabaseState(is_present=True, problem=str(problem))
    return DatabaseState(is_present=True, revision=str(row[0]) if row else None)


def _read_server(location: Location) -> DatabaseState:
    database = Database(location)
    try:
        revision = database.revision()
        return DatabaseState(is_present=revision is not None, revision=revision)
    except StoreUnavailable as problem:
        return DatabaseState(is_present=True, problem=str(problem))
    finally:
        database.close()


def read_images(data_dir: Path) -> tuple[ImageState, ...]:
    """Every image folder, damaged ones too; files are compared by size only (`image verify` hashes them)."""
    found = []
    for manifest in sorted((data_dir / "images").glob("[!.]*/*/image.json")):
        folder = manifest.parent
        name = f"{folder.parent.name}/{folder.name}"
        try:
            image = load_image(folder)
        except ImportProblem as problem:
            found.append(ImageState(name=name, problem=str(problem)))
            continue
        wrong = tuple(file for file, facts in sorted(image.files.items()) if _size(folder / file) != facts.size)
        found.append(
            ImageState(
                name=name, files=frozenset(image.files), wrong=wrong, distribution=image.distribution,
                is_verified=image.verified is not Verified.UNVERIFIED,
            )
        )  # fmt: skip
    return tuple(found)


def free_bytes_of(path: Path) -> int:
    """Free bytes where the folder is, or will be."""
    return shutil.disk_usage(_existing(path)).free


def _image(image: ImageState) -> list[Finding]:
    again = f"run `pxeforge image import {image.name.partition('/')[0]}` again"
    if image.problem:
        return [error(f"image {image.name}: {image.problem}", again)]
    if image.wrong:
        return [
            error(f"image {image.name} is damaged: {', '.join(image.wrong)}", f"remove {image.name} and {again}")
        ]  # fmt: skip
    entry = CATALOGUE.get(image.name.partition("/")[0])
    needed = entry.needed if entry is not None and not (entry.is_installer and entry.arch == "amd64") else _SYSTEM
    if missing := [name for name in needed if name not in image.files]:
        return [error(f"image {image.name} has no {' and no '.join(missing)}", again)]
    if not image.is_verified:
        cure = "import it again with --sha256 or --keyring"
        return [warning(f"image {image.name} was imported unverified: nobody vouches for its files", cure)]
    if needed is not _SYSTEM or image.distribution not in (None, "debian"):
        return [ok(f"image {image.name} is whole")]
    found = []
    for who in dict.fromkeys(_LOADERS.values()):
        lost = [name for name, user in _LOADERS.items() if user == who and name not in image.files]
        if lost:
            names = ", ".join(name.removeprefix("loaders/") for name in lost)
            found.append(warning(f"image {image.name} lacks {names}: {who} cannot boot from it", again))
    return found or [ok(f"image {image.name} is whole, with loaders for BIOS and UEFI")]


def check_loaders(data_dir: Path) -> list[Finding]:
    """iPXE comes from this computer or from an image of its own; without it some firmware is left alone."""
    lacking = [name for name in _IPXE_USERS if loaders.ipxe_file(data_dir, name) is None]
    if not lacking:
        return [ok("iPXE is there for BIOS and UEFI")]
    users = " and ".join(_IPXE_USERS[name] for name in lacking)
    return [
        warning(
            f"iPXE is missing ({', '.join(lacking)}): {users} cannot be given it",
            "install the package ipxe (apt install ipxe) or run `pxeforge image import ipxe`",
        )
    ]


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None
