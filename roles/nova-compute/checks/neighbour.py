"""Two VMs of one network, here and on another compute host, reach each other; a third of another network is silent.

Both networks have the same addresses: what keeps them apart is the tunnel alone. Leaves nothing behind. Input as JSON
on standard input: auth, region, host, neighbour ('' to skip), image ('' to skip), flavor.
"""

import base64
import json
import re
import sys
import time
import urllib.parse

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

READY_S, GONE_S = 240, 90
CIDR = "192.168.251.0/24"
HERE, THERE, STRANGER = "192.168.251.11", "192.168.251.12", "192.168.251.13"
# Runs in the VM on this host; its last line and exit code come back on the console.
USER_DATA = f"""#!/bin/sh
tries=0
until ping -c 1 -W 1 {THERE} >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -ge 40 ] && echo "{THERE} does not answer" && exit 1
  sleep 1
done
ping -c 3 -W 1 {STRANGER} >/dev/null 2>&1 && echo "{STRANGER} answers from a network that is not ours" && exit 2
echo reached
"""


class Failed(Exception):
    """The networks are not as they should be; the message says how."""


class Trial:
    """Three VMs and two networks; all are called the same, so that leftovers are found."""

    def __init__(self, given):
        self.given, self.session = given, Session(given["auth"], given["region"])
        self.name = f"pxeforge-verify-pair-{given['host']}"

    def run(self):
        named = urllib.parse.urlencode({"name": self.given["image"]})
        self.image = self.found("image", f"/v2/images?{named}", "images", self.given["image"])
        self.flavor = self.found("compute", "/flavors?is_public=None", "flavors", self.given["flavor"])
        self.clean()
        try:
            return self.meet()
        finally:
            self.clean()

    def found(self, service, path, key, name):
        for item in self.session.get(service, path)[key]:
            if item["name"] == name:
                return item["id"]
        raise Failed(f"there is no {key[:-1]} {name}: give one host the role guest-image")

    def meet(self):
        ours, theirs = self.network(), self.network()
        there = self.boot(ours, THERE, self.given["neighbour"])
        stranger = self.boot(theirs, STRANGER, self.given["neighbour"])
        for server in (there, stranger):
            self.ready(server)
        told = self.ready(self.boot(ours, HERE, self.given["host"], USER_DATA))
        code, _, said = told.get("user-data", "? it did not try").partition(" ")
        if code != "0":
            raise Failed(f"the VM here, and another on {self.given['neighbour']}: {said}")
        return f"VMs here and on {self.given['neighbour']} reach each other, and not another network's"

    def network(self):
        made = self.session.sent("POST", "network", "/v2.0/networks", {"network": {"name": self.name}})["network"]["id"]
        subnet = {"name": self.name, "network_id": made, "ip_version": 4, "cidr": CIDR}
        self.session.sent("POST", "network", "/v2.0/subnets", {"subnet": subnet})
        return made

    def boot(self, network, address, host, user_data=""):
        server = {
            "name": self.name, "imageRef": self.image, "flavorRef": self.flavor, "availability_zone": f"nova:{host}",
            "networks": [{"uuid": network, "fixed_ip": address}],
        }  # fmt: skip
        if user_data:
            server["user_data"] = base64.b64encode(user_data.encode()).decode()
        return self.session.sent("POST", "compute", "/servers", {"server": server})["server"]["id"]

    def ready(self, server):
        """What the VM said on its console, by the first word, once it has its address and metadata."""
        until, lines = time.monotonic() + READY_S, []
        while time.monotonic() < until:
            time.sleep(1.5)
            seen = self.session.get("compute", f"/servers/{server}")["server"]
            if seen["status"] == "ERROR":
                raise Failed(f"nova could not start it: {seen.get('fault', {}).get('message', 'it does not say why')}")
            lines = self.console(server) if seen["status"] == "ACTIVE" else lines
            told = {line.split(" ", 1)[0]: line.partition(" ")[2] for line in lines}
            if "ready" in told:
                return told
        raise Failed(f"a VM had said after {READY_S} s: {' / '.join(lines) or 'nothing'}")

    def console(self, server):
        try:
            body = {"os-getConsoleOutput": {}}
            output = self.session.sent("POST", "compute", f"/servers/{server}/action", body)["output"]
        except Refused:
            return []
        return re.findall(r"pxeforge-guest: (.*?)\s*$", output, re.MULTILINE)

    def clean(self):
        """This trial's things and those of one that was cut off."""
        query = urllib.parse.urlencode({"name": f"^{self.name}$"})
        servers = self.session.get("compute", f"/servers?{query}")["servers"]
        for server in servers:
            self.gone("compute", f"/servers/{server['id']}")
        until = time.monotonic() + GONE_S
        while servers and self.session.get("compute", f"/servers?{query}")["servers"]:
            if time.monotonic() > until:
                raise Failed(f"nova does not delete the VMs {self.name} within {GONE_S} s")
            time.sleep(1)
        named = urllib.parse.urlencode({"name": self.name})
        for network in self.session.get("network", f"/v2.0/networks?{named}")["networks"]:
            for port in self.session.get("network", f"/v2.0/ports?network_id={network['id']}")["ports"]:
                if not port["device_owner"].startswith("network:"):
                    self.gone("network", f"/v2.0/ports/{port['id']}")
            self.gone("network", f"/v2.0/networks/{network['id']}")

    def gone(self, service, path):
        """Gone already is fine."""
        try:
            self.session.sent("DELETE", service, path)
        except Refused as refused:
            if refused.status != 404:
                raise


def main():
    given = json.load(sys.stdin)
    if not given["image"] or not given["neighbour"]:
        print("nothing was tried: no host has the role guest-image, or no other compute host is before this one")
        return
    try:
        print(Trial(given).run())
    except (Failed, Refused, OSError) as problem:
        sys.exit(f"tunnels from {given['host']}: {problem}")


main()
