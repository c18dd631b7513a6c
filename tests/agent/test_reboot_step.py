from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.execution import Rebooting
from pxeforge.agent.loop import Agent
from pxeforge.agent.transport import AgentPlane

from .fake_host import do, program
from .fake_server import FakeServer


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    boot(tmp_path, 1)
    program(tmp_path, "systemctl", "echo $* >> systemctl.log")
    return tmp_path


def boot(host: Path, number: int) -> None:
    (host / "proc/sys/kernel/random/boot_id").write_text(f"boot-{number}\n")


def reboot(host: Path) -> dict[str, Any]:
    return do(host, "reboot", {"reason": "a new kernel", "unless": f"test -e {host}/new"}, root=host)


def test_a_host_that_needs_no_reboot_stays_up(host: Path) -> None:
    (host / "new").touch()
    assert reboot(host)["status"] == "ok"
    assert not (host / "systemctl.log").exists()


def test_the_task_goes_on_after_the_reboot(host: Path) -> None:
    with pytest.raises(Rebooting, match="a new kernel"):
        reboot(host)
    assert (host / "systemctl.log").read_text() == "reboot\n"
    boot(host, 2)
    (host / "new").touch()
    result = reboot(host)
    assert (result["status"], result["output"]) == ("changed", "rebooted")
    assert reboot(host)["status"] == "ok"


def test_a_reboot_that_does_not_help_is_not_tried_again_by_itself(host: Path) -> None:
    with pytest.raises(Rebooting):
        reboot(host)
    boot(host, 2)
    result = reboot(host)
    assert (result["status"], "still fails" in result["message"]) == ("failed", True)
    assert (host / "systemctl.log").read_text() == "reboot\n"
    with pytest.raises(Rebooting):  # by hand, it may be
        reboot(host)


def test_a_dry_run_only_says_it(host: Path) -> None:
    params = {"reason": "a new kernel", "unless": "false"}
    result = do(host, "reboot", params, root=host, check_only=True)
    assert (result["status"], result["message"]) == ("changed", "a reboot is needed: a new kernel")
    assert not (host / "systemctl.log").exists()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    (tmp_path / "server").mkdir()
    fake = FakeServer(tmp_path / "server")
    fake.start()
    yield fake
    fake.stop()


def test_the_agent_goes_on_with_the_steps_after_the_reboot(host: Path, server: FakeServer) -> None:
    config = server.config()
    plane = AgentPlane(config["agent_url"], config["agent_token"], config["certificate_pem"], timeout_s=5)
    path_env = f"{host / 'bin'}:/usr/bin:/bin"

    def agent(number: int) -> Agent:
        boot(host, number)
        facts = {"boot_id": f"boot-{number}"}
        return Agent(
            plane, host / "state", lambda: facts, root=host, say=lambda _: None, claim_wait_s=0, path_env=path_env
        )

    def step(name: str, kind: str, **params: Any) -> dict[str, Any]:
        return {"name": name, "id": f"r.t.{name}", "type": kind, "params": params}

    first = agent(1)
    server.lease_s = 60
    server.add("a", [
        step("before", "command", shell=f"echo x >> {host}/before", always=True),
        step("reboot", "reboot", reason="a new kernel", unless=f"test -e {host}/new"),
        step("after", "command", shell=f"echo x >> {host}/after", always=True),
    ])  # fmt: skip
    thread = threading.Thread(target=first.run, daemon=True)
    thread.start()
    server.wait_for(lambda fake: any("reboots" in event["message"] for _, event in fake.events))
    first.stop()  # systemd ends the agent
    thread.join(timeout=10)
    assert not (host / "after").exists()
    assert "a" not in server.results

    (host / "new").touch()
    second = agent(2)
    thread = threading.Thread(target=second.run, daemon=True)
    thread.start()
    server.wait_for(lambda fake: "a" in fake.results)
    second.stop()
    thread.join(timeout=10)
    assert [item["status"] for item in server.results["a"]["steps"]] == ["changed", "changed", "changed"]
    assert ((host / "before").read_text(), (host / "after").read_text()) == ("x\n", "x\n")
