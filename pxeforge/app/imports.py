"""Image imports from the command line: into the data directory, with the profile that comes with an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.services import profiles
from pxeforge.services.events import record
from pxeforge.services.image_import import (
    CATALOGUE,
    DEBIAN_KEYRING,
    ImportedImage,
    ImportProblem,
    MirrorSource,
    Progress,
    apt_mirror,
    import_debian,
    list_images,
    verify_image,
)


def import_debian_image(
    settings: Settings, name: str, *, keyring: str | None, progress: Callable[[Progress], None]
) -> ImportedImage:
    """Imports and, for an installer, makes the profile of the same name; works beside a running server.

    Raises ImportProblem.
    """
    ctx = open_context(settings, upgrade=True)
    mirror = MirrorSource(settings.mirror) if settings.mirror else apt_mirror()
    imported = import_debian(
        name, data_dir=settings.data_dir, mirror=mirror, keyring=Path(keyring) if keyring else DEBIAN_KEYRING,
        progress=progress,
    )  # fmt: skip
    if imported.fresh:
        with ctx.database.write() as session:
            record(
                session, ctx, source="operator", kind="image_imported", who="import",
                message=f"image {imported.name} {imported.version} imported and verified",
            )  # fmt: skip
    if CATALOGUE[name].is_installer:
        profiles.ensure(ctx, name, image=name, who="import")
    return imported


def verify_image_files(settings: Settings, name: str) -> list[str]:
    """Every fault of every version, one sentence each. Raises ImportProblem for an unknown image."""
    versions = [image for image in list_images(settings.data_dir) if image.name == name]
    if not versions:
        raise ImportProblem(f"there is no image {name}: run `pxeforge image import {name}`")
    return [f"{image.name} {image.version}: {fault}" for image in versions for fault in verify_image(image.path)]
