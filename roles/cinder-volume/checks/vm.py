"""A VM that boots from a volume finds a volume as /dev/vdb, writes to it, loses it, and has its data when it is back.

Input as JSON on standard input: auth, region, host, back_ends, image ('' to skip), flavor.
"""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused
from volume_trial import Failed, Trial

# Runs in the VM: makes a file system on a vdb without one, and tells the digest of the file there each time it comes.
WATCH = r"""#!/bin/sh
. /bin/say.sh
watch() {
  turn=0
  while :; do
    while [ ! -b /dev/vdb ]; do sleep 1; done
    turn=$((turn + 1))
    sleep 1
    word=found
    if ! mount -t ext4 /dev/vdb /mnt; then
      word=written
      mke2fs /dev/vdb && mount -t ext4 /dev/vdb /mnt || word=unusable
      dd if=/dev/urandom of=/mnt/data bs=64k count=64
      sync
    fi
    sum=$(sha256sum < /mnt/data | cut -d' ' -f1)
    umount /mnt
    say "disk $turn $word $(($(cat /sys/block/vdb/size) / 2048)) $sum"
    while [ -b /dev/vdb ]; do sleep 1; done
    say "disk $turn gone"
  done
}
watch > /var/log/watch 2>&1 &
"""
TURN_S = 240


def keeps_data(trial, server, back_end, turn):
    """A-32 with this back end; the number of the next turn."""
    volume = trial.volume(volume_type=back_end)
    seen = []
    for word in ("written", "found"):
        device = trial.attach(server, volume)
        told = trial.told(server, f"disk {turn} {word}", TURN_S)
        size, digest = [*told.split(), "", ""][:2]
        if device != "/dev/vdb" or size != "1024":
            raise Failed(f"the volume on {back_end} came as {device} with {size} MiB, not as /dev/vdb with 1024")
        seen.append(digest)
        trial.detach(server, volume)
        trial.told(server, f"disk {turn} gone", TURN_S)
        turn += 1
    if seen[0] != seen[1] or not seen[0]:
        raise Failed(f"what was written to the volume on {back_end} ({seen[0]}) came back as {seen[1]}")
    return turn


def main():
    given = json.load(sys.stdin)
    if not given["image"] or not given["back_ends"]:
        print("no VM was booted: no host has the roles guest-image and nova-compute, or the back ends are yours")
        return
    try:
        with Trial(given, "volume-vm") as trial:
            disk = trial.volume(volume_type=given["back_ends"][0], imageRef=trial.image())
            server, ready_s = trial.booted(disk, WATCH)
            turn = 1
            for back_end in given["back_ends"]:
                turn = keeps_data(trial, server, back_end, turn)
    except (Failed, Refused, OSError) as problem:
        sys.exit(f"a VM with volumes of {given['host']}: {problem}")
    print(f"a VM booted from a volume in {ready_s:.0f} s; /dev/vdb of {', '.join(given['back_ends'])} kept its data")


main()
