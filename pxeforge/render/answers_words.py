"""What each variable of the answer templates holds: the words of the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# One entry for each variable of AnswersContext.variables(); a test holds them together.
VARIABLE_WORDS: Final[Mapping[str, str]] = {
    "hostname": "name of the host, one label",
    "domain": "DNS domain of the host",
    "mirror_host": "package mirror, host or host:port",
    "installer_url": "where the scripts of this install are, without the last slash; holds the installer token",
    "boot_url": "our boot plane, without the last slash",
    "mirror_directory": "folder of the distribution on the mirror",
    "mirror_suite": "suite of the image",
    "mirror_proxy": "HTTP proxy in front of the mirror, or none",
    "udeb_suite": "another suite for the installer's own packages, or none",
    "allow_unauthenticated": "whether the installer checks no signatures",
    "security_host": "what stands before /debian-security, or none",
    "updates": "whether the suite of stable updates is wanted",
    "disks": "rule, mirror_rule, wipe, layout, filesystem, partitions, volume_group, reserve_bytes, reserve_percent, "
    "reserved, keep_labels; disk_count, has_volume_group, filesystems, filesystem_of(partition)",
    "luks_passphrase": "passphrase of the encrypted disk (layout luks), else none",
    "network": "interfaces, dns, search; is_simple, static_address(), boot_nic(), ports_of(name), master_of(name), "
    "vlans_on(name), booted_from(mac)",
    "repositories": "extra repositories: name, url, suite, components, key, key_url, keyring, sources_line",
    "users": "accounts: name, password_hash, ssh_keys, sudo, groups",
    "root_password_hash": "root's password as a crypt hash, or none",
    "packages": "packages to install",
    "tasks": "tasks of tasksel",
    "upgrade": "upgrade.value: none, safe-upgrade or full-upgrade",
    "timezone": "time zone",
    "ntp_server": "time server of the installer, or none",
    "kernel_package": "kernel to install, or none",
    "late_snippets": "merged late snippets: label, name, source, origin, text (only in the late script)",
    "power_action": "power_action.value: poweroff or reboot",
    "light": "whether the smallest system is wanted",
    "extra_lines": "further lines of the answers, each whole",
    "agent_sha256": "SHA-256 of the agent at boot_url/agent/pxeforge-agent.pyz, or none",
    "source": "the image: installer, distribution, release, major, tree_url, live_image_url, repositories",
    "locale": "locale of the installed system",
    "keymap": "keyboard of the console",
    "installed_args": "kernel arguments that the installed system keeps",
    "ubuntu_mirror": "URI of a mirror of Ubuntu, or none",
    "register_args": "further words for `pxeforge-agent.pyz register`",
    "installer_user": "the first user with a password, whom the installer makes itself, or none",
    "all_packages": "packages, and what accounts need",
    "partman": "for debian-installer: method, recipe, needs_mb, raid, guided_size, reserve_mb, reserve_percent, "
    "outside_mb",
    "firmware_mb": "for debian-installer: what the firmware's partition takes at most",
    "network_files": "files of systemd-networkd: name, text; none for a network that every installer writes by itself",
    "resolv_conf": "text of resolv.conf, empty where no name servers are given",
    "jitter_s": "seconds by which this host's pauses differ from another's",
}
# What the templates in kickstart/ and autoinstall/ may use on top; tests hold them together too.
FAMILY_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "kickstart": {
        "level": "the Enterprise Linux whose installer it is nearest to: 6 to 10, for Fedora too",
        "is_fedora": "whether it is Fedora",
        "has_agent_python": "whether its python3 is new enough for the agent",
        "lang": "the locale, en_US.UTF-8 in the place of C",
        "network_line": "the line `network` for the NIC that netboots",
        "disks_by_bios": "everything about disks as lines, for a host that was started by BIOS; @DISK@, @DISK2@ and "
        "@PASSPHRASE@ are filled in by the disk guard",
        "disks_by_uefi": "the same for UEFI; empty where the installer cannot do it",
        "nm_files": "key files of NetworkManager: name, text; none for a network that the installer writes by itself",
        "yum_files": "text of the .repo file of each repository, by its name",
    },
    "autoinstall": {
        "release_number": "22 of 22.04",
        "storage_by_bios": "actions of curtin for a host that was started by BIOS",
        "storage_by_uefi": "the same for UEFI",
        "disk_path": "what stands for the install disk until the disk guard has chosen it",
        "second_disk_path": "the same for the second disk of layout raid1",
        "disk_key_file": "where the disk guard puts the passphrase of layout luks",
        "system_bytes": "what of the disk the volume that takes the rest cannot have",
        "netplan": "the network as netplan; @BOOT_MAC@ is filled in by the disk guard",
        "apt": "the section `apt`",
        "ubuntu_locale": "the locale, C.UTF-8 in the place of C",
        "ubuntu_packages": "packages that do not come by themselves",
        "cloud_users": "users as cloud-init makes them",
    },
}
