"""On each back end of this host: a volume of its type lands there, a snapshot takes seconds, a volume is made of it.

Input as JSON on standard input: auth, region, host, back_ends (each is the name of a type too).
"""

import json
import sys
import time

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused
from volume_trial import Failed, Trial

SNAPSHOT_S = 60


def tried(trial, back_end):
    """What was seen, as one phrase."""
    began = time.monotonic()
    volume = trial.volume(volume_type=back_end)
    made_s = time.monotonic() - began
    place = trial.volume_seen(volume)["os-vol-host-attr:host"]
    if place.partition("@")[2].partition("#")[0] != back_end:
        raise Failed(f"a volume of type {back_end} is on {place}: is the type's volume_backend_name right?")
    began = time.monotonic()
    snapshot = trial.snapshot(volume, SNAPSHOT_S)
    snapshot_s = time.monotonic() - began
    trial.volume(volume_type=back_end, snapshot_id=snapshot)
    return f"{place} made 1 GB in {made_s:.1f} s, a snapshot in {snapshot_s:.1f} s and a volume of it"


def main():
    given = json.load(sys.stdin)
    said = []
    try:
        with Trial(given, "volumes") as trial:
            for back_end in given["back_ends"]:
                said.append(tried(trial, back_end))
    except (Failed, Refused, OSError) as problem:
        sys.exit(f"volumes of {given['host']}: {problem}")
    print("; ".join(said) or "nothing was tried: this host has back ends of yours only")


main()
