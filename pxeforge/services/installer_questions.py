"""The questions that an imported debian-installer asks: read once from its initrd, kept beside the image."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pxeforge.assets import asset_dirs
from pxeforge.domain.installer import Installer
from pxeforge.render.lint import NO_QUESTIONS, Questions
from pxeforge.services.context import write_whole
from pxeforge.services.image_store import QUESTIONS, ImportedImage

_INITRD: Final = "initrd.gz"
_HEADER_BYTES: Final = 110
_MOST_TEMPLATES_BYTES: Final = 4 << 20
_MOST_NAME_BYTES: Final = 4096
_CHUNK: Final = 1 << 20
_FIRST: Final = b"Template: "
_ANSWERED: Final = re.compile(r"^d-i ([a-z0-9][a-z0-9.+_/-]+) ", re.MULTILINE)


class InitrdProblem(ValueError):
    """The initrd is not one that can be read."""


def known_questions(image: ImportedImage) -> Questions:
    """What the image's installer asks; nothing for other installers, or where its initrd cannot be read.

    Parts that come later from the mirror (partitioning, boot loader) ask more: of those the ones are known that our
    own templates answer.
    """
    asked = _asked(image)
    return Questions(asked, _answered()) if asked else NO_QUESTIONS


def _answered() -> frozenset[str]:
    """The questions in the shipped templates."""
    texts = (path.read_text(encoding="utf-8") for folder in asset_dirs("preseed")[1:] for path in folder.glob("*.j2"))
    return frozenset(name for text in texts for name in _ANSWERED.findall(text))


def _asked(image: ImportedImage) -> frozenset[str]:
    """Every question of the parts in the initrd."""
    if image.installer is not Installer.DEBIAN:
        return frozenset()
    kept = image.path / QUESTIONS  # not in the manifest, so that nobody can fetch it
    try:
        return frozenset(kept.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        pass
    try:
        questions = read_questions(image.path / _INITRD)
        write_whole(kept, "".join(f"{one}\n" for one in sorted(questions)).encode())
    except (OSError, InitrdProblem):
        return frozenset()
    return questions


def read_questions(initrd: Path) -> frozenset[str]:
    """The names of all debconf templates in an initrd. Raises InitrdProblem and OSError."""
    found: set[str] = set()
    try:
        with gzip.open(initrd) as stream:
            for name, content in _files(stream):
                if name.endswith(".templates"):
                    found.update(_names(content))
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise InitrdProblem(f"{initrd.name} is damaged: {problem}") from None
    return frozenset(found)


def _names(content: bytes) -> Iterator[str]:
    for line in content.splitlines():
        if line.startswith(_FIRST):
            yield line[len(_FIRST) :].strip().decode("ascii", "replace")


def _files(stream: gzip.GzipFile | BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Name and content of the debconf templates in a cpio archive (newc); everything else is passed over."""
    while True:
        header = stream.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or header[:6] not in (b"070701", b"070702"):
            raise InitrdProblem("the initrd is no cpio archive")
        try:
            size, name_size = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            raise InitrdProblem("the initrd is damaged: a size is no number") from None
        if not 1 <= name_size <= _MOST_NAME_BYTES:
            raise InitrdProblem("the initrd is damaged: a name is too long")
        name = _exactly(stream, name_size)[:-1].decode("utf-8", "replace")
        _skip(stream, -(_HEADER_BYTES + name_size) % 4)
        if name == "TRAILER!!!":
            return
        if "var/lib/dpkg/info/" in name and size <= _MOST_TEMPLATES_BYTES:
            yield name, _exactly(stream, size)
        else:
            _skip(stream, size)
        _skip(stream, -size % 4)


def _exactly(stream: gzip.GzipFile | BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise InitrdProblem("the initrd is cut off")
    return content


def _skip(stream: gzip.GzipFile | BinaryIO, size: int) -> None:
    while size > 0:
        size -= len(_exactly(stream, min(size, _CHUNK)))
