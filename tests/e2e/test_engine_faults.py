"""What goes wrong during runs, on real Debian systems: whatever stops, is killed, lies or stays away is named, and the
run goes on when it is back. Nothing that was done is done twice."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud, CloudProblem
from pxeforge.lab.keeper import SERVE_PID
from tests.e2e.cloud_trial import on, operator_folder, skip_without_mirror, write_blueprint
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand,
    pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
    pytest.mark.timeout(900),
]
HOSTS = ("f1", "f2")
LOG = "/root/done"  # on each host: what its steps did
HELD = "/root/go"  # the step `hold` waits until it is there
SILENCE_S = 30
STEPS = 8


def _says(word: str, *, seconds: float = 0.0) -> str:
    return f'- command: {{shell: "echo {word} >> {LOG}; sleep {seconds}", always: true}}'


def _paced() -> str:
    """Eight tasks of a second; the fifth waits until all hosts have done the fourth."""
    tasks = "".join(
        f"  - name: t{number}\n{'    after: [role:paced.t4]' + chr(10) if number == 5 else ''}"
        f"    steps:\n      {_says(f't{number}', seconds=1)}\n"
        for number in range(1, STEPS + 1)
    )
    return f"name: paced\nsummary: tasks that take a second each\ntasks:\n{tasks}"


ROLES = {
    "paced": _paced(),
    "held": f"""\
name: held
summary: a task that lasts until somebody lets it go, between two others
tasks:
  - name: task
    steps:
      {_says("before")}
      - command: {{shell: "echo hold >> {LOG}; until test -e {HELD}; do sleep 0.2; done", always: true}}
      {_says("after")}
""",
    "member": f"""\
name: member
summary: a host of many, which may be lost
tasks:
  - name: join
    steps:
      {_says("joined")}
""",
    "leader": f"""\
name: leader
summary: waits for all members
tasks:
  - name: lead
    after: ["role:member"]
    steps:
      {_says("led")}
""",
    "small-packages": """\
name: small-packages
summary: packages that nothing else needs
variables:
  small_packages: {type: list, default: [hello], help: their names}
tasks:
  - name: install
    steps:
      - packages: {names: "{{ vars.small_packages }}"}
remove:
  - name: purge
    steps:
      - packages: {names: "{{ vars.small_packages }}", state: absent}
""",
    "tables": f"""\
name: tables
summary: a database, made when somebody lets it go
requires: [mariadb]
tasks:
  - name: wait
    steps:
      - command: {{shell: "until test -e {HELD}; do sleep 0.2; done", always: true}}
  - name: make
    steps:
      - sql: {{database: faults}}
""",
    "queues": f"""\
name: queues
summary: a user of the message queue, made when somebody lets it go
requires: [rabbitmq]
tasks:
  - name: wait
    steps:
      - command: {{shell: "until test -e {HELD}; do sleep 0.2; done", always: true}}
  - name: make
    steps:
      - rabbitmq: {{user: faults, password: not-secret}}
""",
}


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with operator_folder(tmp_path_factory.mktemp("operator")) as folder:
        for name, text in ROLES.items():
            (folder / "roles" / name).mkdir(parents=True)
            (folder / "roles" / name / "role.yaml").write_text(text)
        yield folder


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, operator: Path) -> Iterator[Cloud]:
    skip_without_mirror()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PXEFORGE_BUDGETS", json.dumps({"silence": SILENCE_S}))
        folder = tmp_path_factory.mktemp("faults")
        with Cloud(folder, cache=CACHE, suite="bookworm", names=HOSTS, name="faults") as made:
            yield made


@pytest.fixture(autouse=True)
def clean(cloud: Cloud) -> None:
    for host in HOSTS:
        on(cloud, host, f"rm -f {LOG} {HELD}")


# ------------------------------------------------------------------ what tests do


def blueprint(operator: Path, roles: Mapping[str, Sequence[str]], **more: Any) -> str:
    """Written anew for each deploy; its name."""
    rules = [{"match": {"name": host}, "roles": list(names)} for host, names in roles.items()]
    write_blueprint(operator, "faults", {"hosts": rules, **more})
    return "faults"


def begin(cloud: Cloud, name: str) -> str:
    """The id of a deploy that has begun."""
    return str(json.loads(cloud.pxeforge("deploy", name, "--no-wait", "--json"))["id"])


def whole(cloud: Cloud, *words: str) -> dict[str, Any]:
    """A run to its end, however that is."""
    found: dict[str, Any] = json.loads(cloud.pxeforge(*words, "--json", check=False))
    return found


def look(cloud: Cloud, run_id: str) -> dict[str, Any]:
    return whole(cloud, "run", "show", run_id)


def resumed(cloud: Cloud, run_id: str) -> dict[str, Any]:
    cloud.pxeforge("run", "resume", run_id, check=False)
    return ended(cloud, run_id)


def ended(cloud: Cloud, run_id: str, limit_s: float = 400.0) -> dict[str, Any]:
    until(lambda: look(cloud, run_id)["state"] != "running", limit_s)
    return look(cloud, run_id)


def until(condition: Any, limit_s: float = 180.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"not within {limit_s:.0f} s"
        time.sleep(0.3)


def done(cloud: Cloud, host: str) -> list[str]:
    return on(cloud, host, f"cat {LOG} 2>/dev/null || true").split()


def failures(run: Mapping[str, Any]) -> dict[str, str]:
    """Of each task that failed: what its step said."""
    return {
        task["planned_id"]: next(step["message"] for step in task["result"]["steps"] if step["status"] == "failed")
        for task in run["tasks"]
        if task["state"] == "failed"
    }


def in_state(run: Mapping[str, Any], state: str) -> set[str]:
    return {task["planned_id"] for task in run["tasks"] if task["state"] == state}


ALL = [f"t{number}" for number in range(1, STEPS + 1)]


# ------------------------------------------------------------------ agents, hosts and the server


def test_an_agent_that_is_killed_goes_on_with_its_task(cloud: Cloud, operator: Path) -> None:
    run_id = begin(cloud, blueprint(operator, {"f1": ["held"]}))
    until(lambda: done(cloud, "f1") == ["before", "hold"])
    on(cloud, "f1", "kill -9 $(systemctl show --value --property=MainPID pxeforge-agent)")
    until(lambda: done(cloud, "f1") == ["before", "hold", "hold"])
    on(cloud, "f1", f"touch {HELD}")
    assert ended(cloud, run_id)["state"] == "succeeded"
    assert done(cloud, "f1") == ["before", "hold", "hold", "after"]


def test_an_agent_that_dies_of_its_task_each_time_has_failed_it(cloud: Cloud, operator: Path) -> None:
    run_id = begin(cloud, blueprint(operator, {"f1": ["held"]}))
    for times in range(1, 5):
        until(lambda times=times: done(cloud, "f1").count("hold") == times)
        on(cloud, "f1", "kill -9 $(systemctl show --value --property=MainPID pxeforge-agent)")
    run = ended(cloud, run_id)
    assert failures(run) == {"held.task@f1": "the agent ended 4 times during this task: look at the host's journal"}
    assert done(cloud, "f1").count("before") == 1


@pytest.mark.parametrize("how", ["in order", "by the plug"])
def test_a_host_that_reboots_in_the_middle_of_a_run_goes_on_with_it(cloud: Cloud, operator: Path, how: str) -> None:
    run_id = begin(cloud, blueprint(operator, {host: ["paced"] for host in HOSTS}))
    until(lambda: "t2" in done(cloud, "f1"))
    system = cloud.system("f1")
    if how == "in order":
        system.stop()
    else:
        system.kill()
    system.start()
    assert ended(cloud, run_id)["state"] == "succeeded"
    times = Counter(done(cloud, "f1"))
    assert sorted(times) == ALL
    assert max(times.values()) <= (1 if how == "in order" else 2)
    assert sum(times.values()) <= STEPS + 1  # only what was cut off is done again
    assert done(cloud, "f2") == ALL


def kill_server(cloud: Cloud) -> None:
    """kill -9, and started again as systemd would."""
    killed = int((cloud.folder / SERVE_PID).read_text())
    os.kill(killed, signal.SIGKILL)
    while int((cloud.folder / SERVE_PID).read_text()) == killed:
        cloud.server.revive()
        time.sleep(0.1)


def test_a_server_that_is_killed_at_random_moments_loses_and_repeats_nothing(cloud: Cloud, operator: Path) -> None:
    chance = random.Random(7)
    run_id = begin(cloud, blueprint(operator, {host: ["paced"] for host in HOSTS}))
    for _ in range(3):
        time.sleep(chance.uniform(0.2, 2.5))
        kill_server(cloud)
    run = ended(cloud, run_id)
    assert failures(run) == {}
    assert run["state"] == "succeeded"
    assert {host: done(cloud, host) for host in HOSTS} == dict.fromkeys(HOSTS, ALL)


def test_a_server_that_is_killed_while_deploys_begin_has_begun_one_whole_or_none(cloud: Cloud, operator: Path) -> None:
    """A run and its tasks are one transaction."""
    name = blueprint(operator, {host: ["paced"] for host in HOSTS})
    before = {run["id"] for run in json.loads(cloud.pxeforge("run", "list", "--json"))}
    chance = random.Random(11)
    for _ in range(2):
        asking = threading.Thread(target=cloud.pxeforge, args=("deploy", name, "--no-wait"), kwargs={"check": False})
        asking.start()
        time.sleep(chance.uniform(0.6, 1.6))
        kill_server(cloud)
        asking.join()
    for run in json.loads(cloud.pxeforge("run", "list", "--json")):
        if run["id"] not in before:
            assert len(look(cloud, run["id"])["tasks"]) == STEPS * len(HOSTS)
            assert ended(cloud, run["id"])["state"] == "succeeded"


# ------------------------------------------------------------------ packages


def test_a_mirror_that_is_gone_for_a_minute_is_waited_for(cloud: Cloud, operator: Path) -> None:
    on(cloud, "f1", "apt-get -q update", timeout_s=300)
    socket = cloud.folder / "relay.sock"
    away = socket.rename(cloud.folder / "relay.away")
    try:
        run_id = begin(cloud, blueprint(operator, {"f1": ["small-packages"]}, variables={"small_packages": ["tree"]}))
        time.sleep(60)
        assert look(cloud, run_id)["state"] == "running"
    finally:
        away.rename(socket)
    assert failures(ended(cloud, run_id)) == {}
    assert on(cloud, "f1", "tree --version")


def test_somebody_who_holds_the_lock_of_apt_is_waited_for(cloud: Cloud, operator: Path) -> None:
    holder = (
        "import fcntl, time; files = [open(f'/var/lib/dpkg/{name}', 'w') for name in ('lock-frontend', 'lock')];"
        "[fcntl.lockf(file, fcntl.LOCK_EX) for file in files]; open('/root/locked', 'w'); time.sleep(15)"
    )
    on(cloud, "f1", f'rm -f /root/locked; systemd-run --quiet --unit=lock-holder python3 -c "{holder}"')
    until(lambda: on(cloud, "f1", "ls /root").split().count("locked"))
    began = time.monotonic()
    name = blueprint(operator, {"f1": ["small-packages"]}, variables={"small_packages": ["bc"]})
    run = whole(cloud, "deploy", name)
    assert failures(run) == {}
    assert time.monotonic() - began > 8  # the holder was not pushed aside
    assert on(cloud, "f1", "echo 6*7 | bc").strip() == "42"


def test_a_package_whose_mirror_has_no_address_is_told_with_the_name_that_does_not_resolve(
    cloud: Cloud, operator: Path
) -> None:
    on(cloud, "f1", "echo 'deb http://mirror.invalid/debian bookworm main' > /etc/apt/sources.list.d/wrong.list")
    on(cloud, "f1", "rm -f /var/lib/pxeforge-agent/package-lists-refreshed")
    try:
        name = blueprint(operator, {"f1": ["small-packages"]}, variables={"small_packages": ["dc"]})
        told = failures(whole(cloud, "deploy", name))
    finally:
        on(cloud, "f1", "rm /etc/apt/sources.list.d/wrong.list")
    assert "mirror.invalid" in told["small-packages.install@f1"]


# ------------------------------------------------------------------ hosts that are not as they should be


@pytest.fixture(scope="module")
def gated(cloud: Cloud, operator: Path) -> str:
    """Hosts on which services could come; memcached stands for them."""
    name = blueprint(operator, {"f1": ["cloud", "time-server"], "f2": ["cloud", "memcached", "time-client"]})
    assert failures(whole(cloud, "deploy", name)) == {}
    assert failures(whole(cloud, "verify", name)) == {}
    return (operator / "blueprints/faults.yaml").read_text()


@pytest.fixture
def checked(gated: str, operator: Path) -> str:
    (operator / "blueprints/faults.yaml").write_text(gated)
    return "faults"


def test_an_own_name_on_the_loopback_is_found_and_a_deploy_takes_it_away(cloud: Cloud, checked: str) -> None:
    on(cloud, "f2", "echo 127.0.1.1 f2 >> /etc/hosts")
    assert "base.check-gates@f2" in failures(whole(cloud, "verify", checked))
    assert in_state(whole(cloud, "deploy", checked), "changed") == {"base.names@f2"}
    assert failures(whole(cloud, "verify", checked)) == {}


def test_a_name_that_does_not_resolve_is_found_and_a_deploy_brings_it_back(cloud: Cloud, checked: str) -> None:
    on(cloud, "f2", "sed -i '/ f1$/d' /etc/hosts")
    told = failures(whole(cloud, "verify", checked))
    assert set(told) == {"base.check-names@f2"}
    assert "f1" in told["base.check-names@f2"]
    assert in_state(whole(cloud, "deploy", checked), "changed") == {"base.names@f2"}
    assert failures(whole(cloud, "verify", checked)) == {}


def test_a_second_default_route_stops_a_deploy_before_any_service_and_by_name(cloud: Cloud, checked: str) -> None:
    on(
        cloud,
        "f2",
        "ip route append default via $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p') onlink dev eth1",
    )
    on(cloud, "f2", "systemctl stop memcached")
    try:
        run = whole(cloud, "deploy", checked)
        told = failures(run)
        assert told["cloud.gates@f2"] == "there are 2 default routes of metric 0: keep one"
        assert "base.check-gates@f2" in failures(whole(cloud, "verify", checked))
    finally:
        on(cloud, "f2", "ip route del default dev eth1")
    assert resumed(cloud, run["id"])["state"] == "succeeded"
    assert failures(whole(cloud, "verify", checked)) == {}


def test_a_host_whose_clock_is_an_hour_off_still_connects_and_is_named(cloud: Cloud, checked: str) -> None:
    """Python on the host, so the agent and every check, sees the wrong clock; the real one is this computer's."""
    custom = "/etc/python3.11/sitecustomize.py"
    wrong = "import time; _right = time.time; time.time = lambda: _right() + 3600"
    on(cloud, "f2", f"cp {custom} /root/custom; echo '{wrong}' >> {custom}; systemctl restart pxeforge-agent")
    try:
        told = failures(whole(cloud, "verify", checked))
        assert set(told) == {"base.check-time@f2"}
        ahead = re.fullmatch(r"this clock is (\d+\.\d+) s ahead of the server's \(± .*\)", told["base.check-time@f2"])
        assert ahead is not None, told
        assert abs(float(ahead[1]) - 3600) < 30
        run = whole(cloud, "deploy", checked)
        stopped = failures(run)
        assert set(stopped) == {"cloud.gates@f2"}
        assert re.match(r"the clock is 36\d\d s ahead of the server's: set it", stopped["cloud.gates@f2"]), stopped
    finally:
        on(cloud, "f2", f"cp /root/custom {custom}; systemctl restart pxeforge-agent")
    assert resumed(cloud, run["id"])["state"] == "succeeded"
    assert failures(whole(cloud, "verify", checked)) == {}


def test_a_host_that_never_comes_may_be_lost_is_named_and_can_be_taken_up_later(cloud: Cloud, operator: Path) -> None:
    name = blueprint(operator, {"f1": ["leader"], "f2": ["member"]}, tolerance={"member": 1})
    cloud.system("f2").stop()
    try:
        run = whole(cloud, "deploy", name)
    finally:
        cloud.system("f2").start()
    assert run["state"] == "succeeded"
    assert [loss["host_name"] for loss in run["losses"]] == ["f2"]
    assert "nothing was heard of the agent of f2" in run["losses"][0]["why"]
    assert done(cloud, "f1") == ["led"]
    again = resumed(cloud, run["id"])
    assert (again["state"], again["losses"]) == ("succeeded", [])
    assert done(cloud, "f2") == ["joined"]


def test_a_host_that_never_comes_and_may_not_be_lost_fails_the_run_by_name(cloud: Cloud, operator: Path) -> None:
    name = blueprint(operator, {"f1": ["leader"], "f2": ["member"]})
    cloud.system("f2").stop()
    try:
        run = whole(cloud, "deploy", name)
    finally:
        cloud.system("f2").start()
    assert "nothing was heard of the agent of f2" in failures(run)["member.join@f2"]
    assert in_state(run, "blocked") == {"leader.lead@f1"}
    assert resumed(cloud, run["id"])["state"] == "succeeded"


def test_of_operators_who_deploy_at_once_one_does_and_the_others_are_told_who(cloud: Cloud, operator: Path) -> None:
    name = blueprint(operator, {host: ["paced"] for host in HOSTS})
    together = threading.Barrier(4)

    def ask(_: int) -> str:
        together.wait()
        try:
            return str(json.loads(cloud.pxeforge("deploy", name, "--no-wait", "--json"))["id"])
        except CloudProblem as problem:
            return str(problem)

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(ask, range(4)))
    refused = [text for text in told if "is running: wait for it or `pxeforge run cancel" in text]
    begun = [text for text in told if text not in refused]
    assert (len(begun), len(refused)) == (1, 3), told
    assert all(begun[0] in text for text in refused)
    assert ended(cloud, begun[0])["state"] == "succeeded"
    assert {host: done(cloud, host) for host in HOSTS} == dict.fromkeys(HOSTS, ALL)


# ------------------------------------------------------------------ services


@pytest.mark.parametrize(
    ("role", "user", "unit", "check"),
    [
        ("mariadb", "tables", "mariadb", "mariadb.round-trip@f1"),
        ("rabbitmq", "queues", "rabbitmq-server", "rabbitmq.queue@f1"),
    ],
)
def test_a_service_that_stops_during_a_run_and_after_it_is_missed_by_name(
    cloud: Cloud, operator: Path, role: str, user: str, unit: str, check: str
) -> None:
    name = blueprint(operator, {"f1": [role]})
    assert failures(whole(cloud, "deploy", name)) == {}
    name = blueprint(operator, {"f1": [role, user]})
    run_id = begin(cloud, name)
    until(lambda: f"{user}.wait@f1" in in_state(look(cloud, run_id), "running"))
    on(cloud, "f1", f"systemctl stop {unit}; touch {HELD}")
    run = ended(cloud, run_id)
    assert set(failures(run)) == {f"{user}.make@f1"}
    on(cloud, "f1", f"systemctl start {unit}")
    assert resumed(cloud, run_id)["state"] == "succeeded"
    assert failures(whole(cloud, "verify", name)) == {}
    on(cloud, "f1", f"systemctl stop {unit}")
    assert check in failures(whole(cloud, "verify", name))
    assert failures(whole(cloud, "deploy", name)) == {}
    assert failures(whole(cloud, "verify", name)) == {}
