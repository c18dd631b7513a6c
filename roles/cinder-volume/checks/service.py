"""Whether cinder hears each back end of this host. Input as JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

given = json.load(sys.stdin)
if not given["back_ends"]:
    sys.exit(
        f"{given['host']} has no back end: give it the role cinder-lvm or cinder-nfs, or set cinder_other_back_ends"
    )
try:
    session = Session(given["auth"], given["region"])
    services = session.get("volumev3", "/os-services?binary=cinder-volume")["services"]
except Refused as refused:
    sys.exit(str(refused))
seen = {item["host"]: item["state"] for item in services}
for back_end in given["back_ends"]:
    state = seen.get(f"{given['host']}@{back_end}", "unknown to cinder")
    if state != "up":
        sys.exit(f"back end {back_end} of {given['host']} is {state}: /var/log/cinder/cinder-volume.log there says why")
print(f"{', '.join(given['back_ends'])} up on {given['host']}")
