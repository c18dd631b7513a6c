"""From power-on to a verified service, on real firmware, a real debian-installer, a real MariaDB."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from pxeforge.lab.journey import HOST, PROFILE, ROLES, STORAGE, Journey, digest_of
from pxeforge.lab.keeper import lab_mac
from pxeforge.lab.qemu import Machine, further_disk, make_disk
from tests.e2e.conftest import LabMaker

BEGAN = time.monotonic()
REFUSED, CEPH = "n2", "CEPH0001"


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:7.1f} s] {text}", flush=True)


@pytest.fixture(scope="module")
def journey(make_lab: LabMaker) -> Iterator[Journey]:
    one = Journey(make_lab("journey", hosts=2), say, kill_server=True)
    yield one
    say("where the time went:\n" + one.stages())
    one.machine.power_off()


@pytest.fixture(scope="module")
def refused(journey: Journey) -> Iterator[Refused]:
    """A second machine, on BIOS: it installs beside the first one, on the other processor."""
    one = Refused(journey)
    yield one
    one.machine.power_off()


class Refused:
    """A machine whose profile names a disk of Ceph; all that may be wiped is allowed to be."""

    def __init__(self, journey: Journey) -> None:
        self.lab, self.mac = journey.lab, str(lab_mac(2))
        self.machine: Machine = self.lab.machine(2, fresh_disk=True, disk_gb=1)
        self.ceph = self.machine.disk.with_suffix(".ceph")
        make_disk(self.ceph, 0.25)
        with self.ceph.open("r+b") as disk:
            disk.write(b"bluestore block device\n12345678-1234-1234-1234-123456789abc\n")
        self.machine.extra_args = further_disk(self.ceph, CEPH)
        self.before = self.digests()

    def digests(self) -> list[str]:
        return [digest_of(self.machine.disk), digest_of(self.ceph)]

    def start(self) -> None:
        self.lab.pxeforge("host", "add", "--mac", self.mac, "--name", REFUSED)
        own = {"layout": "plain", "reserve": None}  # the disk is small: it must be refused for what it carries
        self.lab.pxeforge(
            "host", "set", REFUSED, f"disk=serial={CEPH}", "wipe=true", f"parameters={json.dumps(own)}"
        )  # fmt: skip
        self.lab.pxeforge("host", "arm", REFUSED, "--profile", PROFILE)
        self.machine.start()


@pytest.mark.timeout(5000)
class TestTheWholeWay:
    """In this order: each stands on the one before."""

    def test_1_the_host_network_is_left_alone(self, journey: Journey) -> None:
        inside = journey.lab.rack().run(["ip", "-json", "link"]).stdout
        names = {link["ifname"] for link in json.loads(inside)}
        assert {"br0", "tap1"} <= names
        outside = Path("/proc/net/dev").read_text()
        assert "br0:" not in outside
        assert "tap1:" not in outside

    def test_2_the_image_was_imported_through_the_chain_of_signatures(self, journey: Journey) -> None:
        [image] = journey.lab.json("image", "list")
        assert image["name"] == PROFILE
        assert "every file is as it was imported" in journey.lab.pxeforge("image", "verify", PROFILE).stdout

    def test_3_an_unknown_machine_is_discovered_and_sent_to_its_disk(self, journey: Journey) -> None:
        journey.discover()
        assert [host["state"] for host in journey.lab.json("host", "list")] == ["discovered"]

    def test_4_arming_is_refused_for_a_template_that_does_not_render(self, journey: Journey) -> None:
        refused = journey.lab.pxeforge("host", "arm", journey.mac, "--profile", "no-such-profile", check=False)
        assert refused.returncode == 1
        assert "there is no profile 'no-such-profile'" in refused.stderr

    def test_5_the_armed_machine_installs_itself_with_no_question_asked(
        self, journey: Journey, refused: Refused
    ) -> None:
        journey.arm()
        refused.start()
        journey.install()
        kinds = [event["kind"] for event in journey.lab.timeline(HOST)]
        for kind in ("menu_fetched", "answers_fetched", "early", "installer_step", "disks", "late", "register"):
            assert kind in kinds, f"no {kind} in the timeline"

    def test_5b_a_disk_of_ceph_was_refused_though_everything_might_be_wiped(self, refused: Refused) -> None:
        assert refused.machine.wait_power_off(600)
        host = refused.lab.json("host", "show", REFUSED)
        assert host["state"] == "failed"
        said = [event["message"] for event in refused.lab.timeline(REFUSED)]
        assert any("ceph_bluestore" in each and "is protected by its label" in each for each in said), said
        assert refused.digests() == refused.before

    def test_5c_every_late_snippet_ran_in_its_order_and_is_in_the_timeline(self, journey: Journey) -> None:
        told = [event["message"] for event in journey.lab.timeline(HOST) if event["kind"] == "progress"]
        assert "late snippets: server/mark rc=0; profile/mark rc=0; host/mark rc=0" in told

    def test_5d_the_disk_that_is_kept_for_a_role_was_left_alone(self, journey: Journey) -> None:
        assert digest_of(journey.kept_disk) == journey.kept_digest

    def test_6_the_registration_token_is_dead(self, journey: Journey) -> None:
        journey.token_is_dead()
        assert any(event["kind"] == "token_refused" for event in journey.lab.timeline(HOST))

    def test_7_it_netboots_first_and_boots_from_its_disk(self, journey: Journey) -> None:
        journey.boot_installed()
        assert journey.lab.json("host", "show", HOST)["agent_seen_at"]

    def test_7b_disks_and_addresses_are_as_the_profile_says(self, journey: Journey) -> None:
        facts = journey.lab.json("host", "show", HOST)["facts"]
        mounts = {mount["path"]: (mount["device"], mount["filesystem"]) for mount in facts["mounts"]}
        assert mounts["/"] == ("/dev/mapper/vg0-root", "ext4")
        assert mounts["/boot/efi"] == ("/dev/vda1", "vfat")
        assert mounts["/boot"][0].startswith("/dev/vda")
        addresses = {nic["name"]: nic["addresses"] for nic in facts["nics"]}
        assert addresses.pop("storage") == [STORAGE]
        assert list(addresses.values()) == [[f"{journey.address}/24"]]

    def test_7c_the_user_logs_in_by_key_and_password_and_sees_what_was_installed(self, journey: Journey) -> None:
        def run(command: str) -> str:
            return journey.login.run(HOST, journey.address, command)

        assert run("cat /root/snippets").split() == ["server", "profile", "host"]
        assert run("systemctl is-active systemd-networkd").strip() == "active"
        size, free = map(float, run("vgs --noheadings --units m --nosuffix -o vg_size,vg_free vg0").split())
        assert 0.25 <= free / size < 0.4  # a quarter at least
        files = run("find /boot/efi/EFI -iname *.efi").lower()
        assert "efi/boot/bootx64.efi" in files
        assert "efi/debian/grubx64.efi" in files
        assert digest_of(journey.kept_disk) == journey.kept_digest

    def test_8_roles_are_assigned_on_the_web_page(self, journey: Journey) -> None:
        page = Page(journey)
        table = page.get("roles")
        assert journey.mac in table
        host_id = journey.lab.json("host", "show", HOST)["id"]
        for role in ROLES:  # ticked and given: each makes the draft longer
            wish = {**draft_in(table), "host": host_id, "do": f"give {role}"}
            table = page.post("roles/draft", table, wish).text
        assert not journey.lab.json("host", "show", HOST)["roles"]
        assert page.post("roles", table, draft_in(table)).status_code == 303
        assert set(journey.lab.json("host", "show", HOST)["roles"]) == set(ROLES)

    def test_9_deploy_verify_and_a_second_deploy_that_changes_nothing(self, journey: Journey) -> None:
        journey.deploy()
        journey.verify()
        journey.deploy_again()
        assert journey.lab.json("host", "show", HOST)["state"] == "ready"


def draft_in(page: str) -> dict[str, list[str]]:
    """The hidden fields of the roles page: what is wished and what was seen, not saved yet."""
    found: dict[str, list[str]] = {"draft": [], "seen": []}
    for name, value in re.findall(r'<input type="hidden" name="(draft|seen)" value="([^"]*)"', page):
        found[name].append(value)
    return found


class Page:
    """The web page as a browser without JavaScript uses it: over TLS with the server's certificate, with login."""

    def __init__(self, journey: Journey) -> None:
        facts = journey.lab.facts
        self._url = str(facts["admin_url"])
        self._session = requests.Session()
        self._session.trust_env = False  # a certificate bundle in the environment would win over ours
        self._session.verify = str(journey.lab.data_dir / "tls" / "server.crt")
        form = {"name": facts["admin_user"], "password": facts["admin_password"], "next": "/"}
        assert self.post("login", self.get("login"), form).status_code == 303
        # Whoever started the server knows the first password: another one is chosen before anything else.
        chosen = secrets.token_urlsafe(12)
        form = {"old": facts["admin_password"], "new": chosen, "again": chosen, "next": "/"}
        assert self.post("password", self.get(""), form).status_code == 303

    def get(self, path: str) -> str:
        answer = self._session.get(self._url + path, timeout=60)
        assert answer.status_code == 200, answer.text[:500]
        return answer.text

    def post(self, path: str, page: str, form: Mapping[str, object]) -> requests.Response:
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert token is not None
        headers = {"Referer": self._url, "Origin": self._url.rstrip("/")}
        return self._session.post(
            self._url + path, data={"csrf_token": token[1], **form}, headers=headers, allow_redirects=False, timeout=60
        )
