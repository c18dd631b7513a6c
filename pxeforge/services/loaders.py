"""Boot loaders by name: from the imported images, and iPXE from this server's own package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services import hosts, images
from pxeforge.services.context import Context
from pxeforge.store.tables import Attempt

IPXE_DIR: Final = Path("/usr/lib/ipxe")  # Debian's package ipxe
IPXE_NAMES: Final = frozenset({"snponly.efi", "ipxe.efi", "undionly.kpxe"})
SHIM: Final = "bootnetx64.efi"
_UEFI_NAMES: Final = frozenset({SHIM, "grubx64.efi"})
# Debian's signed GRUB has this folder built in; it holds grub.cfg and the lists of modules.
GRUB_PREFIX: Final = "debian-installer/amd64/grub/"


def loader_file(ctx: Context, name: str, peer: str) -> Path | None:
    """The file behind a loader's name; None where nobody has it.

    UEFI's loaders are the newest ones, whatever is installed: Debian 12's GRUB asks the wrong server in proxy mode.
    All others come from the image that the asking host is armed with, else from the newest one that has the file.
    """
    if name in IPXE_NAMES:
        path = IPXE_DIR / name
        return path if path.is_file() else None
    if name in _UEFI_NAMES or name.startswith(GRUB_PREFIX):
        found = [image for image in images.everything(ctx) if f"loaders/{SHIM}" in image.files][-1:]
        inside = f"loaders/grub/{name.removeprefix(GRUB_PREFIX)}" if name.startswith(GRUB_PREFIX) else f"loaders/{name}"
    else:
        found, inside = _images(ctx, peer), f"loaders/{name}"
    return next((image.path / inside for image in found if inside in image.files), None)


def own_name(name: str) -> tuple[MacAddress, str] | None:
    """`boot/<mac>/<name>` taken apart: files that a host asks for under its own MAC; None for every other name."""
    top, _, rest = name.partition("/")
    mac, _, inner = rest.partition("/")
    if top != "boot" or not inner:
        return None
    try:
        return MacAddress.parse(mac), inner
    except NotAMac:
        return None


def _images(ctx: Context, peer: str) -> list[images.Image]:
    with ctx.database.read() as session:
        host = hosts.by_address(session, peer)
        attempt = session.get(Attempt, host.attempt_id) if host is not None and host.attempt_id else None
    found = images.everything(ctx)
    if attempt is not None:
        found.sort(key=lambda image: images.reference(image) == attempt.image)
    return found[::-1]
