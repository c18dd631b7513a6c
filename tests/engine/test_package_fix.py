from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.changes import Changes
from pxeforge.agent.execution import Execution
from pxeforge.agent.task import run_step
from pxeforge.engine.package_fix import past_fixes
from pxeforge.engine.plan import PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.release import Release, ReleaseProblem, load_releases, parse_release
from pxeforge.engine.roles import load_roles, parse_role

TOP = Path(__file__).resolve().parents[2]
PACK = """\
name: deb
summary: s
codename: zed
suite: bookworm
match: {id: debian, version: "12"}
fixes:
  - name: no-ssl
    summary: apache does not start
    role: web
    after: install
    detects: {command: "test -e /x"}
    remedy:
      - command: {argv: [a2dissite, ssl], always: true}
      - name: mark
        file: {path: /etc/mark, content: "of {{ host.name }}"}
    until: {package: apache2, version: "3.0-1"}
"""
ROLE = """\
name: web
summary: s
tasks:
  - {name: install, steps: [{packages: {names: [apache2]}}]}
  - name: start
    steps: [{unit: {name: apache2, running: true, restart_on: [install]}}]
"""


def pack(text: str = PACK) -> Release:
    return parse_release(text, "releases/deb.yaml", "deb")


def planned(text: str = PACK, version: str = "12") -> dict[str, Any]:
    host = PlanHost(host_id="1", name="h1", roles=("web",), facts={"os": {"id": "debian", "version": version}})
    server = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1")
    role = parse_role(ROLE, "web/role.yaml", "web", {})
    return {
        task.name: task.steps
        for task in compile_plan([host], {"web": role}, server=server, releases={"deb": pack(text)}).tasks
    }


def test_the_remedy_becomes_the_last_steps_of_its_task_on_hosts_of_that_release() -> None:
    tasks = planned()
    assert [step["name"] for step in tasks["install"]] == ["packages", "fix-no-ssl-command", "fix-no-ssl-mark"]
    assert tasks["install"][2]["params"]["content"] == "of h1"
    assert "test -e /x" in tasks["install"][1]["onlyif"]
    assert "onlyif" not in tasks["install"][0]
    assert tasks["start"][0]["params"]["restart_on"] == ["web.install"]


def test_it_may_go_before_the_steps_of_a_task_and_other_releases_do_not_have_it() -> None:
    before = PACK.replace("after: install", "before: install")
    assert [step["name"] for step in planned(before)["install"]][-1] == "packages"
    assert [step["name"] for step in planned(version="13")["install"]] == ["packages"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('{command: "test -e /x"}', "{}", "releases/deb.yaml:11: fixes.0.detects is {}: give either command or file"),
        ('{command: "test -e /x"}', '{file: "/etc/$(reboot)"}', ":11: fixes.0.detects.file is '/etc/$(reboot)'"),
        ('{command: "test -e /x"}', '{file: /x, match: "("}', "deb.yaml:11: fixes.0.detects is"),
        ('{command: "test -e /x"}', '{command: x, match: "y"}', "match belongs to file"),
        ("after: install", "", "name a task of the role, either by after or by before"),
        ("command: {argv", "comand: {argv", "deb.yaml:13: a step has exactly one type, not comand"),
        ("path: /etc/mark", "path: etc/mark", "deb.yaml:15: path is 'etc/mark'"),
        ('content: "of {{ host.name }}"', "template: x", "deb.yaml:15: there is no template x"),
        ("host.name", "hots.name", "deb.yaml:15: the value asks for hots, which no template gets"),
        (', version: "3.0-1"', "", "deb.yaml:16: fixes.0.until.version is missing: add it"),
    ],
)  # fmt: skip
def test_an_error_in_a_fix_names_line_and_remedy(old: str, new: str, expected: str) -> None:
    assert old in PACK
    with pytest.raises(ReleaseProblem) as caught:
        pack(PACK.replace(old, new, 1))
    assert expected in str(caught.value)


def test_a_fix_for_a_task_that_does_not_exist_is_told() -> None:
    with pytest.raises(PlanProblem, match=r"releases/deb.yaml:7: fix no-ssl is for task web.go, which does not exist"):
        planned(PACK.replace("after: install", "after: go"))


def detecting(text: str) -> str:
    """The guard of a fix that looks for this, which its package is old enough for."""
    return pack(PACK.replace('{command: "test -e /x"}', text).replace("apache2, ver", "dpkg, ver")).fixes[0].guard


def holds(guard: str, version: str, folder: Path) -> bool:
    """With a dpkg-query that knows one version ('' for a package that is not installed)."""
    fake = folder / "dpkg-query"
    fake.write_text(f"#!/bin/sh\nprintf %s '{version}'\n")
    fake.chmod(0o755)
    env = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(["/bin/sh", "-c", guard], check=False, timeout=20, env=env).returncode == 0


needs_dpkg = pytest.mark.skipif(not Path("/usr/bin/dpkg").exists(), reason="needs dpkg")


@needs_dpkg
def test_a_fault_is_found_by_a_command_or_a_file_that_is_there_or_a_line_in_one(tmp_path: Path) -> None:
    (tmp_path / "a1.conf").write_text("Listen 443\n")
    for text, expected in (
        ('{command: "true"}', True), ('{command: "false"}', False),
        (f"{{file: {tmp_path}/a1.conf}}", True), (f'{{file: "{tmp_path}/a?.*"}}', True),
        (f"{{file: {tmp_path}/b}}", False),
        (f'{{file: "{tmp_path}/*.conf", match: "^Listen +443"}}', True),
        (f'{{file: "{tmp_path}/*.conf", match: "^Listen \'80"}}', False),
        (f"{{file: {tmp_path}/none, match: x}}", False),
    ):  # fmt: skip
        assert holds(detecting(text), "2.4-1", tmp_path) == expected, text


@needs_dpkg
@pytest.mark.parametrize(("version", "expected"), [("2.9", True), ("3.0-1", False), ("1:1.0", False), ("", False)])
def test_nobody_looks_for_the_fault_where_the_package_is_good_or_absent(
    version: str, expected: bool, tmp_path: Path
) -> None:
    assert holds(detecting('{command: "true"}'), version, tmp_path) == expected


def test_the_agent_does_a_guarded_step_only_where_it_is_needed(tmp_path: Path) -> None:
    step = {"name": "x", "id": "a.b.x", "type": "file", "params": {"path": str(tmp_path / "f"), "content": "x"}}
    execution, changes = Execution(), Changes(tmp_path / "state")
    result = run_step({**step, "onlyif": "exit 1"}, execution, changes)
    assert (result["status"], result["message"]) == ("ok", "not needed here")
    assert not (tmp_path / "f").exists()
    assert run_step({**step, "onlyif": "exit 0"}, execution, changes)["status"] in ("changed", "failed")
    assert (tmp_path / "f").exists()


def test_a_fix_that_a_newer_package_makes_needless_is_told() -> None:
    fixes = pack().fixes
    assert past_fixes(fixes, {"apache2": "2.4.62-1", "other": "9"}) == []
    assert past_fixes(fixes, {"apache2": "1:2.0"}) == [
        "fix no-ssl is no longer needed: apache2 is 1:2.0, and 3.0-1 is enough: take it out of releases/deb.yaml:7"
    ]


def test_the_shipped_fixes_are_for_tasks_that_exist() -> None:
    roles = load_roles([TOP / "roles"])
    for release in load_releases([TOP / "releases"]).values():
        for fix in release.fixes:
            assert fix.task in {task.name for task in roles[fix.role].tasks}, fix.name
