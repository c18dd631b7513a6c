"""Whether every agent of the plan is alive on its host, and no other one is there. Input as JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

given = json.load(sys.stdin)
try:
    agents = Session(given["auth"], given["region"]).get("network", "/v2.0/agents")["agents"]
except Refused as refused:
    sys.exit(str(refused))
wanted = {(kind, host) for kind, hosts in given["expected"].items() for host in hosts}
alive = {(agent["agent_type"], agent["host"]) for agent in agents if agent["alive"]}
dead = {(agent["agent_type"], agent["host"]) for agent in agents} - alive


def told(pairs):
    return ", ".join(f"{kind} on {host}" for kind, host in sorted(pairs))


if wanted - alive:
    sys.exit(f"neutron does not hear: {told(wanted - alive)}")
if (alive | dead) - wanted:
    strangers = (alive | dead) - wanted
    identities = sorted(agent["id"] for agent in agents if (agent["agent_type"], agent["host"]) in strangers)
    sys.exit(
        f"agents that are not in the plan: {told(strangers)}: from a host that is on `pxeforge deploy "
        "--remove-unassigned` takes them, of one that is gone `openstack network agent delete "
        f"{' '.join(identities)}`"
    )
print(f"{len(alive)} agents are alive")
