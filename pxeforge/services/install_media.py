"""What an installation medium is, told by what is on it and never by its file name."""

from __future__ import annotations

import configparser
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pxeforge.services.image_store import ImportProblem, Installer

_ARCHES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_RPM_ARCHES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
# The families that .treeinfo names, by how they begin; the longest ones first.
_FAMILIES: Final = (
    ("centos", "centos"), ("rocky", "rocky"), ("almalinux", "almalinux"), ("red hat enterprise linux", "rhel"),
    ("fedora", "fedora"), ("opensuse", "opensuse"),
)  # fmt: skip
_DISK_INFO: Final = re.compile(
    r'(?P<family>Ubuntu|Debian)\S*(?: GNU/Linux)? (?P<release>[0-9][0-9.]*)[^"]*"(?P<name>[^"]+)"'
    r".*?\b(?P<arch>amd64|arm64)\b",
    re.IGNORECASE | re.DOTALL,
)
_CASPER_INITRDS: Final = ("initrd", "initrd.gz", "initrd.lz", "hwe-initrd")
_RELEASE: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")


class Files(Protocol):
    """What detection needs of a medium: whether it has a name, and small texts."""

    def has(self, name: str) -> bool: ...

    def text(self, name: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """An installation medium. Paths are names on it."""

    distribution: str
    release: str
    suite: str  # Debian's and Ubuntu's code name, else the release
    arch: str
    installer: Installer
    kernel: str
    initrd: str
    live_image: str | None = None  # the squashfs that the installer fetches by HTTP
    whole_iso: bool = False  # the installer fetches the ISO itself, and nothing of its tree

    @property
    def title(self) -> str:
        return f"{self.distribution} {self.release} for {self.arch}"


def detect(files: Files, iso: str) -> Medium:
    """Raises ImportProblem for what is no installation medium, or one that cannot be booted over the network."""
    for mark, look in _LOOKS.items():
        if files.has(mark):
            return look(files, iso)
    raise ImportProblem(
        f"{iso} is no installation medium that is known here (no .treeinfo, .disk/info or media.1/products): "
        "give an installation ISO of Debian, Ubuntu, CentOS, Rocky, AlmaLinux, Fedora or openSUSE"
    )


def _anaconda(files: Files, iso: str) -> Medium:
    mark = next(name for name in (".treeinfo", "treeinfo") if files.has(name))
    tree = _ini(files.text(mark), iso, mark)
    general = tree.get("general") or tree.get("release") or {}
    family = general.get("family") or general.get("name") or ""
    distribution = next((ours for start, ours in _FAMILIES if family.lower().startswith(start)), None)
    if distribution is None:
        known = ", ".join(ours for _, ours in _FAMILIES)
        raise ImportProblem(f"{iso} is of the family {family!r}, which is not known here: known are {known}")
    arch = _arch(general.get("arch") or (tree.get("tree") or {}).get("arch") or "", iso)
    release = _release(general.get("version") or "", iso)
    if distribution == "opensuse":
        return _suse_medium(files, iso, release, arch)
    kernels = tree.get(f"images-{_RPM_ARCHES[arch]}") or {}
    return Medium(
        distribution=distribution,
        release=release,
        suite=release,
        arch=arch,
        installer=Installer.ANACONDA,
        kernel=_first(files, iso, "kernel", kernels.get("kernel", ""), "images/pxeboot/vmlinuz"),
        initrd=_first(files, iso, "initrd", kernels.get("initrd", ""), "images/pxeboot/initrd.img"),
    )


def _disk_info(files: Files, iso: str) -> Medium:
    text = files.text(".disk/info")
    found = _DISK_INFO.search(text)
    if found is None:
        raise ImportProblem(f"{iso} is neither of Debian nor of Ubuntu: its .disk/info says {text.strip()[:100]!r}")
    family, arch = found["family"].lower(), found["arch"].lower()
    release = _release(found["release"].rstrip("."), iso)
    suite = found["name"].split()[0].lower()
    if files.has("casper/vmlinuz") or files.has("casper/hwe-vmlinuz"):
        return _casper(files, iso, release, suite, arch)
    base = f"install/netboot/{family}-installer/{arch}"
    if not files.has(f"{base}/linux"):
        name = f"{family}-{release.split('.')[0] if family == 'debian' else '.'.join(release.split('.')[:2])}"
        raise ImportProblem(
            f"the installer on {iso} reads its packages from a drive only and cannot be booted over the network: "
            f"run `pxeforge image import {name}` without an ISO, it brings the network installer from a mirror"
        )
    squashfs = "install/filesystem.squashfs"
    return Medium(
        distribution=family,
        release=release,
        suite=suite,
        arch=arch,
        installer=Installer.DEBIAN,
        kernel=f"{base}/linux",
        initrd=_first(files, iso, "initrd", f"{base}/initrd.gz"),
        live_image=squashfs if files.has(squashfs) else None,
    )


def _casper(files: Files, iso: str, release: str, suite: str, arch: str) -> Medium:
    """Ubuntu's live server: the installer runs in the live system, which the kernel's initrd fetches as an ISO."""
    return Medium(
        distribution="ubuntu",
        release=release,
        suite=suite,
        arch=arch,
        installer=Installer.SUBIQUITY,
        kernel=_first(files, iso, "kernel", "casper/vmlinuz", "casper/hwe-vmlinuz"),
        initrd=_first(files, iso, "initrd", *(f"casper/{name}" for name in _CASPER_INITRDS)),
        whole_iso=True,
    )


def _suse(files: Files, iso: str) -> Medium:
    """Line 1 of media.1/products: `/ openSUSE-Leap 15.6-1`; .treeinfo of newer media tells the processor."""
    first = (files.text("media.1/products").strip().splitlines() or [""])[0]
    found = re.search(r"openSUSE(?:-\w+)*\s+([0-9]+(?:\.[0-9]+)?)", first, re.IGNORECASE)
    if found is None:
        raise ImportProblem(f"{iso} is no openSUSE: its media.1/products says {first[:100]!r}")
    arch = next((arch for arch, name in _RPM_ARCHES.items() if files.has(f"boot/{name}/root")), None) or next(
        (arch for arch, name in _RPM_ARCHES.items() if _suse_kernel(files, name)), ""
    )
    return _suse_medium(files, iso, found[1], _arch(arch, iso))


def _suse_kernel(files: Files, name: str) -> str:
    places = (f"boot/{name}/loader/linux", f"boot/{name}/linux")
    return next((place for place in places if files.has(place)), "")


def _suse_medium(files: Files, iso: str, release: str, arch: str) -> Medium:
    kernel = _suse_kernel(files, _RPM_ARCHES[arch])
    return Medium(
        distribution="opensuse",
        release=release,
        suite=release,
        arch=arch,
        installer=Installer.AUTOYAST,
        kernel=_first(files, iso, "kernel", kernel),
        initrd=_first(files, iso, "initrd", posixpath.join(posixpath.dirname(kernel), "initrd")),
    )


_LOOKS: Final[Mapping[str, Callable[[Files, str], Medium]]] = {
    "media.1/products": _suse,
    ".treeinfo": _anaconda,
    "treeinfo": _anaconda,
    ".disk/info": _disk_info,
}


def same_set(first: Files, other: Files) -> bool:
    """Whether `other` is a further disc of the set that `first` begins: both tell the same in .discinfo."""
    if not (first.has(".discinfo") and other.has(".discinfo")):
        return False
    ours, theirs = (one.text(".discinfo").splitlines()[:3] for one in (first, other))
    return len(ours) == 3 and ours == theirs


def _ini(text: str, iso: str, name: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ImportProblem(
            f"{name} in {iso} cannot be read ({str(error).splitlines()[0]}): download it again"
        ) from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _arch(text: str, iso: str) -> str:
    if text not in _ARCHES:
        raise ImportProblem(f"{iso} is for the processor {text!r}: amd64 and arm64 are known here")
    return _ARCHES[text]


def _release(text: str, iso: str) -> str:
    if not _RELEASE.fullmatch(text):
        raise ImportProblem(f"{iso} tells the strange release {text[:40]!r}: nothing was imported")
    return text


def _first(files: Files, iso: str, what: str, *names: str) -> str:
    """The first of the names that is there; raises ImportProblem."""
    found = next((name for name in names if name and files.has(name)), None)
    if found is None:
        places = ", ".join(name for name in names if name) or "the known places"
        raise ImportProblem(f"{iso} has no {what} in {places}: nothing was imported")
    return found
