"""A volume goes into a backup, is deleted, and comes back so whole that a VM boots from it.

Input as JSON on standard input: auth, region, host, image ('' for an empty volume and no VM), flavor.
"""

import json
import sys
import time

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused
from volume_trial import Failed, Trial


def restored(trial, image):
    """What was seen, as one sentence."""
    volume = trial.volume(**({"imageRef": image} if image else {}))
    began = time.monotonic()
    backup = trial.backup(volume)
    backup_s = time.monotonic() - began
    trial.gone("volumev3", f"/volumes/{volume}")
    began = time.monotonic()
    back = trial.restored(backup)
    said = f"a volume of 1 GB went into a backup in {backup_s:.0f} s and came back in {time.monotonic() - began:.0f} s"
    if not image:
        return f"{said}; no VM was booted from it: no host has the roles guest-image and nova-compute"
    trial.booted(back)
    return f"{said}; a VM booted from it"


def main():
    given = json.load(sys.stdin)
    try:
        with Trial(given, "backup") as trial:
            print(restored(trial, trial.image() if given["image"] else ""))
    except (Failed, Refused, OSError) as problem:
        sys.exit(f"backups of {given['host']}: {problem}")


main()
