"""Volumes of a cloud on one real Debian: on a share, with snapshots, backups, and VMs that boot from them and use them.

The kernel of these hosts has no NFS: there the share is a folder that mount.nfs binds. All else is what it is. LVM and
iSCSI want a kernel of their own: a host that is a machine (decision 61).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.cloud_trial import operator_folder, other_than, skip_without_mirror, states
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand, pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
]  # fmt: skip
BLUEPRINT = """\
name: volumes
summary: all-in-one with volumes, where the kernel helps with nothing
extends: all-in-one
variables: {neutron_datapath: netdev, nova_virt_type: qemu, cinder_nfs_share: "c1:/srv/share"}
hosts:
  - count: 1
    roles:
      - mariadb
      - rabbitmq
      - memcached
      - keystone
      - openrc
      - placement
      - glance
      - nova-controller
      - neutron-server
      - neutron-openvswitch
      - neutron-dhcp
      - neutron-metadata
      - nova-compute
      - cinder
      - cinder-nfs
      - cinder-backup
      - guest-image
"""
# The package's own mount.nfs goes aside. A file system of its own lies under the folder, as under a share.
SHARE = """\
set -e
truncate -s 8G /srv/share.img
mkfs.ext4 -q /srv/share.img
[ -c /dev/loop-control ] || mknod /dev/loop-control c 10 237
device=$(losetup -f | cut -d" " -f1)
[ -b "$device" ] || mknod "$device" b 7 "${device#/dev/loop}"
mkdir -p /srv/share
mount -o loop="$device" /srv/share.img /srv/share
dpkg-divert --local --rename --divert /sbin/mount.nfs.kernel --add /sbin/mount.nfs
printf '#!/bin/sh\\nexec mount --bind "${1#*:}" "$2"\\n' > /sbin/mount.nfs
chmod 755 /sbin/mount.nfs
"""
ALL = ("verify", "volumes")
NOTICED = {"cinder.services", "cinder-volume.service"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One host with everything; how long that took is printed."""
    skip_without_mirror()
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "operator/blueprints").mkdir(parents=True)
    (folder / "operator/blueprints/volumes.yaml").write_text(BLUEPRINT)
    with (
        operator_folder(folder / "operator"),
        Cloud(folder, cache=CACHE, suite="bookworm", names=["c1"], name="vol") as made,
    ):
        on_host(made, SHARE)
        began = time.monotonic()
        assert other_than(states(made, "deploy", "volumes"), "ok", "changed") == {}
        print(f"\na cloud with volumes from an empty Debian in {time.monotonic() - began:.0f} s")
        yield made


def on_host(cloud: Cloud, command: str) -> str:
    return cloud.system("c1").run(["sh", "-c", command], timeout_s=300).stdout


def test_volumes_snapshots_backups_and_vms_on_them(cloud: Cloud) -> None:
    """A-31 … A-34: the roles' own checks, which say what they saw."""
    began = time.monotonic()
    found = states(cloud, *ALL)
    print(f"\nall checks in {time.monotonic() - began:.0f} s")
    assert {"cinder-volume.volumes@c1", "cinder-volume.vm@c1", "cinder-backup.restore@c1"} <= set(found)
    assert other_than(found, "ok") == {}


def test_checks_leave_nothing_behind(cloud: Cloud) -> None:
    for kind in ("volume", "volume snapshot", "volume backup", "server", "network"):
        assert "pxeforge-verify" not in on_host(cloud, f". /root/admin-openrc; openstack {kind} list -f json")
    assert on_host(cloud, "find /srv/share -name 'volume-*'") == ""
    assert on_host(cloud, "find /var/lib/cinder/backup -type f") == ""


def test_users_see_the_type_and_both_services_of_the_catalog(cloud: Cloud) -> None:
    said = on_host(cloud, ". /root/demo-openrc; openstack volume type list -f value -c Name; openstack catalog list")
    assert "nfs" in said.split()
    assert {"volumev3", "block-storage"} <= set(said.split())


def test_a_second_deploy_changes_nothing(cloud: Cloud) -> None:
    """A-58."""
    began = time.monotonic()
    assert other_than(states(cloud, "deploy", "volumes"), "ok") == {}
    print(f"\na deploy that has nothing to do in {time.monotonic() - began:.0f} s")


def test_a_service_that_has_stopped_is_missed_and_comes_back_by_a_deploy(cloud: Cloud) -> None:
    on_host(cloud, "systemctl stop cinder-volume")
    failed = {name.partition("@")[0] for name, state in states(cloud, *ALL).items() if state == "failed"}
    assert failed >= NOTICED
    assert other_than(states(cloud, "deploy", "volumes"), "ok", "changed") == {}
    assert on_host(cloud, "systemctl is-active cinder-volume").strip() == "active"
