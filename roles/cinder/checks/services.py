"""cinder: its API reads the database, and every service of the plan reports; JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session, request


class Wrong(Exception):
    """cinder answers, but not as it should."""


def check(session, own_url, expected):
    """Each service is up on the hosts of the plan, and on no others."""
    _, _, answer = session.call("GET", f"{own_url}/{session.project_id}/os-services")
    seen = {}  # (binary, host): whether all that it reports there are up
    for item in json.loads(answer)["services"]:
        key = (item["binary"], item["host"].partition("@")[0])
        seen[key] = seen.get(key, True) and item["state"] == "up"
    for binary, hosts in expected.items():
        for host in hosts:
            if not seen.get((binary, host)):
                told = (
                    "down: are RabbitMQ, the database and the clocks well?" if (binary, host) in seen else "not there"
                )
                raise Wrong(f"{binary} on {host} is {told}")
    strangers = sorted(f"{binary} on {host}" for binary, host in seen if host not in expected.get(binary, ()))
    if strangers:
        remedy = "delete them with `cinder-manage service remove BINARY HOST`, or add the hosts"
        raise Wrong(f"services that are not in the plan: {', '.join(strangers)}: {remedy}")


def refuses_strangers(own_url, project):
    try:
        request("GET", f"{own_url}/{project}/volumes")
    except Refused as refused:
        return refused.status == 401
    return False


def main():
    wanted = json.load(sys.stdin)
    try:
        session = Session(wanted["auth"], wanted["region"])
        check(session, wanted["own_url"], wanted["expected"])
        session.get("volumev3", "/volumes/detail?limit=1")
        if not refuses_strangers(wanted["own_url"], session.project_id):
            raise Wrong("the API does not refuse requests without a token")
    except (Refused, Wrong, KeyError, ValueError) as problem:
        print(f"cinder: {problem}")
        return 1
    print(", ".join(f"{len(hosts)} {binary}" for binary, hosts in wanted["expected"].items()) + " report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
