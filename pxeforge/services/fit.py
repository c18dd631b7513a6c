"""Whether a host can be installed from an image at all: processor, firmware, Secure Boot, memory, the mirror's kernel.

What is sure to fail refuses the arming; what may fail is a warning, told to whoever arms and in the timeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from pxeforge.domain.boot import LoaderChoice
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.installer import Installer, major
from pxeforge.services import images
from pxeforge.services.context import Context
from pxeforge.services.image_store import ImportedImage
from pxeforge.services.kernel_version import is_abi, starts_by_uefi
from pxeforge.services.mirror_udebs import UdebQuery
from pxeforge.services.pe_signature import is_signed
from pxeforge.services.problems import Problem

_MIB: Final = 1 << 20
# What the vendors ask for an installation over the network, and a little less: firmware keeps some of it.
_ROOM_FOR_FIRMWARE: Final = 0.9
_RAM_MIB: Final = {  # by installer and the release it counts from, the newest one first
    Installer.DEBIAN: ((0, 512),),
    Installer.ANACONDA: ((10, 3072), (8, 3072), (7, 1280), (0, 768)),
    Installer.AUTOYAST: ((0, 1024),),
    Installer.SUBIQUITY: ((0, 1536),),  # beside the ISO, which it keeps in memory
}
_SHIMS: Final = {  # each with the GRUB that it starts
    "amd64": ("loaders/bootnetx64.efi", "loaders/grubx64.efi"),
    "arm64": ("loaders/bootnetaa64.efi", "loaders/grubaa64.efi"),
}
_KERNELS_SHOWN: Final = 4
_REPODATA: Final = "repodata/repomd.xml"


class FittingHost(Protocol):
    """What the checks look at."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str | None: ...

    @property
    def firmware(self) -> str | None: ...

    @property
    def loader(self) -> str: ...

    @property
    def facts(self) -> dict[str, Any]: ...


def check(ctx: Context, host: FittingHost, image: ImportedImage, parameters: Mapping[str, Any]) -> list[str]:
    """The warnings, one sentence each; raises Problem for what cannot work. Never waits: see `ask_mirror`.

    `parameters` are the effective ones of the host, with all defaults.
    """
    firmware = Firmware(host.firmware) if host.firmware else None
    name = host.name or host.id
    _check_processor(name, firmware, image)
    if image.installer is None:
        return []
    _check_files(image)
    return [
        *_firmware(name, firmware, host, image),
        *_secure_boot(ctx, name, firmware, host, image),
        *_memory(name, host, image),
        *_kernel(ctx, image, parameters),
    ]


def ask_mirror(ctx: Context, image: ImportedImage, parameters: Mapping[str, Any]) -> None:
    """Asks the mirror for its kernels where `check` will want to know; it may take some seconds."""
    query = _query(ctx, image, parameters)
    if query is not None and ctx.udebs is not None:
        ctx.udebs.ask(query)


def _check_processor(name: str, firmware: Firmware | None, image: ImportedImage) -> None:
    arch = firmware.arch if firmware else None
    if firmware is not None and arch is not None and arch != image.arch:
        raise Problem(
            f"{name} netboots by {firmware.value} and cannot run the {image.arch} image {image.name}: "
            f"choose a profile whose image is for {arch}"
        )


def _check_files(image: ImportedImage) -> None:
    """What the host will fetch is there; raises Problem."""
    names = ["linux", "initrd.gz", *([image.live_image] if image.live_image is not None else [])]
    missing = next((name for name in names if image.file(name) is None or not (image.path / name).is_file()), None)
    if missing is not None:
        raise Problem(f"the image {image.name} {image.version} has lost its {missing}: remove it and import it again")
    if image.installer is Installer.ANACONDA and image.tree is not None:
        tree = image.path / image.tree
        if not (tree / _REPODATA).is_file() and next(tree.glob(f"*/{_REPODATA}"), None) is None:
            raise Problem(
                f"the image {image.name} {image.version} has no packages, only the installer: import the DVD of "
                f"{image.distribution} {image.release} instead of its boot ISO"
            )


def _firmware(name: str, firmware: Firmware | None, host: FittingHost, image: ImportedImage) -> Iterator[str]:
    if firmware is None or not firmware.is_uefi or host.loader == LoaderChoice.GRUB.value:
        return
    if not starts_by_uefi(image.path / "linux"):
        yield (
            f"the kernel of {image.name} is too old for UEFI to start it and {name} netboots by {firmware.value}: "
            f"set its firmware to BIOS mode, or its loader to grub (pxeforge host set {name} --loader grub)"
        )


def _secure_boot(
    ctx: Context, name: str, firmware: Firmware | None, host: FittingHost, image: ImportedImage
) -> Iterator[str]:
    """Where it is enforced, only a signed shim and GRUB start, and they start only kernels that their vendor signed.

    The ones that hosts are given are Debian's, of the newest image that has them (`services/loaders.py`).
    """
    if host.facts.get("secure_boot") is not True or firmware is Firmware.BIOS:
        return
    shim, grub = _SHIMS[image.arch]
    newest = next((one for one in reversed(images.everything(ctx)) if shim in one.files), None)
    if newest is None or not all(is_signed(newest.path / file) for file in (shim, grub)):
        source = "debian-13-arm64" if image.arch == "arm64" else "debian-13"
        raise Problem(
            f"{name} enforces Secure Boot and no image has a signed shim and GRUB for {image.arch}: "
            f"run `pxeforge image import {source}`, or turn Secure Boot off in the firmware"
        )
    if image.distribution != newest.distribution:
        yield (
            f"{name} enforces Secure Boot, and the shim of {newest.name} does not start the kernel of {image.name} "
            "unless its vendor's key is enrolled: turn Secure Boot off for the installation"
        )


def _memory(name: str, host: FittingHost, image: ImportedImage) -> Iterator[str]:
    """Raises Problem where the host has less than half of what is needed; nothing where its memory is not known."""
    have = host.facts.get("ram_bytes")
    if not isinstance(have, int) or have <= 0:
        return
    needed = ram_needed_bytes(image)
    said = f"{name} has {have // _MIB} MiB of memory and the installer of {image.name} needs about {needed // _MIB} MiB"
    if have < needed // 2:
        raise Problem(f"{said}: add memory or choose another image")
    if have < needed * _ROOM_FOR_FIRMWARE:
        yield f"{said}: it may stop in the middle"


def ram_needed_bytes(image: ImportedImage) -> int:
    """What the installer needs to run, the ISO that it keeps in memory included."""
    release = major(image.release) or 0
    steps = _RAM_MIB[image.installer or Installer.DEBIAN]
    if image.distribution == "fedora":
        release = 10  # its releases are of another count, and newer
    base = next(mib for since, mib in steps if release >= since) * _MIB
    live = image.files.get(image.live_image or "")
    return base + (live.size if live is not None and image.installer is Installer.SUBIQUITY else 0)


def _kernel(ctx: Context, image: ImportedImage, parameters: Mapping[str, Any]) -> Iterator[str]:
    """The installer loads modules for its very kernel from the mirror; raises Problem where the mirror has others."""
    query = _query(ctx, image, parameters)
    if query is None or ctx.udebs is None:
        return
    answer = ctx.udebs.known(query)
    if answer is None:
        return
    if answer.problem is not None:
        yield f"whether the mirror has modules for the kernel {image.kernel_version} is not known: {answer.problem}"
    elif image.kernel_version not in answer.kernels:
        has = ", ".join(sorted(answer.kernels)[:_KERNELS_SHOWN]) or "none at all"
        raise Problem(
            f"the mirror {query.mirror} has no installer modules for the kernel {image.kernel_version} of image "
            f"{image.name} {image.version} (it has {has}): run `pxeforge image import {image.name}` again, "
            "or choose a complete mirror"
        )


def _query(ctx: Context, image: ImportedImage, parameters: Mapping[str, Any]) -> UdebQuery | None:
    """Where the installer will look for its modules; None for installers that bring them along."""
    if image.installer is not Installer.DEBIAN or not is_abi(image.kernel_version):
        return None
    base = f"http://{parameters['mirror_host']}" if parameters["mirror_host"] else ctx.addresses.boot_url
    suite = parameters["udeb_suite"] or image.suite
    mirror = f"{base}{parameters['mirror_directory']}"
    return UdebQuery(mirror, suite, image.arch, parameters["mirror_proxy"])
