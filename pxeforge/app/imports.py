"""Image imports, from the command line or for the server: with the profile that comes with an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.domain.installer import Installer
from pxeforge.services import profiles
from pxeforge.services.acting import ON_THE_COMPUTER, Actor, acting_as
from pxeforge.services.answer_templates import default_template
from pxeforge.services.archive_signature import DEBIAN_KEYRING
from pxeforge.services.context import Context
from pxeforge.services.debian_package_import import import_debian
from pxeforge.services.discovery_entry import DISCOVERY_IMAGE
from pxeforge.services.discovery_image import build_discovery
from pxeforge.services.events import record
from pxeforge.services.image_catalogue import CATALOGUE, MIRRORED
from pxeforge.services.image_store import (
    ImportedImage,
    ImportProblem,
    Verified,
    list_images,
    verify_image,
)
from pxeforge.services.import_progress import Tell
from pxeforge.services.installer_mirror_import import import_installer
from pxeforge.services.iso_import import import_isos
from pxeforge.services.media_checks import Trust
from pxeforge.services.mirror_source import MirrorSource, apt_mirror

SOURCES = ("package", "mirror", "iso")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to import: `source` None means what fits the name and the files."""

    name: str
    source: str | None = None
    isos: Sequence[Path] = ()
    keyring: Path | None = None
    sha256: Sequence[str] = ()
    unverified: bool = False
    mirror: str | None = None  # None: the configured one

    def __post_init__(self) -> None:
        if self.from_ != "iso" and (self.isos or self.sha256 or self.unverified):
            raise ImportProblem("ISO files, --sha256 and --unverified belong to --from iso")

    @property
    def from_(self) -> str:
        if self.source is not None:
            return self.source
        if self.isos:
            return "iso"
        if self.name in CATALOGUE or self.name == DISCOVERY_IMAGE:
            return "package"
        if self.name in MIRRORED:
            return "mirror"
        names = ", ".join(sorted({*CATALOGUE, *MIRRORED, DISCOVERY_IMAGE}))
        raise ImportProblem(
            f"{self.name!r} comes from an ISO: run `pxeforge image import {self.name} --from iso FILE...`; "
            f"by name alone there are {names}"
        )


def import_image(settings: Settings, wish: Wish, *, progress: Tell) -> tuple[ImportedImage, str | None]:
    """The image and the name of the profile that came with it, if it is an installer that has answers.

    Works beside a running server. Raises ImportProblem.
    """
    return import_for(open_context(settings, upgrade=True), settings, wish, ON_THE_COMPUTER, progress=progress)


def import_for(
    ctx: Context, settings: Settings, wish: Wish, actor: Actor, *, progress: Tell
) -> tuple[ImportedImage, str | None]:  # fmt: skip
    """The same for whoever asked for it."""
    imported = _import(settings, wish, progress)
    with acting_as(actor):
        return imported, _written_down(ctx, imported, who=actor.who)


def _written_down(ctx: Context, imported: ImportedImage, *, who: str) -> str | None:
    """The event and the profile of an image that is there now; returns the profile's name."""
    if imported.fresh:
        said = "unverified" if imported.verified is Verified.UNVERIFIED else f"verified by its {imported.verified}"
        with ctx.database.write() as session:
            record(
                session, ctx, source="operator", kind="image_imported", who=who,
                message=f"image {imported.name} {imported.version} imported, {said}",
            )  # fmt: skip
    template = default_template(ctx, imported)
    if template is None:
        return None
    # Ubuntu's trees with Debian's installer take their packages from a mirror of Ubuntu.
    is_other = imported.installer is Installer.DEBIAN and imported.distribution == "ubuntu"
    own = {"mirror_directory": "/mirror/ubuntu"} if is_other else {}
    profiles.ensure(ctx, imported.name, image=imported.name, template=template, parameters=own, who=who)
    return imported.name


def _import(settings: Settings, wish: Wish, progress: Tell) -> ImportedImage:
    if wish.from_ == "iso":
        trust = Trust(keyring=wish.keyring, sha256=wish.sha256, unverified=wish.unverified)
        return import_isos(wish.name, wish.isos, data_dir=settings.data_dir, trust=trust, progress=progress)
    mirror = _mirror(settings, wish)
    if wish.from_ == "mirror":
        return import_installer(
            wish.name, data_dir=settings.data_dir, mirror=mirror, keyring=wish.keyring, progress=progress
        )  # fmt: skip
    keyring = wish.keyring or DEBIAN_KEYRING
    if wish.name == DISCOVERY_IMAGE:
        return build_discovery(data_dir=settings.data_dir, mirror=mirror, keyring=keyring, progress=progress)
    return import_debian(wish.name, data_dir=settings.data_dir, mirror=mirror, keyring=keyring, progress=progress)


def _mirror(settings: Settings, wish: Wish) -> MirrorSource:
    """The one that was named, else that of the settings for the distribution, else apt's."""
    if wish.mirror is not None:
        return MirrorSource(wish.mirror)
    entry = MIRRORED.get(wish.name)
    distribution = "debian" if entry is None else entry.distribution
    named = settings.mirrors.get(distribution)
    if named is not None:
        return MirrorSource(named.url, named.proxy or settings.mirror_proxy)
    if distribution != "debian":
        raise ImportProblem(
            f"{wish.name} needs a mirror of {distribution}: give --mirror http://HOST/{distribution}, "
            f"or name one under [mirrors.{distribution}] in pxeforge.toml"
        )
    url = settings.mirror or apt_mirror().base_url
    return MirrorSource(url, settings.mirror_proxy)


def verify_image_files(settings: Settings, name: str) -> list[str]:
    """Every fault of every version, one sentence each. Raises ImportProblem for an unknown image."""
    versions = [image for image in list_images(settings.data_dir) if image.name == name]
    if not versions:
        raise ImportProblem(f"there is no image {name}: run `pxeforge image import {name}`")
    return [f"{image.name} {image.version}: {fault}" for image in versions for fault in verify_image(image.path)]
