"""The images at hand: what `image import` left in the data directory, newest version last."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

from debian.debian_support import Version
from sqlalchemy import select

from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.image_store import ImportedImage, ImportProblem, latest_image, load_image
from pxeforge.services.image_store import list_images as imported_images
from pxeforge.services.problems import Conflict, NotFound
from pxeforge.services.remembered import Remembered
from pxeforge.store.tables import Attempt, Profile

Image = ImportedImage
_REMOVED = ".removed-"
_LONGEST_REFERENCE = 128  # as the table of attempts holds it


def reference(image: Image) -> str:
    """`name/version`: what an armed attempt holds on to."""
    return image.boot_path.removeprefix("images/")


def everything(ctx: Context) -> list[Image]:
    """All whole images by name, oldest version first; asked with every file of a boot loader."""
    found = []
    for manifest in (ctx.data_dir / "images").glob("[!.]*/*/image.json"):
        with contextlib.suppress(ImportProblem):
            found.append(_loaded(manifest))
    return sorted(found, key=lambda image: (image.name, Version(image.version)))


def newest(ctx: Context, name: str) -> Image:
    """The newest version under this name; raises NotFound."""
    image = latest_image(ctx.data_dir, name)
    if image is None:
        raise NotFound(f"there is no image {name}: run `pxeforge image import {name}` first")
    return image


def by_reference(ctx: Context, text: str) -> Image:
    """The image of an attempt; raises NotFound."""
    name, _, version = text.partition("/")
    path = ctx.data_dir / "images" / name / version
    odd = name.startswith(".") or version.startswith(".") or "/" in version or not version
    missing = NotFound(f"the image {text} is not here: import it again and arm the host anew")
    if odd or len(text) > _LONGEST_REFERENCE:
        raise missing
    try:
        return _loaded(path / "image.json")
    except ImportProblem as problem:
        raise (NotFound(str(problem)) if path.is_dir() else missing) from problem


_loaded: Remembered[Image] = Remembered(lambda manifest: load_image(manifest.parent))


def list_images(ctx: Context) -> list[dict[str, Any]]:
    return [
        {
            "name": image.name, "version": image.version, "arch": image.arch, "suite": image.suite,
            "kernel": image.kernel_version, "imported_at": image.imported_at, "size_bytes": image.size_bytes,
            "installer": image.installer, "distribution": image.distribution, "release": image.release,
            "verified": image.verified, "tree": image.tree, "live_image": image.live_image,
        }
        for image in imported_images(ctx.data_dir)
    ]  # fmt: skip


def sweep(ctx: Context) -> None:
    """Ends the removals that a killed process left half."""
    for path in (ctx.data_dir / "images").glob(f"{_REMOVED}*"):
        shutil.rmtree(path)


def remove(ctx: Context, name: str, *, who: str) -> None:
    """Removes every version; refused while a profile or an armed host needs one."""
    versions = [image for image in imported_images(ctx.data_dir) if image.name == name]
    if not versions:
        raise NotFound(f"there is no image {name}")
    with ctx.database.write() as session:
        users = session.scalars(select(Profile.name).where(Profile.image == name)).all()
        live = session.scalars(select(Attempt.image).where(Attempt.outcome.is_(None))).all()
        if users:
            raise Conflict(f"the profile {users[0]} uses the image {name}: remove the profile first")
        if any(reference(image) in live for image in versions):
            raise Conflict(f"a host is armed with the image {name}: disarm it first")
        record(
            session, ctx, source="operator", kind="image_removed", who=who, message=f"image {name} removed by {who}",
            data={"before": {"versions": [image.version for image in versions]}},
        )  # fmt: skip
        # Out of sight before the transaction ends: nobody can be armed with what is about to go.
        aside = ctx.data_dir / "images"
        doomed = [image.path.rename(aside / f"{_REMOVED}{image.name}-{image.version}") for image in versions]
    for path in doomed:
        shutil.rmtree(path)
