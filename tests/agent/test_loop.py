from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.loop import Agent
from pxeforge.agent.transport import AgentPlane
from pxeforge.engine.agent_bundle import build_agent

from .fake_server import FakeServer, make_certificate


def shell(name: str, command: str, **params: Any) -> dict[str, Any]:
    return {
        "name": name,
        "id": f"t.t.{name}",
        "type": "command",
        "params": {"shell": command, "always": True, **params},
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    fake = FakeServer(folder)
    fake.start()
    yield fake
    fake.stop()


class Running:
    """An agent in a thread of its own."""

    def __init__(self, server: FakeServer, folder: Path) -> None:
        self.said: list[str] = []
        config = server.config()
        plane = AgentPlane(config["agent_url"], config["agent_token"], config["certificate_pem"], timeout_s=5)
        facts = {"boot_id": "b1", "hostname": "db1"}
        self.agent = Agent(plane, folder / "state", lambda: facts, say=self.said.append, claim_wait_s=0)
        self.thread = threading.Thread(target=self.agent.run, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.agent.stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


@pytest.fixture
def running(server: FakeServer, tmp_path: Path) -> Iterator[Running]:
    one = Running(server, tmp_path)
    yield one
    one.end()


def test_a_task_is_claimed_done_and_reported(server: FakeServer, running: Running, tmp_path: Path) -> None:
    target = tmp_path / "out"
    server.add("a@db1", [shell("say", f"echo said >> {target}.log"), shell("again", "true")])
    server.wait_for(lambda fake: "a@db1" in fake.results)
    result = server.results["a@db1"]
    assert (result["status"], result["fence"]) == ("changed", 1)
    assert [step["status"] for step in result["steps"]] == ["changed", "changed"]
    assert server.hellos[0]["facts"]["hostname"] == "db1"
    server.wait_for(lambda _: not (tmp_path / "state/task.json").exists())


def test_the_server_says_how_soon_to_ask_again(server: FakeServer, tmp_path: Path) -> None:
    server.poll_s = 3600.0
    server.soon_s = 0.01
    one = Running(server, tmp_path)
    try:
        server.wait_for(lambda fake: fake.requests.count("/v1/claim") > 5)
        server.add("t", [shell("a", "true")])
        server.wait_for(lambda fake: "t" in fake.results)
    finally:
        one.end()


def test_a_short_task_costs_one_question_and_one_answer(server: FakeServer, running: Running) -> None:
    for number in range(5):
        server.add(f"t{number}", [shell("a", "true"), shell("b", "true")])
    server.wait_for(lambda fake: len(fake.results) == 5)
    calls = [path for path in server.requests if path.startswith("/v1/tasks/")]
    assert calls == [f"/v1/tasks/t{number}/result" for number in range(5)]


def test_a_task_that_takes_its_time_tells_of_its_steps(server: FakeServer, running: Running) -> None:
    server.add("a", [shell("quick", "true"), shell("slow", "sleep 2")])
    server.wait_for(lambda fake: "a" in fake.results)
    told = [(event["step"], event["status"]) for _, event in server.events]
    assert told == [("quick", "running"), ("quick", "changed"), ("slow", "running")]


def test_a_failed_step_ends_the_task(server: FakeServer, running: Running, tmp_path: Path) -> None:
    server.add("a", [shell("bad", "echo why >&2; exit 3"), shell("never", f"touch {tmp_path}/never")])
    server.wait_for(lambda fake: "a" in fake.results)
    result = server.results["a"]
    assert result["status"] == "failed"
    assert [(step["message"], step["output"]) for step in result["steps"]] == [
        ("the command ended with exit code 3", "the command ended with exit code 3\nwhy")
    ]
    assert not (tmp_path / "never").exists()


def test_secrets_are_filled_in_on_the_host_and_redacted_in_reports(
    server: FakeServer, running: Running, tmp_path: Path
) -> None:
    content = "password @@secret:db@@\n"
    step = {"name": "f", "type": "block", "params": {"path": f"{tmp_path}/conf", "label": "x", "content": content}}
    server.add("a", [step, shell("leak", "echo it is @@secret:db@@")], secrets={"db": "s3cr3t-value"})
    server.wait_for(lambda fake: "a" in fake.results)
    assert "password s3cr3t-value" in (tmp_path / "conf").read_text()
    assert server.results["a"]["steps"][1]["output"] == "it is [secret]"
    assert "+password [secret]" in server.results["a"]["steps"][0]["diff"]
    assert "s3cr3t-value" not in json.dumps([server.results, server.events])


def test_secrets_that_the_server_has_filled_in_are_redacted_too(server: FakeServer, running: Running) -> None:
    server.add("a", [shell("leak", "echo it is s3cr3t-value; exit 1")], secrets=["s3cr3t-value"])
    server.wait_for(lambda fake: "a" in fake.results)
    assert "it is [secret]" in server.results["a"]["steps"][0]["output"]
    assert "s3cr3t-value" not in json.dumps([server.results, server.events])


def test_a_task_that_cannot_be_read_is_reported_and_the_agent_lives_on(server: FakeServer, running: Running) -> None:
    server.add("a", [shell("x", "true")], timeout_s="soon")
    server.add("b", ["no step"])  # type: ignore[list-item]
    server.add("c", [shell("x", "true")])
    server.wait_for(lambda fake: "c" in fake.results)
    assert server.results["a"]["status"] == server.results["b"]["status"] == "failed"
    assert server.results["a"]["steps"][0]["message"].startswith("the task cannot be read")


def test_a_long_step_keeps_its_lease(server: FakeServer, running: Running) -> None:
    server.lease_s = 1.0
    server.add("a", [shell("slow", "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done")])
    server.wait_for(lambda fake: "a" in fake.results)
    assert server.results["a"]["fence"] == 1
    assert server.refused == []
    assert any(event["message"].startswith("line ") for _, event in server.events)


def test_a_stale_fence_makes_the_agent_drop_the_task_at_once(
    server: FakeServer, running: Running, tmp_path: Path
) -> None:
    server.add("a", [shell("slow", f"sleep 30; touch {tmp_path}/late")])
    server.wait_for(lambda fake: "a" in fake.leased)
    server.wait_for(lambda fake: bool(fake.events))
    with server.lock:
        server.take_away("a")
        server.waiting[0]["steps"] = [shell("quick", "true")]
    server.wait_for(lambda fake: "a" in fake.results)
    assert server.results["a"]["fence"] == 2
    assert server.refused[0] == ("a", 1)
    assert any("belongs to somebody else" in line for line in running.said)


def test_a_cancelled_task_stops_its_command_and_says_so(server: FakeServer, running: Running) -> None:
    server.add("a", [shell("slow", "sleep 60")])
    server.wait_for(lambda fake: bool(fake.events))
    server.cancelled.add("a")
    server.wait_for(lambda fake: "a" in fake.results)
    step = server.results["a"]["steps"][0]
    assert (step["status"], step["message"]) == ("failed", "the task was cancelled")


def test_a_task_that_takes_too_long_fails(server: FakeServer, running: Running) -> None:
    server.add("a", [shell("slow", "sleep 60")], timeout_s=1)
    server.wait_for(lambda fake: "a" in fake.results)
    assert server.results["a"]["steps"][0]["message"] == "the task took longer than its 1 s"


def test_a_server_restart_in_the_middle_of_a_task_loses_nothing(
    server: FakeServer, running: Running, tmp_path: Path
) -> None:
    server.lease_s = 30.0
    server.add(
        "a", [shell("first", f"echo 1 >> {tmp_path}/log; sleep 1.5"), shell("second", f"echo 2 >> {tmp_path}/log")]
    )
    server.wait_for(lambda fake: bool(fake.events))
    server.stop()
    time.sleep(2.5)
    assert (tmp_path / "log").read_text() == "1\n2\n"
    server.start()
    server.wait_for(lambda fake: "a" in fake.results)
    assert server.results["a"]["status"] == "changed"
    assert (tmp_path / "log").read_text() == "1\n2\n"


def test_a_dry_run_reports_a_diff_and_changes_nothing(server: FakeServer, running: Running, tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("old\n")
    step = {"name": "f", "type": "line", "params": {"path": str(path), "match": "^old", "line": "new"}}
    server.add("a", [step, shell("cmd", f"touch {tmp_path}/touched")], check=True)
    server.wait_for(lambda fake: "a" in fake.results)
    first, second = server.results["a"]["steps"]
    assert (first["status"], second["status"]) == ("changed", "changed")
    assert "-old\n+new" in first["diff"]
    assert path.read_text() == "old\n"
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "state/changes.json").exists()


def test_an_agent_with_another_certificate_pinned_sends_nothing(server: FakeServer, tmp_path: Path) -> None:
    _, _, other_pem = make_certificate(tmp_path, "other")
    server.pem = other_pem
    running = Running(server, tmp_path)
    end = time.monotonic() + 10
    while time.monotonic() < end and not running.said:
        time.sleep(0.02)
    running.end()
    assert "shows another certificate than the pinned one" in running.said[0]
    assert server.requests == []


@pytest.fixture
def process(server: FakeServer, tmp_path: Path) -> Iterator[Any]:
    """Starts the real zipapp as a process, as often as asked."""
    zipapp, config = tmp_path / "agent.pyz", tmp_path / "agent.json"
    build_agent(zipapp)
    config.write_text(json.dumps(server.config()))
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-I", str(zipapp), "run", "--config", str(config), "--state", f"{tmp_path}/state"]
        started.append(subprocess.Popen(arguments, stdout=subprocess.DEVNULL))
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.wait()


def test_an_agent_killed_in_the_middle_of_a_task_goes_on_with_it(
    server: FakeServer, process: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    server.lease_s = 30.0
    # The second step waits for a file the first time and goes through the second time, when the file is there.
    second = f"echo 2 >> {log}; test -e {tmp_path}/go || sleep 60"
    server.add("a", [shell("first", f"echo 1 >> {log}"), shell("second", second), shell("third", f"echo 3 >> {log}")])
    agent = process()
    server.wait_for(lambda fake: log.exists() and log.read_text() == "1\n2\n")
    agent.kill()
    agent.wait()
    (tmp_path / "go").touch()
    assert (tmp_path / "state/task.json").stat().st_mode & 0o777 == 0o600
    process()
    server.wait_for(lambda fake: "a" in fake.results)
    assert log.read_text() == "1\n2\n2\n3\n"  # the finished step is not done again, the interrupted one is
    assert server.results["a"]["status"] == "changed"
    assert [step["name"] for step in server.results["a"]["steps"]] == ["first", "second", "third"]


def test_sigterm_lets_the_step_end_and_the_next_start_goes_on(server: FakeServer, process: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    server.lease_s = 30.0
    server.add(
        "a", [shell("first", f"echo 1 >> {log}; sleep 1; echo end >> {log}"), shell("second", f"echo 2 >> {log}")]
    )
    agent = process()
    server.wait_for(lambda fake: log.exists())
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(timeout=10) == 0
    assert log.read_text() == "1\nend\n"
    assert server.results == {}
    process()
    server.wait_for(lambda fake: "a" in fake.results)
    assert log.read_text() == "1\nend\n2\n"


def test_a_task_that_was_given_away_meanwhile_is_not_resumed(server: FakeServer, process: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    server.add("a", [shell("slow", f"echo 1 >> {log}; test -e {tmp_path}/go || sleep 60"), shell("end", "true")])
    agent = process()
    server.wait_for(lambda fake: log.exists())
    agent.kill()
    agent.wait()
    (tmp_path / "go").touch()
    with server.lock:
        server.take_away("a")
    process()
    server.wait_for(lambda fake: "a" in fake.results)
    assert server.results["a"]["fence"] == 2
    assert ("a", 1) in server.refused
