"""Fills in udebs (installer packages) that a Debian mirror does not serve, so that d-i can run from it."""

from __future__ import annotations

import concurrent.futures
import enum
import gzip
import hashlib
import lzma
import os
import re
import time
import urllib.request
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
import requests.adapters

ENVIRONMENT = "PXEFORGE_LAB_UDEBS"
_ASKING_THREADS = 8
_RELATION = re.compile(r"[a-z0-9][a-z0-9+.-]*")

# What anna is told to fetch by a lean answer file (anna/standard_modules=false); scsi-modules holds virtio_blk.
LEAN_CHOICE = (
    "eatmydata-udeb",
    "disk-detect",
    "partman-base",
    "partman-auto",
    "partman-auto-lvm",
    "partman-efi",
    "partman-ext3",
    "partman-basicfilesystems",
    "bootstrap-base",
    "apt-mirror-setup",
    "user-setup-udeb",
    "clock-setup",
    "tzsetup-udeb",
    "pkgsel",
    "grub-installer",
    "finish-install",
    "scsi-modules",
)


class UdebsError(Exception):
    """The mirror's index or the initrd cannot be read; the message says which."""


class FillMode(enum.Enum):
    """How the mirror's udebs become whole."""

    COMPLETE = "complete"  # the mirror serves every udeb: nothing is written
    EXACT = "exact"  # bit-identical files fill the gaps: the mirror's own signed index stays in use
    INDEX = "index"  # an own, unsigned index `dists/<suite>-lab` is written
    LACKING = "lacking"  # udebs that the install needs are served by nobody: it would stop in anna


@dataclass(frozen=True, slots=True, kw_only=True)
class FillResult:
    """What fill() found and did; `missing` are needed udebs that nobody serves (only in mode LACKING)."""

    mode: FillMode
    missing: tuple[str, ...] = ()
    kernel_args: tuple[str, ...] = ()
    summary: str = ""

    def require(self) -> None:
        """Raises UdebsError with every missing name: callers skip with this text instead of failing in d-i."""
        if self.mode is FillMode.LACKING:
            raise UdebsError(
                f"the mirror lacks {len(self.missing)} udebs that this install needs and {ENVIRONMENT} fills none of "
                f"them: {' '.join(self.missing)}. Use a complete mirror or set {ENVIRONMENT} to a folder with them."
            )


@dataclass(frozen=True, slots=True)
class Udeb:
    """One stanza of the udeb index."""

    name: str
    filename: str
    sha256: str
    priority: str
    depends: tuple[tuple[str, ...], ...]  # alternatives per relation
    provides: tuple[str, ...]
    kernel: str  # the one kernel version that its modules fit, or nothing
    stanza: str


def udebs_dir_from_environment(suite: str) -> Path | None:
    """The folder of fill-in udebs that the environment names, or its subfolder for the suite; None: there is none."""
    value = os.environ.get(ENVIRONMENT)
    if not value:
        return None
    folder = Path(value)
    return folder / suite if (folder / suite).is_dir() else folder


def fill(
    mirror: str,
    udebs_dir: Path | None,
    out: Path,
    suite: str,
    initrd: Path | None,
    *,
    arch: str = "amd64",
    chosen: Collection[str] | None = None,
) -> FillResult:
    """Asks the mirror for every udeb of its index and writes below `out` (an overlay of the mirror) what it lacks.

    `chosen` are the udebs an answer file picks with anna/standard_modules=false (see LEAN_CHOICE); None means d-i's
    standard set. What these need is followed through Depends. Raises UdebsError.
    """
    index = f"main/debian-installer/binary-{arch}/Packages"
    udebs = parse_index(_decompressed(_get(f"{mirror}/dists/{suite}/{index}.xz")))
    served = which_are_served(mirror, udebs)
    here = {path.name: path for path in sorted(udebs_dir.glob("*.udeb"))} if udebs_dir else {}
    fills = {
        u: here[Path(u.filename).name]
        for u, ok in zip(udebs, served, strict=True)
        if not ok and Path(u.filename).name in here
    }
    usable = [u for u, ok in zip(udebs, served, strict=True) if ok or u in fills]
    inside = names_in_initrd(initrd) if initrd else frozenset()
    fitting = [u for u in udebs if fits(u, inside)]
    roots = chosen if chosen is not None else standard_set(fitting)
    missing = unreachable(roots, fitting, [u for u in usable if fits(u, inside)], inside)
    exact = {u for u, path in fills.items() if hashlib.sha256(path.read_bytes()).hexdigest() == u.sha256}
    summary = (
        f"{len(udebs)} udebs in the index, {sum(served)} served by the mirror, {len(fills)} filled in "
        f"({len(exact)} bit-identical), {len(udebs) - len(usable)} served by none ({len(missing)} of those needed)"
    )
    if all(served):
        return FillResult(mode=FillMode.COMPLETE, summary=summary)
    if missing:
        return FillResult(mode=FillMode.LACKING, missing=missing, summary=summary)
    for udeb, path in fills.items():
        _write_whole(out / udeb.filename, path.read_bytes())
    if len(exact) == len(fills):
        return FillResult(mode=FillMode.EXACT, summary=summary)
    # What is in the initrd is never fetched, but others depend on it and on what it provides.
    known = set(usable) | {udeb for udeb in fitting if udeb.name in inside}
    listed = [udeb for udeb in udebs if udeb in known]
    _write_index(out / "dists" / f"{suite}-lab", index, suite, arch, listed, fills)
    arguments = (f"mirror/udeb/suite={suite}-lab", "debian-installer/allow_unauthenticated=true")
    return FillResult(mode=FillMode.INDEX, kernel_args=arguments, summary=summary)


def parse_index(text: str) -> list[Udeb]:
    """Reads a Packages file of udebs (deb822)."""
    return [_udeb(stanza) for stanza in text.strip().split("\n\n") if stanza.strip()]


def _udeb(stanza: str) -> Udeb:
    pairs = (line.split(":", 1) for line in stanza.splitlines() if ":" in line and not line[0].isspace())
    fields = {name: value.strip() for name, value in pairs}
    return Udeb(
        name=fields.get("Package", ""),
        filename=fields.get("Filename", ""),
        sha256=fields.get("SHA256", ""),
        priority=fields.get("Priority", ""),
        depends=tuple(
            tuple(_names(relation.split("|"))) for relation in fields.get("Depends", "").split(",") if relation.strip()
        ),
        provides=tuple(_names(fields.get("Provides", "").split(","))),
        kernel=fields.get("Kernel-Version", ""),
        stanza=stanza.strip("\n"),
    )


def _names(relations: Iterable[str]) -> Iterator[str]:
    for relation in relations:
        if match := _RELATION.match(relation.strip()):
            yield match[0]


def standard_set(udebs: Iterable[Udeb]) -> list[str]:
    """What d-i fetches when no answer says otherwise."""
    return [udeb.name for udeb in udebs if udeb.priority in ("required", "important", "standard")]


def fits(udeb: Udeb, inside: Collection[str]) -> bool:
    """False for modules of another kernel than the initrd's (anna passes over them); True when that is not known."""
    kernels = {name.removeprefix("kernel-image-") for name in inside if name.startswith("kernel-image-")}
    return not udeb.kernel or not kernels or f"{udeb.kernel}-di" in kernels


def unreachable(
    roots: Iterable[str], known: Iterable[Udeb], usable: Collection[Udeb], inside: Collection[str]
) -> tuple[str, ...]:
    """Names that are needed, directly or through Depends, but that nothing usable and nothing in the initrd offers."""
    offers = _offers(usable)
    real = {udeb.name for udeb in known} | {name for udeb in known for name in udeb.provides}
    missing: set[str] = set()
    seen: set[str] = set()
    todo: list[tuple[str, ...]] = [(name,) for name in roots]
    while todo:
        alternatives = todo.pop()
        if any(name in inside for name in alternatives):
            continue
        candidates = [udeb for name in alternatives for udeb in offers.get(name, ())]
        if not candidates:
            # A name that the suite does not have at all (e.g. of another architecture) is not the mirror's fault.
            missing.update(name for name in alternatives if name in real)
            continue
        first = candidates[0]
        if first.name not in seen:
            seen.add(first.name)
            todo.extend(first.depends)
    return tuple(sorted(missing))


def _offers(udebs: Iterable[Udeb]) -> Mapping[str, list[Udeb]]:
    offers: dict[str, list[Udeb]] = {}
    for udeb in udebs:
        for name in (udeb.name, *udeb.provides):
            offers.setdefault(name, []).append(udeb)
    return offers


def which_are_served(mirror: str, udebs: Sequence[Udeb]) -> list[bool]:
    """Asks for one byte of each, over few connections that stay open: a connection each overwhelms name servers."""
    with requests.Session() as session, concurrent.futures.ThreadPoolExecutor(_ASKING_THREADS) as pool:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_ASKING_THREADS))
        session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=_ASKING_THREADS))
        return list(pool.map(lambda udeb: _is_served(session, f"{mirror}/{udeb.filename}"), udebs))


def _is_served(session: requests.Session, url: str, tries: int = 3) -> bool:
    """True when a GET of one byte is answered (a HEAD is not the same thing on every mirror); raises UdebsError."""
    problem: object = None
    for attempt in range(tries):
        time.sleep(0.5 * attempt)
        try:
            with session.get(url, headers={"Range": "bytes=0-0"}, stream=True, timeout=60) as answer:
                if answer.status_code < 500:
                    if answer.status_code == 206:
                        answer.content  # noqa: B018  # read to its end: the connection can be used again
                    return answer.ok
                problem = f"status {answer.status_code}"
        except requests.RequestException as error:
            problem = error
    raise UdebsError(f"{url} cannot be asked for: {problem}")


def names_in_initrd(initrd: Path) -> frozenset[str]:
    """Names, also provided ones, of the udebs that a netboot initrd (gzip, cpio "newc") holds; raises UdebsError."""
    try:
        status = _cpio_member(gzip.decompress(initrd.read_bytes()), "var/lib/dpkg/status")
    except (OSError, EOFError, ValueError) as error:
        raise UdebsError(f"{initrd} cannot be read: {error}") from error
    if status is None:
        raise UdebsError(f"{initrd} holds no list of udebs: it is no initrd of debian-installer")
    held = parse_index(status.decode(errors="replace"))
    return frozenset(name for udeb in held for name in (udeb.name, *udeb.provides))


def _cpio_member(archive: bytes, wanted: str) -> bytes | None:
    """cpio(5), "New ASCII Format": 110 bytes of header in hexadecimal, name and data padded to 4 bytes."""
    position = 0
    while archive[position : position + 6] == b"070701":
        size, name_size = (int(archive[position + at : position + at + 8], 16) for at in (54, 94))
        name = archive[position + 110 : position + 110 + name_size - 1].decode(errors="replace")
        start = (position + 110 + name_size + 3) & ~3
        if name.lstrip("./") == wanted:
            return archive[start : start + size]
        position = (start + size + 3) & ~3
    return None


def _write_index(
    base: Path, index: str, suite: str, arch: str, usable: Iterable[Udeb], fills: Mapping[Udeb, Path]
) -> None:
    text = "\n\n".join(_stanza(u, fills[u].read_bytes()) if u in fills else u.stanza for u in usable) + "\n"
    plain = text.encode()
    sums = []
    for ending, packed in ((".xz", lzma.compress(plain)), (".gz", gzip.compress(plain, mtime=0)), ("", plain)):
        _write_whole(base / f"{index}{ending}", packed)
        sums.append(f" {hashlib.sha256(packed).hexdigest()} {len(packed)} {index}{ending}")
    release = [
        "Origin: lab overlay",
        f"Suite: {suite}-lab",
        f"Codename: {suite}-lab",
        f"Architectures: {arch}",
        "Components: main",
        "SHA256:",
        *sums,
    ]
    _write_whole(base / "Release", ("\n".join(release) + "\n").encode())


def _stanza(udeb: Udeb, content: bytes) -> str:
    """The stanza with size and checksum of the file that fills in."""
    replaced = ("Size", "MD5sum", "SHA1", "SHA256")
    lines = [line for line in udeb.stanza.splitlines() if line.split(":")[0] not in replaced]
    return "\n".join([*lines, f"Size: {len(content)}", f"SHA256: {hashlib.sha256(content).hexdigest()}"])


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content: bytes = answer.read()
            return content
    except OSError as error:
        raise UdebsError(f"{url} cannot be fetched: {error}") from error


def _decompressed(packed: bytes) -> str:
    try:
        return lzma.decompress(packed).decode()
    except (lzma.LZMAError, ValueError) as error:
        raise UdebsError(f"the mirror's udeb index cannot be read: {error}") from error
