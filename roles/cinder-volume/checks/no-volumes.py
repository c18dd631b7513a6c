"""Whether no volume is on this host's back ends, which are to be none any more. Input as JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")

given = json.load(sys.stdin)
if not given["cloud_goes_on"]:
    print("the cloud goes with it")
    sys.exit()

from openstack_session import Refused, Session  # noqa: E402 - it may have gone with the cloud

host = given["host"]
try:
    session = Session(given["auth"], given["region"])
    here, marker = [], ""
    while rows := session.get("volumev3", f"/volumes/detail?all_tenants=1&limit=500{marker}")["volumes"]:
        here += [one for one in rows if (one["os-vol-host-attr:host"] or "").partition("@")[0] == host]
        marker = f"&marker={rows[-1]['id']}"
except Refused as refused:
    sys.exit(str(refused))
if here:
    names = ", ".join(f"{one['name'] or 'without a name'} ({one['id']})" for one in here[:5])
    more = f" and {len(here) - 5} more" if len(here) > 5 else ""
    sys.exit(f"volumes are on {host}: {names}{more}: move them (`openstack volume migrate`) or delete them first")
print(f"no volume is on {host}")
