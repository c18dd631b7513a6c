"""Asks the server that runs here as a host would: a loader over TFTP (with a foreign client) and the boot plane's
health over HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import requests
import tftpy

from pxeforge.app.doctor.finding import Finding, error, note, ok
from pxeforge.services.image_store import ImportedImage

_TIMEOUT_S: Final = 3
_LOADERS: Final = ("pxelinux.0", "bootnetx64.efi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A loader that the server must hand out. `digests`: the SHA-256 of each image that has one of this name."""

    name: str
    digests: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came: `problem` is empty when a whole file did."""

    what: str
    size: int = 0
    sha256: str = ""
    problem: str = ""


def check_tftp(loader: Loader | None, fetched: Fetched | None) -> list[Finding]:
    """None: there is nothing to fetch, or no server runs."""
    if loader is None:
        return [note("no loader to fetch over TFTP", "import an image: `pxeforge image import debian-13`")]
    if fetched is None:
        return [note("no server runs on this data directory: TFTP was not tried", "run the doctor again beside it")]
    if fetched.problem:
        return [
            error(f"{fetched.what}: {fetched.problem}", "see the server's log; does a firewall drop it?")
        ]  # fmt: skip
    if fetched.sha256 not in loader.digests:
        return [
            error(f"{fetched.what} is not the file that was imported", "run `pxeforge image verify`")
        ]  # fmt: skip
    return [ok(f"{fetched.what}: {fetched.size} bytes, as imported")]


def check_http(fetched: Fetched | None) -> list[Finding]:
    if fetched is None:
        return [note("no server runs on this data directory: HTTP was not tried", "run the doctor again beside it")]
    if fetched.problem:
        return [error(f"{fetched.what}: {fetched.problem}", "see the server's log; who else listens on that port?")]
    return [ok(f"{fetched.what} answers")]


def choose_loader(images: list[ImportedImage]) -> Loader | None:
    """A loader that some image has."""
    for name in _LOADERS:
        digests = {image.files[f"loaders/{name}"].sha256 for image in images if f"loaders/{name}" in image.files}
        if digests:
            return Loader(name=name, digests=frozenset(digests))
    return None


def fetch_tftp(address: str, port: int, name: str) -> Fetched:
    what, got = f"TFTP {address}:{port} {name}", io.BytesIO()
    try:
        with _quiet(logging.getLogger("tftpy")):
            # From our own address: a server that answers from another one would not be heard.
            client = tftpy.TftpClient(address, port, {"blksize": 1428, "tsize": 0}, localip=address)
            client.download(name, got, timeout=_TIMEOUT_S, retries=1)
    except (tftpy.TftpException, OSError) as problem:
        return Fetched(what=what, problem=str(problem) or type(problem).__name__)
    return Fetched(what=what, size=len(got.getvalue()), sha256=hashlib.sha256(got.getvalue()).hexdigest())


def fetch_health(address: str, port: int) -> Fetched:
    url = f"http://{address}:{port}/healthz"
    try:
        with requests.Session() as session:
            session.trust_env = False
            reply = session.get(url, timeout=_TIMEOUT_S)
    except requests.RequestException as problem:
        return Fetched(what=url, problem=f"no answer ({type(problem).__name__})")
    problem_text = "" if reply.status_code == requests.codes.ok else f"answers {reply.status_code}"
    return Fetched(what=url, size=len(reply.content), problem=problem_text)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """tftpy tells every timeout on stderr; the finding says it once."""
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
