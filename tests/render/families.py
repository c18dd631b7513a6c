"""The systems of Red Hat's and Ubuntu's installers whose answers are kept as golden files, and how they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pxeforge.domain.installer import Installer
from pxeforge.render.answers import AnswersContext, render_answers, render_disks, render_early, render_late
from pxeforge.render.install_source import InstallSource
from pxeforge.services.answers import answers_context, check_parameters, effective, kernel_args
from pxeforge.services.context import Addresses
from tests.render.variants import HASH, OPS, VARIANTS

ROOT: Final = Path(__file__).parents[2]
ADDRESSES: Final = Addresses(boot_address="192.0.2.1")
TOKEN: Final = "0123456789abcdef" * 2
MAC: Final = "52:54:00:00:00:01"

# System: template, installer, distribution, release, folders of the tree with packages of their own.
KICKSTART: Final[dict[str, tuple[str, str, str, tuple[str, ...]]]] = {
    "centos-6": ("centos-6.ks.j2", "centos", "6.10", ()),
    "centos-6-desktop-kvm": ("centos-6-desktop-kvm.ks.j2", "centos", "6.2", ()),
    "centos-7": ("centos-7.ks.j2", "centos", "7.9", ()),
    "centos-7-desktop-kvm": ("centos-7-desktop-kvm.ks.j2", "centos", "7.9", ()),
    "rocky-8": ("rocky.ks.j2", "rocky", "8.10", ("AppStream",)),
    "rocky-9": ("rocky.ks.j2", "rocky", "9.4", ("AppStream",)),
    "almalinux-10": ("almalinux.ks.j2", "almalinux", "10.0", ("AppStream",)),
    "fedora-42": ("fedora.ks.j2", "fedora", "42", ()),
}
UBUNTU: Final = {"ubuntu-22.04": "22.04", "ubuntu-24.04": "24.04"}
_RPM: Final = {
    "ntp_server": "192.0.2.1",
    "repositories": [{"name": "tools", "url": "http://192.0.2.1/tools", "key_url": "http://192.0.2.1/tools.asc"}],
}
_DEB: Final = {
    "ntp_server": "192.0.2.1", "mirror_host": "192.0.2.9", "mirror_directory": "/ubuntu",
    "packages": ["openssh-server", "python3", "chrony"], "repositories": VARIANTS["repositories"]["repositories"],
}  # fmt: skip
_SHARED: Final = (
    "plain", "lvm-with-space-left", "partitions", "lvm-partitions", "raid1", "luks", "static", "bond", "accounts",
)  # fmt: skip


def variants_of(system: str) -> dict[str, dict[str, Any]]:
    """What is worth telling apart for a system."""
    chosen = {name: VARIANTS[name] for name in _SHARED}
    if system in UBUNTU:
        return {**chosen, "repositories": _DEB, "password": {"accounts": [{"name": "ops", "password_hash": HASH}]}}
    if system.startswith("centos-6"):
        del chosen["bond"]  # it takes a simple network only
    return {**chosen, "repositories": _RPM}


def source_of(system: str) -> InstallSource:
    base = f"{ADDRESSES.boot_url}/images/{system}/1"
    if system in UBUNTU:
        return InstallSource(
            installer=Installer.SUBIQUITY, distribution="ubuntu", release=UBUNTU[system], tree_url=f"{base}/tree",
            live_image_url=f"{base}/live.iso",
        )  # fmt: skip
    _, distribution, release, repositories = KICKSTART[system]
    return InstallSource(
        installer=Installer.ANACONDA, distribution=distribution, release=release, tree_url=f"{base}/tree",
        repositories=repositories,
    )  # fmt: skip


def template_of(system: str) -> str:
    return "user-data.j2" if system in UBUNTU else KICKSTART[system][0]


def dirs_of(system: str) -> tuple[Path, ...]:
    return (ROOT / ("autoinstall" if system in UBUNTU else "kickstart"), ROOT / "preseed")


def context_of(system: str, parameters: dict[str, Any]) -> AnswersContext:
    """`parameters`: those of a profile; the defaults and an account are added."""
    own = {"accounts": [OPS], "domain": "rack.example.org", **parameters}
    check_parameters(own)
    return answers_context(
        effective(own), hostname="node1", suite="9", addresses=ADDRESSES, token=TOKEN, agent_sha256="a" * 64,
        luks_passphrase="correct-horse-battery", source=source_of(system),
    )  # fmt: skip


def args_of(system: str, parameters: dict[str, Any]) -> str:
    return kernel_args(
        effective(parameters), hostname="node1", addresses=ADDRESSES, token=TOKEN, boot_mac=MAC,
        source=source_of(system),
    )  # fmt: skip


def texts_of(system: str, parameters: dict[str, Any]) -> dict[str, str]:
    """Everything the installer fetches, by file name."""
    context, dirs = context_of(system, parameters), dirs_of(system)
    name = "user-data" if system in UBUNTU else "answers.ks"
    return {
        name: render_answers(template_of(system), context, dirs),
        "early.sh": render_early(context, dirs),
        "disks.sh": render_disks(context, dirs),
        "late.sh": render_late(context, dirs),
        "kernel-args.txt": args_of(system, parameters) + "\n",
    }
