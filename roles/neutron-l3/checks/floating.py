"""A VM behind a router: its floating address answers from outside only when a rule lets it in. Leaves nothing behind.

Input as JSON on standard input: auth, region, host, external (network; '' to skip), image ('' to skip), flavor.
"""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

ACTIVE_S, READY_S, GONE_S, ANSWER_S = 180, 180, 90, 40
CIDR = "192.168.254.0/24"


class Failed(Exception):
    """The cloud did not do what it should; the message says what."""


def pings(address):
    """The ttl of an answer, None without one."""
    done = subprocess.run(["ping", "-n", "-c", "1", "-W", "2", address], capture_output=True, text=True, check=False)
    ttl = re.search(r"ttl=(\d+)", done.stdout)
    return int(ttl[1]) if done.returncode == 0 and ttl else None


def within(limit_s, look):
    until = time.monotonic() + limit_s
    while True:
        seen = look()
        if seen or time.monotonic() > until:
            return seen
        time.sleep(1)


def greeting(address):
    try:
        with socket.create_connection((address, 22), timeout=5) as wire:
            return wire.recv(64).startswith(b"SSH-")
    except OSError:
        return False


class Trial:
    """One VM, network and router; all are called the same, so that leftovers are found."""

    def __init__(self, given):
        self.given, self.session = given, Session(given["auth"], given["region"])
        self.name = f"pxeforge-verify-l3-{given['host']}"

    def run(self):
        external = self.network(self.given["external"])
        if external is None:
            return f"nothing was tried: there is no network {self.given['external']}"
        self.clean()
        try:
            return self.reach(external)
        finally:
            self.clean()

    def network(self, name):
        found = self.neutron("GET", f"/networks?{urllib.parse.urlencode({'name': name, 'router:external': 'true'})}")
        return found["networks"][0]["id"] if found["networks"] else None

    def neutron(self, method, path, body=None):
        return self.session.sent(method, "network", f"/v2.0{path}", body)

    def reach(self, external):
        network = self.neutron("POST", "/networks", {"network": {"name": self.name}})["network"]["id"]
        subnet = {"name": self.name, "network_id": network, "ip_version": 4, "cidr": CIDR}
        subnet = self.neutron("POST", "/subnets", {"subnet": subnet})["subnet"]["id"]
        router = {"name": self.name, "external_gateway_info": {"network_id": external}}
        router = self.neutron("POST", "/routers", {"router": router})["router"]
        self.neutron("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet})
        outside = router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]
        group = {"name": self.name, "description": "of a check, is deleted at its end"}
        group = self.neutron("POST", "/security-groups", {"security_group": group})["security_group"]["id"]
        server = self.server(network)
        port = self.neutron("GET", f"/ports?device_id={server}")["ports"][0]["id"]
        floating = {"floating_network_id": external, "port_id": port, "description": self.name}
        floating = self.neutron("POST", "/floatingips", {"floatingip": floating})["floatingip"]["floating_ip_address"]
        if not within(ANSWER_S, lambda: pings(outside)):
            raise Failed(f"the router's outer address {outside} does not answer: does this host reach that network?")
        self.ready(server)
        if within(4, lambda: pings(floating)):
            raise Failed(f"{floating} answers though no rule lets anything in")
        for rule in ({"protocol": "icmp"}, {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}):
            body = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", **rule}
            self.neutron("POST", "/security-group-rules", {"security_group_rule": body})
        ttl = within(ANSWER_S, lambda: pings(floating))
        if not ttl:
            raise Failed(f"{floating} does not answer within {ANSWER_S} s of the rule that lets pings in")
        if not within(ANSWER_S, lambda: greeting(floating)):
            raise Failed(f"{floating} answers pings, but its port 22 does not")
        return f"the router answers at {outside}; {floating} was silent until a rule let it answer (ttl {ttl}, and SSH)"

    def server(self, network):
        image = self.session.get("image", f"/v2/images?{urllib.parse.urlencode({'name': self.given['image']})}")[
            "images"
        ]
        flavors = self.session.get("compute", "/flavors/detail?is_public=None")["flavors"]
        flavors = [item["id"] for item in flavors if item["name"] == self.given["flavor"]]
        if not image or not flavors:
            raise Failed(
                f"there is no image {self.given['image']} or no such flavor: give one host the role guest-image"
            )
        body = {
            "name": self.name, "imageRef": image[0]["id"], "flavorRef": flavors[0], "networks": [{"uuid": network}],
            "security_groups": [{"name": self.name}],
        }  # fmt: skip
        server = self.session.sent("POST", "compute", "/servers", {"server": body})["server"]["id"]
        until = time.monotonic() + ACTIVE_S
        while True:
            seen = self.session.get("compute", f"/servers/{server}")["server"]
            if seen["status"] == "ACTIVE":
                return server
            if seen["status"] == "ERROR" or time.monotonic() > until:
                raise Failed(
                    f"the VM is {seen['status']}: {seen.get('fault', {}).get('message', 'no reason is given')}"
                )
            time.sleep(1)

    def ready(self, server):
        """Its metadata comes through the router here."""
        said = []

        def look():
            body = {"os-getConsoleOutput": {}}
            output = self.session.sent("POST", "compute", f"/servers/{server}/action", body)["output"]
            said[:] = re.findall(r"pxeforge-guest: (.*?)\s*$", output, re.MULTILINE)
            return any(line.startswith("ready") for line in said)

        if not within(READY_S, look):
            raise Failed(f"the VM is not ready after {READY_S} s; it said {' / '.join(said) or 'nothing'}")
        if f"instance {server}" not in said:
            raise Failed(f"metadata through the router told it another name: {' / '.join(said)}")

    def clean(self):
        """This trial's things and those of one that was cut off, in the order in which they can go."""
        query = urllib.parse.urlencode({"name": f"^{self.name}$"})
        servers = self.session.get("compute", f"/servers?{query}")["servers"]
        for server in servers:
            self.gone("compute", f"/servers/{server['id']}")
        if servers and not within(GONE_S, lambda: not self.session.get("compute", f"/servers?{query}")["servers"]):
            raise Failed(f"nova does not delete the VM {self.name} within {GONE_S} s")
        named = urllib.parse.urlencode({"name": self.name})
        for router in self.neutron("GET", f"/routers?{named}")["routers"]:
            for address in self.neutron("GET", f"/floatingips?router_id={router['id']}")["floatingips"]:
                self.gone("network", f"/v2.0/floatingips/{address['id']}")
            for port in self.neutron("GET", f"/ports?device_id={router['id']}")["ports"]:
                if port["device_owner"] in ("network:router_interface", "network:router_interface_distributed"):
                    self.neutron("PUT", f"/routers/{router['id']}/remove_router_interface", {"port_id": port["id"]})
            self.gone("network", f"/v2.0/routers/{router['id']}")
        for network in self.neutron("GET", f"/networks?{named}")["networks"]:
            for port in self.neutron("GET", f"/ports?network_id={network['id']}")["ports"]:
                if not port["device_owner"].startswith("network:"):
                    self.gone("network", f"/v2.0/ports/{port['id']}")
            self.gone("network", f"/v2.0/networks/{network['id']}")
        for group in self.neutron("GET", f"/security-groups?{named}")["security_groups"]:
            self.gone("network", f"/v2.0/security-groups/{group['id']}")
        query = urllib.parse.urlencode({"description": self.name})  # one that lost its router
        for address in self.neutron("GET", f"/floatingips?{query}")["floatingips"]:
            self.gone("network", f"/v2.0/floatingips/{address['id']}")

    def gone(self, service, path):
        """Gone already is fine."""
        try:
            self.session.sent("DELETE", service, path)
        except Refused as refused:
            if refused.status != 404:
                raise


def main():
    given = json.load(sys.stdin)
    if not given["image"] or not given["external"]:
        print("nothing was tried: no host has the role guest-image, or no external network is named")
        return
    try:
        print(Trial(given).run())
    except (Failed, Refused, OSError) as problem:
        sys.exit(f"routing at {given['host']}: {problem}")


main()
