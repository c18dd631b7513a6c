"""Turns the model of an install into what the templates of Ubuntu's installer use: storage, network, first user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pxeforge.render.curtin import DISK, KEY_FILE, SECOND_DISK, curtin_actions, fixed_bytes
from pxeforge.render.netplan import netplan
from pxeforge.render.values import AnswersProblem

if TYPE_CHECKING:
    from pxeforge.render.answers import AnswersContext

_OLDEST: Final = 20
_MIRROR_SELECTION: Final = 23  # the installer of older releases has `primary` alone
_C: Final = ("C", "POSIX")
# Without a mirror only what the medium holds can be installed; these two come by themselves.
_ALWAYS: Final = ("openssh-server", "python3")


def autoinstall_variables(context: AnswersContext) -> Mapping[str, object]:
    """What the templates in autoinstall/ may use on top of what all answers may. Raises AnswersProblem."""
    release = context.source.major
    if context.source.distribution != "ubuntu" or release is None or release < _OLDEST:
        name = f"{context.source.distribution} {context.source.release}".strip()
        raise AnswersProblem(f"there is no autoinstall for {name}: Ubuntu has it since 20.04")
    return {
        "release_number": release,
        "disk_path": DISK,
        "second_disk_path": SECOND_DISK,
        "disk_key_file": KEY_FILE,
        "storage_by_bios": curtin_actions(context.disks, is_efi=False),
        "storage_by_uefi": curtin_actions(context.disks, is_efi=True),
        "system_bytes": fixed_bytes(context.disks),
        "netplan": netplan(context.network),
        "ubuntu_locale": "C.UTF-8" if context.locale in _C else context.locale,
        "ubuntu_packages": tuple(one for one in context.packages if one not in _ALWAYS),
        "apt": _apt(context, has_selection=release >= _MIRROR_SELECTION),
        "cloud_users": [_cloud_user(context, name) for name in (one.name for one in context.users)],
    }


def _apt(context: AnswersContext, *, has_selection: bool) -> dict[str, Any]:
    """Without a mirror of its own in the profile nothing outside is asked for."""
    found: dict[str, Any] = {"preserve_sources_list": False, "geoip": False}
    uri = context.ubuntu_mirror
    if has_selection:
        found["fallback"] = "offline-install"
    if uri is not None:
        if has_selection:
            found["mirror-selection"] = {"primary": [{"uri": uri}]}
        else:
            found["primary"] = [{"arches": ["default"], "uri": uri}]
    sources = {
        f"{one.name}.list": {"source": f"deb {one.url} {' '.join((one.suite or './', *one.components))}",
                             **({"key": one.key} if one.key else {})}
        for one in context.repositories
    }  # fmt: skip
    return {**found, **({"sources": sources} if sources else {})}


def _cloud_user(context: AnswersContext, name: str) -> dict[str, Any]:
    """As cloud-init makes it at the first start, should the late script not have done so before."""
    account = next(one for one in context.users if one.name == name)
    found: dict[str, Any] = {
        "name": name, "shell": "/bin/bash", "lock_passwd": account.password_hash is None,
    }  # fmt: skip
    if account.password_hash:
        found["passwd"] = account.password_hash
    if account.ssh_keys:
        found["ssh_authorized_keys"] = list(account.ssh_keys)
    if account.sudo:
        found["sudo"] = "ALL=(ALL) NOPASSWD:ALL" if account.password_hash is None else "ALL=(ALL) ALL"
    return found
