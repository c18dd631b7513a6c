"""What tests of clouds share: blueprints of an operator, how tasks of a run ended, who got answers meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pxeforge.lab.cloud import Cloud
from pxeforge.lab.mirror import NoMirror, apt_mirrors

TOP = Path(__file__).resolve().parents[2]
# Where there is no KVM and no Open vSwitch in the kernel.
EMULATED: Mapping[str, object] = {"neutron_datapath": "netdev", "nova_virt_type": "qemu"}


def skip_without_mirror() -> None:
    try:
        apt_mirrors()
    except NoMirror as problem:
        pytest.skip(str(problem))


@contextlib.contextmanager
def operator_folder(folder: Path) -> Iterator[Path]:
    """The server of a cloud that is made meanwhile takes blueprints from there too."""
    (folder / "blueprints").mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "PXEFORGE_OPERATOR_DIR", str(folder))
        yield folder


def write_blueprint(folder: Path, name: str, content: Mapping[str, object]) -> None:
    document = {"name": name, "summary": "written by a test", **content}
    (folder / f"blueprints/{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def shipped_blueprint(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((TOP / f"blueprints/{name}.yaml").read_text()))


def run(cloud: Cloud, *words: str) -> dict[str, Any]:
    """A run that is over, with its tasks; those that did not end well are printed."""
    answer = cloud.pxeforge(*words, "--json", check=False)
    assert answer, f"`pxeforge {' '.join(words)}` was refused; why stands in what was said on stderr"
    told = dict(json.loads(answer))
    for task in told["tasks"]:
        if task["state"] not in ("ok", "changed"):
            print(f"\n{task['planned_id']} is {task['state']}: {last_words(task)}", flush=True)
    return told


def last_words(task: Mapping[str, Any]) -> str:
    steps = (task["result"] or {}).get("steps") or []
    return " | ".join(str(step.get("message")) for step in steps if step.get("status") == "failed")


def states(cloud: Cloud, *words: str) -> dict[str, str]:
    """The state of each task of the run, by its name."""
    return {task["planned_id"]: task["state"] for task in run(cloud, *words)["tasks"]}


def other_than(found: Mapping[str, str], *wanted: str) -> dict[str, str]:
    return {name: state for name, state in found.items() if state not in wanted}


def engines_share(told: Mapping[str, Any]) -> float:
    """The part of a run's time in which its busiest host did nothing, as a share of it.

    More than what the engine costs: time in which that host waited for another one is in it too.
    """
    busy: dict[str, float] = {}
    for task in told["tasks"]:
        steps = (task["result"] or {}).get("steps") or []
        busy[task["host_name"]] = busy.get(task["host_name"], 0.0) + sum(step["duration_s"] for step in steps)
    took_s = float(told["finished_at"]) - float(told["created_at"])
    return 1 - max(busy.values()) / took_s


def on(cloud: Cloud, host: str, command: str, *, timeout_s: float = 300.0) -> str:
    """What a shell command on a host said; raises NspawnError when it fails."""
    return cloud.system(host).run(["sh", "-c", command], timeout_s=timeout_s).stdout


def openstack(cloud: Cloud, host: str, words: str) -> Any:
    """What the command `openstack` told the administrator, on a host that has openrc."""
    answer = on(cloud, host, f". /root/admin-openrc && openstack {words} -f json")
    return json.loads(answer) if answer.strip() else None


def ping_words(address: str) -> str:
    """Python that sends one echo request, and raises without an answer: this computer need not have `ping`."""
    return f"""\
import os, socket, struct
packet = struct.pack("!BBHHH8s", 8, 0, 0, os.getpid() & 0xffff, 1, b"pxeforge")
total = sum(struct.unpack("!8H", packet))
total = (total >> 16) + (total & 0xffff)
packet = packet[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + packet[4:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as wire:
    wire.settimeout(2)
    wire.sendto(packet, ("{address}", 0))
    while True:
        answer, (sender, _) = wire.recvfrom(2048)
        if sender == "{address}" and answer[20] == 0 and answer[24:26] == packet[4:6]:
            break
"""


def pings(cloud: Cloud, address: str) -> bool:
    """Whether the address answers in the rack, where no host of the cloud is."""
    return cloud.rack.run([sys.executable, "-c", ping_words(address)], check=False).returncode == 0


@dataclass
class Asking:
    """A client outside that asks for something again and again; `gaps()` once it is over."""

    process: subprocess.Popen[bytes]
    log: Path

    def answers(self) -> list[tuple[float, bool]]:
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [(float(at), word == "yes") for at, word in (line for line in lines if len(line) == 2)]

    def longest_gap_s(self) -> float:
        """The longest time without a good answer, from the first to the last question."""
        answers = self.answers()
        good = [answers[0][0], *(at for at, well in answers if well), answers[-1][0]]
        return max(later - before for before, later in itertools.pairwise(good))

    def wait_for_answers(self, number: int, limit_s: float) -> None:
        """Until the last so many questions had good answers; raises AssertionError."""
        begun, end = len(self.answers()), time.monotonic() + limit_s
        while True:
            recent = self.answers()[begun:]
            if len(recent) >= number and all(well for _, well in recent[-number:]):
                return
            assert time.monotonic() < end, f"no {number} good answers in a row within {limit_s:.0f} s: {recent[-5:]}"
            time.sleep(0.5)


@contextlib.contextmanager
def asking(cloud: Cloud, log: Path, question: str) -> Iterator[Asking]:
    """Asks from the rack, twice a second; `question` is Python that raises when the answer is not good."""
    log.write_bytes(b"")
    script = (
        "import sys, time\n"
        f"def ask():\n{''.join(f'    {line}{chr(10)}' for line in question.splitlines())}"
        "while True:\n"
        "    try:\n        ask(); word = 'yes'\n"
        "    except Exception:\n        word = 'no'\n"
        "    print(time.monotonic(), word, flush=True)\n"
        "    time.sleep(0.5)\n"
    )
    with log.open("wb") as stream:
        process = cloud.rack.popen([sys.executable, "-c", script], stdout=stream, stderr=subprocess.DEVNULL)
    try:
        yield Asking(process, log)
    finally:
        process.terminate()
        process.wait()
