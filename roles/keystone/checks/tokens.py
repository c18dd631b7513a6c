"""keystone: tokens for who has a right to them, rights as they should be, a whole catalog. JSON on standard input."""

import json
import sys

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

INTERFACES = {"admin", "internal", "public"}


class Wrong(Exception):
    """keystone answers, but not as it should."""


def check_rights(admin, demo):
    """The administrator sees the users, which hits the database; the demo user must not."""
    admin.call("GET", f"{admin.auth_url}/users")
    try:
        demo.call("GET", f"{demo.auth_url}/users")
    except Refused as refused:
        if refused.status != 403:
            raise
    else:
        raise Wrong("user demo may list all users")


def check_wrong_password(url, account):
    try:
        Session({**account, "url": url, "password": "not this one"})
    except Refused as refused:
        if refused.status != 401:
            raise
    else:
        raise Wrong("keystone gives a token for a wrong password")


def check_catalog(catalog, region):
    """Every service has all three interfaces in the region, each once."""
    for service in catalog:
        found = [endpoint["interface"] for endpoint in service["endpoints"] if endpoint["region"] == region]
        if sorted(found) != sorted(INTERFACES):
            raise Wrong(f"the catalog has {', '.join(sorted(found)) or 'no endpoint'} of {service['name']} in {region}")
    if "identity" not in {service["type"] for service in catalog}:
        raise Wrong("the catalog lacks identity")


def main():
    wanted = json.load(sys.stdin)
    try:
        admin = Session({**wanted["admin"], "url": wanted["url"]})
        demo = Session({**wanted["demo"], "url": wanted["url"]})
        if "admin" not in admin.roles or "admin" in demo.roles:
            raise Wrong(f"admin has the roles {admin.roles}, demo has {demo.roles}")
        check_rights(admin, demo)
        check_wrong_password(wanted["own_url"], wanted["demo"])
        check_catalog(admin.catalog, wanted["region"])
        # A token of whichever keystone is behind the address must be good at this host's.
        admin.call("GET", f"{wanted['own_url']}/auth/tokens", headers={"X-Subject-Token": demo.token})
    except (Refused, Wrong) as problem:
        print(problem)
        return 1
    print(f"tokens for admin and demo, {len(admin.catalog)} services in the catalog")
    return 0


if __name__ == "__main__":
    sys.exit(main())
