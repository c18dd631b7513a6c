"""Asks gpgv whether a key of a keyring signed a file."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pxeforge.services.image_store import ImportProblem

DEBIAN_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LIMIT_S: Final = 3600  # a detached signature of a DVD takes as long as its disk takes to read it
_ARMOURED: Final = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)\r?\n-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)


class UnknownKey(ImportProblem):
    """No key of the keyring made the signature: it may be good, but nobody can tell."""


def check_signature(signed: Path, clear: Path, keyring: Path, what: str | None = None) -> None:
    """Writes the signed text of `signed` to `clear` when a key of `keyring` signed it; raises ImportProblem."""
    _check(keyring, ["--output", str(clear), str(signed)], what or f"the mirror's {signed.name}")
    if not clear.is_file():
        raise ImportProblem(f"{signed.name} holds no signed text: nothing was imported")


def check_detached(signature: Path, signed: Path, keyring: Path, what: str) -> None:
    """Raises ImportProblem unless a key of `keyring` made `signature` for the bytes of `signed`, called `what`."""
    _check(keyring, [str(signature), str(signed)], what)


def _check(keyring: Path, arguments: list[str], what: str) -> None:
    if not keyring.is_file():
        raise ImportProblem(f"the keyring {keyring} does not exist: install debian-archive-keyring or give --keyring")
    with _binary(keyring) as keys:
        said = _gpgv(keys, arguments)
    # Several keys sign a release and an old keyring lacks some of them (ERRSIG): one good signature is enough,
    # a single bad one is too many.
    if "BADSIG" in said:
        raise ImportProblem(f"the signature of {what} is bad, it was changed: nothing was imported")
    if not {"VALIDSIG", "GOODSIG"} <= said:
        raise UnknownKey(
            f"{what} is not signed by a key of {keyring}: "
            "give the signer's keyring with --keyring, or update the keyring's package; nothing was imported"
        )


@contextlib.contextmanager
def _binary(keyring: Path) -> Iterator[Path]:
    """The keyring as gpgv reads it: vendors publish their keys as text."""
    content = keyring.read_bytes()
    blocks = _ARMOURED.findall(content)
    if not blocks:
        yield keyring.resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "keyring.gpg"
        found.write_bytes(b"".join(_packets(block, keyring) for block in blocks))
        yield found


def _packets(block: bytes, keyring: Path) -> bytes:
    """The bytes of an armoured key: after the headers and an empty line, before the check sum."""
    body = re.split(rb"\r?\n[ \t]*\r?\n", b"\n" + block, maxsplit=1)[-1]
    lines = [line for line in body.split() if not line.startswith(b"=")]
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error:
        raise ImportProblem(f"the keyring {keyring} is damaged: download it again") from None


def _gpgv(keyring: Path, arguments: list[str]) -> set[str]:
    """The status words of gpgv."""
    command = ["gpgv", "--status-fd", "1", "--keyring", str(keyring), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False)
    except FileNotFoundError:
        raise ImportProblem("gpgv is not installed: apt-get install gpgv") from None
    except subprocess.TimeoutExpired:
        raise ImportProblem("gpgv did not end: try again") from None
    return set(re.findall(r"^\[GNUPG:\] ([A-Z_]+)", done.stdout.decode(errors="replace"), re.MULTILINE))
