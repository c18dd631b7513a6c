"""Who vouches for an ISO file: a signature or a signed list of checksums beside it, the operator's SHA-256, or nobody.

The vendors sign in three ways, and all of them are looked for beside the ISO: a detached signature of the ISO itself
(`x.iso.asc`), a list of checksums with a detached signature (`SHA256SUMS` and `SHA256SUMS.gpg`), and a list that is
signed in itself (`x-CHECKSUM`, `sha256sum.txt.asc`).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pxeforge.services.archive_signature import UnknownKey, check_detached, check_signature
from pxeforge.services.image_store import ImportProblem, Verified
from pxeforge.services.import_progress import ImportStage, Progress, Tell
from pxeforge.services.iso_file import unreadable

VENDOR_KEYRINGS: Final = (  # Debian's packages ubuntu-keyring and debian-keyring: the keys that sign their CDs
    Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-role-keys.gpg"),
)
_SIGNATURES: Final = (".asc", ".sig", ".gpg", ".sign")
_LISTS: Final = re.compile(r"(.*[-_.])?(sha256sums?|checksums?|sha256)(\.txt)?(\.asc)?", re.IGNORECASE)
_LINES: Final = (
    re.compile(r"(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>\S.*)"),  # sha256sum
    re.compile(r"SHA256 \((?P<name>.+)\) = (?P<digest>[0-9a-fA-F]{64})"),  # the same of BSD, Fedora, Rocky, Alma
)
_MAX_LIST_BYTES: Final = 4 << 20
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the operator said about the ISOs."""

    keyring: Path | None = None  # None: the vendors' keyrings that are installed
    sha256: Sequence[str] = ()  # of each ISO, in their order
    unverified: bool = False

    def __post_init__(self) -> None:
        for digest in self.sha256:
            if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
                raise ImportProblem(f"{digest!r} is no SHA-256: it has 64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Checked:
    """An ISO's SHA-256 and who vouches for it."""

    sha256: str
    verified: Verified


def check_media(isos: Sequence[Path], trust: Trust, tell: Tell) -> list[Checked]:
    """Hashes the ISOs; raises ImportProblem for what does not fit, and where nobody vouches and none need not."""
    if trust.sha256 and len(trust.sha256) != len(isos):
        raise ImportProblem(f"{len(isos)} ISO files need {len(isos)} times --sha256, in the same order")
    total, before = sum(iso.stat().st_size for iso in isos), 0
    found = []
    for number, iso in enumerate(isos):
        expected = trust.sha256[number].lower() if trust.sha256 else None
        try:
            digest = _digest(iso, before, total, tell)
            before += iso.stat().st_size
            found.append(Checked(digest, _check(iso, digest, expected, trust)))
        except OSError as error:
            raise unreadable(Path(error.filename or iso), error) from None
    return found


def _check(iso: Path, digest: str, expected: str | None, trust: Trust) -> Verified:
    if expected is not None and digest != expected:
        raise ImportProblem(f"{iso.name} has the SHA-256 {digest}, not the given one: download it again")
    is_signed, doubt = _signed(iso, digest, trust)
    if is_signed:
        return Verified.SIGNATURE
    if expected is not None:
        return Verified.CHECKSUM
    if trust.unverified:
        return Verified.UNVERIFIED
    raise ImportProblem(
        f"nobody vouches for {iso.name}: {doubt}; "
        "give its SHA-256 from the vendor's page with --sha256, or take the risk with --unverified"
    )


def _signed(iso: Path, digest: str, trust: Trust) -> tuple[bool, str]:
    """Whether a signature vouches for the ISO, else why not. Raises ImportProblem where one speaks against it."""
    doubts = []
    for claim in _claims(iso, digest):
        keyrings = [trust.keyring] if trust.keyring else [one for one in VENDOR_KEYRINGS if one.is_file()]
        if not keyrings:
            doubts.append(f"{claim.signature.name} can be checked only with the vendor's key (--keyring)")
        for keyring in keyrings:
            try:
                claim.check(keyring)
                return True, ""
            except UnknownKey as problem:
                doubts.append(str(problem).partition(":")[0])
    lacking = f"no signature and no signed list of checksums is beside it ({iso.name}.asc, SHA256SUMS.gpg, CHECKSUM …)"
    return False, doubts[0] if doubts else lacking


@dataclass(frozen=True, slots=True)
class _Claim:
    """A signature that may vouch for an ISO: detached from `signed`, or around a list of checksums where it is None."""

    iso: str
    digest: str
    signature: Path
    signed: Path | None

    def check(self, keyring: Path) -> None:
        """Raises UnknownKey where the keyring has no key for it, ImportProblem where it is bad."""
        if self.signed is not None:
            check_detached(self.signature, self.signed, keyring, self.signed.name)
            return
        with tempfile.TemporaryDirectory() as folder:
            clear = Path(folder) / "clear"
            check_signature(self.signature, clear, keyring, self.signature.name)
            if _told(_text(clear), self.iso) != self.digest:
                raise ImportProblem(
                    f"the signed part of {self.signature.name} does not name {self.iso}: it was changed, "
                    "nothing was imported"
                )


def _claims(iso: Path, digest: str) -> Iterator[_Claim]:
    """Every signature beside the ISO that would vouch for these bytes; raises ImportProblem for another checksum."""
    for signature in _signatures_of(iso):
        yield _Claim(iso.name, digest, signature, iso)
    for listed in sorted(iso.parent.iterdir()):
        if listed == iso or not _LISTS.fullmatch(listed.name) or not listed.is_file():
            continue
        text = _text(listed)
        told = _told(text, iso.name)
        if told is None:
            continue
        if told != digest:
            raise ImportProblem(
                f"{iso.name} has the SHA-256 {digest}, but {listed.name} beside it says {told}: download it again"
            )
        if "-----BEGIN PGP SIGNED MESSAGE-----" in text:
            yield _Claim(iso.name, digest, listed, None)
        else:
            for signature in _signatures_of(listed):
                yield _Claim(iso.name, digest, signature, listed)


def _signatures_of(path: Path) -> list[Path]:
    """What may be a detached signature of a file: `sha256sum.txt.asc` is a signed list of its own."""
    beside = (path.with_name(path.name + suffix) for suffix in _SIGNATURES)
    return [one for one in beside if one.is_file() and "BEGIN PGP SIGNED MESSAGE" not in _text(one)]


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_MAX_LIST_BYTES).decode("utf-8", "replace")


def _told(text: str, name: str) -> str | None:
    """The SHA-256 that a list of checksums tells of a file."""
    for line in text.splitlines():
        for form in _LINES:
            found = form.fullmatch(line.strip())
            if found and found["name"].removeprefix("./") == name:
                return found["digest"].lower()
    return None


def _digest(iso: Path, before: int, total: int, tell: Tell) -> str:
    hasher: Any = hashlib.sha256()
    with iso.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
            before += len(chunk)
            tell(Progress(stage=ImportStage.CHECK, done_bytes=before, total_bytes=total, note=iso.name))
    return str(hasher.hexdigest())
