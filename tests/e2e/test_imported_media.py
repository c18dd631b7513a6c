"""Imported installation media on a real machine: its menu, the kernel and initrd of the medium, the tree over HTTP.

The media have the real layouts; kernel and drivers are Debian's, for the vendors' are not to be had here. In place of
the vendor's installer runs a script that fetches over the network what the kernel's command line names, as the
installer would, and says its checksums on the console.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pxeforge.lab.session import Lab
from pxeforge.services import images
from pxeforge.services.image_store import ImportedImage
from tests.e2e.conftest import CACHE, ROOT
from tests.services import small_media

DEBIAN = "debian-13"
KERNEL_LIMIT_S = 300
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="a virtual rack needs root (network namespaces)"),
    pytest.mark.skipif(not small_media.HAS_XORRISO, reason="needs xorriso"),
]

# What an installer does first, by the words of its own kernel's command line.
INIT = r"""#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
modprobe virtio_net; sleep 1
for nic in /sys/class/net/*; do nic=${nic##*/}; [ $nic = lo ] || break; done
ip link set $nic up
udhcpc -q -n -t 20 -i $nic -s /dhcp
for word in $(cat /proc/cmdline); do
    case $word in
    inst.repo=*|repo=*) base=${word#*=}; base=${base%/}; set -- $base/.treeinfo $base/images/install.img ;;
    url=*.iso|iso-url=*) set -- ${word#*=} ;;
    inst.ks=*) set -- ${word#*=} ;;
    ds=nocloud*) set -- ${word#*;s=}meta-data ;;
    *) continue ;;
    esac
    for url; do wget -q -O /tmp/got "$url" && echo "FETCHED $(sha256sum </tmp/got | cut -c1-64) $url"; done
done
echo LOOKED AT ALL
sleep 1000
"""
DHCP = '#!/bin/sh\n[ "$1" = bound ] && ip address add $ip/${mask:-24} dev $interface\nexit 0\n'


@dataclass(frozen=True)
class Rack:
    """The lab, and where media are made."""

    lab: Lab
    folder: Path
    kernel: bytes
    initrd: bytes

    def bring(self, name: str, files: dict[str, bytes]) -> ImportedImage:
        """Imports a medium through the command line, with a profile that lets somebody log in."""
        iso = small_media.make_iso(self.folder / f"{name}.iso", files)
        said = self.lab.pxeforge("image", "import", name, str(iso), "--unverified").stdout
        assert f"profile {name} is ready" in said
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyGZRyPyQjKZBTCzBVBDa0wN7GVrCrDDQqZ8pPXk5mv lab"
        account = f"accounts=[{{name: ops, ssh_keys: ['{key}'], sudo: true}}]"
        self.lab.pxeforge("profile", "set", name, "console=ttyS0,115200n8", account)
        return images.newest(self.lab.context, name)

    def boots(self, name: str) -> str:
        """Arms the machine and powers it on; the console up to the end of what the medium's initrd does."""
        machine = self.lab.machine(1, fresh_disk=True)
        mac = str(machine.mac)
        if self.lab.host(mac) is None:
            self.lab.pxeforge("host", "add", "--mac", mac, "--name", "n1")
        self.lab.pxeforge("host", "arm", "n1", "--profile", name)
        machine.start()
        try:
            began = time.monotonic()
            assert machine.wait_console("LOOKED AT ALL", KERNEL_LIMIT_S), machine.console_text()[-3000:]
            print(f"{name}: looked at all after {time.monotonic() - began:.0f} s", flush=True)
            return machine.console_text()
        finally:
            machine.power_off()
            self.lab.pxeforge("host", "disarm", "n1", check=False)


def with_script(initrd: bytes, folder: Path) -> bytes:
    """The initrd with our /init laid over its own: a further archive behind the packed one."""
    top = folder / "initrd"
    top.mkdir(parents=True)
    for name, text in (("init", INIT), ("dhcp", DHCP)):
        (top / name).write_text(text)
        (top / name).chmod(0o755)
    archive = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], input=b"init\ndhcp\n", cwd=top, capture_output=True, check=True
    ).stdout
    return initrd + b"\0" * (-len(initrd) % 512) + archive


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    folder = ROOT / "media"
    Lab.clear(folder)
    lab = Lab.up(
        folder, cache=CACHE, hosts=1, admin_port=0, name="pxf-media", images=[DEBIAN], installs=False,
        seed=ROOT / "media-seed",
    )  # fmt: skip
    media = tmp_path_factory.mktemp("media")
    try:
        path = images.newest(lab.context, DEBIAN).path
        initrd = with_script((path / "initrd.gz").read_bytes(), media)
        yield Rack(lab, media, (path / "linux").read_bytes(), initrd)
    finally:
        lab.down()


def fetched(console: str) -> dict[str, str]:
    """URL and SHA-256 of what the machine said that it fetched."""
    lines = [line[line.index("FETCHED ") :].split() for line in console.splitlines() if "FETCHED " in line]
    return {words[2]: words[1] for words in lines if len(words) == 3}


def test_a_machine_boots_rockys_medium_and_fetches_its_tree(rack: Rack) -> None:
    files = {**small_media.rocky(), "images/pxeboot/vmlinuz": rack.kernel, "images/pxeboot/initrd.img": rack.initrd}
    image = rack.bring("rocky-9", files)
    got = fetched(rack.boots("rocky-9"))
    base = f"{rack.lab.context.addresses.boot_url}/{image.boot_path}/tree"
    for name in (".treeinfo", "images/install.img"):
        assert got[f"{base}/{name}"] == hashlib.sha256(files[name]).hexdigest()
    assert [url for url in got if "/answers/" in url]  # inst.ks= came through
    told = [event["message"] for event in rack.lab.timeline("n1")]
    assert any("linux fetched" in message for message in told)


def test_a_machine_boots_ubuntus_live_medium_and_fetches_the_iso(rack: Rack) -> None:
    files = {**small_media.ubuntu_live_24(), "casper/vmlinuz": rack.kernel, "casper/initrd": rack.initrd}
    image = rack.bring("ubuntu-24.04", files)
    got = fetched(rack.boots("ubuntu-24.04"))
    url = f"{rack.lab.context.addresses.boot_url}/{image.boot_path}/live.iso"
    assert got[url] == image.files["live.iso"].sha256
    assert [url for url in got if url.endswith("/meta-data")]  # the semicolon of ds= came through
