from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.changes import Changes
from pxeforge.agent.execution import Execution
from pxeforge.agent.task import run_step

from .fake_host import do

needs_ansible = pytest.mark.skipif(shutil.which("ansible-playbook") is None, reason="needs ansible-core")


def play(
    folder: Path, tasks: str, *, secrets: tuple[str, ...] = (), check_only: bool = False, **given: Any
) -> dict[str, Any]:
    text = "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
    text += "".join(f"    {line}\n" for line in tasks.strip().splitlines())
    return do(folder, "ansible", {"playbook": text, "vars": given}, secrets=secrets, check_only=check_only)


COPY = """
- name: write it
  ansible.builtin.copy: {dest: "{{ place }}", content: "{{ word }}\\n", mode: "0600"}
- name: look at it
  ansible.builtin.command: "cat {{ place }}"
  changed_when: false
"""


@needs_ansible
def test_a_playbook_changes_something_once(tmp_path: Path) -> None:
    place = str(tmp_path / "out")
    dry = play(tmp_path, COPY, check_only=True, place=place, word="s3cr3t", secrets=("s3cr3t",))
    assert (dry["status"], dry["message"]) == ("changed", "would change: write it")
    assert "+[secret]" in dry["diff"]
    assert not (tmp_path / "out").exists()
    first = play(tmp_path, COPY, place=place, word="s3cr3t", secrets=("s3cr3t",))
    assert (first["status"], first["message"]) == ("changed", "changed: write it"), first
    assert (tmp_path / "out").read_text() == "s3cr3t\n"
    assert "s3cr3t" not in json.dumps(first)
    marked = Changes(tmp_path / "changes.json")
    marked.seen("r.t.unit")
    second = play(tmp_path, COPY, place=place, word="s3cr3t", secrets=("s3cr3t",))
    assert (second["status"], second["message"]) == ("ok", "")
    assert "ok: look at it" in second["output"]
    assert Changes(tmp_path / "changes.json").unseen(["r.t.x"], "r.t.unit") == []
    assert play(tmp_path, COPY, check_only=True, place=place, word="s3cr3t")["status"] == "ok"


@needs_ansible
def test_a_task_that_fails_is_named_with_its_words(tmp_path: Path) -> None:
    tasks = """
- name: not so bad
  ansible.builtin.command: "false"
  ignore_errors: true
- name: too bad
  ansible.builtin.fail: {msg: the reason}
"""
    result = play(tmp_path, tasks)
    assert (result["status"], result["message"]) == ("failed", "task 'too bad' of the playbook failed: the reason")
    assert "failed: not so bad" in result["output"]


@needs_ansible
def test_what_is_no_playbook_or_for_nobody_is_told(tmp_path: Path) -> None:
    result = do(tmp_path, "ansible", {"playbook": "- hosts: [localhost\n", "vars": {}})
    assert (result["status"], "cannot be played" in result["message"]) == ("failed", True), result
    result = do(tmp_path, "ansible", {"playbook": "- hosts: others\n  tasks: []\n", "vars": {}})
    assert (result["status"], "no play of the playbook is for this host" in result["message"]) == ("failed", True)
    result = do(tmp_path, "ansible", {"playbook": "- hosts: [localhost\n", "vars": {}}, check_only=True)
    assert result["status"] == "waiting"


@pytest.mark.parametrize(("check_only", "status"), [(False, "failed"), (True, "waiting")], ids=["run", "dry"])
def test_without_ansible_the_package_is_named(tmp_path: Path, check_only: bool, status: str) -> None:
    execution = Execution(path_env=str(tmp_path), state_folder=tmp_path, check_only=check_only)
    step = {"type": "ansible", "params": {"playbook": "- hosts: all\n"}}
    result = run_step(step, execution, Changes(tmp_path / "changes.json"))
    assert (result["status"], "install the package ansible-core" in result["message"]) == (status, True)
