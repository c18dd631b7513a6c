"""What the Release of a Debian or Ubuntu suite vouches for: read only where a key of the archive signed it."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

from debian.deb822 import Release

from pxeforge.services.archive_signature import check_signature
from pxeforge.services.image_store import ImportProblem
from pxeforge.services.import_progress import ImportStage, Progress
from pxeforge.services.mirror_source import MirrorClient


class SignedRelease:
    """InRelease of one suite, and only the part of it that the keyring vouches for; raises ImportProblem."""

    def __init__(self, client: MirrorClient, suite: str, folder: Path, keyring: Path, now: Callable[[], float]) -> None:
        self._client = client
        self._suite = suite
        path = f"dists/{suite}/InRelease"
        client.tell(Progress(stage=ImportStage.INDEX, note=path))
        signed, clear = folder / "InRelease", folder / "Release"
        self.digest = client.small(path, signed)
        check_signature(signed, clear, keyring)
        self._index = parse_release(clear)
        check_suite(self._index, suite, "the mirror's InRelease", "choose another mirror")
        check_validity(self._index, "the mirror's InRelease", now())

    def fetch(self, name: str, target: Path) -> str:
        """Downloads the file `name` of the suite; returns its SHA256, which the Release vouches for."""
        entry = next((item for item in self._index.get("SHA256", []) if item["name"] == name), None)
        if entry is None:
            raise ImportProblem(f"the mirror's InRelease has no SHA256 of {name}: choose another mirror")
        path = f"dists/{self._suite}/{name}"
        self._client.tell(Progress(stage=ImportStage.INDEX, note=path))
        digest = self._client.small(path, target)
        if digest != entry["sha256"]:
            raise ImportProblem(
                f"{name} has a SHA256 that InRelease does not vouch for: the mirror is broken or just being updated, "
                "try again in some minutes"
            )
        return digest

    def names(self, name: str) -> bool:
        """Whether the Release vouches for a file of this name."""
        return any(item["name"] == name for item in self._index.get("SHA256", []))

    def same_as(self, name: str) -> list[str]:
        """The other names of the suite that stand for the same bytes."""
        listed = self._index.get("SHA256", [])
        digest = next((item["sha256"] for item in listed if item["name"] == name), None)
        return [str(item["name"]) for item in listed if item["sha256"] == digest and item["name"] != name]


def parse_release(path: Path) -> Release:
    """Raises ImportProblem for what is no Release."""
    try:
        with path.open("rb") as stream:
            return Release(stream)
    except (ValueError, KeyError) as error:
        raise ImportProblem(f"{path.name} is no Release file ({error}): nothing was imported") from None


def check_suite(index: Release, suite: str, whose: str, cure: str) -> None:
    names = {index.get("Suite"), index.get("Codename")}
    if suite not in names:
        shown = " / ".join(sorted(str(name) for name in names if name))
        raise ImportProblem(f"{whose} is of {shown or 'no suite'}, not of {suite}: {cure}")


def check_validity(index: Release, whose: str, now: float) -> None:
    limit = index.get("Valid-Until")
    if limit is None:
        return
    try:
        expires = parsedate_to_datetime(limit).timestamp()
    except ValueError:
        raise ImportProblem(f"{whose} has an unreadable Valid-Until: {limit!r}") from None
    if now > expires:
        raise ImportProblem(f"{whose} was valid until {limit}: the mirror is stale, or this machine's clock is wrong")
