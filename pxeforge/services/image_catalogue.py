"""What can be imported by name: packages of Debian's mirror, installers of mirrors, installation media."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A row of the catalogue: the package of one suite and what of it becomes an image."""

    suite: str
    package: str
    arch: str = "amd64"
    prefix: str  # the folder inside the package
    files: Mapping[str, str]  # name below the prefix -> name in the image
    needed: tuple[str, ...]  # names in the image without which it is of no use
    release: str | None = None

    @property
    def is_installer(self) -> bool:
        """Whether hosts can be installed with it; the others are programs that hosts boot."""
        return "linux" in self.needed


KERNEL: Final[Mapping[str, str]] = {"linux": "linux", "initrd.gz": "initrd.gz"}
LOADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "amd64": {
        "pxelinux.0": "loaders/pxelinux.0",
        "boot-screens/ldlinux.c32": "loaders/ldlinux.c32",
        "boot-screens/libcom32.c32": "loaders/libcom32.c32",
        "boot-screens/libutil.c32": "loaders/libutil.c32",
        "boot-screens/vesamenu.c32": "loaders/vesamenu.c32",
        "bootnetx64.efi": "loaders/bootnetx64.efi",
        "grubx64.efi": "loaders/grubx64.efi",
    },
    "arm64": {"bootnetaa64.efi": "loaders/bootnetaa64.efi", "grubaa64.efi": "loaders/grubaa64.efi"},
}
_NEEDED_LOADERS: Final = {
    "amd64": ("loaders/pxelinux.0", "loaders/ldlinux.c32"),
    "arm64": ("loaders/bootnetaa64.efi", "loaders/grubaa64.efi"),
}


def _debian(suite: str, release: int, arch: str = "amd64") -> CatalogueEntry:
    """Debian's text installer. Its `grub/` becomes loaders/grub/ as a whole."""
    return CatalogueEntry(
        suite=suite,
        package=f"debian-installer-{release}-netboot-{arch}",
        arch=arch,
        prefix=f"usr/lib/debian-installer/images/{release}/{arch}/text/debian-installer/{arch}/",
        files={**KERNEL, **LOADERS[arch]},
        needed=(*KERNEL.values(), *_NEEDED_LOADERS[arch]),
        release=str(release),
    )


_IPXE_FILES: Final = ("undionly.kpxe", "snponly.efi", "ipxe-arm64.efi")

CATALOGUE: Final[Mapping[str, CatalogueEntry]] = {
    "debian-13": _debian("trixie", 13),
    "debian-12": _debian("bookworm", 12),
    "debian-13-arm64": _debian("trixie", 13, "arm64"),
    "debian-12-arm64": _debian("bookworm", 12, "arm64"),
    "memtest": CatalogueEntry(
        suite="trixie",
        package="memtest86+",
        prefix="boot/",
        files={"memtest86+x64.bin": "memtest.bin", "memtest86+x64.efi": "memtest.efi"},
        needed=("memtest.bin", "memtest.efi"),
    ),
    "ipxe": CatalogueEntry(
        suite="trixie",
        package="ipxe",
        prefix="usr/lib/ipxe/",
        files={name: f"loaders/{name}" for name in _IPXE_FILES},
        needed=tuple(f"loaders/{name}" for name in _IPXE_FILES),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredInstaller:
    """An installer that a mirror holds as loose files, below `dists/<suite>/main/installer-<arch>/current/`."""

    distribution: str
    release: str
    suite: str
    arch: str = "amd64"
    folders: tuple[str, ...] = ("images",)  # the first one that the mirror has; focal moved it to legacy-images
    keyring: str

    @property
    def netboot(self) -> str:
        """Where kernel, initrd and boot loaders lie below the folder."""
        return f"netboot/{self.distribution}-installer/{self.arch}/"


def _mirrored(distribution: str, release: str, suite: str, arch: str, *folders: str) -> MirroredInstaller:
    keyring = f"/usr/share/keyrings/{distribution}-archive-keyring.gpg"
    return MirroredInstaller(
        distribution=distribution, release=release, suite=suite, arch=arch, folders=folders or ("images",),
        keyring=keyring,
    )  # fmt: skip


MIRRORED: Final[Mapping[str, MirroredInstaller]] = {
    f"{distribution}-{release}{'-arm64' if arch == 'arm64' else ''}": _mirrored(
        distribution, release, suite, arch, *folders
    )
    for distribution, release, suite, folders in (
        ("debian", "13", "trixie", ()),
        ("debian", "12", "bookworm", ()),
        ("ubuntu", "14.04", "trusty", ()),
        ("ubuntu", "16.04", "xenial", ()),
        ("ubuntu", "18.04", "bionic", ()),
        ("ubuntu", "20.04", "focal", ("legacy-images", "images")),
    )
    for arch in ("amd64", "arm64")
}

# Names under which installation media are asked for; an ISO may be given any other name as well.
MEDIA: Final = (
    "ubuntu-14.04", "ubuntu-22.04", "ubuntu-24.04", "centos-6", "centos-7", "rocky-8", "rocky-9", "rocky-10",
    "almalinux-8", "almalinux-9", "almalinux-10", "fedora-42", "opensuse-15.6",
)  # fmt: skip
