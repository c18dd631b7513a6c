"""Whether nova has taken this compute host into its cell: VMs can come to it. Input as JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

given = json.load(sys.stdin)
try:
    session = Session(given["auth"], given["region"])
    hypervisors = session.get("compute", "/os-hypervisors/detail")["hypervisors"]
except Refused as refused:
    sys.exit(str(refused))
known = sorted(item["service"]["host"] for item in hypervisors)
if given["host"] not in known:
    sys.exit(f"nova knows no compute host {given['host']} yet (it knows {', '.join(known) or 'none'})")
print(f"{given['host']} is a compute host")
