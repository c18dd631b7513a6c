"""placement: tells its resource providers, from the database, to who has a token. Input as JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session


def main():
    wanted = json.load(sys.stdin)
    try:
        session = Session(wanted["auth"], wanted["region"])
        _, _, answer = session.call("GET", f"{wanted['own_url']}/resource_providers")
        providers = json.loads(answer)["resource_providers"]
        session.get("placement", "/resource_providers")
        _refuses_strangers(wanted["own_url"])
    except (Refused, KeyError, ValueError) as problem:
        print(f"placement: {problem}")
        return 1
    print(f"{len(providers)} resource providers")
    return 0


def _refuses_strangers(url):
    from openstack_session import request

    try:
        request("GET", f"{url}/resource_providers")
    except Refused as refused:
        if refused.status != 401:
            raise
    else:
        raise Refused("it answers to whom has no token")


if __name__ == "__main__":
    sys.exit(main())
