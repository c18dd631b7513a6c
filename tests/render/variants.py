"""The answers that are kept as golden files: every template, system, layout and network worth telling apart."""

from __future__ import annotations

from typing import Any, Final

HASH: Final = "$6$saltsalt$" + "x" * 86
KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ ops"
SIGNING_KEY: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
OPS: Final = {"name": "ops", "ssh_keys": [KEY], "sudo": True}

# Systems that debian-installer installs: template, suite, distribution, release, squashfs.
SYSTEMS: Final[dict[str, tuple[str, str, str, str, str | None]]] = {
    "debian-13": ("debian.cfg.j2", "trixie", "debian", "13", None),
    "debian-12": ("debian.cfg.j2", "bookworm", "debian", "12", None),
    "ubuntu-14.04": ("ubuntu.cfg.j2", "trusty", "ubuntu", "14.04", "install/filesystem.squashfs"),
}
BOND: Final = {
    "nics": [{"mac": "boot", "name": "lan1"}, {"mac": "52:54:00:00:00:02", "name": "lan2"}],
    "bonds": [{"name": "bond0", "nics": ["lan1", "lan2"], "mode": "802.3ad"}],
    "vlans": [
        {
            "name": "mgmt", "link": "bond0", "id": 10, "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1",
            "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.254"}],
        },
        {"name": "storage", "link": "bond0", "id": 20, "mtu": 9000},
    ],
    "bridges": [{"name": "br-storage", "ports": ["storage"], "addresses": ["203.0.113.5/24"], "mtu": 9000}],
    "dns": ["192.0.2.1", "192.0.2.2"],
    "search": ["rack.example.org"],
}  # fmt: skip
STATIC: Final = {
    "nics": [{"mac": "boot", "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1"}], "dns": ["192.0.2.1"],
}  # fmt: skip
PARTITIONS: Final = [
    {"mount": "/", "size": "30G"}, {"mount": "/var", "size": "rest", "filesystem": "xfs"},
    {"mount": "swap", "size": "4G"},
]  # fmt: skip
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "light": {"light": True, "kernel_package": "linux-image-cloud-amd64", "power_action": "poweroff"},
    "lvm-with-space-left": {"layout": "lvm", "reserve": "40%", "volume_group": "system", "wipe": ["S1", "S2"]},
    "lvm-with-free-disks": {
        "layout": "lvm", "disk": "size=..500G", "reserved_disks": [{"name": "ceph", "disk": "size=1T.."}],
        "reserve": "100G",
    },
    "partitions": {"partitions": PARTITIONS, "disk": "serial=S 1"},
    "lvm-partitions": {"layout": "lvm", "partitions": PARTITIONS, "filesystem": "xfs"},
    "raid1": {"layout": "raid1", "disk": "by-path=pci-0000:00:04.0", "mirror_disk": "by-path=pci-0000:00:05.0"},
    "raid1-light": {"layout": "raid1", "partitions": PARTITIONS, "light": True},
    "luks": {"layout": "luks"},
    "static": {"network": STATIC, "console": "ttyS0,115200n8"},
    "bond": {"network": BOND},
    "repositories": {
        "mirror_proxy": "http://192.0.2.9:3128/", "security_host": "192.0.2.1:8080/mirror", "updates": True,
        "upgrade": "full-upgrade", "ntp_server": "192.0.2.1",
        "repositories": [
            {
                "name": "tools", "url": "http://192.0.2.1/tools", "suite": "stable", "components": ["main"],
                "key": SIGNING_KEY,
            },
            {"name": "flat", "url": "https://m.example.org/f", "suite": "./", "key_url": "https://m.example.org/f.asc"},
        ],
    },
    "accounts": {
        "accounts": [OPS, {"name": "admin", "password_hash": HASH, "sudo": True, "groups": ["adm", "libvirt"]}],
        "root_password_hash": HASH,
        "late_snippets": [{"name": "motd", "text": "echo it's here >\"$TARGET/etc/motd\"\n"}],
    },
    # The book's compute node (seeds 004:1009-1079) with its faults corrected: hashes only, no eth0, one late command.
    "compute": {
        "layout": "lvm", "timezone": "Asia/Shanghai", "locale": "en_US.UTF-8", "language": "en", "country": "CN",
        "ntp_server": "192.0.2.1", "accounts": [{"name": "nova", "password_hash": HASH, "sudo": True}],
        "tasks": ["standard"], "packages": ["openssh-server"],
        "late_snippets": [
            {"name": "layout", "text": 'df -h >"$TARGET/root/df"'},
            {"name": "mark", "text": 'touch "$TARGET/tmp/pxetest"'},
        ],
    },
}  # fmt: skip
# Every variant for the newest system, and for the others what differs by system.
KEPT: Final = [
    *(("debian-13", name) for name in VARIANTS),
    ("debian-12", "plain"),
    ("ubuntu-14.04", "plain"),
    ("ubuntu-14.04", "compute"),
]
