"""The disk step on loop devices, which are real to every program; LVM, which needs a kernel's device mapper, on
programs of ours that keep its state in files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.disk_step import size_bytes
from pxeforge.engine.step_types import checked_params

from .fake_host import do, program

# Some kernels read no partition tables, and without udev nobody makes nodes: this does both.
UDEVADM = r"""
for loop in /sys/block/loop*/loop; do
  disk=/dev/$(basename "${loop%/loop}")
  case $(cat "$loop/backing_file") in "$PWD"/*) partx --update "$disk";; *) continue;; esac
  for part in "${loop%/loop}"/loop*p*; do
    node=/dev/$(basename "$part"); test -e "$node" || mknod "$node" b $(tr : ' ' < "$part/dev")
  done
done
"""


def _attach(image: Path) -> str:
    with image.open("wb") as file:
        file.truncate(96 << 20)
    ran = subprocess.run(["losetup", "--find", "--show", "--partscan", str(image)], capture_output=True, text=True)
    if ran.returncode != 0:
        pytest.skip(f"no loop devices here: {ran.stderr.strip()}")
    return ran.stdout.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    if os.getuid() != 0 or not shutil.which("losetup"):
        pytest.skip("loop devices need root and losetup")
    device = _attach(tmp_path / "image")
    program(tmp_path, "udevadm", UDEVADM)
    program(tmp_path, "systemctl", "echo $* >> systemctl.log")
    yield device
    for mount in _mounts(tmp_path):
        subprocess.run(["umount", mount], check=True)
    subprocess.run(["losetup", "--detach", device], check=True)
    for node in Path("/dev").glob(f"{Path(device).name}p*"):
        node.unlink()


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted((line.split()[4] for line in lines if line.split()[4].startswith(f"{folder}/")), reverse=True)


def disk_step(folder: Path, **params: Any) -> dict[str, Any]:
    return do(folder, "disk", checked_params("disk", params), root=folder)


def test_an_empty_disk_gets_a_file_system_and_is_mounted_by_uuid(tmp_path: Path, disk: str) -> None:
    wanted = {"disk": f"path={disk}", "layout": "filesystem", "mount": "/srv/images"}
    dry = do(tmp_path, "disk", checked_params("disk", wanted), root=tmp_path, check_only=True)
    assert (dry["status"], dry["message"]) == ("changed", f"make {disk} filesystem")
    first = disk_step(tmp_path, **wanted)
    assert first["status"] == "changed", first
    assert disk_step(tmp_path, **wanted)["status"] == "ok"
    assert _mounts(tmp_path) == [str(tmp_path / "srv/images")]
    uuid = subprocess.run(["blkid", "-p", "-s", "UUID", "-o", "value", disk], capture_output=True, text=True).stdout
    assert (tmp_path / "etc/fstab").read_text() == f"UUID={uuid.strip()} /srv/images ext4 defaults,nofail 0 2\n"
    (tmp_path / "srv/images/data").write_text("precious")
    subprocess.run(["umount", str(tmp_path / "srv/images")], check=True)
    assert disk_step(tmp_path, **wanted)["message"] == f"mount {disk} at /srv/images"
    assert (tmp_path / "srv/images/data").read_text() == "precious"


def test_partitions_are_made_with_their_file_systems(tmp_path: Path, disk: str) -> None:
    volumes = [{"name": "one", "size": "16M", "mount": "/one"}, {"name": "raw", "size": "8M", "filesystem": "none"},
               {"name": "two"}]  # fmt: skip
    wanted = {"disk": f"path={disk}", "layout": "partition", "volumes": volumes}
    result = disk_step(tmp_path, **wanted)
    assert result["status"] == "changed", result
    assert disk_step(tmp_path, **wanted)["status"] == "ok"
    table = json.loads(subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True).stdout)
    parts = table["partitiontable"]["partitions"]
    assert [(part["name"], part["size"]) for part in parts[:2]] == [("one", 16 << 11), ("raw", 8 << 11)]
    assert _mounts(tmp_path) == [str(tmp_path / "one")]
    assert [line.split()[1] for line in (tmp_path / "etc/fstab").read_text().splitlines()] == ["/one"]
    result = disk_step(tmp_path, **{**wanted, "volumes": volumes[:2]})
    assert (result["status"], "3 partitions, and 2 are asked for" in result["message"]) == ("failed", True)


def test_swap_is_made_and_taken(tmp_path: Path, disk: str) -> None:
    program(tmp_path, "swapon", "echo swapon $* >> log")  # the kernel takes none from a file in memory
    result = disk_step(tmp_path, disk=f"path={disk}", layout="filesystem", filesystem="swap")
    assert result["message"] == f"after the change it is still not right: swap to {disk}"
    assert (tmp_path / "log").read_text() == f"swapon {disk}\n"
    (line,) = (tmp_path / "etc/fstab").read_text().splitlines()
    assert line.split()[1:] == ["none", "swap", "sw", "0", "0"]


@pytest.mark.parametrize(
    ("maker", "what"),
    [
        (["mkfs.ext4", "-q", "-F", "-L", "photos"], "ext4 photos"),
        (["sfdisk", "--quiet"], "dos"),
        (["mkswap"], "swap"),
    ],
    ids=["file-system", "partition-table", "swap"],
)
def test_a_disk_with_data_is_refused_unless_its_serial_is_named(
    tmp_path: Path, disk: str, maker: list[str], what: str
) -> None:
    subprocess.run([*maker, disk], input="label: dos\n,8M,L\n", text=True, check=True, capture_output=True)
    wanted = {"disk": f"path={disk}", "layout": "filesystem"}
    for wipe in ({}, {"wipe": "another"}):
        result = disk_step(tmp_path, **wanted, **wipe)
        assert (result["status"], f"holds {what}" in result["message"]) == ("failed", True), result
    assert subprocess.run(["blkid", "-p", disk], capture_output=True).returncode == 0
    result = disk_step(tmp_path, **wanted, wipe=disk)  # it has no serial number: its path names it
    assert result["status"] == "changed", result
    assert disk_step(tmp_path, **wanted, wipe=disk)["status"] == "ok"


def test_what_was_made_is_not_wiped_again_and_not_taken_without_its_record(tmp_path: Path, disk: str) -> None:
    wanted = {"disk": f"path={disk}", "layout": "filesystem", "wipe": disk, "mount": "/data"}
    disk_step(tmp_path, **wanted)
    (tmp_path / "data/x").write_text("precious")
    assert disk_step(tmp_path, **wanted)["status"] == "ok"
    assert (tmp_path / "data/x").read_text() == "precious"
    (tmp_path / "disks.json").unlink()
    result = disk_step(tmp_path, **{**wanted, "wipe": None})
    assert (result["status"], "holds ext4" in result["message"]) == ("failed", True)
    result = disk_step(tmp_path, **wanted)
    assert (result["status"], "is in use" in result["message"]) == ("failed", True)
    assert (tmp_path / "data/x").read_text() == "precious"


def test_a_folder_that_holds_something_is_not_hidden(tmp_path: Path, disk: str) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/file").touch()
    result = disk_step(tmp_path, disk=f"path={disk}", layout="filesystem", mount="/srv")
    assert (result["status"], "is not empty" in result["message"]) == ("failed", True)
    (tmp_path / "srv/file").unlink()
    assert disk_step(tmp_path, disk=f"path={disk}", layout="filesystem", mount="/srv")["status"] == "changed"


LSBLK = r"""
cat <<END
{"blockdevices": [
  {"kname":"sda","path":"/dev/sda","type":"disk","size":1000,"serial":"SYS","maj:min":"$(mountpoint -d /)","ro":false},
  {"kname":"sdb","path":"/dev/sdb","type":"disk","size":64000000000,"serial":"ONE","maj:min":"8:16","ro":false},
  {"kname":"sdc","path":"/dev/sdc","type":"disk","size":64000000000,"serial":"TWO","maj:min":"8:32","ro":false},
  {"kname":"sdd","path":"/dev/sdd","type":"disk","size":64000000000,"serial":"TWO","maj:min":"8:48","ro":false}]}
END
"""
# LVM's own programs need the kernel's device mapper: these keep what they are told.
LVM = {
    "pvs": r'echo "{\"report\":[{\"pv\":[{\"pv_name\":\"/dev/sdb\",\"vg_name\":\"$(cat vg 2>/dev/null)\"}]}]}"',
    "vgs": r'echo "{\"report\":[{\"vg\":[{\"vg_name\":\"$(cat vg 2>/dev/null)\"}]}]}"',
    "lvs": r"""
printf '{"report":[{"lv":['; sep=; for lv in $(cat lvs 2>/dev/null); do
printf '%s{"lv_name":"%s","vg_name":"%s","lv_path":"%s/dev/%s"}' "$sep" $lv $(cat vg) "$PWD" $lv; sep=,
done; echo ']}]}'
""",
    "pvcreate": "echo pvcreate $* >> log; echo $4 > pv",
    "vgcreate": "echo vgcreate $* >> log; echo $2 > vg",
    "vgremove": "echo vgremove $* >> log; rm -f vg lvs",
    "lvcreate": 'echo lvcreate $* >> log; mkdir -p dev; for w in "$@"; do case $prev in --name) echo $w >> lvs; '
    "touch dev/$w;; esac; prev=$w; done",
    "blkid": 'test "$4" = /dev/sdb && test -e pv || exit 2; echo TYPE=LVM2_member; echo UUID=$(cat pv)',
    "wipefs": 'test "$1" = --all && { echo wipefs $* >> log; rm -f pv; exit 0; }; test -e pv '
    '&& echo \'{"signatures":[{"type":"LVM2_member","uuid":"x"}]}\'; exit 0',
}


@pytest.fixture
def lvm_host(tmp_path: Path) -> Path:
    program(tmp_path, "lsblk", LSBLK)
    for name, script in LVM.items():
        program(tmp_path, name, script)
    return tmp_path


CINDER: dict[str, Any] = {"disk": "serial=ONE", "layout": "lvm", "group": "cinder-volumes"}


def test_a_disk_becomes_a_volume_group_once(lvm_host: Path) -> None:
    result = disk_step(lvm_host, **CINDER)
    assert result["status"] == "changed", result
    assert disk_step(lvm_host, **CINDER)["status"] == "ok"
    log = (lvm_host / "log").read_text().splitlines()
    assert [line.split()[0] for line in log] == ["pvcreate", "vgcreate"]
    assert log[1] == "vgcreate --yes cinder-volumes /dev/sdb"


def test_logical_volumes_are_made_in_their_sizes(lvm_host: Path) -> None:
    volumes = [{"name": "a", "size": "10G", "filesystem": "none"}, {"name": "b", "size": "50%", "filesystem": "none"},
               {"name": "c", "filesystem": "none"}]  # fmt: skip
    assert [disk_step(lvm_host, **CINDER, volumes=volumes)["status"] for _ in range(2)] == ["changed", "ok"]
    made = [
        line.split("--wipesignatures=y ")[1]
        for line in (lvm_host / "log").read_text().splitlines()
        if "lvcreate" in line
    ]
    assert made == [
        "--size 10g --name a cinder-volumes",
        "--extents 50%VG --name b cinder-volumes",
        "--extents 100%FREE --name c cinder-volumes",
    ]


def test_a_volume_group_of_somebody_else_goes_only_when_the_serial_is_named(lvm_host: Path) -> None:
    (lvm_host / "pv").write_text("others\n")
    (lvm_host / "vg").write_text("old\n")
    result = disk_step(lvm_host, **CINDER)
    assert (result["status"], "holds LVM2_member" in result["message"]) == ("failed", True)
    assert not (lvm_host / "log").exists()
    assert disk_step(lvm_host, **CINDER, wipe="ONE")["status"] == "changed"
    words = [line.split()[0] for line in (lvm_host / "log").read_text().splitlines()]
    assert words == ["vgremove", "wipefs", "pvcreate", "vgcreate"]


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ("serial=NONE", "no whole disk here has serial NONE: there is /dev/sda (SYS), /dev/sdb (ONE)"),
        ("serial=TWO", "more than one disk here has serial TWO"),
        ("volumes", "gives no disk of this host the purpose volumes"),
        ("serial=SYS", "carries the system that runs here"),
    ],
)
def test_a_disk_that_cannot_be_meant_is_refused(lvm_host: Path, selector: str, reason: str) -> None:
    result = disk_step(lvm_host, disk=selector, layout="lvm", group="g", wipe="SYS")
    assert (result["status"], reason in result["message"]) == ("failed", True), result
    assert not (lvm_host / "log").exists()


def test_a_serial_number_is_the_one_that_facts_tell(lvm_host: Path) -> None:
    (lvm_host / "sys/block/sdb").mkdir(parents=True)
    (lvm_host / "sys/block/sdb/serial").write_text("VIRTIO-1\n")
    assert "sdb (VIRTIO-1)" in disk_step(lvm_host, **CINDER)["message"]
    assert disk_step(lvm_host, **{**CINDER, "disk": "serial=VIRTIO-1"})["status"] == "changed"


def test_sizes_are_in_binary_units_or_parts_of_the_whole() -> None:
    assert size_bytes("10G", 0) == 10 << 30
    assert size_bytes("50%", 100 << 20) == 50 << 20
    assert size_bytes("rest", 1) is None
