"""Where an image grows until it is whole: aside, under the lock of its name, renamed into its place at the end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pxeforge.services.image_store import ImageFile, ImportedImage, ImportProblem, sync_folder, write_manifest

_CHUNK: Final = 1 << 20
_STALE_DOWNLOAD_S: Final = 7 * 86400


@contextlib.contextmanager
def staging_folder(data_dir: Path, name: str) -> Iterator[Path]:
    """A folder of its own for one import of `name`, gone afterwards. Two imports of one name: the second is refused.

    Errors of the file system become ImportProblem. What a dead import of the name left is removed first.
    """
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
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise _disk_problem(error, images) from error


def is_importing(data_dir: Path, name: str) -> bool:
    """Whether an import of `name` is running just now, by whomever."""
    images = data_dir / "images"
    if not (images / f".lock-{name}").exists():
        return False
    with _lock(images, name) as held:
        return not held


def publish(work: Path, image: ImportedImage) -> None:
    """The image appears at its place as a whole, with its manifest."""
    write_manifest(work, image)
    image.path.parent.mkdir(exist_ok=True)
    work.rename(image.path)
    sync_folder(image.path.parent)


def write_file(source: IO[bytes], target: Path) -> ImageFile:
    """A new file, synced to the disk."""
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


def check_space(images: Path, name: str, needed: int, available: int) -> None:
    """Raises ImportProblem where `needed` bytes do not fit."""
    if available < needed:
        raise ImportProblem(
            f"{name} needs {_megabytes(needed)} in {images}, {_megabytes(available)} are free: make room"
        )


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


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _disk_problem(error: OSError, images: Path) -> ImportProblem:
    """A file system error as one sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ImportProblem(f"the disk of {images} is full: make room and import again; nothing was imported")
    return ImportProblem(f"{images} cannot be written ({error.strerror or error}): check its owner and its disk")
