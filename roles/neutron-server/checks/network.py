"""Makes a network, a subnet and a port at this host's own API and deletes them. Input as JSON on standard input."""

import json
import sys
import urllib.parse

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

given = json.load(sys.stdin)
NAME = f"pxeforge-verify-write-{given['own_name']}"


def main():
    session = Session(given["auth"], given["region"])

    def ask(method, path, body=None):
        answer = session.call(method, f"{given['own_url']}/v2.0{path}", body)[2]
        return json.loads(answer) if answer.strip() else None

    def clean():
        for network in ask("GET", f"/networks?{urllib.parse.urlencode({'name': NAME})}")["networks"]:
            for port in ask("GET", f"/ports?network_id={network['id']}")["ports"]:
                if not port["device_owner"].startswith("network:"):
                    ask("DELETE", f"/ports/{port['id']}")
            ask("DELETE", f"/networks/{network['id']}")

    clean()  # of an earlier run that was cut off
    try:
        network = ask("POST", "/networks", {"network": {"name": NAME}})["network"]["id"]
        subnet = {
            "name": NAME,
            "network_id": network,
            "ip_version": 4,
            "cidr": "192.168.252.0/24",
            "enable_dhcp": False,
        }
        ask("POST", "/subnets", {"subnet": subnet})
        port = ask("POST", "/ports", {"port": {"name": NAME, "network_id": network}})["port"]
        seen = ask("GET", f"/ports/{port['id']}")["port"]["fixed_ips"]
        if not seen or not seen[0]["ip_address"].startswith("192.168.252."):
            sys.exit(f"the port has the addresses {seen}")
    finally:
        clean()
    if ask("GET", f"/networks?{urllib.parse.urlencode({'name': NAME})}")["networks"]:
        sys.exit(f"network {NAME} is still there after it was deleted")
    print("a network, a subnet and a port were made, read and deleted")


try:
    main()
except Refused as refused:
    sys.exit(str(refused))
