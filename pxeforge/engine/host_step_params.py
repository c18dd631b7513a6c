"""Parameters of the steps that shape the host itself: module, fetch, user, reboot, disk and ansible."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from pxeforge.engine.step_fields import (
    AbsolutePath,
    Account,
    HttpUrl,
    Mode,
    ModuleName,
    OneLine,
    Params,
    Seconds,
    Sha256,
)


class ModuleParams(Params):
    """Kernel modules, loaded now and after every boot (in /etc/modules-load.d/pxeforge-<name>.conf)."""

    names: tuple[ModuleName, ...]


class FetchParams(Params):
    """A file from an HTTP(S) address, with exactly this digest."""

    url: HttpUrl
    path: AbsolutePath
    sha256: Sha256
    mode: Mode = "0644"
    owner: Account = "root"
    group: Account = "root"
    timeout_s: Seconds = 600


SshKey = Annotated[
    str, StringConstraints(pattern=r"^(ssh-|ecdsa-|sk-)[a-z0-9@.\-]+ [A-Za-z0-9+/]+={0,3}( [^\x00-\x1f]*)?$")
]


class AccountSettings(Params):
    """One account of the host. What is not given stays as it is; `groups` are added, `authorized_keys` are all."""

    name: Account
    state: Literal["present", "absent"] = "present"
    uid: Annotated[int, Field(ge=1, le=4294967293)] | None = None
    group: Account | None = None  # the primary one; must exist
    groups: tuple[Account, ...] = ()
    home: AbsolutePath | None = None
    shell: AbsolutePath | None = None
    comment: Annotated[str, StringConstraints(pattern=r"^[^:\x00-\x1f]*$")] | None = None
    system: bool = False
    password_hash: Annotated[str, StringConstraints(pattern=r"^(\$[A-Za-z0-9./$,=_\-]{10,}|[!*])$")] | None = None
    authorized_keys: tuple[SshKey, ...] | None = None
    sudo: bool | None = None


class UserParams(Params):
    """Accounts of the host, each with its groups, SSH keys and, with `sudo: true`, root's rights without a password."""

    accounts: tuple[AccountSettings, ...]


class RebootParams(Params):
    """A reboot, unless the shell command `unless` succeeds; the task goes on after it. It must succeed then."""

    reason: OneLine
    unless: OneLine


# `serial=…`, `path=/dev/…`, or a purpose that a blueprint gives to a disk of each host.
DiskSelector = Annotated[
    str, StringConstraints(pattern=r"^(serial=[^\x00-\x20]+|path=/dev/[^\x00-\x20]+|[a-z][a-z0-9\-]*)$")
]
Size = Annotated[
    str, BeforeValidator(lambda value: str(value)), StringConstraints(pattern=r"^([0-9]+[MGT]|[0-9]{1,3}%|rest)$")
]
FileSystem = Literal["ext4", "xfs", "swap", "none"]
MountPoint = Annotated[str, StringConstraints(pattern=r"^(/[^\s\x00-\x1f\\]*|none)$")]
MountOptions = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_,=.:/+\-]+$")]
VolumeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+.][A-Za-z0-9_+.\-]{0,35}$")]


class DiskVolume(Params):
    """One partition or logical volume; sizes like 10G (binary units), 50% of the whole, or the rest."""

    name: VolumeName
    size: Size = "rest"
    filesystem: FileSystem = "ext4"
    mount: MountPoint | None = None
    options: MountOptions = "defaults"

    @model_validator(mode="after")
    def _mountable(self) -> DiskVolume:
        _check_mount(self.filesystem, self.mount)
        return self


class DiskParams(Params):
    """A whole disk: with one file system, with partitions (GPT), or as an LVM volume group with logical volumes.

    It is found by `serial=…`, by `path=/dev/…`, or by the purpose that the blueprint gives it. A disk that holds
    anything (partitions, a file system, LVM, a part of an array …) is refused, unless it is what this step made, or
    `wipe` names its serial number. The disk that the system runs on is refused always. File systems are mounted by
    UUID, now and after every boot.
    """

    disk: DiskSelector
    layout: Literal["filesystem", "partition", "lvm"]
    filesystem: FileSystem = "ext4"  # layout filesystem
    mount: MountPoint | None = None  # layout filesystem
    options: MountOptions = "defaults"  # layout filesystem
    volumes: tuple[DiskVolume, ...] = ()  # layouts partition and lvm
    group: VolumeName | None = None  # layout lvm
    wipe: OneLine | None = None

    @model_validator(mode="after")
    def _consistent(self) -> DiskParams:
        if self.layout == "filesystem":
            if self.volumes or self.group:
                raise ValueError("a disk with one file system has neither volumes nor group")
            _check_mount(self.filesystem, self.mount)
            return self
        if self.mount is not None:
            raise ValueError("give `mount` to the volumes: the disk itself has no file system in this layout")
        if (self.layout == "lvm") != (self.group is not None):
            raise ValueError("layout lvm needs `group`, the name of the volume group, and only it has one")
        if self.layout == "partition" and not self.volumes:
            raise ValueError("layout partition needs volumes")
        names = [volume.name for volume in self.volumes]
        if len(set(names)) < len(names):
            raise ValueError("two volumes have the same name: rename one")
        rest = [volume.name for volume in self.volumes if volume.size == "rest"]
        if len(rest) > 1 or (rest and rest[0] != names[-1]):
            raise ValueError("only the last volume can take the rest of the disk: give the others a size")
        return self


def _check_mount(filesystem: str, mount: str | None) -> None:
    if mount is not None and filesystem in ("swap", "none"):
        raise ValueError(f"{filesystem} cannot be mounted: leave `mount` out")


class AnsibleParams(Params):
    """A playbook, carried out on the host itself by ansible-playbook; its hosts are `localhost` or `all`.

    `playbook` is its text; a role keeps longer ones in its playbooks/ folder, as they are, and names one by `file`.
    Variables go through a file that only root can read.
    """

    playbook: str | None = None
    file: str | None = None
    vars: dict[str, Any] = Field(default_factory=dict)
    timeout_s: Seconds = 1800

    @model_validator(mode="after")
    def _one_source(self) -> AnsibleParams:
        if (self.playbook is None) == (self.file is None):
            raise ValueError("give either playbook or file")
        return self
