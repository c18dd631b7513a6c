"""The whole way on real parts: power-on, discovery, arming, debian-installer, callback, roles, deploy, verify.

The machine has UEFI, a static address, LVM with space left for others, and a second disk that is kept for a role.

Each step raises JourneyFailed with what was seen; `Journey.run` takes them in order. The same steps are `make lab`
(to watch) and `make e2e` (to prove).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from pxeforge.domain.firmware import Firmware
from pxeforge.lab.keeper import IMAGE, lab_mac
from pxeforge.lab.login import PASSWORD_HASH, Login
from pxeforge.lab.qemu import Machine, further_disk, make_disk
from pxeforge.lab.session import Lab
from pxeforge.lab.stages import marks_of, table
from pxeforge.services import install_tokens

HOST = "n1"
PROFILE = IMAGE
ROLES: Final = ("base", "mariadb")
CLOUD_ROLES: Final = ("base", "mariadb", "memcached", "keystone")  # ten minutes more
_BOOT_S = 300
_INSTALL_S = 3600
_DEPLOY_S = 3600
_MEMORY_MB = 2048
_SILENCE_S = 1800  # an installer that says nothing for so long hangs; unpacking takes 5 min, 15 on a busy computer
USER = "ops"
STORAGE = "10.42.0.5/24"  # on a VLAN where nobody answers
_HOST_NUMBER = 201  # of the static address; what is lent ends before
_KEPT_SERIAL = "KEPT0001"
_MARK = 'echo {0} >>"$TARGET/root/snippets"'


def digest_of(disk: Path) -> str:
    """SHA-256 of all that is on a disk."""
    with disk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class JourneyFailed(Exception):
    """A step did not end as it must; the message tells what was seen last."""


class Journey:
    """One machine of a lab on its way; `say` gets a line whenever something happens."""

    def __init__(
        self, lab: Lab, say: Callable[[str], None], number: int = 1, *, kill_server: bool = False,
        firmware: Firmware = Firmware.UEFI_X64, roles: Sequence[str] = ROLES,
    ) -> None:  # fmt: skip
        """`kill_server`: the server is killed (-9) once during the install and once during the deploy."""
        self.lab, self.say, self.roles = lab, say, tuple(roles)
        self._kills = {"install", "deploy"} if kill_server else set()
        self.mac = str(lab_mac(number))
        self.machine: Machine = lab.machine(number, fresh_disk=True, firmware=firmware)
        self.machine.memory_mb = _MEMORY_MB
        self.kept_disk = self.machine.disk.with_suffix(".kept")
        make_disk(self.kept_disk, 0.25)
        self.kept_digest = digest_of(self.kept_disk)
        self.machine.extra_args = further_disk(self.kept_disk, _KEPT_SERIAL)
        self.login = Login(lab, USER)
        self.started_at = time.time()
        self._told = 0

    def run(self) -> None:
        """All steps; ends with the table of stages."""
        self.discover()
        self.arm()
        self.install()
        self.token_is_dead()
        self.boot_installed()
        self.deploy()
        self.verify()
        if "keystone" in self.roles:
            self.token()
        self.deploy_again()
        self.say(self.stages())

    # ------------------------------------------------------------------ steps

    def discover(self) -> None:
        """An unknown machine netboots: it is sent to its disk and appears as discovered."""
        self.say("power on: an unknown machine netboots")
        self.machine.start()
        self._wait(lambda: self._host_or_none() is not None, _BOOT_S, "the machine was never seen on the wire")
        self._expect_state("discovered")
        self._wait(lambda: self._seen("netboot"), 60, "no boot decision in the timeline")
        if any(event["data"].get("decision") == "install" for event in self._timeline()):
            raise JourneyFailed("an unknown machine was offered an installer")
        time.sleep(5)
        self.machine.power_off()

    def arm(self) -> None:
        """The operator names it, prepares the profile and arms it."""
        args = " ".join(["mitigations=off", *self.lab.facts["installer_args"]])
        account = {
            "name": USER, "password_hash": PASSWORD_HASH, "ssh_keys": [self.login.public_key], "sudo": True,
        }  # fmt: skip
        profile = {
            "light": True, "kernel_package": "linux-image-cloud-amd64", "domain": "lab", "kernel_args": args,
            "console": "ttyS0,115200n8", "power_action": "poweroff", "accounts": [account], "layout": "lvm",
            "reserve": "25%", "reserved_disks": [{"name": "data", "disk": f"serial={_KEPT_SERIAL}"}],
            "late_snippets": [{"name": "mark", "text": _MARK.format("profile")}],
        }  # fmt: skip
        self.lab.pxeforge("profile", "set", PROFILE, *(f"{key}={json.dumps(value)}" for key, value in profile.items()))
        folder = self.lab.data_dir / "late.d"
        folder.mkdir(exist_ok=True)
        (folder / "mark.sh").write_text(_MARK.format("server") + "\n")
        own = {"late_snippets": [{"name": "mark", "text": _MARK.format("host")}], "network": self._network()}
        self.lab.pxeforge("host", "set", self.mac, "--name", HOST, f"parameters={json.dumps(own)}")
        self.say(self.lab.pxeforge("host", "arm", HOST, "--profile", PROFILE).stdout.strip())

    @property
    def address(self) -> str:
        """The host's static address."""
        return str(ipaddress.ip_network(f"{self.lab.facts['address']}/24", strict=False)[_HOST_NUMBER])

    def _network(self) -> dict[str, Any]:
        """A static address where our wire is the machine's, and a VLAN: the installer does the first of them."""
        if self.lab.facts["behind_relay"]:
            return {}
        ours = str(self.lab.facts["address"])
        nic = {"mac": "boot", "name": "lan", "addresses": [f"{self.address}/24"], "gateway": ours}
        return {
            "nics": [nic], "vlans": [{"name": "storage", "link": "lan", "id": 42, "addresses": [STORAGE]}],
            "dns": [ours],
        }  # fmt: skip

    def install(self) -> None:
        """The next netboot installs; the machine powers itself off at the end, registered and disarmed."""
        self.say("power on: the armed machine netboots into the installer")
        self.machine.start()
        if not self.machine.wait_power_off(_INSTALL_S, self._watch_install):
            raise JourneyFailed(f"the installer did not end in {_INSTALL_S} s: {self._last_words()}")
        self._tell()
        self._expect_state("registered")
        facts = self.lab.json("host", "show", HOST)
        for key in ("uuid", "serial", "address"):
            if not facts[key]:
                raise JourneyFailed(f"the registration told no {key}: {facts}")
        known = facts["facts"]
        for key in ("cpu", "ram_bytes", "disks", "nics", "ssh_host_keys"):
            if not known.get(key):
                raise JourneyFailed(f"the registration told no {key}: {known}")
        self.say(f"registered: {len(known['ssh_host_keys'])} SSH host keys, {known['ram_bytes'] // 2**20} MiB of RAM")

    def token_is_dead(self) -> None:
        """The registration token opens nothing a second time, and the attempt is in the timeline."""
        attempt = self.lab.json("host", "show", HOST)["attempt"]["id"]
        token = install_tokens.token_of(self.lab.context, attempt, "installer")
        url = f"http://{self.lab.facts['address']}:8080/installer/{token}/register"
        thief = ["-H", "Content-Type: application/json", "-d", json.dumps({"hostname": "thief"}), url]
        code = self.lab.rack().run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *thief]).stdout
        if code != "403":
            raise JourneyFailed(f"a used token was answered with {code}, not refused")
        # Lines of the timeline that nobody waits for are written a moment after the answer.
        self._wait(lambda: self._seen("token_refused"), 10, "the refusal of a used token is not in the timeline")
        self.say("a second use of the registration token: refused (403) and logged")

    def boot_installed(self) -> None:
        """Netboots first, gets no installer, boots its disk; its agent connects."""
        before = len(self._timeline())
        self.say("power on: the installed machine netboots first")
        self.machine.start()
        if not self.machine.wait_console("login:", 2 * _BOOT_S, self._tell):
            raise JourneyFailed(f"no login prompt: {self.machine.console_text()[-800:]}")
        self._wait(lambda: self._seen("agent_connected"), _BOOT_S, "the agent did not connect")
        new = self._timeline()[before:]
        netboots = [event for event in new if event["kind"] == "netboot"]
        if not netboots or any(event["data"]["decision"] != "local" for event in netboots):
            raise JourneyFailed(f"the installed machine was not sent to its disk: {netboots}")
        if any(event["kind"] in ("menu_fetched", "answers_fetched") for event in new):
            raise JourneyFailed("a second install began")
        self._tell()

    def deploy(self) -> None:
        """Roles by the CLI, the plan shown, the deploy run."""
        self.lab.pxeforge("host", "assign", HOST, *self.roles)
        self.say(self.lab.pxeforge("plan").stdout.rstrip())
        if "deploy" in self._kills:
            self._deploy_through_a_kill()
        else:
            self.say(self.lab.pxeforge("deploy", timeout_s=_DEPLOY_S).stdout.rstrip())
        self._expect_state("ready")

    def _deploy_through_a_kill(self) -> None:
        self.lab.pxeforge("deploy", "--no-wait")
        run_id = self.lab.json("run", "list")[0]["id"]
        self._wait(lambda: "running" in self._run(run_id)["counts"], 60, "no task was started")
        self.say("the server is killed (-9) in the middle of the deploy")
        self.lab.kill_server()
        self._wait(lambda: self._run(run_id)["state"] != "running", _DEPLOY_S, "the deploy did not go on")
        run = self._run(run_id)
        self.say(f"the deploy went on and {run['state']}: {run['counts']}")
        if run["state"] != "succeeded":
            failed = [
                step for task in run["tasks"] for step in task["result"].get("steps", []) if step["status"] == "failed"
            ]
            raise JourneyFailed(f"the deploy {run['state']} after the server was killed: {failed}")

    def _run(self, run_id: str) -> dict[str, Any]:
        return self.lab.run_view(run_id)

    def verify(self) -> None:
        """Real operations prove the services."""
        self.say(self.lab.pxeforge("verify", timeout_s=600).stdout.rstrip())

    def token(self) -> None:
        """The cloud's administrator gets a token from the rack's wire, and nobody gets one with another password."""
        right = self.lab.pxeforge("secret", "show", "keystone_admin", "--reveal").stdout.strip()
        codes = [self._asked_for_a_token(password) for password in (right, f"{right}x")]
        if codes != ["201", "401"]:
            raise JourneyFailed(f"keystone answered the right password with {codes[0]}, a wrong one with {codes[1]}")
        self.say("keystone gives a token for the right password (201), and none for another (401)")

    def _asked_for_a_token(self, password: str) -> str:
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        wish = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
        asked = ["-H", "Content-Type: application/json", "-d", json.dumps(wish), "-m", "60"]
        url = f"http://{self.address}:5000/v3/auth/tokens"
        return self.lab.rack().run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *asked, url]).stdout

    def deploy_again(self) -> None:
        """A second deploy changes nothing."""
        run = self.lab.json("deploy")
        if set(run["counts"]) != {"ok"}:
            raise JourneyFailed(f"the second deploy changed something: {run['counts']}")
        self.say(f"a second deploy changed nothing: {run['counts']['ok']} tasks ok")

    def stages(self) -> str:
        """Where the time went."""
        return table(marks_of(self._timeline()), self.started_at, time.time(), "the whole way")

    # ------------------------------------------------------------------ looking

    def wait_for(self, kind: str, limit_s: float, otherwise: str) -> None:
        """Until the timeline has an event of this kind."""
        self._wait(lambda: self._seen(kind), limit_s, otherwise)

    def _host_or_none(self) -> dict[str, Any] | None:
        return self.lab.host(self.mac)

    def _expect_state(self, state: str) -> None:
        host = self._host_or_none()
        if host is None or host["state"] != state:
            raise JourneyFailed(f"the host should be {state}, not {host and host['state']}: {self._last_words()}")
        self.say(f"the host is {state}")

    def _timeline(self) -> list[dict[str, Any]]:
        return self.lab.timeline(self.mac)

    def _seen(self, kind: str) -> bool:
        return any(event["kind"] == kind for event in self._timeline())

    def _wait(self, condition: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline:
                raise JourneyFailed(
                    f"{otherwise} (waited {limit_s:.0f} s); console: {self.machine.console_text()[-400:]}"
                )
            time.sleep(2)

    def _tell(self) -> None:
        events = self._timeline()
        for event in events[self._told :]:
            self.say(f"  {event['source']}: {event['message']}")
        self._told = len(events)

    def _watch_install(self) -> None:
        self._tell()
        events = self._timeline()
        if "install" in self._kills and any(event["message"].startswith("install disk is") for event in events):
            self._kills.remove("install")
            self.say("the server is killed (-9) in the middle of the install")
            self.lab.kill_server()
        if events and time.time() - events[-1]["at"] > _SILENCE_S:
            raise JourneyFailed(f"the installer has been silent for {_SILENCE_S} s: {self._last_words()}")
        host = self._host_or_none()
        if host is not None and host["state"] == "failed":
            raise JourneyFailed(f"the install failed: {self._last_words()}")

    def _last_words(self) -> str:
        events = [f"{event['source']}: {event['message']}" for event in self._timeline()[-5:]]
        return f"timeline ends with {events}; console ends with {self.machine.console_text()[-600:]!r}"
