"""Boots a VM on this host and has it tell what it got: address, metadata, key; then its screen. Leaves nothing behind.

Input as JSON on standard input: auth, region, host, image ('' to skip), flavor, console (novnc, spice or '').
"""

import base64
import contextlib
import hashlib
import ipaddress
import json
import os
import re
import socket
import struct
import sys
import time
import urllib.parse

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

ACTIVE_S, READY_S, GONE_S, SCREEN_S = 180, 180, 90, 40
CIDR = "192.168.253.0/24"
# The first words of a SPICE client: its main channel, no capabilities. A server begins its answer with REDQ too.
SPICE_LINK = b"REDQ" + struct.pack("<III", 2, 2, 18) + struct.pack("<IBBIII", 0, 1, 0, 0, 0, 18)


class Failed(Exception):
    """The cloud did not do what it should; the message says what."""


class Trial:
    """One VM with a network and a key of its own; all are called the same, so that leftovers are found."""

    def __init__(self, given):
        self.given, self.session = given, Session(given["auth"], given["region"])
        self.name = f"pxeforge-verify-{given['host']}"

    def run(self):
        image, flavor = self.found("image", "/v2/images", "images", self.given["image"]), self.flavor()
        self.clean()
        try:
            return self.boot(image, flavor)
        finally:
            self.clean()

    def found(self, service, path, key, name):
        items = self.session.get(service, f"{path}?{urllib.parse.urlencode({'name': name})}")[key]
        if not items:
            raise Failed(f"there is no {key[:-1]} {name}: give one host the role guest-image")
        return items[0]["id"]

    def flavor(self):
        for item in self.session.get("compute", "/flavors/detail?is_public=None")["flavors"]:
            if item["name"] == self.given["flavor"]:
                return item["id"]
        raise Failed(f"there is no flavor {self.given['flavor']}: give one host the role guest-image")

    def boot(self, image, flavor):
        network = self.session.sent("POST", "network", "/v2.0/networks", {"network": {"name": self.name}})["network"][
            "id"
        ]
        subnet = {"name": self.name, "network_id": network, "ip_version": 4, "cidr": CIDR}
        self.session.sent("POST", "network", "/v2.0/subnets", {"subnet": subnet})
        blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + os.urandom(32)
        public_key = f"ssh-ed25519 {base64.b64encode(blob).decode()} {self.name}"
        self.session.sent("POST", "compute", "/os-keypairs", {"keypair": {"name": self.name, "public_key": public_key}})
        began = time.monotonic()
        server = {
            "name": self.name, "imageRef": image, "flavorRef": flavor, "key_name": self.name,
            "networks": [{"uuid": network}], "availability_zone": f"nova:{self.given['host']}",
        }  # fmt: skip
        made = self.session.sent("POST", "compute", "/servers", {"server": server})["server"]["id"]
        address = self.active(made)
        active_s = time.monotonic() - began
        told = self.ready(made)
        ready_s = time.monotonic() - began
        self.compare(told, made, address, hashlib.sha256(blob).hexdigest())
        screen = self.patient_screen(made) if self.given.get("console") else "not looked at"
        return (
            f"a VM on {self.given['host']} was active after {active_s:.1f} s and ready after {ready_s:.1f} s, "
            f"had {address}, its metadata and its key; screen: {screen}"
        )

    def active(self, server):
        """Its address."""
        until = time.monotonic() + ACTIVE_S
        while True:
            seen = self.session.get("compute", f"/servers/{server}")["server"]
            if seen["status"] == "ACTIVE":
                host = seen.get("OS-EXT-SRV-ATTR:host")
                if host != self.given["host"]:
                    raise Failed(f"the VM is on {host}")
                return next(item["addr"] for items in seen["addresses"].values() for item in items)
            if seen["status"] == "ERROR":
                raise Failed(f"nova could not start it: {seen.get('fault', {}).get('message', 'it does not say why')}")
            if time.monotonic() > until:
                raise Failed(f"it is still {seen['status']} ({seen.get('OS-EXT-STS:task_state')}) after {ACTIVE_S} s")
            time.sleep(1)

    def ready(self, server):
        """What it said on its serial console, by the first word."""
        until, lines = time.monotonic() + READY_S, []
        while time.monotonic() < until:
            time.sleep(1.5)
            with contextlib.suppress(Refused):
                output = self.session.sent("POST", "compute", f"/servers/{server}/action", {"os-getConsoleOutput": {}})[
                    "output"
                ]
                lines = re.findall(r"pxeforge-guest: (.*?)\s*$", output, re.MULTILINE)
                told = {line.split(" ", 1)[0]: line.partition(" ")[2] for line in lines}
                if "ready" in told:
                    return told
        raise Failed(f"after {READY_S} s it had said: {' / '.join(lines) or 'nothing'}")

    def compare(self, told, server, address, key):
        got = re.search(r"[0-9.]+", told.get("address", "eth0").partition(" ")[2])
        if got is None or got[0] != address or ipaddress.ip_address(address) not in ipaddress.ip_network(CIDR):
            raise Failed(f"it should have {address}, but says `{told.get('address', 'nothing of an address')}`")
        if told.get("instance") != server:
            raise Failed(f"metadata called it {told.get('instance')}, but it is {server}")
        if told.get("key") != key:
            raise Failed(f"it got another key than its own ({told.get('key', 'none')})")

    def patient_screen(self, server):
        """A busy proxy hangs up on those whom it cannot serve in three seconds: asked again, with a new token."""
        until = time.monotonic() + SCREEN_S
        while True:
            try:
                return self.screen(server)
            except (Failed, OSError) as problem:
                if time.monotonic() > until:
                    raise Failed(f"its screen: {problem}") from None
            time.sleep(2)

    def screen(self, server):
        """Opens the console's websocket as a browser would."""
        kind = {"novnc": ("vnc", "novnc"), "spice": ("spice", "spice-html5")}[self.given["console"]]
        body = {"remote_console": {"protocol": kind[0], "type": kind[1]}}
        headers = {"OpenStack-API-Version": "compute 2.6"}
        url = self.session.sent("POST", "compute", f"/servers/{server}/remote-consoles", body, headers)[
            "remote_console"
        ]["url"]
        page = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(page.query))
        token = query.get("token") or dict(
            urllib.parse.parse_qsl(urllib.parse.urlsplit(query.get("path", "")).query)
        ).get("token")
        if not token:
            raise Failed(f"the console's address has no token: {url}")
        with socket.create_connection((page.hostname, page.port), timeout=20) as wire:
            wire.sendall(
                f"GET /websockify?token={token} HTTP/1.1\r\nHost: {page.netloc}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\nOrigin: http://{page.netloc}\r\n"
                f"Cookie: token={token}\r\n\r\n".encode()
            )
            said = self.heard(wire, b"\r\n\r\n")
            if not said.startswith(b"HTTP/1.1 101"):
                raise Failed(f"the console's proxy answers {said.splitlines()[0]!r} instead of a websocket")
            if kind[0] == "spice":
                wire.sendall(b"\x82" + bytes([0x80 | len(SPICE_LINK)]) + bytes(4) + SPICE_LINK)  # a mask of zeros
            self.heard(wire, b"RFB " if kind[0] == "vnc" else b"REDQ", said)
        return f"a websocket that speaks {kind[0].upper()}"

    def heard(self, wire, words, said=b""):
        """All that the proxy said until it said these words."""
        while words not in said:
            part = wire.recv(4096)
            if not part:
                raise Failed(f"the console's proxy hung up after {said[-60:]!r}")
            said += part
        return said

    def clean(self):
        """This trial's things and those of one that was cut off."""
        query = urllib.parse.urlencode({"name": f"^{self.name}$"})
        servers = [item["id"] for item in self.session.get("compute", f"/servers?{query}")["servers"]]
        for server in servers:
            self.delete("compute", f"/servers/{server}")
        until = time.monotonic() + GONE_S
        while servers and self.session.get("compute", f"/servers?{query}")["servers"]:
            if time.monotonic() > until:
                raise Failed(f"nova does not delete the VM {self.name} within {GONE_S} s")
            time.sleep(1)
        self.delete("compute", f"/os-keypairs/{self.name}")
        name = urllib.parse.urlencode({"name": self.name})
        for network in self.session.get("network", f"/v2.0/networks?{name}")["networks"]:
            for port in self.session.get("network", f"/v2.0/ports?network_id={network['id']}")["ports"]:
                if not port["device_owner"].startswith("network:"):
                    self.delete("network", f"/v2.0/ports/{port['id']}")
            self.delete("network", f"/v2.0/networks/{network['id']}")

    def delete(self, service, path):
        """Gone already is fine."""
        try:
            self.session.sent("DELETE", service, path)
        except Refused as refused:
            if refused.status != 404:
                raise


def main():
    given = json.load(sys.stdin)
    if not given["image"]:
        print("no VM was booted: no host has the role guest-image")
        return
    try:
        print(Trial(given).run())
    except (Failed, Refused, OSError) as problem:
        sys.exit(f"the VM on {given['host']}: {problem}")


main()
