"""Whether nova hears this compute host, at its own address, and no strangers. Input as JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

given = json.load(sys.stdin)
try:
    session = Session(given["auth"], given["region"])
    version = {"X-OpenStack-Nova-API-Version": "2.53"}  # with it services have identities that are good in all cells
    services = session.get("compute", "/os-services?binary=nova-compute", version)["services"]
    hypervisors = session.get("compute", "/os-hypervisors/detail")["hypervisors"]
except Refused as refused:
    sys.exit(str(refused))
own = [item for item in services if item["host"] == given["host"]]
if not own:
    # An empty list is what nova answers when its database is away.
    sys.exit(f"nova lists no compute service of {given['host']}: {len(services)} others")
if own[0]["state"] != "up":
    sys.exit(f"nova does not hear {given['host']} (state {own[0]['state']}): are RabbitMQ and the clocks well?")
strangers = {item["host"]: item["id"] for item in services if item["host"] not in given["expected"]}
if strangers:
    sys.exit(
        f"compute services of hosts that are not in the plan: {', '.join(sorted(strangers))}: from a host that is on "
        "`pxeforge deploy --remove-unassigned` takes it, of one that is gone `openstack --os-compute-api-version 2.53 "
        f"compute service delete {' '.join(strangers[host] for host in sorted(strangers))}`"
    )
at = [item["host_ip"] for item in hypervisors if item["service"]["host"] == given["host"]]
if at != [given["address"]]:
    sys.exit(f"nova has {given['host']} at {', '.join(at) or 'no address'}, not at {given['address']}: set its my_ip")
print(f"{given['host']} is up at {at[0]}")
