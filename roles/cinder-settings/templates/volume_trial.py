"""What checks of cinder try: volumes, snapshots, backups and a VM of one name, all gone at the end."""

import base64
import re
import time
import urllib.parse

from openstack_session import Refused, Session

MADE_S, COPIED_S, GONE_S, ACTIVE_S, READY_S, SETTLED_S = 180, 600, 120, 240, 300, 60
CIDR = "192.168.252.0/24"


class Failed(Exception):
    """The cloud did not do what it should; the message says what."""


class Trial:
    """`with Trial(given, "volumes") as trial:` with auth, region and host in `given`; raises Failed and Refused."""

    def __init__(self, given, purpose):
        self.given, self.session = given, Session(given["auth"], given["region"], timeout_s=60)
        self.name = f"pxeforge-verify-{purpose}-{given['host']}"
        self.services = {entry["type"] for entry in self.session.catalog}  # there are clouds of volumes alone

    def __enter__(self):
        self.clean()  # of a trial that was cut off
        return self

    def __exit__(self, kind, problem, trace):
        try:
            self.clean()
        except (Failed, Refused):
            if kind is None:
                raise

    # ------------------------------------------------------------------ volumes

    def volumes(self, method, path, body=None):
        return self.session.sent(method, "volumev3", path, body)

    def volume(self, **properties):
        """The id of a new volume of 1 GB that can be used."""
        body = {"volume": {"name": self.name, "size": 1, **properties}}
        made = self.volumes("POST", "/volumes", body)["volume"]["id"]
        limit_s = COPIED_S if {"imageRef", "snapshot_id"} & set(properties) else MADE_S
        self.reaches("volume", made, "available", limit_s)
        return made

    def volume_seen(self, volume):
        return self.volumes("GET", f"/volumes/{volume}")["volume"]

    def snapshot(self, volume, limit_s):
        made = self.volumes("POST", "/snapshots", {"snapshot": {"name": self.name, "volume_id": volume}})
        self.reaches("snapshot", made["snapshot"]["id"], "available", limit_s)
        return made["snapshot"]["id"]

    def backup(self, volume):
        made = self.volumes("POST", "/backups", {"backup": {"name": self.name, "volume_id": volume}})["backup"]["id"]
        self.reaches("backup", made, "available", COPIED_S)
        return made

    def restored(self, backup):
        """The id of a new volume with what is in the backup."""
        body = {"restore": {"name": self.name}}
        made = self.volumes("POST", f"/backups/{backup}/restore", body)["restore"]["volume_id"]
        self.reaches("volume", made, "available", COPIED_S)
        self.reaches("backup", backup, "available", MADE_S)
        return made

    def reaches(self, kind, identity, wanted, limit_s):
        """Waits for a state; raises Failed with cinder's own reason."""
        until = time.monotonic() + limit_s
        while True:
            seen = self.volumes("GET", f"/{kind}s/{identity}")[kind]
            if seen["status"] == wanted:
                return
            if "error" in seen["status"] or time.monotonic() > until:
                why = seen.get("fail_reason") or self.reason(identity)
                raise Failed(f"the {kind} is {seen['status']} after {limit_s - until + time.monotonic():.0f} s: {why}")
            time.sleep(0.5)

    def reason(self, identity):
        headers = {"OpenStack-API-Version": "volume 3.5"}
        told = self.session.sent("GET", "volumev3", f"/messages?resource_uuid={identity}", headers=headers)
        said = [item["user_message"] for item in told["messages"]]
        return "; ".join(said) or "the logs in /var/log/cinder say why"

    # ------------------------------------------------------------------ a VM

    def compute(self, method, path, body=None):
        return self.session.sent(method, "compute", path, body)

    def image(self):
        name = self.given["image"]
        found = self.session.get("image", f"/v2/images?{urllib.parse.urlencode({'name': name})}")["images"]
        if not found:
            raise Failed(f"there is no image {name}: give one host the role guest-image")
        return found[0]["id"]

    def flavor(self):
        for item in self.session.get("compute", "/flavors/detail?is_public=None")["flavors"]:
            if item["name"] == self.given["flavor"]:
                return item["id"]
        raise Failed(f"there is no flavor {self.given['flavor']}: give one host the role guest-image")

    def booted(self, volume, script=""):
        """The id of a VM that booted from a volume and did the script, and after how many seconds it was ready."""
        began = time.monotonic()
        network = self.session.sent("POST", "network", "/v2.0/networks", {"network": {"name": self.name}})
        network = network["network"]["id"]
        subnet = {"name": self.name, "network_id": network, "ip_version": 4, "cidr": CIDR}
        self.session.sent("POST", "network", "/v2.0/subnets", {"subnet": subnet})
        disk = {"boot_index": 0, "uuid": volume, "source_type": "volume", "destination_type": "volume"}
        server = {
            "name": self.name, "flavorRef": self.flavor(), "networks": [{"uuid": network}],
            "block_device_mapping_v2": [{**disk, "delete_on_termination": False}],
        }  # fmt: skip
        if script:
            server["user_data"] = base64.b64encode(script.encode()).decode()
        made = self.compute("POST", "/servers", {"server": server})["server"]["id"]
        self.active(made)
        self.told(made, "ready", READY_S)
        return made, time.monotonic() - began

    def active(self, server):
        until = time.monotonic() + ACTIVE_S
        while True:
            seen = self.compute("GET", f"/servers/{server}")["server"]
            if seen["status"] == "ACTIVE":
                return
            if seen["status"] == "ERROR" or time.monotonic() > until:
                why = seen.get("fault", {}).get("message", "no reason is given")
                raise Failed(f"the VM is {seen['status']} ({seen.get('OS-EXT-STS:task_state')}): {why}")
            time.sleep(1)

    def told(self, server, words, limit_s):
        """What the VM said after these words on its serial console; raises Failed when it does not say them."""
        until, said = time.monotonic() + limit_s, []
        while time.monotonic() < until:
            output = self.compute("POST", f"/servers/{server}/action", {"os-getConsoleOutput": {}})["output"]
            said = re.findall(r"pxeforge-guest: (.*?)\s*$", output, re.MULTILINE)
            for line in said:
                if line == words or line.startswith(f"{words} "):
                    return line[len(words) :].strip()
            time.sleep(1)
        raise Failed(f"the VM did not say `{words}` within {limit_s} s; it said {' / '.join(said[-5:]) or 'nothing'}")

    def attach(self, server, volume):
        """The device as nova calls it."""
        body = {"volumeAttachment": {"volumeId": volume}}
        made = self.compute("POST", f"/servers/{server}/os-volume_attachments", body)["volumeAttachment"]
        self.reaches("volume", volume, "in-use", MADE_S)
        return made["device"]

    def detach(self, server, volume):
        self.compute("DELETE", f"/servers/{server}/os-volume_attachments/{volume}")
        self.reaches("volume", volume, "available", MADE_S)

    # ------------------------------------------------------------------ the end

    def clean(self):
        """This trial's things and those of one that was cut off, in the order in which they can go."""
        if "compute" in self.services:
            self.clean_servers()
        named = urllib.parse.urlencode({"name": self.name})
        until = time.monotonic() + SETTLED_S
        for kind in ("snapshots", "backups"):
            for item in self.volumes("GET", f"/{kind}?{named}")[kind]:
                self.settle(kind, item["id"], until)
                self.gone("volumev3", f"/{kind}/{item['id']}")
            self.wait_gone(lambda kind=kind: self.volumes("GET", f"/{kind}?{named}")[kind], f"cinder has {kind} still")
        for item in self.volumes("GET", f"/volumes?{named}")["volumes"]:
            self.settle("volumes", item["id"], until)
            self.gone("volumev3", f"/volumes/{item['id']}")
        self.wait_gone(lambda: self.volumes("GET", f"/volumes?{named}")["volumes"], "cinder does not delete the volume")
        if "network" in self.services:
            self.clean_networks(named)

    def clean_networks(self, named):
        for network in self.session.get("network", f"/v2.0/networks?{named}")["networks"]:
            for port in self.session.get("network", f"/v2.0/ports?network_id={network['id']}")["ports"]:
                if not port["device_owner"].startswith("network:"):
                    self.gone("network", f"/v2.0/ports/{port['id']}")
            self.gone("network", f"/v2.0/networks/{network['id']}")

    def settle(self, kind, identity, until):
        """Waits until it can be deleted; what was left half done is made so."""
        while True:
            status = self.volumes("GET", f"/{kind}/{identity}")[kind[:-1]]["status"]
            if status == "available" or "error" in status:
                return
            if time.monotonic() > until:
                break
            time.sleep(1)
        reset = {"status": "error", **({"attach_status": "detached"} if kind == "volumes" else {})}
        self.volumes("POST", f"/{kind}/{identity}/action", {"os-reset_status": reset})

    def clean_servers(self):
        query = urllib.parse.urlencode({"name": f"^{self.name}$"})
        servers = self.compute("GET", f"/servers?{query}")["servers"]
        for server in servers:
            self.gone("compute", f"/servers/{server['id']}")
        if servers:
            self.wait_gone(lambda: self.compute("GET", f"/servers?{query}")["servers"], "nova does not delete the VM")

    def wait_gone(self, look, words):
        until = time.monotonic() + GONE_S
        while look():
            if time.monotonic() > until:
                raise Failed(f"{words} {self.name} after {GONE_S} s")
            time.sleep(1)

    def gone(self, service, path):
        """Gone already is fine."""
        try:
            self.session.sent("DELETE", service, path)
        except Refused as refused:
            if refused.status != 404:
                raise
