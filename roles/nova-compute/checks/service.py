"""Whether nova hears this compute host, at its own address, and no strangers. Input as JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

given = json.load(sys.stdin)
try:
    session = Session(given["auth"], given["region"])
    services = session.get("compute", "/os-services?binary=nova-compute")["services"]
    hypervisors = session.get("compute", "/os-hypervisors/detail")["hypervisors"]
except Refused as refused:
    sys.exit(str(refused))
own = [item for item in services if item["host"] == given["host"]]
if not own:
    # An empty list is what nova answers when its database is away.
    sys.exit(f"nova lists no compute service of {given['host']}: {len(services)} others")
if own[0]["state"] != "up":
    sys.exit(f"nova does not hear {given['host']} (state {own[0]['state']}): are RabbitMQ and the clocks well?")
strangers = sorted({item["host"] for item in services} - set(given["expected"]))
if strangers:
    sys.exit(f"compute services of hosts that are not in the plan: {', '.join(strangers)}: delete or add them")
at = [item["host_ip"] for item in hypervisors if item["service"]["host"] == given["host"]]
if at != [given["address"]]:
    sys.exit(f"nova has {given['host']} at {', '.join(at) or 'no address'}, not at {given['address']}: set its my_ip")
print(f"{given['host']} is up at {at[0]}")
