"""Whether no VM is on this compute host, which is to be none any more. Input as JSON on standard input."""

import json
import sys
import urllib.parse

sys.path.insert(0, "/usr/local/lib/pxeforge")

given = json.load(sys.stdin)
if not given["cloud_goes_on"]:
    print("the cloud goes with it")
    sys.exit()

from openstack_session import Refused, Session  # noqa: E402 - it may have gone with the cloud

host = given["host"]
try:
    session = Session(given["auth"], given["region"])
    wanted = urllib.parse.urlencode({"all_tenants": 1, "host": host})
    servers = session.get("compute", f"/servers/detail?{wanted}")["servers"]
except Refused as refused:
    sys.exit(str(refused))
if servers:
    names = ", ".join(f"{one['name']} ({one['id']})" for one in servers[:5])
    more = f" and {len(servers) - 5} more" if len(servers) > 5 else ""
    sys.exit(f"VMs are on {host}: {names}{more}: move them (`openstack server migrate`) or delete them first")
print(f"no VM is on {host}")
