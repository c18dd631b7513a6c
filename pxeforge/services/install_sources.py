"""What an image is to the texts of a host: its installer, its addresses on the boot plane, and where templates lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pxeforge.domain.installer import Installer
from pxeforge.render.install_source import InstallSource
from pxeforge.services.context import Context
from pxeforge.services.image_store import ImportedImage
from pxeforge.services.problems import Problem
from pxeforge.services.remembered import Remembered

# The kind of asset that holds each family's templates. What they share lies with the first of them.
FOLDERS: Final[Mapping[Installer, str]] = {
    Installer.DEBIAN: "preseed",
    Installer.ANACONDA: "kickstart",
    Installer.SUBIQUITY: "autoinstall",
    Installer.AUTOYAST: "autoinstall",
}
_ROOT_REPOSITORY: Final = "BaseOS"  # the installer finds it by itself, from the tree's root


def source_of(ctx: Context, image: ImportedImage) -> InstallSource:
    """Raises Problem for an image that is no installer."""
    if image.installer is None:
        raise Problem(f"the image {image.name} is no installer: choose a profile with another image")
    base = f"{ctx.addresses.boot_url}/{image.boot_path}"
    return InstallSource(
        installer=image.installer,
        distribution=image.distribution or "debian",
        release=image.release or "",
        tree_url=f"{base}/{image.tree}" if image.tree else None,
        live_image_url=f"{base}/{image.live_image}" if image.live_image else None,
        repositories=_repositories(image.path / image.tree) if image.tree else (),
    )


def template_dirs(ctx: Context, installer: Installer) -> tuple[Path, ...]:
    """Where the templates of an installer are looked for."""
    own = ctx.assets(FOLDERS[installer])
    shared = ctx.assets(FOLDERS[Installer.DEBIAN])
    return own if own == shared else (*own, *shared)


def _repositories_in(tree: Path) -> tuple[str, ...]:
    found = sorted(path.parent.parent.name for path in tree.glob("*/repodata/repomd.xml"))
    return tuple(name for name in found if name != _ROOT_REPOSITORY)


_repositories: Remembered[tuple[str, ...]] = Remembered(_repositories_in)
