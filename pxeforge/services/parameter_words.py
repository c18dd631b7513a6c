"""What each parameter of a profile means: the words of the reference page and of the form on the web pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pxeforge.render.answers import PowerAction, Upgrade
from pxeforge.render.disks import FILESYSTEMS, DiskLayout

# One entry for each key of DEFAULTS in services/answers.py; a test holds them together.
PARAMETER_WORDS: Final[Mapping[str, str]] = {
    "accounts": "users of the installed system: a list of {name, password_hash, ssh_keys: […], sudo, groups: […]}; "
    "a password is a crypt hash, never plain text",
    "root_password_hash": "root's password as a crypt hash; without it root has no password",
    "disk": "the install disk: first | serial=… | by-path=… | name=/dev/vda | size=20G..500G (powers of 1000)",
    "wipe": "a chosen disk that carries data is refused, unless this is true or a list that holds its serial number, "
    "by-path name or device",
    "keep_labels": "a disk that has one of these words in a label, type or volume group is not wiped by `wipe: true`, "
    "only by its serial number",
    "reserved_disks": "disks kept for roles: a list of {name, disk}, disk as above; the installer neither chooses nor "
    "touches them",
    "layout": "how the install disk is divided: plain | lvm | raid1 | luks (docs/answers.md)",
    "mirror_disk": "layout raid1: the second disk, written like disk; without it the next one",
    "partitions": "a list of {mount, size, filesystem}; mount is a path or swap, size like 20G, or rest for one of "
    "them; without it one for everything, and swap",
    "volume_group": "layouts lvm and luks: name of the volume group",
    "reserve": "layouts lvm and luks: what stays free in the volume group, like 200G or 40%",
    "filesystem": "file system of the installed system: ext4, xfs …",
    "network": "{nics, bonds, vlans, bridges, dns, search} (docs/answers.md); without it DHCP on the NIC that netboots",
    "packages": "installed with the system; python3 is always added, the agent needs it",
    "tasks": "tasks of tasksel; not with `light`",
    "upgrade": "newer packages at the end of the install: none | safe-upgrade | full-upgrade",
    "kernel_package": "kernel to install; without it the installer chooses",
    "domain": "DNS domain of the host; without it `internal`",
    "timezone": "time zone of the installed system, like Europe/Berlin",
    "language": "language of the installer",
    "country": "country of the installer",
    "locale": "locale of installer and installed system",
    "keymap": "keyboard of the console",
    "ntp_server": "asked once, during the install",
    "mirror_host": "package mirror (host or host:port, plain HTTP); without it our own boot plane, which pulls through "
    "from the upstream mirror",
    "mirror_directory": "folder of Debian on the mirror; another mirror_host mostly needs /debian",
    "mirror_proxy": "HTTP proxy in front of the mirror, like http://proxy:3128/; kept by the installed system",
    "security_host": "mirror of security updates: what stands before /debian-security, like security.example.org or "
    "192.0.2.1:8080/mirror",
    "updates": "true: the suite of stable updates as well",
    "repositories": "extra repositories, each with the key that signs it: a list of {name, url, suite, "
    "components: […], key | key_url}; key is ASCII armour",
    "udeb_suite": "another suite for the installer's own packages only",
    "allow_unauthenticated": "true: the installer checks no signature at all; for a lab only",
    "light": "true: fewer installer packages and a minimal base, for virtual hosts in a lab",
    "late_snippets": "list of {name, text}: shell (busybox sh, new system in $TARGET) run at the end of the install; "
    "one that fails is told and stops nothing; the host's run after the profile's (docs/answers.md)",
    "extra_lines": "further lines of the answers, each whole (preseed, kickstart commands, keys of autoinstall)",
    "kernel_args": "further kernel arguments, for the installer only",
    "installed_kernel_args": "further kernel arguments, kept by the installed system",
    "console": "serial console of installer and installed system, like ttyS0,115200n8",
    "power_action": "what the installer does at its end: reboot | poweroff",
    "budgets": "{name: seconds}: how long the parts of an install may take, where that differs from the setting "
    "`budgets` (docs/reference/settings.md)",
}

# Parameters that take one of a few words. What is not here is free text, or YAML where the default is a list or object.
PARAMETER_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "layout": tuple(one.value for one in DiskLayout),
    "filesystem": FILESYSTEMS,
    "upgrade": tuple(one.value for one in Upgrade),
    "power_action": tuple(one.value for one in PowerAction),
}
# Parameters that take more kinds of values than their default shows.
PARAMETERS_OF_ANY_KIND: Final = frozenset({"wipe"})
