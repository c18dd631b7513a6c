"""Fetches files from a package mirror: what fails is one sentence, what broke off goes on where it broke."""

from __future__ import annotations

import errno
import hashlib
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pxeforge.services.image_store import ImportProblem, feed
from pxeforge.services.import_progress import ImportStage, Progress, Tell

if TYPE_CHECKING:  # who only names a mirror (every process may) need not carry it
    import requests

CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 60
DOWNLOAD_TRIES: Final = 3
_NAME_ONE: Final = "give --mirror http://HOST/debian, or set `mirror` in pxeforge.toml"
_CHUNK: Final = 1 << 18
_DOWNLOAD_CHUNK: Final = 1 << 15  # what is lost at most when a download breaks
_MAX_INDEX_BYTES: Final = 64 << 20  # InRelease has 0.2 MB and Packages.xz 10 MB


class _Broken(Exception):
    """A download ended early; what came is on the disk."""


@dataclass(frozen=True, slots=True)
class MirrorSource:
    """A Debian mirror: `http://host/debian`, `https://…` or `http+unix://%2Fpath%2Frelay.sock/debian`.

    `proxy`: an HTTP proxy on the way to it.
    """

    base_url: str
    proxy: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(https?|http\+unix)://[^\s/]+(/[^\s?#]*)?", self.base_url):
            raise ImportProblem(f"{self.base_url!r} is no mirror address: write it like http://mirror.example/debian")

    def url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}/{path}"

    def session(self) -> requests.Session:
        """A session that speaks this address form: no mirror's redirect leads to a socket of this computer."""
        import requests
        import requests_unixsocket

        session = requests.Session()
        if self.base_url.startswith("http+unix"):
            session = requests_unixsocket.Session()  # type: ignore[no-untyped-call]
        if self.proxy is not None:
            session.proxies = {"http": self.proxy, "https": self.proxy}
        return session


def apt_mirror() -> MirrorSource:
    """The Debian mirror apt is configured with on this machine; raises ImportProblem when there is none."""
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        raise ImportProblem(f"apt could not be asked for its mirror: {_NAME_ONE}") from None
    for uri in done.stdout.split():
        if re.fullmatch(r"https?://.*/debian/?", uri):
            return MirrorSource(uri.rstrip("/"))
    raise ImportProblem(f"apt is configured with no Debian mirror: {_NAME_ONE}")


@dataclass(frozen=True, slots=True)
class Download:
    """A file that a verified index vouches for. `size_bytes` None: the index tells only its SHA256."""

    path: str
    sha256: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class MirrorClient:
    """One conversation with a mirror; everything it raises is ImportProblem or an error of our own disk."""

    mirror: MirrorSource
    session: requests.Session
    tell: Tell

    def small(self, path: str, target: Path) -> str:
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

    def exists(self, path: str) -> bool:
        """Whether the mirror has the file; raises ImportProblem when it cannot say."""
        response = self._ask(path, {}, also=(404,))
        response.close()
        return response.status_code == 200

    def download(self, wanted: Download, downloads: Path) -> Path:
        """The file in `downloads` with exact size and SHA256, continued from an earlier try where there is one."""
        downloads.mkdir(exist_ok=True)
        part = downloads / f"{wanted.sha256}.part"
        if wanted.size_bytes is not None and part.exists() and part.stat().st_size > wanted.size_bytes:
            part.unlink()
        try:
            found = self._persist(lambda: self._continue(wanted, part), wanted, part)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)
            raise
        if found != wanted.sha256:
            part.unlink(missing_ok=True)
            raise ImportProblem(
                f"{wanted.path} has a SHA256 that the mirror's index does not vouch for: nothing was imported, "
                "try again or choose another mirror"
            )
        return part

    def _persist(self, attempt: Callable[[], str], wanted: Download, part: Path) -> str:
        for number in range(1, DOWNLOAD_TRIES + 1):
            try:
                return attempt()
            except _Broken as broken:
                if number == DOWNLOAD_TRIES:
                    done = part.stat().st_size if part.exists() else 0
                    of = "" if wanted.size_bytes is None else f" of {wanted.size_bytes}"
                    raise ImportProblem(
                        f"the download of {wanted.path} broke off at {done}{of} bytes ({broken}): "
                        "try again, it goes on from there"
                    ) from None
        raise AssertionError("the last try returns or raises")

    def _continue(self, wanted: Download, part: Path) -> str:
        """Fetches what is missing of `part`; returns the SHA256 of the whole. Raises _Broken when it ended early."""
        hasher = hashlib.sha256()
        done = feed(part, hasher) if part.exists() else 0
        if done == wanted.size_bytes or (done and hasher.hexdigest() == wanted.sha256):
            return hasher.hexdigest()
        with self._get(wanted.path, {"Range": f"bytes={done}-"} if done else {}) as response:
            if done and not (
                response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
            ):
                # The mirror cannot continue: from the start (a 416 has no body to read).
                hasher, done = hashlib.sha256(), 0
                if response.status_code != 200:
                    part.unlink()
                    raise _Broken("the mirror cannot continue a download")
            length = response.headers.get("Content-Length", "")
            size = wanted.size_bytes
            if size is None and length.isdecimal():
                size = done + int(length)
            done = self._receive(wanted, response, part, done, hasher, size)
        if size is not None and done < size:
            raise _Broken("the mirror sent less than the file's size")
        return hasher.hexdigest()

    def _receive(
        self, wanted: Download, response: requests.Response, part: Path, done: int, hasher: hashlib._Hash,
        size: int | None,
    ) -> int:  # fmt: skip
        """Appends what comes to `part`; returns how many bytes it has then."""
        import requests

        with part.open("r+b" if done else "wb") as out:
            out.seek(done)
            try:
                for chunk in response.iter_content(_DOWNLOAD_CHUNK):
                    done += len(chunk)
                    if size is not None and done > size:
                        out.close()
                        part.unlink(missing_ok=True)
                        raise ImportProblem(f"{wanted.path} is larger than its index says: choose another mirror")
                    hasher.update(chunk)
                    out.write(chunk)
                    note = Progress(
                        stage=ImportStage.DOWNLOAD, done_bytes=done, total_bytes=size or 0, note=wanted.path
                    )  # fmt: skip
                    self.tell(note)
            except requests.RequestException as error:
                raise _Broken(_cause(error)) from None
        return done

    def _get(self, path: str, headers: dict[str, str]) -> requests.Response:
        """An open response with status 200 or 206 (or 416 to a range); everything else is one clear sentence."""
        return self._ask(path, headers, also=(206, 416) if "Range" in headers else (206,))

    def _ask(self, path: str, headers: dict[str, str], also: tuple[int, ...]) -> requests.Response:
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
        if response.status_code == 200 or response.status_code in also:
            return response
        response.close()
        if response.status_code == 404:
            raise ImportProblem(f"{url} does not exist (404): check the mirror's address")
        raise ImportProblem(f"the mirror answered {response.status_code} for {url}: try again or choose another")


def _cause(error: BaseException) -> str:
    """The innermost reason of a network error, short enough for one sentence."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "No such file or directory", "timed out"):
        if known in text:
            return known.lower()
    if "IncompleteRead" in text or "Connection broken" in text:
        return "the connection was cut"
    return type(error).__name__
