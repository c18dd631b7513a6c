"""A hand on a running lab: its CLI, its machines, its wire. Any process may have one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import load_settings
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.lab.keeper import IMAGE, SERVE_PID, STATUS
from pxeforge.lab.machine_firmware import MachineFirmware
from pxeforge.lab.newer_qemu import find_qemu
from pxeforge.lab.qemu import Machine, make_disk, processor_of
from pxeforge.lab.rack import Namespace, Rack
from pxeforge.services import events, hosts, runs
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound

_START_LIMIT_S = 900.0


# What a keeper says when the mirror or the computer, and not pxeforge, is at fault.
_WORLD = ("does not answer", "Temporary failure", "timed out", "Connection reset", "debootstrap could not install")


class LabProblem(Exception):
    """The lab is not up, or did something unexpected; the message says what was seen."""


def is_worlds_fault(problem: LabProblem) -> bool:
    """Whether trying again may help."""
    return any(words in str(problem) for words in _WORLD)


@dataclass(frozen=True)
class Lab:
    """What `lab.json` tells of a running lab."""

    folder: Path
    facts: dict[str, Any]

    @classmethod
    def up(
        cls, folder: Path, *, cache: Path, hosts: int = 1, beside: str = "none", admin_port: int = 8443,
        name: str = "pxeforge-lab", behind_relay: bool = False, images: Sequence[str] = (IMAGE,), installs: bool = True,
        seed: Path | None = None, firmware: MachineFirmware = MachineFirmware.BIOS,
    ) -> Lab:  # fmt: skip
        """Starts a keeper in the background and waits until all is up; raises LabProblem with the keeper's words.

        `behind_relay`: the machines are in a network behind a router. `installs` False: kernels will start, but
        nothing is installed, so that the mirror need not be complete. `seed`: where labs that come after one another
        share their images. `firmware`: of machines of which nothing else is said.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATUS).exists():
            Lab.attached(folder).down()
        log = folder / "keeper.log"
        command = [
            sys.executable, "-m", "pxeforge.lab.keeper", "--dir", str(folder), "--cache", str(cache),
            "--hosts", str(hosts), "--beside", beside, "--admin-port", str(admin_port), "--name", name,
            "--firmware", firmware.value,
            *(word for image in images for word in ("--image", image)),
            *(("--behind-relay",) if behind_relay else ()), *(() if installs else ("--no-installs",)),
            *(("--seed", str(seed)) if seed is not None else ()),
        ]  # fmt: skip
        with log.open("wb") as stream:
            keeper = subprocess.Popen(
                command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + _START_LIMIT_S
        while not (folder / STATUS).exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                raise LabProblem(f"the lab did not come up; {log} ends with: {_tail(log)}")
            time.sleep(0.2)
        return cls.attached(folder)

    @classmethod
    def attached(cls, folder: Path) -> Lab:
        """The lab that runs in this folder; raises LabProblem."""
        try:
            return cls(folder, json.loads((folder / STATUS).read_text()))
        except FileNotFoundError:
            raise LabProblem(f"no lab runs in {folder}: start one with `pxeforge lab up`") from None

    def down(self) -> None:
        """Ends the keeper, which takes everything with it; a keeper that is gone already is fine."""
        pid = int(self.facts["pid"])
        if b"pxeforge.lab.keeper" in _command_line(pid):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while b"pxeforge.lab.keeper" in _command_line(pid):
            if time.monotonic() > deadline:
                raise LabProblem(f"the lab's keeper (pid {pid}) does not end")
            time.sleep(0.2)
        (self.folder / STATUS).unlink(missing_ok=True)

    @classmethod
    def clear(cls, folder: Path) -> None:
        """Ends a lab that may still run in the folder, and removes the folder."""
        with contextlib.suppress(LabProblem):
            cls.attached(folder).down()
        shutil.rmtree(folder, ignore_errors=True)

    def kill_server(self) -> None:
        """kill -9 of `pxeforge serve`, as a power cut would; the keeper starts it again. Returns when it is back."""
        path = self.folder / SERVE_PID
        before = path.read_text()
        os.kill(int(before), signal.SIGKILL)
        deadline = time.monotonic() + 120
        log = self.folder / "serve.log"
        said = log.read_text(errors="replace").count("pxeforge is ready")
        while log.read_text(errors="replace").count("pxeforge is ready") == said:
            if time.monotonic() > deadline:
                raise LabProblem(f"pxeforge serve did not come back: {_tail(log)}")
            time.sleep(0.2)

    @property
    def data_dir(self) -> Path:
        return Path(self.facts["data_dir"])

    def pxeforge(self, *words: str, check: bool = True, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Runs the CLI as an operator would; raises LabProblem with its words when it fails and `check` is set."""
        command = [sys.executable, "-m", "pxeforge", "--data-dir", str(self.data_dir), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        if check and done.returncode != 0:
            raise LabProblem(
                f"`pxeforge {' '.join(words)}` ended with {done.returncode}: {(done.stdout + done.stderr).strip()}"
            )
        return done

    def json(self, *words: str, check: bool = True) -> Any:
        """The answer of a CLI command with --json."""
        return json.loads(self.pxeforge(*words, "--json", check=check).stdout)

    def rack(self) -> Rack:
        """The rack's namespace, to run things in; it is the keeper's to remove."""
        rack = Rack.__new__(Rack)
        Rack.__init__(rack, "attached")
        rack.name = str(self.facts["namespace"])
        return rack

    def machine(
        self, number: int, *, fresh_disk: bool = False, disk_gb: int = 8, firmware: Firmware | None = None,
        secure_boot: bool = False,
    ) -> Machine:  # fmt: skip
        """Machine `number` with its MAC and its own stable UUID and serial; `fresh_disk` gives it an empty disk.

        Without `firmware` it has the lab's.
        """
        if firmware is None:
            of_lab = MachineFirmware(self.facts.get("firmware", "bios"))
            firmware, secure_boot = of_lab.firmware, secure_boot or of_lab.secure_boot
        entry = next(host for host in self.facts["hosts"] if host["number"] == number)
        disk = Path(entry["disk"])
        if fresh_disk or not disk.exists():
            make_disk(disk, disk_gb)
        return Machine(
            rack=Namespace(entry["namespace"]), tap=entry["tap"], mac=MacAddress.parse(entry["mac"]), disk=disk,
            qemu=find_qemu(Path(self.facts["cache"]), processor_of(firmware)).command, serial=f"LAB{number:04d}",
            uuid=uuid.uuid5(uuid.NAMESPACE_OID, f"pxeforge lab host {number}"), firmware=firmware,
            secure_boot=secure_boot,
        )  # fmt: skip

    @cached_property
    def context(self) -> Context:
        """The lab's data, for looking often: a CLI process each time would take the machines' processor."""
        return open_context(load_settings({"data_dir": self.data_dir}))

    def host(self, text: str) -> dict[str, Any] | None:
        """A host by any of its names; None when it is not known (yet)."""
        try:
            return hosts.show(self.context, text)
        except NotFound:
            return None

    def timeline(self, text: str) -> list[dict[str, Any]]:
        """The events of a host; empty when it is not known (yet)."""
        found = self.host(text)
        return events.timeline(self.context, found["id"]) if found else []

    def run_view(self, run_id: str) -> dict[str, Any]:
        return runs.show_run(self.context, run_id)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-4:])
