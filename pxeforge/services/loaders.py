"""Boot loaders by name: from the imported images, iPXE and lpxelinux from this server's own packages as well."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pxeforge.domain.boot import LoaderChoice
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.render.menus import render_grub_start
from pxeforge.services import images, wire_hosts
from pxeforge.services.context import Context
from pxeforge.services.image_store import latest_image

IPXE_DIR: Final = Path("/usr/lib/ipxe")  # Debian's package ipxe
IPXE_IMAGE: Final = "ipxe"  # the same package, imported: it may be newer
IPXE_NAMES: Final = frozenset({"snponly.efi", "ipxe.efi", "undionly.kpxe", "ipxe-arm64.efi"})
SHIM: Final = "bootnetx64.efi"
SHIM_ARM64: Final = "bootnetaa64.efi"
# The folder of its own makes lpxelinux ask for a menu of its own, and for the module of its own version.
LPXELINUX: Final = "lpxelinux/lpxelinux.0"
LPXELINUX_FILES: Final = {  # Debian's packages pxelinux and syslinux-common
    LPXELINUX: Path("/usr/lib/PXELINUX/lpxelinux.0"),
    "lpxelinux/ldlinux.c32": Path("/usr/lib/syslinux/modules/bios/ldlinux.c32"),
}
# Debian's signed GRUB has its folder built in; it holds grub.cfg and the lists of modules.
GRUB_PREFIX: Final = "debian-installer/amd64/grub/"
GRUB_PREFIXES: Final = {SHIM: GRUB_PREFIX, SHIM_ARM64: "debian-installer/arm64/grub/"}
GRUB_STARTS: Final = frozenset(
    ["grub/grub.cfg"]
    + [
        f"{prefix}{folder}grub.cfg"
        for prefix in GRUB_PREFIXES.values()
        for folder in ("", "x86_64-efi/", "arm64-efi/")
    ]
)  # fmt: skip
SHIM_OF: Final = {SHIM: SHIM, "grubx64.efi": SHIM, SHIM_ARM64: SHIM_ARM64, "grubaa64.efi": SHIM_ARM64}


def loader_file(ctx: Context, name: str, peer: str) -> Path | None:
    """The file behind a loader's name; None where nobody has it.

    UEFI's loaders are the newest ones, whatever is installed: Debian 12's GRUB asks the wrong server in proxy mode.
    All others come from the image that the asking host is armed with, else from the newest one that has the file.
    """
    if name in IPXE_NAMES:
        return ipxe_file(ctx.data_dir, name)
    if name in LPXELINUX_FILES:
        path = LPXELINUX_FILES[name]
        return path if path.is_file() else None
    prefix = next((prefix for prefix in GRUB_PREFIXES.values() if name.startswith(prefix)), "")
    shim = next((shim for shim, known in GRUB_PREFIXES.items() if known == prefix), SHIM_OF.get(name))
    inside = f"loaders/grub/{name.removeprefix(prefix)}" if prefix else f"loaders/{name}"
    if shim is not None:
        found = [image for image in images.everything(ctx) if f"loaders/{shim}" in image.files][-1:]
    else:
        found = _images(ctx, peer)
    return next((image.path / inside for image in found if inside in image.files), None)


def grub_start_by_http(ctx: Context, peer: str = "") -> str:
    """The grub.cfg of all hosts whose GRUB came by UEFI HTTP Boot; it sends each one to its own menu."""
    ctx = ctx.towards(peer)
    return render_grub_start(boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"), by_http=True)


def ipxe_file(data_dir: Path, name: str) -> Path | None:
    """An iPXE binary: from the imported package, else from the installed one; None where neither has it."""
    image = latest_image(data_dir, IPXE_IMAGE)
    if image is not None and f"loaders/{name}" in image.files:
        return image.path / "loaders" / name
    path = IPXE_DIR / name
    return path if path.is_file() else None


def boot_files(data_dir: Path, boot_port: int) -> BootFiles:
    """What there is to hand out. Every loader but PXELINUX has a name of its own per host."""
    by_tftp, by_http = "boot/{dashed}/", f"http://{{server}}:{boot_port}/boot/{{mac}}/"
    x64 = next((name for name in ("snponly.efi", "ipxe.efi") if ipxe_file(data_dir, name)), None)
    arm64 = "ipxe-arm64.efi" if ipxe_file(data_dir, "ipxe-arm64.efi") else None
    bios = {LoaderChoice.IPXE: "undionly.kpxe"} if ipxe_file(data_dir, "undionly.kpxe") else {}
    if all(path.is_file() for path in LPXELINUX_FILES.values()):
        bios[LoaderChoice.LPXELINUX] = LPXELINUX
    by_firmware = {
        Firmware.UEFI_X64: x64 and f"{by_tftp}{x64}",
        Firmware.HTTP_X64: x64 and f"{by_http}{x64}",
        Firmware.UEFI_ARM64: arm64 and f"{by_tftp}{arm64}",
        Firmware.HTTP_ARM64: arm64 and f"{by_http}{arm64}",
    }
    return BootFiles(
        ipxe_menu_url=f"{by_http}menu.ipxe",
        bios_files={loader: f"{by_tftp}{name}" for loader, name in bios.items()},
        grub_files={
            Firmware.UEFI_X64: f"{by_tftp}{SHIM}",
            Firmware.HTTP_X64: f"{by_http}{SHIM}",
            Firmware.UEFI_ARM64: f"{by_tftp}{SHIM_ARM64}",
            Firmware.HTTP_ARM64: f"{by_http}{SHIM_ARM64}",
        },
        ipxe_files={firmware: name for firmware, name in by_firmware.items() if name},
    )


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
    """All images, the newest first; before them the one that the host behind the address is armed with."""
    armed_with = wire_hosts.image_behind(ctx, peer)
    found = images.everything(ctx)
    if armed_with is not None:
        found.sort(key=lambda image: images.reference(image) == armed_with)
    return found[::-1]
